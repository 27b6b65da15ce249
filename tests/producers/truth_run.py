"""A run of the synthetic shop with its truth beside it, and statistics that know that a visit's events go together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from producers.synthetic.calendar import Calendar, Requests, Stretch
from producers.synthetic.reporting import Happening, reported
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.events import CheckoutLabel, Event

START_MS = 1_735_689_600_000  # 2025-01-01T00:00Z, a Wednesday
HOUR_MS = 3_600_000


class Run(NamedTuple):
    """One row per event shown, of visits that have ended, in order: truth, outcome, event number, visit, event time."""

    p: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    number: npt.NDArray[np.int64]
    visit: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    labels: int

    def of(self, chosen: npt.NDArray[np.bool_]) -> Run:
        """The chosen rows."""
        return Run(*(column[chosen] for column in self[:5]), self.labels)


def hours(start: float, end: float) -> Stretch:
    return Stretch(START_MS + int(start * HOUR_MS), START_MS + int(end * HOUR_MS))


def run(
    events: int,
    *,
    seed: int = 1,
    requests: Requests | None = None,
    label_share: float = 0.0,
    knows: Calendar | None = None,
) -> Run:
    """Let the shop go on for so many events. `knows` is the calendar that the truth believes in: the shop's."""
    shop = Shop(seed=seed, start_ms=START_MS, label_share=label_share, requests=requests or Requests())
    truth = Truth(shop.catalogue, knows or shop.calendar)
    bought: dict[str, int] = {}
    newest = labels = 0
    rows: list[tuple[str, int, float]] = []

    def watched(happenings: Iterable[Happening]) -> Iterator[Happening]:
        nonlocal newest
        for happening in happenings:
            event = happening.event
            assert isinstance(event.event_time, int)
            newest = event.event_time
            if event.event_type == "purchase":
                bought[str(event.session_id)] = newest
            yield happening

    for fact in reported(watched(islice(shop.happenings(), events))):
        if isinstance(fact, CheckoutLabel):
            labels += 1
            truth.told(fact)
        else:
            rows.append((str(fact.session_id), time_of(fact), truth.after(fact)))
    return _columns(rows, bought, until=newest - HOUR_MS, labels=labels)


def time_of(event: Event) -> int:
    assert isinstance(event.event_time, int)
    return event.event_time


def _columns(rows: list[tuple[str, int, float]], bought: dict[str, int], *, until: int, labels: int) -> Run:
    last = {name: time for name, time, _ in rows}
    counts: dict[str, int] = defaultdict(int)
    visits: dict[str, int] = {}
    columns: list[tuple[float, float, int, int, int]] = []
    for name, time, p in rows:
        counts[name] += 1
        if last[name] < until:
            y = float(bought.get(name, -1) > time)
            columns.append((p, y, counts[name], visits.setdefault(name, len(visits)), time))
    p_s, y_s, numbers, numbered, times = zip(*columns, strict=True)
    return Run(np.array(p_s), np.array(y_s), np.array(numbers), np.array(numbered), np.array(times), labels)


def z_of(values: npt.NDArray[np.float64], visit: npt.NDArray[np.int64]) -> float:
    """How many standard errors the sum of the values is from 0. Of one visit they may depend on each other.

    Over visits they are uncorrelated where each has expectation 0 given what was known before it, as y − truth has.
    """
    sums = np.bincount(visit, weights=values)
    return float(sums.sum() / math.sqrt((sums**2).sum()))


def loss(p: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-loss of each; a certain p is taken for 1e-9 off."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return -np.where(y > 0, np.log(p), np.log1p(-p))


def logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
