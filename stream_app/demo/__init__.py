"""`stream-app demo`: everything on embedded servers, fed by a synthetic shop or a file, and shown live.

`command` starts and ends it, `service` feeds the events and paces the rest, `sink` holds the feed back when scoring
lags, `discounting` has offers decided in a process of its own, `tally` counts what happens, `status` turns the counts
into what is worth showing, `screen` and `plain` show it.
"""
