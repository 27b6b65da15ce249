"""The model as a scorer serves it: a follower of the trainer's snapshots that changes between batches only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream_app.core.bands import Bands, check_bands
from stream_app.core.contender import WARM_NEGATIVES_MIN, WARM_POSITIVES_MIN
from stream_app.core.model import SCORE_MIN, IntentModel, PurchasePriors
from stream_app.core.priors import Clock, check_entries
from stream_app.core.reasons import Explanation, explain, strongest
from stream_app.core.records import Keys, Reasons
from stream_app.core.snapshots import Changes, Head


class ServingModel:
    """`processor.Scorer` over the newest snapshot; before the first one it is cold and serves the assumed base rate."""

    def __init__(self, name: str, *, base_rate: float) -> None:
        self.name = name
        #: of the snapshot that serves: which learner's, and its number
        self.lineage = self.version = 0
        self.updates = 0
        self.cold = True
        #: None until a snapshot has them, or while they are fixed
        self.bands: Bands | None = None
        self._base_rate = base_rate
        self._priors = PurchasePriors(base_rate)
        self._model = IntentModel(name, base_rate=base_rate, priors=self._priors)

    @property
    def base_rate(self) -> float:
        """What is served while cold."""
        return self._priors.table.base_rate

    def take(self, head: Head, entries: Changes) -> None:
        """Serve this snapshot from now on: its champion, be it the same model as before or another.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the head is of no model in the zoo, damaged or not finite; the former snapshot then stays.
        """
        state = head.state
        name, serving = str(state["model"]), state["serving"]
        clock, updates, lineage = Clock.read(state["priors"]), int(state["updates"]), int(state["lineage"])
        bands = check_bands(state["bands"]["bands"]) if state["bands"]["rule"] != "fixed" else None
        _, positives, negatives = serving["learned"]
        cold = positives < WARM_POSITIVES_MIN or negatives < WARM_NEGATIVES_MIN
        check_entries(entries)
        # Everything was looked at; the classifier looks at its own before it changes anything.
        model, others = self._model, self._priors
        if lineage != self.lineage:
            # Another learner, which began anew: what the former one counted is not its.
            others = PurchasePriors(self._base_rate)
        if name != self.name or others is not self._priors:
            model = IntentModel(name, base_rate=self._base_rate, priors=others)
        model.restore(serving["classifier"])
        self._model, self._priors, self.name, self.bands = model, others, name, bands
        others.table.put_changes(entries)
        others.table.set_clock(**clock._asdict())
        self.lineage, self.version = lineage, head.version
        self.updates, self.cold = updates, cold

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (N,); the base rate for each while cold."""
        if self.cold:
            rate = min(max(round(self.base_rate, 6), SCORE_MIN), 1.0 - SCORE_MIN)
            return np.full(len(x), rate)
        return self._model.score_many(x, keys)

    def reasons_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> list[Reasons]:
        """The strongest reasons of each score; none means anything while cold."""
        return strongest(self.explain(x, keys).reasons)

    def explain(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> Explanation:
        """Where the model's scores come from, whole."""
        return explain(self._model, x, keys)
