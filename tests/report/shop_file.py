"""Histories for reports: one by hand, whose figures are worked out beside it, and one of the synthetic shop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from producers.synthetic.shop import Shop
from stream_app.core.codec import encode
from stream_app.core.events import Event
from tests.analytics.small import T0, event

SHOES = {"source": "ads", "category": "shoes", "brand": "acme", "price": 10.0}

# minute 0    .25   .5   1         2      2.5      5           100            200
# a      view view  cart buy (2 pieces)
# b                                view   view  (the first one sent twice)
# c                                                view
# d                                                            buy, no price
# e                                                                           view, cut off by the end
BY_HAND = [
    event("a", "x", "view", 0, **SHOES),
    event("a", "x", "view", 0.25, **SHOES),
    event("a", "x", "cart", 0.5, **SHOES),
    event("a", "x", "buy", 1, quantity=2.0, **SHOES),
    event("b", "x", "view", 2, **SHOES),
    event("b", "x", "view", 2, **SHOES),
    event("b", "x", "view", 2.5, **SHOES),
    event("c", "y", "view", 5, source="mail", category="hats", price=3.0),
    event("d", "y", "buy", 100),
    event("e", "z", "view", 200),
]


def written(path: Path, events: list[Event], *, rubbish: bool = False) -> Path:
    """A file of our own events, with one line that is none."""
    path.write_bytes(b"\n".join([*map(encode, events), *([b"{"] if rubbish else [])]) + b"\n")
    return path


def synthetic_events(count: int, *, seed: int = 5, sessions_per_hour: float = 60.0) -> list[Event]:
    """Events of the synthetic shop, some weeks of them: visitors come back."""
    shop = Shop(seed=seed, start_ms=T0, sessions_per_hour=sessions_per_hour)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), count))
