"""Events → scored rows and resolved examples, through the core as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.codec import encode
from stream_app.core.effects import Position
from stream_app.core.events import Event
from stream_app.core.example_decoding import TypedExample, decode_example
from stream_app.core.plan import Rules, Scorer, WithoutReasons
from stream_app.core.processor import PartitionProcessor
from stream_app.core.records import Keys
from stream_app.evaluation.history import event_time
from stream_app.evaluation.states import DiskStates

#: A session of a visitor: what scores wait under for their outcomes.
SessionKey = tuple[str, str]


class Record(NamedTuple):
    """An event as it would come from the topic, stamped with its own time: as on the day itself."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class ScoredEvent(msgspec.Struct, gc=False):
    """What the evaluation reads of a score record."""

    visitor_id: str
    session_id: str
    events: int
    event_time: int


class _Closed(msgspec.Struct, gc=False):
    visitor_id: str
    session_id: str


@dataclass(slots=True)
class Folded:
    """What a tick came to: its scored events with their features and keys, its examples, the sessions that ended."""

    scored: list[ScoredEvent]
    #: shape (N, len(FEATURES)), in the order of `scored`
    x: npt.NDArray[np.float64]
    keys: Sequence[Keys]
    examples: list[TypedExample]
    closed: list[SessionKey]
    #: event time (ms) of the tick's last event: when its examples came to be known
    time: int


_SCORED: Final = msgspec.json.Decoder(ScoredEvent)
_CLOSED: Final = msgspec.json.Decoder(_Closed)


class _Watched(WithoutReasons):
    """A scorer whose rows are seen: the core asks it once for all events of a tick."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.name, self.version, self.updates, self.cold = scorer.name, scorer.version, scorer.updates, scorer.cold
        self.bands = scorer.bands
        self.x: npt.NDArray[np.float64] = np.empty((0, 0))
        self.keys: Sequence[Keys] = ()

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        self.x, self.keys = x, keys
        return self._scorer.score_many(x, keys)


class Folder:
    """One partition with its states on disk. `directory` takes them."""

    def __init__(self, rules: Rules, directory: Path) -> None:
        self._processor = PartitionProcessor(rules, partition=0)
        self._processor.start(Position(), {})
        self._states = DiskStates(directory)
        self._offset = 0

    def fold(self, events: Sequence[Event], scorer: Scorer) -> Folded:
        """Fold one tick; `scorer` says what every event's score is."""
        watched = _Watched(scorer)
        records = [
            Record("events", self._offset + n, event_time(event), event.visitor_id.encode(), encode(event))
            for n, event in enumerate(events)
        ]
        self._offset += len(records)
        folded = Folded([], np.empty((0, 0)), (), [], [], event_time(events[-1]))
        more = self._step(records, watched, folded)
        folded.x, folded.keys = watched.x, watched.keys
        while more:
            more = self._step((), watched, folded)
        return folded

    def close(self) -> None:
        """Let go of the states' file."""
        self._states.close()

    def _step(self, records: Sequence[Record], scorer: _Watched, folded: Folded) -> bool:
        plan = self._processor.plan(records, ())
        loaded = self._states.load(plan.missing)
        effects = self._processor.apply(plan, loaded, scorer, now_ms=folded.time)
        self._states.put(effects.states)
        self._processor.committed(effects)
        folded.scored += [_SCORED.decode(value) for _, value in effects.scores]
        folded.examples += [decode_example(value) for _, value in effects.examples]
        for _, value in effects.closed:
            closed = _CLOSED.decode(value)
            folded.closed.append((closed.visitor_id, closed.session_id))
        return effects.more_due
