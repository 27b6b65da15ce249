"""One partition's work without its I/O: plan what a batch needs, apply it, and say what must be written.

    plan(records)  →  load the missing states  →  apply(plan, scorer)  →  Effects  →  … written …  →  committed(effects)

A processor belongs to one owner of one partition. `plan` and `apply` change nothing that a later batch can see: the new
position, deadlines and states are taken over by `committed` alone. When anything fails in between, the shell drops the
effects and takes the partition over again.

Order within a batch: labels, then events in offset order, then the sessions that are over at the batch's watermark. The
result does not depend on where batches are cut: a session closes at the first event whose watermark passes its
deadline, wherever in a batch that event lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from zlib import crc32

from stream_app.core import codec
from stream_app.core.batch import Batch
from stream_app.core.codec import Rejected
from stream_app.core.compiled import CompiledBatch, compiled_engine
from stream_app.core.effects import DeadLetter, Effects, Position
from stream_app.core.events import Event
from stream_app.core.placement import Placement
from stream_app.core.plan import Plan, Record, Rules, Scorer
from stream_app.core.schedule import BlobCache, ExpirySchedule, rank
from stream_app.core.watermark import UNKNOWN, Watermark

__all__ = ["PartitionProcessor", "Plan", "Record", "Rules", "Scorer"]

#: Visitors looked at for expiry in one batch: bounds a batch's memory and time when a night's sessions end at once.
#: The rest follow in the next batch, before anything new is read.
DUE_VISITORS_MAX: Final = 2_000


class PartitionProcessor:
    """The pure engine of one partition of `partitions`. With a single one a record's key does not matter."""

    def __init__(self, rules: Rules, *, partition: int, partitions: int = 1) -> None:
        self.rules = rules
        self.partition = partition
        self.placement = Placement(partition, partitions) if partitions > 1 else None
        self.engine = compiled_engine(rules)
        self.position = Position()
        self.schedule = ExpirySchedule()
        self.cache = BlobCache(rules.cache_visitors_max)

    def start(self, position: Position, deadlines: Mapping[str, int]) -> None:
        """Begin at a position with the deadlines of the visitors that have open sessions."""
        self.position = position
        self.schedule.replace(deadlines)
        self.cache.clear()

    @property
    def watermark_time(self) -> int:
        """Event time (ms) up to which sessions are over; −1 unknown."""
        return self.position.watermark.time(grace_ms=self.rules.grace_ms)

    def plan(self, events: Sequence[Record], labels: Sequence[Record], *, idle_ms: int = 0) -> Plan:
        """Decode a batch and find out which states it needs.

        `idle_ms` is wall-clock time that passed without an event, by which the watermark is moved on.
        """
        plan = Plan(
            watermark=self.position.watermark.copy(),
            events_offset=self.position.events_offset,
            labels_offset=self.position.labels_offset,
        )
        needed: dict[str, None] = {}
        for record in labels:
            self._plan_label(plan, record, needed)
        if self.engine is not None:
            self._read_compiled(plan, events, needed)
        else:
            self._plan_events(plan, events, needed)
        if events:
            plan.events_offset = events[-1].offset + 1
        plan.watermark.advance(idle_ms)
        self._plan_due(plan)
        needed.update(dict.fromkeys(plan.due))
        plan.missing = self.cache.missing(needed)
        absent = set(plan.missing)
        plan.blobs = {visitor: self.cache.get(visitor) for visitor in needed if visitor not in absent}
        plan.expected = [visitor for visitor in plan.missing if visitor in self.schedule]
        return plan

    def apply(self, plan: Plan, loaded: Mapping[str, bytes | None], scorer: Scorer, *, now_ms: int) -> Effects:
        """Fold the batch on copies, score it, and say what must be written.

        Parameters
        ----------
        plan
            From `plan`, on this same position.
        loaded
            The blob of each visitor in `plan.missing`, None where there is none.
        scorer
            The model; its version is stamped on every score.
        now_ms
            The wall clock, for `scored_at` only: no feature, score or outcome depends on it.

        Raises
        ------
        StateVersionError, DamagedStateError
            If a blob was written by another version, or cannot be read.
        """
        self.cache.put(loaded)
        plan.blobs.update(loaded)
        if self.engine is not None:
            effects = CompiledBatch(self.engine, self.rules, self.position, self.schedule, plan, scorer, now_ms).run()
        else:
            effects = Batch(self.rules, self.position, self.schedule, plan, scorer, now_ms).run()
        effects.ahead, effects.strays = plan.ahead, plan.strays
        return effects

    def committed(self, effects: Effects) -> None:
        """Take over what a batch changed, after all of it was written."""
        self.position = effects.position
        self.schedule.update(effects.deadlines)
        self.cache.put(effects.states)

    def _plan_label(self, plan: Plan, record: Record, needed: dict[str, None]) -> None:
        plan.labels_offset = record.offset + 1
        label = codec.decode_label(record.value, record_time_ms=record.timestamp)
        if not isinstance(label, Rejected) and self.placement is not None:
            label = codec.check_key(record.key, label.visitor_id) or label
        if isinstance(label, Rejected):
            plan.rejected_labels.append(self._dead_letter(record, label))
            return
        if self.placement is not None:
            plan.strays += self.placement.is_stray(label.visitor_id.encode())
        plan.labels.append((record.offset, label))
        needed[label.visitor_id] = None

    def _plan_events(self, plan: Plan, events: Sequence[Record], needed: dict[str, None]) -> None:
        grace_ms = self.rules.grace_ms
        watermark = plan.watermark
        for record in events:
            event = self._accepted(plan, record)
            if event is None:
                continue
            received, visitor_id, event_time = record.timestamp, event.visitor_id, event.event_time
            key = visitor_id.encode()
            self._look_for_stray(plan, visitor_id, needed)
            plan.events.append((record.offset, event))
            plan.offsets.append(record.offset)
            plan.ahead += event_time - received > grace_ms  # type: ignore[operator]
            watermark.observe(event_time, crc32(key), received=received, grace_ms=grace_ms)  # type: ignore[arg-type]
            plan.watermarks.append(watermark.newest - grace_ms if watermark.newest != UNKNOWN else UNKNOWN)
            needed[visitor_id] = None

    def _read_compiled(self, plan: Plan, events: Sequence[Record], needed: dict[str, None]) -> None:
        """As `_plan_events`, by the compiled engine; what it finds unusual it asks `_accepted` for."""
        assert self.engine is not None
        plan.records = events
        read = plan.compiled = self.engine.read(list(events), self.placement is not None, partial(self._accepted, plan))
        for visitor_id in read.visitors:
            self._look_for_stray(plan, visitor_id, needed)
            needed[visitor_id] = None
        mark = plan.watermark
        *after, ahead = read.observe(
            mark.newest, mark.live, mark.received, list(mark.recent.items()), self.rules.grace_ms
        )
        newest, live, received, recent = after
        plan.watermark = Watermark(newest, live, received, dict(recent))
        plan.ahead += ahead
        plan.offsets, plan.watermarks = read.offsets, read.watermarks

    def _accepted(self, plan: Plan, record: Record) -> Event | None:
        """The event in a record; None if it is rejected, which is then told."""
        event = codec.decode_event(record.value, record_time_ms=record.timestamp)
        if not isinstance(event, Rejected) and self.placement is not None:
            event = codec.check_key(record.key, event.visitor_id) or event
        if isinstance(event, Rejected):
            plan.rejected_events.append(self._dead_letter(record, event))
            return None
        return event

    def _look_for_stray(self, plan: Plan, visitor_id: str, needed: Mapping[str, None]) -> None:
        # Once a session is enough, and costs a few microseconds.
        if self.placement is not None and visitor_id not in needed and visitor_id not in self.schedule:
            plan.strays += self.placement.is_stray(visitor_id.encode())

    def _plan_due(self, plan: Plan) -> None:
        until = plan.watermark.time(grace_ms=self.rules.grace_ms)
        due = self.schedule.due(until, DUE_VISITORS_MAX + 1)
        plan.more_due = len(due) > DUE_VISITORS_MAX
        if plan.more_due and plan.offsets:
            # None of them here: an event would end some, and carried out again, when those are over already, others, at
            # the same place. The batches that follow end them by their deadlines, which only grow.
            due, until = [], UNKNOWN
        elif plan.more_due:
            due, until = self._cut_due(due)
        plan.due, plan.due_until = due, until

    def _cut_due(self, due: list[str]) -> tuple[list[str], int]:
        """Of visitors in the order of deadline and rank those to end now, and up to when.

        The positions of what the clock ends must grow from batch to batch: whole deadlines, or, where one deadline is
        too many visitors', whole ranks of it.
        """
        first, last = (self.schedule.get(visitor) for visitor in (due[0], due[-1]))
        assert first is not None
        assert last is not None
        if first < last:
            return [visitor for visitor in due if self.schedule.get(visitor) != last], last - 1
        beyond = rank(due[-1])
        return [visitor for visitor in due if rank(visitor) != beyond] or due, first

    def _dead_letter(self, record: Record, rejected: Rejected) -> DeadLetter:
        return DeadLetter(
            record.key, record.value, rejected.reason, rejected.detail, record.topic, self.partition, record.offset
        )
