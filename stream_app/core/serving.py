"""The model as a scorer serves it: a follower of the trainer's snapshots that changes between batches only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stream_app.core.learner import WARM_NEGATIVES_MIN, WARM_POSITIVES_MIN
from stream_app.core.model import SCORE_MIN, IntentModel
from stream_app.core.priors import EntryKey
from stream_app.core.records import Keys
from stream_app.core.snapshots import Head


class ServingModel:
    """`processor.Scorer` over the newest snapshot; before the first one it is cold and serves the assumed base rate."""

    def __init__(self, name: str, *, base_rate: float) -> None:
        self.name = name
        self.version = 0
        self.updates = 0
        self.cold = True
        self._base_rate = base_rate
        self._model = IntentModel(name, base_rate=base_rate)

    @property
    def base_rate(self) -> float:
        """What is served while cold."""
        return self._model.priors.table.base_rate

    def take(self, head: Head, entries: Iterable[tuple[EntryKey, list[float] | None]]) -> None:
        """Serve this snapshot from now on.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the head is not this model's, damaged or not finite; the former snapshot then stays.
        """
        state = head.state
        if state.get("model") != self.name:
            raise ValueError(f"got a snapshot of model {state.get('model')!r}, expected {self.name!r}")
        entries = list(entries)
        priors, updates = state["priors"], int(state["updates"])
        landmark, newest = int(priors["landmark"]), int(priors["newest"])
        positives, negatives, _ = state["episodes"]
        cold = positives < WARM_POSITIVES_MIN or negatives < WARM_NEGATIVES_MIN
        base = [float(count) for count in priors["base"]]
        numbers = [count for _, counts in entries if counts is not None for count in counts]
        if not all(map(math.isfinite, (*numbers, *base))):
            raise ValueError("got a non-finite number among the priors")
        # Everything was looked at; the classifier looks at its own before it changes anything.
        self._model.restore(state["classifier"])
        table = self._model.priors.table
        table.put_changes(entries)
        table.set_clock(landmark=landmark, newest=newest, base=base)
        self.version, self.updates, self.cold = head.version, updates, cold

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (N,); the base rate for each while cold."""
        if self.cold:
            rate = min(max(round(self.base_rate, 6), SCORE_MIN), 1.0 - SCORE_MIN)
            return np.full(len(x), rate)
        return self._model.score_many(x, keys)
