"""A shop that never was: visitors with hidden intents, and the events they would send. Pure and seeded.

`behaviour` says what shoppers do, `catalogue` what they see, `shop` lets them do it in event time, `noise` spoils the
stream as networks do, and `feed` sends it.
"""
