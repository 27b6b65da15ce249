"""What the shell must do after a batch: the core decides it, `partition.py` carries it out in the order it needs.

Nothing here has happened yet. Effects that are dropped leave no trace: the states are copies and the processor takes
its new position only from `PartitionProcessor.committed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.watermark import Watermark

#: Version of the position's own layout, in commit metadata and in Redis.
POSITION_VERSION: Final = 1

#: A keyed record to write: key and value bytes.
Keyed = tuple[bytes, bytes]


class Planned(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A batch that is about to be carried out: from where to where it reads, and what moves the watermark besides.

    Committed before the first of its outputs (`at_least_once`), so that after a crash the very same batch is carried
    out again: with other labels or events in it, an outcome could come about in another place and be learned twice.
    Batches of events alone may follow it up to `window_to`, without saying so.
    """

    events_from: int
    labels_from: int
    events_to: int
    labels_to: int
    #: before the batch
    watermark: Watermark
    idle_ms: int
    #: the events offset up to which others may follow, of events alone
    window_to: int = 0


class Position(msgspec.Struct, gc=False):
    """How far a partition has come. It is committed with the offsets and stored with the view.

    Offsets are the *next* to read. `seq` counts the partition's transactions: it moves for timer-only batches too.
    `changelog_end` is the changelog offset after this position's own writes (−1 when not known),
    `wall_time` when it was committed (ms).
    `partitions` and `topic_ids` (of events, labels and changelog) tell a topic that was re-created or got more
    partitions. `open_visitors` is how many the view has in its set of deadlines (−1 when not known): should that set
    alone be lost, nobody would miss it. `planned` is the batch that was begun after this position, in commits only.
    """

    seq: int = 0
    events_offset: int = 0
    labels_offset: int = 0
    watermark: Watermark = msgspec.field(default_factory=Watermark)
    changelog_end: int = -1
    wall_time: int = 0
    partitions: int = 0
    topic_ids: list[str] = []
    open_visitors: int = -1
    planned: Planned | None = None
    version: int = POSITION_VERSION


_POSITION_DECODER: Final = msgspec.json.Decoder(Position)


def encode_position(position: Position) -> bytes:
    """JSON, about 200 bytes; Kafka's commit metadata holds 4096."""
    return msgspec.json.encode(position)


def decode_position(data: bytes | str | None) -> Position | None:
    """The position in commit metadata or in the view; None if there is none or it is not ours."""
    if not data:
        return None
    try:
        position = _POSITION_DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None
    return position if position.version == POSITION_VERSION else None


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A rejected record, bytes unchanged, and where it came from."""

    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Effects:
    """All that follows from one batch of one partition."""

    position: Position
    #: lists where Python writes them; where the compiled engine does, its `RecordList`
    scores: Sequence[Keyed] = field(default_factory=list)
    features: Sequence[Keyed] = field(default_factory=list)
    examples: Sequence[Keyed] = field(default_factory=list)
    closed: Sequence[Keyed] = field(default_factory=list)
    moments: Sequence[Keyed] = field(default_factory=list)
    #: event id → headers that its score's record is to carry; of traced events only
    score_headers: Mapping[str, Sequence[tuple[str, bytes]]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    #: visitor → its new blob; None where it is forgotten
    states: dict[str, bytes | None] = field(default_factory=dict)
    #: visitor → when to look at it again (ms event time), None to forget; only where it changed
    deadlines: dict[str, int | None] = field(default_factory=dict)
    #: event type and outcome → events; label outcome → labels; sessions opened and closed
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    sessions_opened: int = 0
    sessions_closed: int = 0
    #: of those, sessions that their bounds have ended: a bot's
    sessions_bound: int = 0
    #: scored events and closed sessions that are a bot's
    bot_events: int = 0
    bot_sessions: int = 0
    #: events whose own time lies ahead of the broker's, and visitors that belong to another partition
    ahead: int = 0
    strays: int = 0
    #: kind → moments
    moments_told: Counter[str] = field(default_factory=Counter)
    #: of the scored events: how many in each band, and the scores themselves, shape (N,), in no order
    bands: Counter[str] = field(default_factory=Counter)
    score_values: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)
    more_due: bool = False

    @property
    def empty(self) -> bool:
        """Nothing to write at all, not even offsets."""
        return not (self.states or self.dead_letters or self.events or self.labels)
