"""What a worker has read of the whole shop's closed sessions, as gauges: who buys, by source and by kind of journey.

A source is a text that visitors bring along in their links. The most frequent ones alone become labels, cut to a
length, so that nobody can make series by the thousand; one that is no more among them is shown no longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import Gauge

from stream_app.metrics import Metrics

if TYPE_CHECKING:
    from stream_app.live.kinds_of_journey import KindsOfJourney
    from stream_app.live.shop_figures import ShopFigures

#: Sources with series of their own, and what all others together are called.
SOURCES_MAX: Final = 8
OTHER: Final = "(other)"

#: Characters of a source that are shown.
SOURCE_CHARS_MAX: Final = 40

#: Cases from which on a share is told: the interval of one at 3 % is ± 0.06 then.
TOLD_FROM: Final = 30

#: Between two looks, in seconds.
_EVERY_S: Final = 5.0


class Cases(NamedTuple):
    """Sessions or journeys, and those that bought."""

    sessions: int
    bought: int


class ShopGauges:
    """Sets them; `monotonic` gives seconds that never go back."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._sessions = _Counted(metrics.gauge("intent_shop_sessions"), metrics.gauge("intent_shop_bought_share"))
        self._journeys = _Counted(
            metrics.gauge("intent_shop_journeys"), metrics.gauge("intent_shop_journeys_bought_share")
        )
        self._set = -math.inf

    def told(self, figures: ShopFigures, kinds: KindsOfJourney) -> None:
        """Something was read."""
        now = self._monotonic()
        if now - self._set < _EVERY_S:
            return
        self._set = now
        self._sessions.show(sources(figures))
        self._journeys.show(
            {
                str(kind["number"]): Cases(kind["journeys"], round(kind["journeys"] * kind["bought"]))
                for kind in kinds.facts()["kinds"]
            }
        )


def sources(figures: ShopFigures) -> dict[str, Cases]:
    """Of the most frequent sources, by the names they are shown by, and of all others together."""
    found: dict[str, Cases] = {}
    for name, told in figures.by("source", SOURCES_MAX):
        shown = name[:SOURCE_CHARS_MAX]
        before = found.get(shown, Cases(0, 0))
        found[shown] = Cases(before.sessions + told.sessions, before.bought + told.bought)
    everything = figures.balance()
    rest = Cases(
        everything.sessions - sum(cases.sessions for cases in found.values()),
        everything.bought - sum(cases.bought for cases in found.values()),
    )
    return {**found, OTHER: rest} if rest.sessions else found


class _Counted:
    """A gauge of cases and one of the share that bought, by one label."""

    def __init__(self, counts: Gauge, shares: Gauge) -> None:
        self._counts, self._shares = counts, shares
        self._shown: set[str] = set()

    def show(self, cases: Mapping[str, Cases]) -> None:
        for gone in self._shown - cases.keys():
            self._counts.remove(gone)
            self._shares.remove(gone)
        for name, (count, bought) in cases.items():
            self._counts.labels(name).set(count)
            self._shares.labels(name).set(bought / count if count >= TOLD_FROM else math.nan)
        self._shown = set(cases)
