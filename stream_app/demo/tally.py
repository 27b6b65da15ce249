"""Counts of what happened in a run, taken from the effects of every batch."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

import msgspec

from stream_app.core.effects import Effects

#: Scores shown: as many as a small terminal has room for.
LAST_SCORES: Final = 8


class ShownScore(NamedTuple):
    """One of the last scores: what it says, and what it was made of."""

    event_type: str
    events: int
    item: str
    score: float
    band: str
    cold: bool


class _Score(msgspec.Struct):
    event_type: str
    events: int
    score: float
    band: str
    cold: bool


class _Keys(msgspec.Struct):
    item: str | None = None
    category: str | None = None


class _Feature(msgspec.Struct):
    keys: _Keys


class _Example(msgspec.Struct):
    label_source: str
    previous: int = -1


_SCORE: Final = msgspec.json.Decoder(_Score)
_FEATURE: Final = msgspec.json.Decoder(_Feature)
_EXAMPLE: Final = msgspec.json.Decoder(_Example)


class Tally:
    """Sums since the start; `take` is called with the effects of each batch."""

    def __init__(self) -> None:
        #: outcome → events; those that were rejected are counted by reason
        self.events: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        #: what became of labels of the order system
        self.labels: Counter[str] = Counter()
        #: what decided an example: purchase, label, session_end
        self.examples: Counter[str] = Counter()
        #: examples that were told before with the other label: they are read and learned, but are none more
        self.corrections = 0
        self.bands: Counter[str] = Counter()
        self.scored = self.sessions_opened = self.sessions_closed = 0
        self._last: deque[tuple[bytes, bytes]] = deque(maxlen=LAST_SCORES)

    def take(self, effects: Effects, partition: int) -> None:
        """Count a batch. The last scores are kept as bytes: they are decoded only when shown."""
        for (event_type, outcome), count in effects.events.items():
            if event_type == "unknown":
                self.rejected[outcome] += count
            else:
                self.events[outcome] += count
        self.labels.update(effects.labels)
        self.bands.update(effects.bands)
        for _, value in effects.examples:
            example = _EXAMPLE.decode(value)
            if example.previous < 0:
                self.examples[example.label_source] += 1
            else:
                self.corrections += 1
        self.scored += len(effects.scores)
        self.sessions_opened += effects.sessions_opened
        self.sessions_closed += effects.sessions_closed
        scores, features = effects.scores[-LAST_SCORES:], effects.features[-LAST_SCORES:]
        self._last.extend((score, feature) for (_, score), (_, feature) in zip(scores, features, strict=True))

    @property
    def events_dealt_with(self) -> int:
        """Events that are no longer on their way: scored, recognised as repeated, or rejected."""
        return self.events.total() + self.rejected.total()

    @property
    def examples_written(self) -> int:
        """Records for the trainer to read, corrections with them."""
        return self.examples.total() + self.corrections

    def last_scores(self) -> list[ShownScore]:
        """The newest at the end."""
        return [_shown(_SCORE.decode(score), _FEATURE.decode(feature).keys) for score, feature in self._last]


def _shown(score: _Score, keys: _Keys) -> ShownScore:
    item = keys.item or keys.category or ""
    return ShownScore(score.event_type, score.events, item, score.score, score.band, score.cold)
