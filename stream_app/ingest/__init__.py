"""`stream-app ingest`: a raw topic of any format and any key → canonical events, keyed by visitor, exactly once.

What it does, and what is left when it fails: docs/ingest.md. `adapting.py` and `alignment.py` do no I/O.
"""
