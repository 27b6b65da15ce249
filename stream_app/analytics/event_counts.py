"""What the events are like: how many of what, what they leave out, and what cannot be."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.block import TEXT_COLUMNS, Block
from stream_app.analytics.table import Integers
from stream_app.core.events import EVENT_CODE, EVENT_TYPES

#: Columns of an event that may be missing.
COLUMNS: Final = (*TEXT_COLUMNS, "price")

#: What is counted as impossible, or as good as: event types that deal in goods need an item and a price.
IMPOSSIBLE: Final = (
    "purchase without a price",
    "purchase of nothing (price 0)",
    "purchase of no pieces (quantity 0)",
    "view of an item without an item",
    "cart without an item",
)


class EventCounts:
    """Counts events. Arrays by code of `EVENT_TYPES`; `missing` has shape (types, len(COLUMNS))."""

    def __init__(self) -> None:
        self.types: Integers = np.zeros(len(EVENT_TYPES), np.int64)
        self.missing: Integers = np.zeros((len(EVENT_TYPES), len(COLUMNS)), np.int64)
        self.impossible: Integers = np.zeros(len(IMPOSSIBLE), np.int64)

    def add(self, block: Block) -> None:
        """Take in events, each once."""
        types = len(EVENT_TYPES)
        self.types += np.bincount(block.type, minlength=types)
        unpriced = np.isnan(block.price)
        for n, name in enumerate(COLUMNS):
            absent = unpriced if name == "price" else getattr(block, name) == ""
            self.missing[:, n] += np.bincount(block.type[absent], minlength=types)
        bought = block.type == EVENT_CODE["purchase"]
        nameless = block.item_hash == 0
        found = (
            bought & unpriced,
            bought & (block.price == 0.0),
            bought & (block.quantity == 0.0),
            (block.type == EVENT_CODE["view_item"]) & nameless,
            (block.type == EVENT_CODE["add_to_cart"]) & nameless,
        )
        self.impossible += [int(flags.sum()) for flags in found]

    def merge(self, other: EventCounts) -> None:
        """Take in what another has counted."""
        self.types += other.types
        self.missing += other.missing
        self.impossible += other.impossible
