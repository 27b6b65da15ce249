"""What a worker's own batches show of faults that are elsewhere: in the feed, the order system, or the trainer.

Counted with every batch, whoever looks, so that a page opened in the middle of a fault tells of it.
"""

from __future__ import annotations

import math
from typing import Final

from stream_app.checkouts_told import Source, checkouts_told
from stream_app.core.effects import Effects
from stream_app.live.seconds import SecondCounts

#: Rejected records are those of a minute: as long as the alert's rate looks back.
MINUTE: Final = 60

#: How fast the usual share of checkouts is forgotten: the alert looks back six hours.
_HALF_LIFE_S: Final = 3 * 3_600.0

#: A source that has been silent for so long was taken away, and is missed no more; as the alert has it.
FORGOTTEN_S: Final = 6 * 3_600.0


class Silence:
    """How long a source of checkouts has been silent, and how unusual that is."""

    def __init__(self) -> None:
        #: checkouts heard of, and scores up to the last of them; both fade
        self._told = self._scores = 0.0
        #: scores since then
        self._since = 0
        #: when it was last heard
        self.heard: float | None = None

    def add(self, told: int, scores: int, now: float) -> None:
        """A batch had so many scores, and told of so many checkouts."""
        self._since += scores
        if told:
            fade = 1.0 if self.heard is None else 0.5 ** ((now - self.heard) / _HALF_LIFE_S)
            self._told = self._told * fade + told
            self._scores = self._scores * fade + self._since
            self._since, self.heard = 0, now

    @property
    def missed(self) -> float:
        """Checkouts that would usually have been told since."""
        return self._told * self._since / max(self._scores, 1.0)

    @property
    def surprise(self) -> float:
        """−log of the chance of such a silence (nats).

        k checkouts in n scores leave a Gamma(k, n) distribution of their rate, by which m more scores have none with
        probability (n / (n + m))^k. For large k it is `missed`; with few checkouts heard it takes far longer.
        """
        return self._told * math.log1p(self._since / max(self._scores, 1.0))


class Signs:
    """One worker's. Times are seconds of one clock that does not go back."""

    def __init__(self) -> None:
        #: input records of all kinds
        self.records = SecondCounts()
        self._rejected: dict[tuple[str, str], SecondCounts] = {}
        self.silences: dict[Source, Silence] = {"purchase": Silence(), "label": Silence()}
        #: since when outcomes have waited for a model that was published after them; None if none do
        self.unlearned_since: float | None = None
        self._model_version: int | None = None

    def take(self, effects: Effects, *, model_version: int, now: float) -> None:
        """A batch was carried out, while this model served."""
        self.records.add(effects.events.total() + effects.labels.total(), now)
        for letter in effects.dead_letters:
            place = letter.topic, letter.reason
            if place not in self._rejected:
                self._rejected[place] = SecondCounts()
            self._rejected[place].add(1, now)
        told, scores = checkouts_told(effects), len(effects.scores)
        for source, silence in self.silences.items():
            silence.add(told.get(source, 0), scores, now)
        self.serves(model_version)
        if effects.examples and self.unlearned_since is None:
            self.unlearned_since = now

    def serves(self, model_version: int) -> None:
        """This model serves: one that is new has learned, or will with the next, what waited."""
        if model_version != self._model_version:
            self._model_version, self.unlearned_since = model_version, None

    def rejected(self, now: float) -> dict[tuple[str, str], int]:
        """Topic and reason → records rejected in the last minute; the most frequent first."""
        found = {place: counts.within(MINUTE, now) for place, counts in self._rejected.items()}
        return dict(sorted(((place, n) for place, n in found.items() if n), key=lambda entry: -entry[1]))
