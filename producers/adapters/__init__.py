"""Other people's rows → canonical events: pure functions, no I/O and no clock.

Each adapter turns one row into an `Event` or a `Rejected` whose detail says what was got and what was expected. No
input makes an adapter raise.
"""
