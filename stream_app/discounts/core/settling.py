"""Exposures and orders of all experiments in, outcomes out: each with the partition that its record belongs on.

An experiment has an `Outcomes` of its own from its first exposure that is read until nobody of it is open any more. Who
is settled for good is for the log of outcomes to say: the caller leaves such visitors out. Orders are told to all
experiments, for which experiment somebody is in is not said by an order; those told lately are kept for one that begins
after them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from stream_app.discounts.core.outcomes import UNEXPOSED_ORDERS_MAX, Outcomes
from stream_app.discounts.core.records import Checkout, Exposure, Outcome

#: Experiments that are open at once; a shop has a handful, and each may hold 300,000 open units.
EXPERIMENTS_MAX: Final = 20

#: An experiment is let go so long after its last unit was due, in ms: by then its outcome is in the log.
AFTER_MS: Final = 3_600_000


class Due(NamedTuple):
    """An outcome that is certain, to be written to `partition`: that of its exposure."""

    partition: int
    outcome: Outcome


class Settling:
    """The fold of all experiments.

    Parameters
    ----------
    window_ms
        How long after a visitor's first exposure its orders count.
    delay_ms
        How much longer words of them are waited for.
    margin, margins
        Share of list prices that is profit, and that of single categories; `reckon` changes them.

    Raises ValueError as `Outcomes` does.
    """

    def __init__(
        self, *, window_ms: int, delay_ms: int, margin: float = 1.0, margins: Mapping[str, float] | None = None
    ) -> None:
        self.window_ms, self.delay_ms = window_ms, delay_ms
        self._margin, self._margins = margin, dict(margins or {})
        self._now = -1
        self._folds: dict[str, Outcomes] = {}
        #: event time of each one's newest exposure
        self._newest: dict[str, int] = {}
        #: (experiment, visitor) → partition, of open units
        self._places: dict[tuple[str, str], int] = {}
        self._lately: deque[Checkout] = deque(maxlen=UNEXPOSED_ORDERS_MAX)
        self._counts: Counter[str] = Counter()
        self._made("")  # what is wrong with the spans is said at once

    @property
    def counts(self) -> Counter[str]:
        """What was not used, by name: that of `Outcomes`, `experiments_refused`, and `incomplete` units."""
        found = Counter(self._counts)
        for fold in self._folds.values():
            found.update(fold.counts)
        return found

    @property
    def open(self) -> int:
        """Units whose outcome is not told yet."""
        return len(self._places)

    def reckon(self, margin: float, margins: Mapping[str, float]) -> None:
        """Use other margins for outcomes that are told from now on."""
        if (margin, dict(margins)) == (self._margin, self._margins):
            return
        self._margin, self._margins = margin, dict(margins)
        before, self._folds = self._folds, {}
        for experiment, fold in before.items():
            self._folds[experiment] = self._made(experiment)
            self._folds[experiment].restore(fold.export())

    def expose(self, exposure: Exposure, partition: int) -> None:
        """Take an exposure, read from `partition`."""
        experiment = exposure.experiment
        fold = self._folds.get(experiment)
        if fold is None:
            if len(self._folds) >= EXPERIMENTS_MAX:
                self._counts["experiments_refused"] += 1
                return
            fold = self._folds[experiment] = self._made(experiment)
            for told in self._lately:
                fold.checkout(told)
            fold.advance(self._now)
        self._newest[experiment] = max(exposure.event_time, self._newest.get(experiment, -1))
        if fold.expose(exposure):
            self._places[experiment, exposure.visitor_id] = partition

    def checkout(self, told: Checkout) -> None:
        """Take an order, or one taken back."""
        self._lately.append(told)
        for fold in self._folds.values():
            fold.checkout(told)

    def told(self, outcome: Outcome) -> None:
        """An outcome stands in the log: it is not told again."""
        experiment, visitor_id = outcome.exposure.experiment, outcome.exposure.visitor_id
        if experiment in self._folds:
            self._folds[experiment].told(visitor_id)
        self._places.pop((experiment, visitor_id), None)

    def incomplete(self, partition: int, before_ms: int) -> int:
        """Orders of the partition that were told before a time are gone: leave out who was exposed before it; how many.

        Of both arms alike, and for good: without its orders a visitor would count as one who did not buy.
        """
        left_out = 0
        for (experiment, visitor_id), place in list(self._places.items()):
            fold = self._folds[experiment]
            first = fold.first(visitor_id)
            if place == partition and first is not None and first.event_time < before_ms:
                fold.told(visitor_id)
                del self._places[experiment, visitor_id]
                left_out += 1
        self._counts["incomplete"] += left_out
        return left_out

    def advance(self, now_ms: int) -> list[Due]:
        """Move the clock on, as `Outcomes.advance` asks; what is certain by then."""
        self._now = max(self._now, now_ms)
        due = []
        for experiment, fold in self._folds.items():
            for outcome in fold.advance(now_ms):
                place = self._places.pop((experiment, outcome.exposure.visitor_id))
                due.append(Due(place, outcome))
        self._let_go()
        return due

    def _let_go(self) -> None:
        """Of experiments that are over."""
        settled_ms = self._now - self.window_ms - self.delay_ms - AFTER_MS
        for experiment in [name for name, newest in self._newest.items() if newest < settled_ms]:
            self._counts.update(self._folds.pop(experiment).counts)
            del self._newest[experiment]

    def _made(self, experiment: str) -> Outcomes:
        return Outcomes(
            experiment,
            window_ms=self.window_ms,
            delay_ms=self.delay_ms,
            margin=self._margin,
            margins=self._margins,
        )
