"""Small histories by hand, and random ones for properties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from stream_app.analytics.block import Block, block_of
from stream_app.core.events import Event

#: Monday, 1 July 2024, 00:00 UTC.
T0 = 1_719_792_000_000
MINUTE = 60_000
GAP = 30 * MINUTE

#: Of a property's test: a slow machine does not fail it.
unhurried = settings(deadline=None)

KINDS = {"view": "view_item", "cart": "add_to_cart", "buy": "purchase", "like": "like", "page": "page_view"}


def event(visitor: str, item: str | None, what: str, minute: float, **fields: Any) -> Event:
    """One event; equal ones have equal ids."""
    time = T0 + round(minute * MINUTE)
    return Event(
        event_id=f"{visitor}/{item}/{what}/{time}/{sorted(fields.items())}",
        event_type=KINDS.get(what, what),  # type: ignore[arg-type]
        event_time=time,
        visitor_id=visitor,
        item_id=item,
        **fields,
    )


def block(events: Iterable[Event]) -> Block:
    return block_of(list(events), has_ids=True)


def blocks(events: Sequence[Event], cuts: Iterable[int]) -> list[Block]:
    """The events in blocks, cut at these places."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(events)}), len(events)]
    return [block(events[start:end]) for start, end in pairwise(edges) if end > start]


@st.composite
def histories(draw: st.DrawFn, *, events_max: int = 60) -> tuple[list[Event], list[int]]:
    """Events of a few visitors with a few items, in the order of time; and places to cut them at."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, events_max))
    minutes = np.cumsum(random.choice([0.0, 0.5, 3.0, 20.0, 31.0], count))
    events = [
        event(
            f"v{random.integers(3)}",
            None if random.random() < 0.05 else f"i{random.integers(3)}",
            str(random.choice(["view", "view", "cart", "buy", "like", "refund"])),
            minute,
            price=float(random.integers(1, 9)),
            order_id=[None, "o1", "o2"][random.integers(3)],
            category=[None, "shoes", "hats"][random.integers(3)],
        )
        for minute in minutes
    ]
    return events, draw(st.lists(st.integers(1, count), max_size=8))
