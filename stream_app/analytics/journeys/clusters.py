"""Kinds of journeys over a history or a stream: learned as sessions end, with their conversion and how they drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.balance import targets
from stream_app.analytics.intervals import wilson
from stream_app.analytics.journeys.features import NUMBERS, VALUES, JourneyScale
from stream_app.analytics.journeys.how_many import Evidence, choose, evidence
from stream_app.analytics.journeys.prototypes import Groups, fit
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.table import Floats, Integers
from stream_app.core.pages import GROUPS

#: Numbers of clusters that are tried.
KS: Final = (2, 3, 4, 5, 6, 7, 8)

#: Sessions that k is chosen and the prototypes are begun by, at most: some seconds.
BEGUN_BY_MAX: Final = 3_000

_DAY_MS: Final = 86_400_000


class Cluster(NamedTuple):
    """A kind of journey: how many there were, the share that bought with its interval, and what it is like.

    `numbers` are the prototype's, in units of features (ln(1 + x)); `carted` is the share with something in the cart.
    """

    sessions: int
    share: float
    bought: float
    bought_low: float
    bought_high: float
    carted: float
    numbers: dict[str, float]
    names: dict[str, str]


class Clusters:
    """Begun by a sample of sessions with at least one step; then learns from all, each once.

    `evidence` is what k was chosen by. ValueError with fewer than 20 such sessions.
    """

    def __init__(self, sample: SessionRows, *, seed: int, ks: Sequence[int] = KS) -> None:
        begun_by = sample.take(sample.steps > 0)
        begun_by = begun_by.take(np.arange(len(begun_by)) < BEGUN_BY_MAX)
        if len(begun_by) < 20:
            raise ValueError(f"got {len(begun_by)} sessions with a step before a purchase, expected at least 20")
        self.scale = JourneyScale(begun_by)
        numbers, names = self.scale.numbers(begun_by), self.scale.names(begun_by)
        self.evidence: list[Evidence] = evidence(numbers, names, ks=ks, values=VALUES, seed=seed)
        self.k = choose(self.evidence)
        self._prototypes, _ = fit(numbers, names, k=self.k, values=VALUES, seed=seed)
        #: cluster → sessions, bought, carted
        self._counts: Integers = np.zeros((self.k, 3), np.int64)
        #: days since 1970 → sessions of each cluster; bounded by the calendar
        self.by_day: dict[int, Integers] = {}

    def assign(self, rows: SessionRows) -> Groups:
        """The cluster of each session, shape (N,): of one that goes on as of one that is over."""
        return self._prototypes.assign(self.scale.numbers(rows), self.scale.names(rows))

    def learn(self, rows: SessionRows) -> None:
        """Take in sessions that are over; those without a step are left out."""
        rows = rows.take(rows.steps > 0)
        if not len(rows):
            return
        groups = self._prototypes.learn(self.scale.numbers(rows), self.scale.names(rows))
        came = targets(rows)
        counts = np.stack([np.ones(len(rows), np.int64), came["purchase"], came["cart"]], axis=1)
        np.add.at(self._counts, groups, counts)
        days = rows.first_ms // _DAY_MS
        for day in np.unique(days).tolist():
            found = np.bincount(groups[days == day], minlength=self.k)
            self.by_day[day] = self.by_day.get(day, np.zeros(self.k, np.int64)) + found

    def clusters(self) -> list[Cluster]:
        """By number, as `assign` gives them."""
        sessions = self._counts[:, 0]
        low, high = wilson(self._counts[:, 1], sessions)
        of = np.maximum(1, sessions)
        numbers = self._prototypes.numbers * self.scale.deviation + self.scale.mean
        return [
            Cluster(
                int(sessions[n]),
                float(sessions[n] / max(1, sessions.sum())),
                float(self._counts[n, 1] / of[n]),
                float(low[n]),
                float(high[n]),
                float(self._counts[n, 2] / of[n]),
                dict(zip(NUMBERS, numbers[n].tolist(), strict=True)),
                self._named(n),
            )
            for n in range(self.k)
        ]

    def drift(self) -> tuple[list[int], Floats]:
        """Days since 1970, and the share of each cluster on each, shape (days, k)."""
        days = sorted(self.by_day)
        counts = np.array([self.by_day[day] for day in days]).reshape(len(days), self.k)
        return days, counts / np.maximum(1, counts.sum(axis=1, keepdims=True))

    def _named(self, n: int) -> dict[str, str]:
        source, device, country, first, last = (int(code) for code in self._prototypes.names[n])
        texts = {"source": source, "device": device, "country": country}
        steps = {"first_step": first, "last_step": last}
        return {
            **{name: self.scale.text(name, code) or "" for name, code in texts.items()},
            **{name: GROUPS[code - 1] if code else "" for name, code in steps.items()},
        }
