"""A model among those that learn: the classifier, and how it has done beside the champion.

All contenders see the same inputs and learn the same examples, in the same order. An episode's examples are predicted
together, before any of them is learned, by every contender as it is at that moment: none has seen a sibling's label,
and none has an advantage of freshness over another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_app.core.model import IntentModel, Rows
from stream_app.core.paired import Paired

#: Episodes that must have been learned before a model is believed: with fewer than twenty positives the sixty weights
#: are mostly noise, and two hundred negatives are what a base rate of a few percent brings along anyway.
WARM_POSITIVES_MIN: Final = 20
WARM_NEGATIVES_MIN: Final = 200

#: A challenger takes over when its log-loss is lower by this many standard errors (it is asked after every episode, and
#: three come about by chance now and then) ...
BETTER_Z: Final = 4.0
#: ... and by this share of the champion's: a gain too small to matter is not worth a change of every score ...
BETTER_SHARE: Final = 0.005
#: ... over at least this share of the window, since it or the champion began to be compared.
WINDOW_FILLED: Final = 0.5


class Standing(NamedTuple):
    """How a contender stands: log-loss (nats per event) over the window, and less the champion's with its z-score."""

    name: str
    examples: float
    log_loss: float
    difference: float
    z: float
    warm: bool


def moved(label: int, *, parted: bool) -> tuple[int, int]:
    """By how many an episode's correction to a label moves the counts of buying and of other episodes."""
    return (1, 0 if parted else -1) if label else (-1, 1)


class Contender:
    """A model and its record. `window` is in examples."""

    def __init__(self, model: IntentModel, *, window: int, calibrate: bool = True, joined: int = -1) -> None:
        self.model = model
        self.window = window
        self._calibrate = calibrate
        #: examples and episodes learned since it joined
        self.updates = self.positives = self.negatives = 0
        #: newest label time (ms) of the examples that it has not learned, as it joined after them; −1 without any
        self.joined = joined
        #: why it learns no more; empty while it does
        self.frozen = ""
        #: of the rows at hand: the classifier's own probabilities, and the calibrated ones
        self.raw: list[float] = []
        self.p: list[float] = []
        #: against zero, which makes it the log-loss, and against the champion
        self._own = Paired(window)
        self._against = Paired(window)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    @property
    def warm(self) -> bool:
        """Whether it has learned enough to be believed."""
        return self.positives >= WARM_POSITIVES_MIN and self.negatives >= WARM_NEGATIVES_MIN

    def predict(self, rows: Rows) -> None:
        """What it says of an episode's rows, before it learns any."""
        self.raw = self.model.raw(rows)
        self.p = self.model.calibrated(self.raw)

    def observe(self, label: int, weights: Sequence[float], champion: Contender) -> None:
        """The label has come; `champion` has predicted the same rows. Then the calibrator learns."""
        mine = self._log_loss(label, weights)
        total = sum(weights)
        self._own.add(mine, total, len(weights))
        if self is not champion:
            self._against.add(mine - champion._log_loss(label, weights), total, len(weights))
        if self._calibrate:
            self.model.calibrator.learn(self.raw, label, weights)

    def _log_loss(self, label: int, weights: Sequence[float]) -> float:
        """Of what it said last, weighted (nats)."""
        loss = 0.0
        for p, weight in zip(self.p, weights, strict=True):
            loss -= weight * math.log(p if label else 1.0 - p)
        return loss

    def learn(self, rows: Rows, label: int, *, closed: int, event_ids: Sequence[str]) -> None:
        """Learn rows with one label, one after the other; `closed` is the number of episodes that end with them."""
        if self.frozen:
            return
        self.model.learn_rows(rows, label, event_ids=event_ids)
        self.updates += len(rows)
        self.positives += closed * label
        self.negatives += closed * (1 - label)

    def correct(self, rows: Rows, n: int, label: int, *, told: int, closes: bool, parted: bool, event_id: str) -> None:
        """Put right one of the rows, which was told with the other label at `told`; see `records.Touched` for `parted`.

        What it never learned it need not unlearn.
        """
        if self.frozen or told <= self.joined or not (self.negatives if label else self.positives):
            return
        self.model.correct_row(rows, n, label, event_id=event_id)
        self.updates += 1
        if closes:
            positives, negatives = moved(label, parted=parted)
            self.positives += positives
            self.negatives += negatives

    def compare_anew(self) -> None:
        """Another champion: what was measured against the former one says nothing."""
        self._against = Paired(self.window)

    def beats_champion(self, champion: Contender) -> bool:
        """Whether it should serve instead."""
        against = self._against
        return (
            self.warm
            and against.examples >= WINDOW_FILLED * self.window
            and against.z < -BETTER_Z
            and -against.difference > BETTER_SHARE * champion.standing().log_loss
        )

    def standing(self) -> Standing:
        """How it stands now."""
        own, against = self._own, self._against
        return Standing(self.name, own.examples, own.difference, against.difference, against.z, self.warm)

    def export(self) -> dict[str, Any]:
        """Plain values and arrays to continue from; raises NonFiniteError as `IntentModel.export`."""
        return {
            "classifier": self.model.export(),
            "learned": [self.updates, self.positives, self.negatives],
            "joined": self.joined,
            "frozen": self.frozen,
            "own": self._own.export(),
            "against": self._against.export(),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is another model's, or damaged; nothing has changed then.
        """
        updates, positives, negatives = (int(count) for count in values["learned"])
        own, against = Paired(self.window), Paired(self.window)
        frozen, joined = str(values["frozen"]), int(values["joined"])
        own.restore([float(value) for value in values["own"]])
        against.restore([float(value) for value in values["against"]])
        self.model.restore(values["classifier"], learns=True)
        self.updates, self.positives, self.negatives = updates, positives, negatives
        self.frozen, self.joined = frozen, joined
        self._own, self._against = own, against
