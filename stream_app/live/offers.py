"""The latest discounts offered, as they are shown: of the whole shop, whichever worker's page it is."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from stream_app.discounts.core.records import Offer
from stream_app.live.names import VisitorNames

#: More are not looked at; the topic has all.
OFFERS_MAX: Final = 50


class Offers:
    """The newest first, each once: with at_least_once an offer may be told again."""

    def __init__(self) -> None:
        self._kept: deque[Offer] = deque(maxlen=OFFERS_MAX)
        self._ids: set[str] = set()

    def take(self, offer: Offer) -> None:
        """Take in an offer. Those of several partitions come in any order; the newest issued are kept."""
        if offer.offer_id in self._ids:
            return
        newest = sorted([*self._kept, offer], key=lambda one: (one.issued_at, one.offer_id))[-OFFERS_MAX:]
        self._kept = deque(newest, maxlen=OFFERS_MAX)
        self._ids = {one.offer_id for one in newest}

    def newest(self, limit: int) -> list[Offer]:
        """The newest so many."""
        return list(self._kept)[: -limit - 1 : -1]


def offer_row(offer: Offer, names: VisitorNames) -> dict[str, Any]:
    """An offer in a list."""
    return {
        "visitor": names.name(offer.visitor_id),
        "percent": offer.percent,
        "reason": offer.reason,
        "score": offer.score,
        "issued_at": offer.issued_at,
        "expires_at": offer.expires_at,
    }
