"""The kinds of journeys that visitors take, learned from those that are over, and the kind of one that goes on.

Begun when enough have come, by a sample that stays in memory: how many kinds there are is chosen by evidence, which
takes half a second, so `begin` is for a thread. From then on each batch moves the prototypes a little (mini-batch
k-prototypes), as over a file. Kinds are numbered from 1 by their steps, the shortest first, as they were at the
beginning: so a number means the same for as long as the process runs, and about the same in the next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream_app.analytics.contingency import association
from stream_app.analytics.journeys.clusters import Cluster, Clusters
from stream_app.analytics.journeys.prototypes import Groups
from stream_app.analytics.sessions import SessionRows
from stream_app.live.told_sessions import JourneyTold, journey_rows

#: Journeys to begin by, at least: the silhouettes of a few kinds differ by more than their errors then.
BEGIN_FROM: Final = 300
#: … and at most, of which the newest are taken.
SAMPLE_MAX: Final = 2_000
#: Numbers of kinds tried: more are not told apart on a page.
KS: Final = (2, 3, 4, 5, 6)
#: So that the same journeys give the same kinds.
_SEED: Final = 1

#: The latest journeys, whose kinds are compared with those of all before them.
LATELY: Final = 1_000

#: Kinds of step are named in words when a journey of the kind has at least so many of them.
_NAMED_FROM: Final = 0.5
_NAMED_MAX: Final = 3

_STEP_WORDS: Final = {
    "page": "pages", "search": "searches", "list": "lists", "item": "items", "interest": "wishes and likes",
    "cart": "into the cart", "uncart": "out of the cart", "view_cart": "cart", "checkout": "checkout",
    "refund": "refunds",
}  # fmt: skip


class KindsOfJourney:
    """Takes journeys that are over, each once. `journeys` counts those with a step before their purchase."""

    def __init__(self) -> None:
        self._sample: deque[JourneyTold] = deque(maxlen=SAMPLE_MAX)
        self._clusters: Clusters | None = None
        #: cluster → number − 1, and back
        self._number: Groups = np.empty(0, np.intp)
        self._of_number: Groups = np.empty(0, np.intp)
        self._lately: deque[int] = deque(maxlen=LATELY)
        self.journeys = 0

    @property
    def begun(self) -> bool:
        """Whether there are kinds."""
        return self._clusters is not None

    @property
    def waiting(self) -> int:
        """Journeys that are there to begin by."""
        return len(self._sample)

    @property
    def can_begin(self) -> bool:
        """Whether there are journeys enough, and nothing is begun."""
        return self._clusters is None and len(self._sample) >= BEGIN_FROM

    def take(self, told: Sequence[JourneyTold]) -> None:
        """Take in journeys."""
        if not told:
            return
        rows = journey_rows(told)
        if self._clusters is None:
            self._sample.extend(one for one, steps in zip(told, rows.steps.tolist(), strict=True) if steps)
        else:
            self._learn(self._clusters, rows)

    def sample(self) -> SessionRows:
        """What to begin by."""
        return journey_rows(list(self._sample))

    @staticmethod
    def begin(sample: SessionRows) -> Clusters:
        """Find the kinds; takes half a second, touches nothing."""
        return Clusters(sample, seed=_SEED, ks=KS)

    def begun_with(self, clusters: Clusters) -> None:
        """These are the kinds from now on; what waited is learned."""
        steps = [found.numbers["l1_steps"] for found in clusters.clusters()]
        self._of_number = np.argsort(np.array(steps), kind="stable")
        self._number = np.argsort(self._of_number, kind="stable")
        self._clusters = clusters
        waiting, self._sample = list(self._sample), deque(maxlen=0)
        self._learn(clusters, journey_rows(waiting))

    def number(self, told: JourneyTold) -> int | None:
        """The kind of a journey, over or not; None while there are none, or before its first step."""
        rows = journey_rows([told])
        if self._clusters is None or not rows.steps[0]:
            return None
        (cluster,) = self._clusters.assign(rows)
        return 1 + int(self._number[cluster])

    def facts(self) -> dict[str, Any]:
        """As JSON values; see docs/live-page.md."""
        if self._clusters is None:
            return {"journeys": self.waiting, "needed": BEGIN_FROM, "kinds": [], "lately": None, "evidence": []}
        found = self._clusters.clusters()
        lately = np.bincount(np.array(self._lately, np.intp), minlength=len(found))
        kinds = []
        for n, place in enumerate(self._of_number.tolist()):
            share = float(lately[n] / lately.sum()) if lately.sum() else None
            kinds.append({"number": n + 1, **kind_facts(found[place]), "share_lately": share})
        return {
            "journeys": self.journeys,
            "needed": BEGIN_FROM,
            "kinds": kinds,
            "lately": {"journeys": int(lately.sum()), "chance": self._chance(lately)},
            "evidence": [told._asdict() for told in self._clusters.evidence],
        }

    def _learn(self, clusters: Clusters, rows: SessionRows) -> None:
        rows = rows.take(rows.steps > 0)
        if len(rows):
            self._lately.extend(self._number[clusters.assign(rows)].tolist())
            clusters.learn(rows)
            self.journeys += len(rows)

    def _chance(self, lately: Groups) -> float | None:
        """Of sizes that differ from those before as much as the latest ones do, or more; None while all are latest."""
        assert self._clusters is not None
        found = self._clusters.clusters()
        all_of_them = np.array([found[place].sessions for place in self._of_number.tolist()])
        told = association(np.stack([lately, np.maximum(0, all_of_them - lately)]).astype(np.int64))
        return None if told is None else float(told.probability)


def kind_facts(found: Cluster) -> dict[str, Any]:
    """A kind as JSON values: `steps`, `seconds` and `by_step` are those of its prototype."""
    typical = {name.removeprefix("l1_"): math.expm1(value) for name, value in found.numbers.items()}
    steps, seconds = typical.pop("steps"), typical.pop("seconds")
    by_step = {name: max(0.0, value) for name, value in typical.items() if name in _STEP_WORDS}
    return {
        "journeys": found.sessions,
        "share": found.share,
        "bought": found.bought,
        "bought_low": found.bought_low,
        "bought_high": found.bought_high,
        "carted": found.carted,
        "steps": steps,
        "seconds": seconds,
        "by_step": by_step,
        **found.names,
        "words": _words(by_step, found.names),
    }


def _words(by_step: dict[str, float], names: dict[str, str]) -> str:
    """What it is mostly made of, and how it begins and ends."""
    named = sorted((name for name, times in by_step.items() if times >= _NAMED_FROM), key=lambda name: -by_step[name])
    made_of = ", ".join(_STEP_WORDS[name] for name in named[:_NAMED_MAX]) or "a bit of everything"
    first, last = names["first_step"].replace("_", " "), names["last_step"].replace("_", " ")
    return f"{made_of}; from {first or 'anywhere'} to {last or 'anywhere'}"
