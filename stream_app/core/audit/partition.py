"""One partition on trial: all that was written, then all that came in; what differs is a violation.

Feed the outputs first (`outputs`), then every label, then the events in offset order; then `finish`, and the states.
Events and labels from the committed offsets on are folded too, only to recognise what was written for them ahead of
the commit, which `at_least_once` allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from stream_app.core import records
from stream_app.core.audit.expected import Duplicate, Expected, Learnable, Refused, Scored
from stream_app.core.audit.fold import PartitionFold
from stream_app.core.audit.outputs import (
    EXAMPLE_SERVED,
    SCORE_SERVED,
    Outputs,
    closed_digest,
    closed_key,
    event_key,
    example_digest,
    example_key,
    letter_digest,
    letter_key,
    score_digest,
)
from stream_app.core.audit.report import Check, Names, Violation, quote
from stream_app.core.audit.rows import Rows, hashed
from stream_app.core.effects import Position
from stream_app.core.plan import Record, Rules
from stream_app.core.records import ClosedSession, ScoreRecord
from stream_app.core.watermark import Watermark

#: Beyond any offset.
_ALL: Final = 1 << 62

#: Events folded between two looks at what they came to: one feature matrix for all of them.
_CHUNK: Final = 1_000


class PartitionAudit:
    """The comparison. `starts` are the first kept offsets of the outputs by check name; what is before them is gone."""

    def __init__(
        self,
        rules: Rules,
        names: Names,
        partition: int,
        *,
        partitions: int,
        exactly_once: bool,
        events_offset: int,
        labels_offset: int,
        position: Position | None,
        starts: dict[str, int],
    ) -> None:
        self.partition = partition
        self.outputs = Outputs(gap_ms=rules.gap_ms)
        self.fold = PartitionFold(rules, self.outputs, partitions=partitions)
        self.names = names
        self.events = self.labels = 0
        #: the watermark at the committed offset, once that is reached
        self.reached = Watermark()
        #: visitors with records that were not processed yet
        self.ahead: set[str] = set()
        self._exactly_once = exactly_once
        self._events_offset, self._labels_offset, self._position = events_offset, labels_offset, position
        self._starts = starts
        self._checks = {
            name: Check(name, partition)
            for name in ("features", "scores", "closed sessions", "examples", "dead letters", "order")
        }
        self._topics = {
            "features": names.features, "scores": names.scores, "closed sessions": names.closed,
            "examples": names.examples, "dead letters": names.dead_letters,
        }  # fmt: skip
        self._rows: dict[str, Rows] = {
            "features": self.outputs.features, "scores": self.outputs.scores, "closed sessions": self.outputs.closed,
            "examples": self.outputs.examples, "dead letters": self.outputs.letters,
        }  # fmt: skip
        #: per visitor (exactly_once: "" for all of the partition): offset of the last score
        self._last: dict[str, int] = {}
        self._waiting = 0
        self._beyond = False
        self._labels_ahead: list[Record] = []

    # ---- in ---------------------------------------------------------------------------------------------------------

    def unreadable(self, check: str, offset: int, value: bytes | None) -> None:
        """A record in an output topic that is not one of ours."""
        self._checks[check].violate(
            Violation(check, "unreadable", self._topics[check], self.partition, offset, got=quote(value or b""))
        )

    def label(self, record: Record) -> None:
        """One record of the labels topic."""
        if record.offset >= self._labels_offset:
            self._labels_ahead.append(record)
            return
        self.labels += 1
        self.fold.label(record)

    def event(self, record: Record) -> None:
        """One record of the events topic."""
        if not self._beyond and record.offset >= self._events_offset:
            self._reach_committed()
        self.events += not self._beyond
        self.fold.event(record)
        self._waiting += 1
        if self._waiting >= _CHUNK:
            self._judge()

    def finish(self) -> list[Check]:
        """All input has been told: the verdict on the outputs."""
        if not self._beyond:
            self._reach_committed()
        self.fold.finish(next_offset=_ALL, labels_offset=_ALL, newest=-1)
        self._judge()
        for name, rows in self._rows.items():
            self._unexplained(name, rows)
        return list(self._checks.values())

    # ---- judging ----------------------------------------------------------------------------------------------------

    def _reach_committed(self) -> None:
        """Here ends what was processed; the committed watermark tells of the clock since the last event."""
        newest = self._position.watermark.newest if self._position is not None else -1
        self.fold.finish(next_offset=self._events_offset, labels_offset=self._labels_offset, newest=newest)
        self._judge()
        self._beyond = True
        self.reached = self.fold.watermark.copy()
        for record in self._labels_ahead:
            visitor_id = self.fold.label(record)
            if visitor_id is not None:
                self.ahead.add(visitor_id)

    def _judge(self) -> None:
        self._waiting = 0
        for expected in self.fold.take():
            self._compare(expected)

    def _compare(self, expected: Expected) -> None:
        if isinstance(expected, Scored):
            if self._beyond:
                self.ahead.add(expected.event.visitor_id)
            self._compare_scored(expected)
        elif isinstance(expected, Learnable):
            self._compare_example(expected)
        elif isinstance(expected, ClosedSession):
            visitor = expected.visitor_id.encode()
            if self._beyond:
                self.ahead.add(expected.visitor_id)
            self._match(
                "closed sessions", closed_key(expected), closed_digest(expected, visitor), expected.session_id,
                lambda: expected,
            )  # fmt: skip
        elif isinstance(expected, Refused):
            record, reason = expected.record, expected.rejected.reason
            self._match(
                "dead letters",
                letter_key(record.topic, record.offset),
                letter_digest(reason, record.key, record.value),
                f"{record.topic}-{self.partition} offset {record.offset}",
                lambda: reason,
            )
        elif isinstance(expected, Duplicate):
            return

    def _compare_scored(self, expected: Scored) -> None:
        event = expected.event
        assert isinstance(event.event_time, int)
        key = event_key(event.visitor_id, event.event_id, event.event_type, event.event_time)
        visitor = event.visitor_id.encode()
        features = expected.feature_record()
        self._match("features", key, hashed(visitor, records.encode(features)), event.event_id, lambda: features)
        score = ScoreRecord(
            event.event_id, event.visitor_id, expected.session_id, event.event_time, event.event_type, expected.events,
            0.5, "", "", 0, 0, False, expected.late, 0, expected.watermark,
            bot=True if expected.bot else msgspec.UNSET,
        )  # fmt: skip
        rows = self._match("scores", key, score_digest(score, visitor), event.event_id, lambda: score)
        if rows:
            self._check_order(event.visitor_id, event.event_id, self.outputs.scores.offsets[rows[0]])

    def _compare_example(self, expected: Learnable) -> None:
        example = expected.example()
        key = example_key(example)
        rows = self._match(
            "examples", key, example_digest(example, example.visitor_id.encode()), example.event_id, lambda: example
        )
        scores = self.outputs.scores
        event = event_key(example.visitor_id, example.event_id, example.event_type, example.event_time)
        said = {scores.columns[SCORE_SERVED][row] for row in scores.find(event)}
        for row in rows if said else ():
            if self.outputs.examples.columns[EXAMPLE_SERVED][row] not in said:
                self._checks["examples"].violate(
                    Violation(
                        "examples", "differs", self.names.examples, self.partition,
                        self.outputs.examples.offsets[row], example.event_id,
                        "score, model version and cold of a score record of the event", "others",
                    )
                )  # fmt: skip

    def _match(self, name: str, key: int, digest: int, event_id: str, expected: Callable[[], Any]) -> list[int]:
        """Find the records of something expected, and judge their number; the rows that are right."""
        check, rows, topic = self._checks[name], self._rows[name], self._topics[name]
        candidates = rows.find(key)
        right = [row for row in candidates if rows.digest(row) == digest and not rows.seen[row]]
        for row in right:
            rows.seen[row] = 1
        if self._beyond and not self._exactly_once:
            check.ahead += len(right)
            return right
        if self._beyond:
            for row in right:
                place = rows.offsets[row]
                check.violate(
                    Violation(name, "unexpected", topic, self.partition, place, event_id, "nothing before the commit")
                )
            return right
        check.expected += 1
        if right:
            check.found += 1
            check.repeated += len(right) - 1
            if self._exactly_once and len(right) > 1:
                place = rows.offsets[right[1]]
                check.violate(
                    Violation(name, "doubled", topic, self.partition, place, event_id, "one", str(len(right)))
                )
            return right
        wrong = [row for row in candidates if not rows.seen[row]]
        if wrong:
            rows.seen[wrong[0]] = 1
            place = rows.offsets[wrong[0]]
            check.violate(
                Violation(name, "differs", topic, self.partition, place, event_id, quote(expected()), "another")
            )
        elif self._starts.get(name, 0) > 0 and check.found == 0:
            check.gone += 1
        else:
            check.violate(Violation(name, "missing", topic, self.partition, -1, event_id, quote(expected()), "nothing"))
        return right

    def _check_order(self, visitor_id: str, event_id: str, offset: int) -> None:
        check, whose = self._checks["order"], "" if self._exactly_once else visitor_id
        if self._beyond:
            return
        check.expected += 1
        if offset <= self._last.get(whose, -1):
            last = f"after offset {self._last[whose]}"
            check.violate(Violation("order", "out_of_order", self.names.scores, self.partition, offset, event_id, last))
        else:
            check.found += 1
            self._last[whose] = offset

    def _unexplained(self, name: str, rows: Rows) -> None:
        """What no input record explains. A copy that says something else than the first is told as such."""
        for row in rows.unseen():
            twins = [other for other in rows.find(rows.key(row)) if rows.seen[other]]
            kind, expected = (
                ("differs", f"as at offset {rows.offsets[twins[0]]}") if twins else ("unexpected", "nothing")
            )
            self._checks[name].violate(
                Violation(name, kind, self._topics[name], self.partition, rows.offsets[row], expected=expected)
            )
