"""Other people's records → canonical events: pure functions, no I/O and no clock.

Each adapter turns one record into its events, none, one or several, or a `Rejected` whose detail says what was got and
what was expected (`result.py`). Most are a `Table` and a function that gives each field a place in it. No input makes
an adapter raise.
"""
