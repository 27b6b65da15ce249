"""Prequential metrics: how good the scores were that had been served before their labels came.

Since the start and over the last examples, in all and for slices of the stream: by the event's number in its session,
before the first cart, before checkout pages. The same figures as of the offline evaluation (`evaluation.counts`), for
the scores that were served, with the delay that their labels had. Weights are the number of scored events that an
example stands for.

F1 is taken at a threshold that was fixed before: every `_THRESHOLD_EXAMPLES` examples the one is taken that is best on
all examples until then, and the next ones are judged by it.

Outcomes that turn out otherwise (`correct`) are put right since the start, exactly but for F1, which takes the present
threshold for the one of old; the window is put right where the example is still in it.

What is asked of examples waits in lists and is counted some at a time, vectorised. When is of no consequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.records import Example
from stream_app.core.score_counts import BIN, COARSE_BIN, Quality, Rows, ScoreCounts

#: Examples of the window: a few hundred positives at a base rate of 3 %, enough for an AUC to ± 0.02.
WINDOW_EXAMPLES: Final = 10_000

#: Examples between two choices of the threshold of F1, of which a few dozen are positive.
_THRESHOLD_EXAMPLES: Final = 1_000

#: Rows that wait at most: corrections come in besides.
_WAITING_MAX: Final = 2 * _THRESHOLD_EXAMPLES

Mask = npt.NDArray[np.bool_]


class Place(NamedTuple):
    """Where in their sessions events were: their numbers, from 1, and whether a cart or a checkout was yet to come."""

    events: npt.NDArray[np.int64]
    before_cart: Mask
    before_checkout: Mask


#: All, and the slices of it by name, as `evaluation.slices` has them.
SLICES: Final[dict[str, Callable[[Place], Mask]]] = {
    "all": lambda place: place.events > 0,
    "event_1": lambda place: place.events == 1,
    "event_2": lambda place: place.events == 2,
    "event_3": lambda place: place.events == 3,
    "event_5": lambda place: place.events == 5,
    "event_10_on": lambda place: place.events >= 10,
    "before_cart": lambda place: place.before_cart,
    "before_checkout": lambda place: place.before_checkout,
}


class Prequential:
    """Metrics of scores that were not cold."""

    def __init__(self) -> None:
        self.cold_examples = 0
        #: of F1; 1.0 until there is a past to choose it on
        self.threshold = 1.0
        self._observed = 0
        self._total = _counts()
        self._window = _Window()
        self._waiting = _Waiting()

    def observe(self, example: Example) -> None:
        """Take a served score whose label has come. Cold scores are counted apart: they are no one's prediction."""
        if example.cold:
            self.cold_examples += 1
            return
        self._waiting.add(example, example.label, 1.0)
        self._observed += 1
        if not self._observed % _THRESHOLD_EXAMPLES:
            self._count()
            self.threshold = self._total["all"].best_threshold()

    def correct(self, example: Example, former: int) -> None:
        """An example that was observed with the label `former` has its own label after all."""
        if example.cold or former == example.label:
            return
        self._waiting.add(example, former, -1.0)
        self._waiting.add(example, example.label, 1.0)
        if len(self._waiting) >= _WAITING_MAX:
            self._count()

    def since_start(self, name: str = "all") -> Quality:
        """Of all examples of a slice so far."""
        return self.total(name).quality()

    def third_event(self) -> Quality:
        """Of scores at the third event of their session."""
        return self.since_start("event_3")

    def recent(self, name: str = "all") -> Quality:
        """Of those of a slice among the last `WINDOW_EXAMPLES` examples."""
        return self.window(name).quality()

    def total(self, name: str) -> ScoreCounts:
        """The counts of a slice since the start."""
        self._count()
        return self._total[name]

    def window(self, name: str) -> ScoreCounts:
        """The counts of a slice of the last examples."""
        self._count()
        return self._window.counts(name)

    def export(self) -> dict[str, Any]:
        """Plain values and arrays to continue from; the window is not kept (100 kB a snapshot), it fills again."""
        self._count()
        return {
            "cold": self.cold_examples,
            "observed": self._observed,
            "threshold": self.threshold,
            "total": {name: counts.export() for name, counts in self._total.items()},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none; nothing has changed then.
        """
        total = _counts()
        for name, counts in total.items():
            counts.restore(values["total"][name])
        cold, observed, threshold = int(values["cold"]), int(values["observed"]), float(values["threshold"])
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"prequential: got threshold {threshold}")
        self.cold_examples, self._observed, self.threshold, self._total = cold, observed, threshold, total
        self._window, self._waiting = _Window(), _Waiting()

    def _count(self) -> None:
        """Count the rows that wait. One threshold holds for all of them: it moves only after this."""
        if not len(self._waiting):
            return
        waiting, self._waiting = self._waiting, _Waiting()
        rows, place = waiting.rows(self.threshold), waiting.place()
        for name, chosen in SLICES.items():
            self._total[name].add(rows.part(chosen(place)))
        self._window.add(rows, place, waiting.event_ids)


class _Waiting:
    """Rows that wait to be counted, column by column: the examples themselves would be kept in memory, and out of the
    caches by the time they are counted."""

    def __init__(self) -> None:
        self.event_ids: list[str] = []
        self._score: list[float] = []
        self._label: list[float] = []
        self._weight: list[float] = []
        self._sign: list[float] = []
        self._events: list[int] = []
        self._before_cart: list[bool] = []
        self._before_checkout: list[bool] = []

    def __len__(self) -> int:
        return len(self.event_ids)

    def add(self, example: Example, label: int, sign: float) -> None:
        features = example.features
        self.event_ids.append(example.event_id)
        self._score.append(example.score)
        self._label.append(label)
        self._weight.append(example.weight)
        self._sign.append(sign)
        self._events.append(example.events)
        self._before_cart.append(features.n_cart == 0.0)
        self._before_checkout.append(features.n_checkout == 0.0)

    def rows(self, threshold: float) -> Rows:
        return Rows(
            np.array(self._score, dtype=np.float64),
            np.array(self._label, dtype=np.float64),
            np.array(self._weight, dtype=np.float64),
            np.array(self._sign),
            np.full(len(self), threshold),
        )

    def place(self) -> Place:
        return Place(np.array(self._events), np.array(self._before_cart), np.array(self._before_checkout))


class _Window:
    """The last examples, as they are: nothing is ever taken out of a sum."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque(maxlen=WINDOW_EXAMPLES)
        self._rows = Rows(*(np.empty(0) for _ in Rows._fields))
        self._place = Place(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_))

    def add(self, rows: Rows, place: Place, event_ids: list[str]) -> None:
        """Take rows in their order; a correction is a row with a negative sign and the one after it."""
        corrected: dict[str, float] = {}
        new = np.ones(len(event_ids), dtype=np.bool_)
        for n in np.flatnonzero(rows.sign < 0).tolist():
            corrected[event_ids[n]] = rows.label[n + 1]
            new[n : n + 2] = False
        self._ids.extend(name for name, is_new in zip(event_ids, new, strict=True) if is_new)
        self._rows = Rows(*(_last(old, more[new]) for old, more in zip(self._rows, rows, strict=True)))
        self._place = Place(
            _last(self._place.events, place.events[new]),
            _last(self._place.before_cart, place.before_cart[new]),
            _last(self._place.before_checkout, place.before_checkout[new]),
        )
        if corrected:
            for n, name in enumerate(self._ids):
                if name in corrected:
                    self._rows.label[n] = corrected[name]

    def counts(self, name: str) -> ScoreCounts:
        counts = _counts_of(name)
        counts.add(self._rows.part(SLICES[name](self._place)))
        return counts


def _last(old: Any, more: Any) -> Any:
    return np.concatenate((old, more))[-WINDOW_EXAMPLES:]


def _counts() -> dict[str, ScoreCounts]:
    return {name: _counts_of(name) for name in SLICES}


def _counts_of(name: str) -> ScoreCounts:
    return ScoreCounts(BIN if name == "all" else COARSE_BIN)
