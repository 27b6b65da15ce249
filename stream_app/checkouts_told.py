"""Who told of a checkout in a batch: the shop by a `purchase` event, or the order system by a `label`.

A source that falls silent is seen by nothing else: events go on, sessions end, and the model learns that nobody buys.
"""

from __future__ import annotations

from typing import Final, Literal

from stream_app.core.effects import Effects

Source = Literal["purchase", "label"]

#: What became of a purchase event that is news.
_NEWS_OF_EVENTS: Final = (("purchase", "scored"), ("purchase", "late"))

#: What became of a label that is none: it takes back, or was heard before.
_NO_NEWS_OF_LABELS: Final = frozenset({"duplicate", "refund", "cancel", "replayed"})


def checkouts_told(effects: Effects) -> dict[Source, int]:
    """Source → checkouts that a batch has heard of for the first time; sources without one are left out."""
    told: dict[Source, int] = {}
    if purchases := sum(effects.events[kind] for kind in _NEWS_OF_EVENTS):
        told["purchase"] = purchases
    if labels := sum(number for outcome, number in effects.labels.items() if outcome not in _NO_NEWS_OF_LABELS):
        told["label"] = labels
    return told
