"""A shop that never was: visitors with hidden intents, and the events they would send. Pure and seeded.

`behaviour` says what shoppers do, `catalogue` what they see, `calendar` what comes over the shop and `regime` how they
behave then; `shop` lets them do it in event time, `reporting` says what of it is told, `noise` spoils the stream as
networks do, and `feed` sends it. `truth` knows what could be known after each event, and `witness` writes it down.
"""
