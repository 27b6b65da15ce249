"""The models by name. Here, and in `core/model.py`, River is known; nowhere else.

`inputs` is what every classifier sees; `linear` and `trees` hold one small function per model; `catalogue` is
the table of them all. `graph` is how a classifier's state becomes plain values (`writer`, `reader`, `natives`).
"""
