"""`stream-app demo`: everything in one process on embedded servers, fed by a synthetic shop or a file, and shown live.

`command` starts and ends it, `service` feeds the events and paces the rest, `sink` holds the feed back when scoring
lags, `tally` counts what happens, `status` turns the counts into what is worth showing, `screen` and `plain` show it.
"""
