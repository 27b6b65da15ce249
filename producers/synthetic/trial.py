"""A discount policy tried on the shop, in memory: what it earned, and what it truly changes.

    shop ──events──► what anybody can see of a visit ──► policy ──percent──► shop

The policy is asked after every event of a visit, and, while something is in the cart and nothing happens, at each of
the marks `quiet_s`; its first answer above 0 is the visit's offer. Beside the realised outcomes there are the expected
ones: of every offer the shop tells by how much it changes the chance of a purchase (`Effect`), and what the order costs
if there is one; so the true uplift and profit are known but for the luck of which visits came and what they would buy.

    profit of an order = price · (margin − percent / 100)
    true gain of an offer = price if bought · (p with · (margin − percent / 100) − p without · margin)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple, TypeAlias

from producers.synthetic.offers import MARGIN
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.events import Event

#: A visit is over when nothing has come for so long: longer than any gap, in ms.
_OVER_MS: Final = 30 * 60 * 1000

#: Visits between two times that those long over are forgotten.
_FORGET_EVERY: Final = 10_000

#: Seconds of quiet at which a policy is asked by default.
QUIET_S: Final = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_100.0)


class Seen:
    """What anybody can see of a visit, now. Money in the shop's currency, times in s; the policy must not keep it.

    `score` is the truth (`truth.py`) at the newest event, if it was asked for, else −1: no model's can be better.
    """

    __slots__ = (
        "_cart_ms",
        "_counted",
        "cart_age_s",
        "cart_value",
        "carts",
        "category",
        "country",
        "device",
        "event_type",
        "events",
        "first_ms",
        "last_ms",
        "now_ms",
        "offered",
        "over",
        "quiet_s",
        "score",
        "session_id",
        "source",
        "visitor_id",
    )  # fmt: skip

    def __init__(self, event: Event, now_ms: int, *, counted: bool) -> None:
        self.visitor_id = event.visitor_id
        self.session_id = event.session_id
        self.source, self.country, self.device = event.source, event.country, event.device
        self.first_ms = self.last_ms = self.now_ms = now_ms
        self.category: str | None = None
        self.event_type = event.event_type
        self.events = self.carts = 0
        self.cart_value = self.cart_age_s = self.quiet_s = 0.0
        self.score = -1.0
        self.offered = self.over = False
        self._cart_ms = now_ms
        self._counted = counted

    @property
    def age_s(self) -> float:
        """Since the first event."""
        return (self.now_ms - self.first_ms) / 1000.0

    @property
    def counted(self) -> bool:
        """Whether it is one of the visits that the trial is about."""
        return self._counted

    def take(self, event: Event, now_ms: int) -> None:
        """See another event."""
        self.events += 1
        self.event_type = event.event_type
        self.last_ms = now_ms
        if event.category is not None:
            self.category = event.category
        if event.event_type == "add_to_cart":
            self.carts += 1
            self.cart_value += event.price or 0.0
            self._cart_ms = now_ms
        elif event.event_type == "remove_from_cart" and self.carts:
            # The shop's visitors take everything out at once.
            self.carts, self.cart_value = 0, 0.0
        self.over = self.over or event.event_type == "purchase"
        self.at(now_ms)

    def at(self, now_ms: int) -> None:
        """Move its clock."""
        self.now_ms = now_ms
        self.quiet_s = (now_ms - self.last_ms) / 1000.0
        self.cart_age_s = (now_ms - self._cart_ms) / 1000.0 if self.carts else 0.0


#: What a visit shows → percent to offer now, 0 for none yet.
Offering: TypeAlias = Callable[[Seen], float]


class Tally(NamedTuple):
    """What came of a trial's visits; money in the shop's currency.

    Parameters
    ----------
    visits, offers
        How many, and how many of them were made an offer while they were there; `missed` when they had left.
    orders, revenue, profit
        As they turned out with the policy: revenue is what was paid.
    more_orders, more_profit
        What the policy truly changes against making no offers at all, expected over what chance makes of each offer.
    """

    visits: int = 0
    offers: int = 0
    missed: int = 0
    orders: int = 0
    revenue: float = 0.0
    profit: float = 0.0
    more_orders: float = 0.0
    more_profit: float = 0.0


class Trial:
    """Runs a policy over the first `visits` visits of a shop that nobody has iterated yet.

    Parameters
    ----------
    margin
        Share of the list price that is profit, above 0 and up to 1.
    quiet_s
        When to ask besides, in s after a cart's newest event; rising.
    scored
        Whether the policy sees the truth as a score; costs some 40 µs an event.
    """

    def __init__(
        self, shop: Shop, offering: Offering, *, margin: float = MARGIN, quiet_s: Sequence[float] = QUIET_S,
        scored: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 < margin <= 1.0:
            raise ValueError(f"got margin {margin}, expected above 0 and up to 1")
        self._shop = shop
        self._offering = offering
        self._margin = margin
        self._marks_ms = [round(1000.0 * mark) for mark in quiet_s]
        self._truth = Truth(shop.catalogue, shop.calendar) if scored else None
        self._open: dict[str, Seen] = {}
        #: (due, tie-break, visit, its newest event then, which mark)
        self._wakes: list[tuple[int, int, Seen, int, int]] = []
        self._begun = self._ties = 0
        self._tally = Tally()

    def run(self, visits: int) -> Tally:
        """Let so many visits begin and end."""
        shop, happenings = self._shop, self._shop.happenings()
        last_ms: float = float("inf")
        while shop.next_ms() < last_ms:
            self._wake()
            happening = next(happenings)
            event = happening.event
            assert isinstance(event.event_time, int)  # the shop's own
            self._take(event, event.event_time, happening.percent, visits)
            if self._begun == visits and last_ms == float("inf"):
                last_ms = event.event_time + 2 * _OVER_MS
        return self._tally._replace(visits=self._begun)

    def _take(self, event: Event, now: int, percent: float, visits: int) -> None:
        name = event.visitor_id
        seen = self._open.get(name)
        if seen is None or now - seen.last_ms > _OVER_MS:
            counted = self._begun < visits
            self._begun += counted
            seen = self._open[name] = Seen(event, now, counted=counted)
            if self._begun % _FORGET_EVERY == 0:
                self._open = {name: each for name, each in self._open.items() if now - each.last_ms <= _OVER_MS}
        seen.take(event, now)
        if self._truth is not None and not seen.offered:
            seen.score = self._truth.after(event)
        if event.event_type == "purchase" and seen.counted:
            self._order(event.price or 0.0, percent)
        if seen.over or seen.offered or not seen.counted:
            return
        self._ask(seen)
        if seen.carts and self._marks_ms and not seen.offered:
            self._set(seen, 0)

    def _wake(self) -> None:
        """Ask about those who have been quiet, in the order of time, before the next event; an answer may move that."""
        wakes = self._wakes
        while wakes and wakes[0][0] < self._shop.next_ms():
            due, _, seen, events, mark = heappop(wakes)
            if seen.events != events or seen.offered:
                continue
            seen.at(due)
            self._ask(seen)
            if mark + 1 < len(self._marks_ms) and not seen.offered:
                self._set(seen, mark + 1)

    def _set(self, seen: Seen, mark: int) -> None:
        self._ties += 1
        heappush(self._wakes, (seen.last_ms + self._marks_ms[mark], self._ties, seen, seen.events, mark))

    def _ask(self, seen: Seen) -> None:
        percent = self._offering(seen)
        if percent <= 0.0:
            return
        seen.offered = True
        tally, shop = self._tally, self._shop
        effect = shop.offer(seen.visitor_id, percent, seen.now_ms)
        if effect is None:
            self._tally = tally._replace(missed=tally.missed + 1)
            return
        gain = effect.with_offer * (self._margin - percent / 100.0) - effect.without * self._margin
        price = shop.price_if_bought(seen.visitor_id) if effect.without > 0.0 else 0.0
        self._tally = tally._replace(
            offers=tally.offers + 1,
            more_orders=tally.more_orders + effect.with_offer - effect.without,
            more_profit=tally.more_profit + price * gain,
        )

    def _order(self, paid: float, percent: float) -> None:
        tally = self._tally
        listed = paid / (1.0 - percent / 100.0)
        self._tally = tally._replace(
            orders=tally.orders + 1,
            revenue=tally.revenue + paid,
            profit=tally.profit + listed * self._margin - (listed - paid),
        )
