"""Which table holds the priors: the compiled one where the extension is built, else its reference in Python."""

from __future__ import annotations

from stream_app.core.native import native
from stream_app.core.priors import ENTRIES_MAX, Clock, PriorTable


def new_table(base_rate: float, *, entries_max: int = ENTRIES_MAX) -> PriorTable:
    """One that has counted nothing; `base_rate` is assumed until the shop's own is known.

    The compiled one is no `PriorTable` by inheritance, but has its public methods and attributes, and its numbers
    (`tests/native/test_priors_agree.py`).
    """
    table: PriorTable = (PriorTable if native is None else native.PriorTable)(base_rate, entries_max=entries_max)
    return table


def clock_of(table: PriorTable) -> Clock:
    """The table's, a copy."""
    return Clock(table.landmark, table.newest, list(table.base), table.initial_base_rate)
