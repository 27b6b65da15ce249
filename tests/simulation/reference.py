"""What a run must come to: the same batches, carried out once each by one owner that nothing happens to.

Where batches begin and end, and how long the clock says that nobody came, is chance; everything else follows from the
input. So the batches are read from what the group has committed, and the processor is given each of them once, with all
states at hand. That the processor itself is right is asked by the tests of the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from aiokafka.structs import TopicPartition

from stream_app.core.effects import Keyed, Planned, Position, decode_position
from stream_app.core.plan import WithoutReasons
from stream_app.core.processor import PartitionProcessor, Rules
from stream_app.core.records import Keys
from stream_app.core.watermark import UNKNOWN, Watermark
from tests.simulation.groups import Commit
from tests.simulation.log import FetchedRecord, Log


class Violation(Exception):  # noqa: N818 - what a run is searched for, not an error of it
    """A promise that was not kept."""


class _Scorer(WithoutReasons):
    """Scores are compared apart: which model was served is chance."""

    name, version, updates, cold = "reference", 0, 0, True
    bands = None

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        return np.full(len(x), 0.5)


class Reference:
    """One partition's outputs and states."""

    def __init__(self, rules: Rules, partition: int, events: Log, labels: Log) -> None:
        self._events, self._labels = _records(events), _records(labels)
        self._processor = PartitionProcessor(rules, partition=partition)
        self._processor.start(Position(), {})
        self.partition = partition
        self.scores: list[Keyed] = []
        self.features: list[Keyed] = []
        self.examples: list[Keyed] = []
        self.closed: list[Keyed] = []
        self.moments: list[Keyed] = []
        self.dead_letters: list[tuple[str, int]] = []
        self.states: dict[str, bytes] = {}
        self.deadlines: dict[str, int] = {}

    def follow_transactions(self, commits: list[Commit], place: TopicPartition) -> None:
        """Carry out what each transaction says it has done; `place` is the partition of the events."""
        for commit in commits:
            if place not in commit.offsets:
                continue
            position = decode_position(commit.offsets[place].metadata)
            if position is None:
                raise Violation(f"partition {self.partition}: a commit without a position")
            before = self._processor.position
            if position.events_offset < before.events_offset or position.labels_offset < before.labels_offset:
                raise Violation(
                    f"partition {self.partition}: committed offsets went back from {_told(before)} to {_told(position)}"
                )
            idle_ms = 0
            if position.events_offset == before.events_offset:
                idle_ms = _idle_ms(before.watermark, position.watermark)
            self._carry_out(position.events_offset, position.labels_offset, idle_ms)
            if self._processor.position.watermark != position.watermark:
                raise Violation(
                    f"partition {self.partition}: at {_told(position)} the watermark is {position.watermark}, expected "
                    f"{self._processor.position.watermark}"
                )

    def follow_announcements(self, commits: list[Commit], place: TopicPartition) -> None:
        """Carry out each batch that was announced, once, and between them and after the last one the events alone."""
        last: Planned | None = None
        overtaken = False
        for commit in commits:
            if place not in commit.offsets:
                continue
            if commit.overtaken:
                # What is committed has gone back, and nobody can keep it from that: the next owner begins there.
                overtaken = True
                continue
            position = decode_position(commit.offsets[place].metadata)
            planned = position.planned if position is not None else None
            if planned is None or (last is not None and _batch_of(planned) == _batch_of(last)):
                continue
            here = self._processor.position
            if planned.labels_from == here.labels_offset and here.events_offset < planned.events_from:
                if last is None or planned.events_from > last.window_to:
                    raise Violation(f"partition {self.partition}: {planned} was announced beyond the window of {last}")
                self._carry_out(planned.events_from, planned.labels_from, 0)
            last = planned
            self._check_announced(last, overtaken=overtaken)
            overtaken = False
            self._carry_out(last.events_to, last.labels_to, last.idle_ms)
        if last is not None:
            self._carry_out(len(self._events), self._processor.position.labels_offset, 0)

    def _check_announced(self, planned: Planned, *, overtaken: bool) -> None:
        here = self._processor.position
        if overtaken and (planned.events_from, planned.labels_from) <= (here.events_offset, here.labels_offset):
            here.events_offset, here.labels_offset = planned.events_from, planned.labels_from
            here.watermark = planned.watermark.copy()
            return
        if (planned.events_from, planned.labels_from) != (here.events_offset, here.labels_offset):
            raise Violation(
                f"partition {self.partition}: announced a batch from events {planned.events_from} labels "
                f"{planned.labels_from}, expected from {_told(here)}"
            )
        if planned.watermark != here.watermark:
            raise Violation(
                f"partition {self.partition}: at {_told(here)} a batch begins with the watermark {planned.watermark}, "
                f"expected {here.watermark}"
            )

    def _carry_out(self, events_to: int, labels_to: int, idle_ms: int) -> None:
        processor = self._processor
        here = processor.position
        plan = processor.plan(
            self._events[here.events_offset : events_to], self._labels[here.labels_offset : labels_to], idle_ms=idle_ms
        )
        loaded = {visitor: self.states.get(visitor) for visitor in plan.missing}
        effects = processor.apply(plan, loaded, _Scorer(), now_ms=0)
        processor.committed(effects)
        self.scores += effects.scores
        self.features += effects.features
        self.examples += effects.examples
        self.closed += effects.closed
        self.moments += effects.moments
        self.dead_letters += [(letter.topic, letter.offset) for letter in effects.dead_letters]
        self.states.update(effects.states)
        for visitor, deadline in effects.deadlines.items():
            if deadline is None:
                self.deadlines.pop(visitor, None)
            else:
                self.deadlines[visitor] = deadline

    @property
    def position(self) -> Position:
        """How far it has come."""
        return self._processor.position


def _batch_of(planned: Planned) -> Planned:
    """The same announcement, whatever may follow it."""
    return msgspec.structs.replace(planned, window_to=0)


def _records(log: Log) -> list[FetchedRecord]:
    return log.read(0, log.end)[0]


def _idle_ms(before: Watermark, after: Watermark) -> int:
    """How long the clock moved event time on, in a batch without events."""
    if after.newest == UNKNOWN or after.newest == before.newest:
        return 0
    # From an unknown time the clock goes on from what it then believes: found out by moving it a little.
    moved = before.copy()
    moved.advance(1)
    return 1 + after.newest - moved.newest


def _told(position: Any) -> str:
    return f"events {position.events_offset} labels {position.labels_offset}"
