"""What the live page shows: a pure, bounded aggregate of the batches of one worker.

`shop` counts every batch at the cost of a batch, and keeps the newest score records as they are; only while somebody
looks are they read, into `sessions` (who is in the shop, and how the score went) and `checkouts`. `seconds` are rates,
`names` what a visitor is called on a page, `model_facts` how good the scores are. Nothing here waits, reads a clock or
knows HTTP; `stream_app.web` does.
"""
