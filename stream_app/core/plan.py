"""What a batch needs and what it is given: records, the model as it serves, the rules, and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from stream_app.core.effects import DeadLetter
from stream_app.core.events import CheckoutLabel, Event
from stream_app.core.records import Keys, Reasons
from stream_app.core.watermark import UNKNOWN, Watermark


class Record(Protocol):
    """What the processor reads of a Kafka record."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class CompiledEvents(Protocol):
    """What the compiled engine has read: the accepted events of a batch."""

    #: distinct visitors in order of appearance; of each event its offset, and the watermark time after it
    visitors: list[str]
    offsets: list[int]
    watermarks: list[int]

    def record_of(self, event: int) -> int:
        """Of an event the place of its record."""
        ...

    def observe(
        self, newest: int, live: bool, received: int, recent: list[tuple[int, int]], grace_ms: int
    ) -> tuple[int, bool, int, list[tuple[int, int]], int]:
        """Let event time pass, as `Watermark.observe` for each; the watermark's fields after, and the events ahead."""
        ...


class Scorer(Protocol):
    """The model as it serves: fixed during one batch."""

    name: str
    version: int
    updates: int
    cold: bool

    @property
    def bands(self) -> tuple[float, float] | None:
        """Where the bands `on_the_fence` and `likely` begin; None while the rules' own serve."""
        ...

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (N,), for features of shape (N, len(FEATURES)) and N keys."""
        ...

    def reasons_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> list[Reasons]:
        """The strongest reasons of each score; asked only for those that are to have some, and never while cold."""
        ...


class WithoutReasons:
    """The part of a scorer that knows no reasons: of one that is there to be measured."""

    def reasons_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> list[Reasons]:
        """None, N times."""
        return [[] for _ in keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that the core obeys; see `settings.py` for the reasons. Times in ms."""

    gap_ms: int
    grace_ms: int
    history_ttl_ms: int
    late_label_ms: int
    reservoir_size: int
    cache_visitors_max: int
    band_fence_min: float
    band_likely_min: float
    #: event time without an event after which a session with something in its cart is quiet; not below `gap_ms`: never
    quiet_ms: int = 60_000
    #: logits above (and below) the session's mean at which a score's trend has turned
    trend_turn: float = 0.5
    #: which scores come with reasons
    reasons: Literal["off", "fence", "sampled", "all"] = "off"
    #: who folds: the compiled engine or its reference in Python; `auto` is the former where it is built
    engine: Literal["auto", "compiled", "python"] = "auto"


@dataclass(slots=True)
class Plan:
    """A decoded batch, and what it needs before it can be applied."""

    labels: list[tuple[int, CheckoutLabel]] = field(default_factory=list)
    #: offset and event, where Python reads them; where the compiled engine does, what it has read
    events: list[tuple[int, Event]] = field(default_factory=list)
    compiled: CompiledEvents | None = None
    records: Sequence[Record] = ()
    #: of the events, whoever has read them
    offsets: list[int] = field(default_factory=list)
    #: watermark time after each event, never falling, and the state after the last
    watermarks: list[int] = field(default_factory=list)
    watermark: Watermark = field(default_factory=Watermark)
    rejected_labels: list[DeadLetter] = field(default_factory=list)
    rejected_events: list[DeadLetter] = field(default_factory=list)
    #: events whose time lies more than the grace ahead of the broker's, and visitors on a partition not their own
    ahead: int = 0
    strays: int = 0
    #: visitors to look at because something of them may be over at `due_until`, the watermark time unless `more_due`
    due: list[str] = field(default_factory=list)
    due_until: int = UNKNOWN
    more_due: bool = False
    #: the blobs at hand of those the batch needs; nothing that is loaded can push them out
    blobs: dict[str, bytes | None] = field(default_factory=dict)
    #: visitors whose blob has to be loaded first
    missing: list[str] = field(default_factory=list)
    #: of those, visitors known to have an open session: not finding them means that the view has lost something
    expected: list[str] = field(default_factory=list)
    events_offset: int = 0
    labels_offset: int = 0
