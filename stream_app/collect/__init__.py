"""Events over HTTP into Kafka, for sites without a Kafka of their own (docs/collect.md).

`core/` decides, from bytes and numbers to events and refusals; `intake.py` takes one request through it; `delivery.py`
writes to Kafka, `server.py` listens.
"""
