"""What writes to the input topics: files replayed, and a synthetic shop.

Rows become events in `adapters`, files become rows in `source`, and `sink` is the only file that knows Kafka. Events
go through the public topics only: nothing here knows how they are scored.
"""
