"""A shop that never was: visitors with hidden intents, and the events they would send. Pure and seeded.

`behaviour` says what shoppers do, `catalogue` what they see, `calendar` what comes over the shop and `regime` how they
behave then; `shop` lets them do it in event time, `reporting` says what of it is told, `noise` spoils the stream as
networks do, and `feed` sends it. `truth` knows what could be known after each event, and `witness` writes it down.

It answers offers: `offers` says whom they move, and when, `tilted` how that changes a visit and `standing` by how much,
exactly; `trial` tries any policy on it in memory, and `best` is the one that cannot be beaten.
"""
