"""Files of history → blocks of events, quickly; and tables of rows → files. All of it is I/O around `analytics`."""
