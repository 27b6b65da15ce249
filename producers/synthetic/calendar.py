"""What happens to the shop, and when, on request: drift, a planted change, sales, crawlers, stretches without labels.

Times are the shop's own, in ms; the shop and its truth share one calendar.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from producers.synthetic.arrivals import HOUR_MS
from producers.synthetic.behaviour import VISITOR_TYPES
from producers.synthetic.regime import SHIFT_STEPS, RegimeKey

_DAY_MS: Final = 24 * HOUR_MS

#: A checkout told by the order system arrives this late, in ms: evenly between the two.
LABEL_DELAY_MS: Final = (60_000, 600_000)


class Stretch(NamedTuple):
    """From `start_ms` until just before `end_ms`."""

    start_ms: int
    end_ms: int

    def holds(self, time_ms: int) -> bool:
        """Whether a time lies in it."""
        return self.start_ms <= time_ms < self.end_ms


class Requests(NamedTuple):
    """What the shop shall go through; by default nothing, for ever.

    Parameters
    ----------
    drift_days
        Behaviour moves from the usual to the changed one within so many days, and back in as many; 0 does not.
    change_ms, change_events
        From this time on, or after so many events, visits follow the changed behaviour. With a drift, the other end
        of it.
    sales
        When more of those who come mean to buy, at lower prices.
    bots
        Share of the visitors (and, but for chance, of the visits) that are crawlers.
    unlabelled
        Of the visits that begin in these stretches no purchase is reported: not as an event, and not by the order
        system either.
    backlog
        Whether the order system tells the purchases of an unlabelled stretch when that is over; otherwise never.

    Raises
    ------
    ValueError
        By `check`, if something is out of range.
    """

    drift_days: float = 0.0
    change_ms: int | None = None
    change_events: int | None = None
    sales: tuple[Stretch, ...] = ()
    bots: float = 0.0
    unlabelled: tuple[Stretch, ...] = ()
    backlog: bool = True

    def check(self) -> None:
        """Refuse what cannot be."""
        if not 0.0 <= self.bots <= 1.0:
            raise ValueError(f"got bots {self.bots}, expected 0 to 1")
        if not 0.0 <= self.drift_days < math.inf:
            raise ValueError(f"got drift_days {self.drift_days}, expected 0 or more")
        if self.change_ms is not None and self.change_events is not None:
            raise ValueError("got change_ms and change_events, expected at most one of them")
        for stretch in (*self.sales, *self.unlabelled):
            if stretch.end_ms <= stretch.start_ms:
                raise ValueError(f"got a stretch from {stretch.start_ms} to {stretch.end_ms}, expected it to end later")


class Calendar:
    """Says what a visit that begins at a time meets."""

    def __init__(self, requests: Requests, *, start_ms: int, label_share: float) -> None:
        requests.check()
        if not 0.0 <= label_share <= 1.0:
            raise ValueError(f"got label_share {label_share}, expected 0 to 1")
        self.requests = requests
        self._label_share = label_share
        self._start_ms = start_ms
        self._change_ms = requests.change_ms

    def count(self, events: int, time_ms: int) -> None:
        """Note that so many events have happened, the last one at `time_ms`: a change may wait for that."""
        if events == self.requests.change_events:
            self._change_ms = time_ms + 1

    def regime(self, time_ms: int) -> RegimeKey:
        """Which behaviour visits that begin at this time follow."""
        return RegimeKey(self._shift(time_ms), any(sale.holds(time_ms) for sale in self.requests.sales))

    def type_shares(self) -> list[float]:
        """For each visitor type its share of new visitors."""
        bots = self.requests.bots
        return [bots if kind.name == "crawler" else kind.share * (1.0 - bots) for kind in VISITOR_TYPES]

    def silence(self, time_ms: int) -> float:
        """The chance that a purchase of a visit that begins at this time is no event."""
        return 1.0 if self._unlabelled(time_ms) else self._label_share

    def settled_ms(self, time_ms: int) -> float:
        """When the labels of visits that begin at this time are told, but for `LABEL_DELAY_MS`; inf is never."""
        stretch = self._unlabelled(time_ms)
        if stretch is None:
            return time_ms
        return stretch.end_ms if self.requests.backlog else math.inf

    def _unlabelled(self, time_ms: int) -> Stretch | None:
        # Where stretches overlap, silence lasts until the last of them is over.
        found = [stretch for stretch in self.requests.unlabelled if stretch.holds(time_ms)]
        return max(found, key=lambda stretch: stretch.end_ms) if found else None

    def _shift(self, time_ms: int) -> int:
        shift = 0
        days = self.requests.drift_days
        if days:
            # A cosine: slow at the ends, quickest half-way.
            passed = (time_ms - self._start_ms) / (days * _DAY_MS)
            shift = round((1.0 - math.cos(math.pi * passed)) / 2.0 * SHIFT_STEPS)
        changed = self._change_ms is not None and time_ms >= self._change_ms
        return SHIFT_STEPS - shift if changed else shift
