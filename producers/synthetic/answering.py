"""The shop that answers offers: what was offered meanwhile reaches its visitors before the next thing happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from producers.synthetic.reporting import Fact, Happening, reported
from producers.synthetic.shop import Shop
from stream_app.discounts.core.records import Offer


class Answering:
    """A shop whose visitors are made the offers that somebody else decides on. Iterate this in place of the shop.

    An offer comes when it is read, at the shop's newest event: what was decided too late finds nobody. A purchase that
    took one is told by a checkout label with its `discount_percent`, too: of the price alone nobody could tell.

    Parameters
    ----------
    shop
        Nobody else iterates it.
    newest
        Offers told since it was last asked, in their order; asked before each thing that happens.

    Attributes
    ----------
    made, missed
        Offers that changed a visit, and those that did not: the visitor had left, had bought, or had an offer already,
        or the offer had expired by the shop's time.
    taken
        Purchases at an offered price, by those who would have bought anyway as well.
    """

    def __init__(self, shop: Shop, newest: Callable[[], Iterable[Offer]]) -> None:
        self._shop, self._newest = shop, newest
        self.made = self.missed = self.taken = 0

    def __iter__(self) -> Iterator[Fact]:
        return reported(self.happenings())

    def happenings(self) -> Iterator[Happening]:
        """All that happens, told or not. Iterate this or the whole, not both. Raises what `newest` raises."""
        happenings = self._shop.happenings()
        while True:
            for offer in self._newest():
                self.make(offer)
            happening = next(happenings)
            self.taken += happening.percent > 0.0
            yield happening

    def make(self, offer: Offer, at_ms: int | None = None) -> bool:
        """Make an offer to whoever it is for; whether it found somebody. `at_ms` and ValueError as in `Shop.offer`."""
        now = self._shop.now_ms if at_ms is None else at_ms
        found = now < offer.expires_at and self._shop.offer(offer.visitor_id, offer.percent, at_ms) is not None
        self.made += found
        self.missed += not found
        return found

    @property
    def counts(self) -> dict[str, int]:
        """For a summary, in words that need no explanation."""
        return {"made": self.made, "found_nobody": self.missed, "taken": self.taken}
