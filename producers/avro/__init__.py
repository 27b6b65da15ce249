"""Avro records as Kafka clients with a schema registry write them: their bytes → what a JSON record would have held.

`wire.py` cuts a value into the number of its schema and its body, `decoder.py` reads a body by its schema,
`schemas.py` asks the registry, before a batch is converted, for what the batch names, and `envelope.py` is the format.
Needs the extra `avro`; only `schemas.py` does I/O.
"""
