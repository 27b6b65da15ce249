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

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core import codec, features, outcomes, records, session, state
from stream_app.core.codec import Rejected
from stream_app.core.effects import DeadLetter, Effects, Position
from stream_app.core.events import EVENT_CODE, EVENT_TYPES, CheckoutLabel, Event
from stream_app.core.pages import GROUP_CODE, step_group
from stream_app.core.records import Keys
from stream_app.core.schedule import BlobCache, ExpirySchedule
from stream_app.core.watermark import UNKNOWN, Watermark

#: Visitors looked at for expiry in one batch: bounds a batch's memory and time when a night's sessions end at once.
#: The rest follow in the next batch, before anything new is read.
DUE_VISITORS_MAX: Final = 2_000

_PURCHASE: Final = GROUP_CODE["purchase"]
#: The kinds of an example's position, see `records.Example`.
_BY_LABEL: Final = 0
_BY_EVENT: Final = 1
_BY_CLOCK: Final = 2
# Knuth's multiplicative hash spreads CRC-32 (linear in its input) over the range; ranks only need to be fair.
_MIX: Final = 2_654_435_761
#: Outcomes of one visitor from one trigger: at most four sessions of 64 samples. 32 + 16 bits fit JSON's exact 53.
_ORDINAL_BITS: Final = 16


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


class Scorer(Protocol):
    """The model as it serves: fixed during one batch."""

    name: str
    version: int
    updates: int
    cold: bool

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (N,), for features of shape (N, len(FEATURES)) and N keys."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that the core obeys; see `settings.py` for the reasons. Times in ms."""

    gap_ms: int
    grace_ms: int
    history_ttl_ms: int
    reservoir_size: int
    cache_visitors_max: int
    band_fence_min: float
    band_likely_min: float


@dataclass(slots=True)
class Plan:
    """A decoded batch, and what it needs before it can be applied."""

    labels: list[tuple[int, CheckoutLabel]] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    #: watermark time after each event, never falling, and the state after the last
    watermarks: list[int] = field(default_factory=list)
    watermark: Watermark = field(default_factory=Watermark)
    rejected_labels: list[DeadLetter] = field(default_factory=list)
    rejected_events: list[DeadLetter] = field(default_factory=list)
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


class _Row(NamedTuple):
    """A scored event on its way into the records."""

    event: Event
    event_time: int
    session_id: str
    events: int
    late: bool
    sample: state.Sample
    keys: Keys
    visitor: state.Visitor


class _Resolved(NamedTuple):
    """Outcomes of one visitor and what triggered them: a kind, and its offset or deadline; see `records.Example`."""

    trigger: tuple[int, int]
    visitor_id: str
    outcomes: list[outcomes.Outcome]


class PartitionProcessor:
    """The pure engine of one partition. `partition` is only written into dead letters."""

    def __init__(self, rules: Rules, *, partition: int) -> None:
        self.rules = rules
        self.partition = partition
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
            watermark=msgspec.structs.replace(self.position.watermark),
            events_offset=self.position.events_offset,
            labels_offset=self.position.labels_offset,
        )
        needed: dict[str, None] = {}
        for record in labels:
            plan.labels_offset = record.offset + 1
            label = codec.decode_label(record.value, record_time_ms=record.timestamp)
            if isinstance(label, Rejected):
                plan.rejected_labels.append(self._dead_letter(record, label))
            else:
                plan.labels.append((record.offset, label))
                needed[label.visitor_id] = None
        gap_ms, grace_ms = self.rules.gap_ms, self.rules.grace_ms
        watermark = plan.watermark
        decode_event = codec.decode_event
        for record in events:
            event = decode_event(record.value, record_time_ms=record.timestamp)
            if isinstance(event, Rejected):
                plan.rejected_events.append(self._dead_letter(record, event))
                continue
            plan.events.append((record.offset, event))
            watermark.observe(event.event_time, event.visitor_id, gap_ms=gap_ms)  # type: ignore[arg-type]
            plan.watermarks.append(watermark.newest - grace_ms if watermark.newest != UNKNOWN else UNKNOWN)
            needed[event.visitor_id] = None
        if events:
            plan.events_offset = events[-1].offset + 1
        watermark.advance(idle_ms)
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
        StateVersionError
            If a blob was written by another version.
        """
        self.cache.put(loaded)
        plan.blobs.update(loaded)
        return _Batch(self, plan, scorer, now_ms).run()

    def committed(self, effects: Effects) -> None:
        """Take over what a batch changed, after all of it was written."""
        self.position = effects.position
        self.schedule.update(effects.deadlines)
        self.cache.put(effects.states)

    def _plan_due(self, plan: Plan) -> None:
        until = plan.watermark.time(grace_ms=self.rules.grace_ms)
        due = self.schedule.due(until, DUE_VISITORS_MAX + 1)
        plan.more_due = len(due) > DUE_VISITORS_MAX
        if plan.more_due:
            # Whole deadlines only, so that the positions of what the clock ends grow from batch to batch.
            first, last = self.schedule.get(due[0]), self.schedule.get(due[-1])
            assert first is not None
            assert last is not None
            until = max(first, last - 1)
            due = self.schedule.due(until, len(self.schedule))
        plan.due, plan.due_until = due, until

    def _dead_letter(self, record: Record, rejected: Rejected) -> DeadLetter:
        return DeadLetter(
            record.key, record.value, rejected.reason, rejected.detail, record.topic, self.partition, record.offset
        )


class _Batch:
    """One call of `apply`: the copies it folds on and the outcomes it collects."""

    def __init__(self, owner: PartitionProcessor, plan: Plan, scorer: Scorer, now_ms: int) -> None:
        self.rules = owner.rules
        self.owner = owner
        self.plan = plan
        self.scorer = scorer
        self.now_ms = now_ms
        self.visitors: dict[str, state.Visitor] = {}
        self.changed: dict[str, state.Visitor] = {}
        self.rows: list[_Row] = []
        self.raw: list[tuple[float, ...]] = []
        self.resolved: list[_Resolved] = []
        before = owner.position
        self.effects = Effects(
            msgspec.structs.replace(
                before,
                seq=before.seq + 1,
                events_offset=plan.events_offset,
                labels_offset=plan.labels_offset,
                watermark=plan.watermark,
                wall_time=now_ms,
            ),
            dead_letters=[*plan.rejected_labels, *plan.rejected_events],
            more_due=plan.more_due,
        )
        self.offsets = [offset for offset, _ in plan.events]

    def run(self) -> Effects:
        for offset, label in self.plan.labels:
            self._label(offset, label)
        for index, (offset, event) in enumerate(self.plan.events):
            self._event(index, offset, event)
        # Besides those that were due before, whoever opened a session in this batch that is over at its end.
        for visitor_id in dict.fromkeys((*self.plan.due, *self.changed)):
            visitor = self._visitor(visitor_id)
            self._close_due(visitor_id, visitor, self.plan.due_until, len(self.offsets))
            self.changed[visitor_id] = visitor
        self._score()
        self._write_examples()
        self._write_states()
        for letter in self.plan.rejected_events:
            self.effects.events["unknown", letter.reason] += 1
        if self.plan.rejected_labels:
            self.effects.labels["rejected"] += len(self.plan.rejected_labels)
        return self.effects

    # ---- one record -------------------------------------------------------------------------------------------------

    def _event(self, index: int, offset: int, event: Event) -> None:
        visitor_id, event_time, gap_ms = event.visitor_id, event.event_time, self.rules.gap_ms
        assert isinstance(event_time, int)
        visitor = self._visitor(visitor_id)
        if offset <= visitor.events_offset:
            # Folded before a crash, and its outputs were acknowledged before its state was written.
            self.effects.events[event.event_type, "replayed"] += 1
            return
        fingerprint = crc32(f"{event.event_id}\0{event.event_type}\0{event_time}\0{event.item_id}".encode())
        if fingerprint in visitor.recent:
            self.effects.events[event.event_type, "duplicate"] += 1
            return
        late = event_time + gap_ms <= self._watermark_before(index)
        self.effects.events[event.event_type, "late" if late else "scored"] += 1
        self._close_due(visitor_id, visitor, self.plan.watermarks[index], index, event_time)
        if visitor.history.last_seen and event_time - visitor.history.last_seen > self.rules.history_ttl_ms:
            visitor.history = state.History()
        current = session.find_open(visitor, event, event_time, gap_ms=gap_ms)
        if current is not None and session.must_split(current, event_time):
            self._close(visitor_id, visitor, current, (_BY_EVENT, offset), event_time, "bound")
            current = None
        if current is None:
            if len(visitor.sessions) >= state.OPEN_SESSIONS_MAX:
                oldest = min(visitor.sessions, key=lambda s: (s.last, s.session_id))
                self._close(visitor_id, visitor, oldest, (_BY_EVENT, offset), event_time, "bound")
            current = session.open_session(visitor, event, event_time)
            self.effects.sessions_opened += 1
        group = step_group(event.event_type, event.page_url)
        if group == _PURCHASE:
            self._purchase(visitor_id, visitor, current, event, event_time, offset)
        step = session.fold(current, event, event_time, group, visitor.history)
        sample = state.Sample(
            rank=fingerprint * _MIX & 0xFFFFFFFF,
            event_id=event.event_id,
            event_type=EVENT_CODE[event.event_type],
            event_time=event_time,
            events=current.events,
            offset=offset,
            x=b"",
            item=step.item,
            category=step.category,
            brand=step.brand,
            step=step.step,
            items=len(current.items),
            categories=len(current.categories),
            brands=len(current.brands),
            steps=current.steps,
        )
        keys = outcomes.sample_keys(
            sample, current, list(current.items), list(current.categories), list(current.brands)
        )
        self.rows.append(_Row(event, event_time, current.session_id, current.events, late, sample, keys, visitor))
        self.raw.append(step.raw)
        outcomes.admit(current, sample, reservoir_size=self.rules.reservoir_size)
        if current.last + gap_ms <= self.plan.watermarks[index]:
            self._close(visitor_id, visitor, current, (_BY_EVENT, offset), current.last + gap_ms, "gap")
        visitor.events_offset = offset
        visitor.recent = [*visitor.recent[1 - state.RECENT_EVENTS_MAX :], fingerprint]
        self.changed[visitor_id] = visitor

    def _purchase(
        self,
        visitor_id: str,
        visitor: state.Visitor,
        current: state.Session,
        event: Event,
        event_time: int,
        offset: int,
    ) -> None:
        same = session.is_same_checkout(current, event)
        if not same:
            resolved = outcomes.resolve(current, visitor_id, label=1, source="purchase", time=event_time)
            self.resolved.append(_Resolved((_BY_EVENT, offset), visitor_id, resolved))
            session.start_episode(current, event_time)
            # The same order told by a label as well: the event has the say over what belongs to it.
            visitor.marks = [mark for mark in visitor.marks if not session.same_order(event, event_time, mark)]
        session.count_purchase(current, event, event_time, same_checkout=same)

    def _label(self, offset: int, label: CheckoutLabel) -> None:
        time = label.checkout_time
        assert isinstance(time, int)
        visitor = self._visitor(label.visitor_id)
        if offset <= visitor.labels_offset:
            self.effects.labels["replayed"] += 1
            return
        visitor.labels_offset = offset
        session.drop_marks(visitor, self.owner.watermark_time, gap_ms=self.rules.gap_ms)
        self.changed[label.visitor_id] = visitor
        if label.kind != "checkout":
            waiting = [mark for mark in visitor.marks if mark.order_id != label.order_id]
            self.effects.labels["taken_back" if len(waiting) < len(visitor.marks) else label.kind] += 1
            visitor.marks = waiting
            return
        current = session.find_labelled(visitor, label, time, gap_ms=self.rules.gap_ms)
        known = any(mark.order_id == label.order_id for mark in visitor.marks)
        if known or (current is not None and session.knows_order(current, label.order_id, time)):
            self.effects.labels["duplicate"] += 1
            return
        if current is None and time + self.rules.gap_ms <= self.owner.watermark_time:
            # Its session is over and was learned as not bought; nothing is left here to correct it with.
            self.effects.labels["unmatched"] += 1
            return
        mark = state.Mark(time, label.order_id, label.session_id, offset)
        visitor.marks = [*visitor.marks[1 - state.MARKS_MAX :], mark]
        if current is None:
            self.effects.labels["early"] += 1
            return
        session.remember_order(current, session.order_of(label.order_id, time))
        resolved = outcomes.resolve(current, label.visitor_id, label=1, source="label", time=time, until=time)
        self.resolved.append(_Resolved((_BY_LABEL, offset), label.visitor_id, resolved))
        self.effects.labels["resolved" if resolved else "early"] += 1

    # ---- sessions that end ------------------------------------------------------------------------------------------

    def _close_due(
        self, visitor_id: str, visitor: state.Visitor, watermark: int, index: int, event_time: int | None = None
    ) -> None:
        """Close the visitor's sessions that are over at the watermark, or by the visitor's own next event."""
        gap_ms = self.rules.gap_ms
        over = []
        for current in visitor.sessions:
            deadline = current.last + gap_ms
            if deadline <= watermark:
                over.append((self._passed_at(deadline, index), deadline, current))
            elif event_time is not None and deadline < event_time:
                over.append(((_BY_EVENT, self.offsets[index]), deadline, current))
        over.sort(key=lambda entry: (entry[0], entry[1], entry[2].session_id))
        for trigger, deadline, current in over:
            self._close(visitor_id, visitor, current, trigger, deadline, "gap")
        # With a session open the marks wait for the visitor's own next record: where a batch ends must not matter.
        if visitor.marks and (event_time is not None or not visitor.sessions):
            session.drop_marks(visitor, watermark, gap_ms=gap_ms)

    def _passed_at(self, deadline: int, index: int) -> tuple[int, int]:
        """The event whose watermark first passed the deadline, at most the one at `index`; else the clock did."""
        place = min(bisect_left(self.plan.watermarks, deadline), index)
        return (_BY_EVENT, self.offsets[place]) if place < len(self.offsets) else (_BY_CLOCK, deadline)

    def _close(
        self,
        visitor_id: str,
        visitor: state.Visitor,
        current: state.Session,
        trigger: tuple[int, int],
        time: int,
        reason: Literal["gap", "bound"],
    ) -> None:
        told = session.own_marks(visitor, current, gap_ms=self.rules.gap_ms)
        visitor.sessions.remove(current)
        visitor.marks = [mark for mark in visitor.marks if mark not in told]
        for mark in told:
            resolved = outcomes.resolve(current, visitor_id, label=1, source="label", time=mark.time, until=mark.time)
            self.resolved.append(_Resolved(trigger, visitor_id, resolved))
        resolved = outcomes.resolve(current, visitor_id, label=0, source="session_end", time=time)
        self.resolved.append(_Resolved(trigger, visitor_id, resolved))
        self.effects.closed.append(
            (
                visitor_id.encode(),
                records.encode(
                    records.ClosedSession(
                        visitor_id=visitor_id,
                        session_id=current.session_id,
                        start=current.start,
                        end=current.last,
                        duration_ms=current.last - current.start,
                        events=current.events,
                        purchases=current.purchases,
                        labelled_checkouts=len(told),
                        spend=current.spend,
                        source=current.source,
                        country=current.country,
                        reason=reason,
                    )
                ),
            )
        )
        self.effects.sessions_closed += 1
        session.remember_finished(visitor.history, current)
        self.changed[visitor_id] = visitor

    # ---- what it comes to -------------------------------------------------------------------------------------------

    def _score(self) -> None:
        if not self.rows:
            return
        fixed = features.compute(self.raw)
        x = features.to_float(fixed)
        scores = self.scorer.score_many(x, [row.keys for row in self.rows]).tolist()
        packed = features.pack(fixed)
        values = x.tolist()
        scorer, rules, effects = self.scorer, self.rules, self.effects
        for row, score, data, numbers in zip(self.rows, scores, packed, values, strict=True):
            event, sample = row.event, row.sample
            sample.score, sample.x, sample.model_version, sample.cold = score, data, scorer.version, scorer.cold
            band = records.BANDS[(score >= rules.band_fence_min) + (score >= rules.band_likely_min)]
            effects.bands[band] += 1
            key = event.visitor_id.encode()
            effects.features.append(
                (
                    key,
                    records.encode(
                        records.FeatureRecord(
                            event.event_id,
                            event.visitor_id,
                            row.session_id,
                            row.event_time,
                            event.event_type,
                            row.events,
                            features.FeatureValues(*numbers),
                            row.keys,
                        )
                    ),
                )
            )
            effects.scores.append(
                (
                    key,
                    records.encode(
                        records.ScoreRecord(
                            event.event_id,
                            event.visitor_id,
                            row.session_id,
                            row.event_time,
                            event.event_type,
                            row.events,
                            score,
                            band,
                            scorer.name,
                            scorer.version,
                            scorer.updates,
                            scorer.cold,
                            row.late,
                            self.now_ms,
                        )
                    ),
                )
            )
            row.visitor.last_score = state.LastScore(
                event.event_id, row.event_time, score, band, scorer.version, scorer.cold, data
            )

    def _write_examples(self) -> None:
        # In an order, and with ordinals, that depend neither on where batches are cut nor on which other visitors'
        # outcomes were already taken before a crash.
        self.resolved.sort(key=lambda entry: (*entry.trigger, crc32(entry.visitor_id.encode()), entry.visitor_id))
        place, n = None, 0
        for trigger, visitor_id, resolved in self.resolved:
            rank = crc32(visitor_id.encode())
            if place != (trigger, rank):
                place, n = (trigger, rank), 0
            for outcome in resolved:
                self._write_example(outcome, (*trigger, rank << _ORDINAL_BITS | n))
                n += 1

    def _write_example(self, outcome: outcomes.Outcome, position: tuple[int, int, int]) -> None:
        sample = outcome.sample
        self.effects.examples.append(
            (
                outcome.visitor_id.encode(),
                records.encode(
                    records.Example(
                        event_id=sample.event_id,
                        visitor_id=outcome.visitor_id,
                        session_id=outcome.session_id,
                        event_time=sample.event_time,
                        event_type=EVENT_TYPES[sample.event_type],
                        events=sample.events,
                        features=features.FeatureValues(*features.unpack(sample.x)),
                        keys=outcome.keys,
                        score=sample.score,
                        model_version=sample.model_version,
                        cold=sample.cold,
                        label=outcome.label,
                        weight=outcome.weight,
                        label_source=outcome.source,
                        label_time=outcome.time,
                        position=position,
                        touched=outcome.touched,
                    )
                ),
            )
        )

    def _write_states(self) -> None:
        due = set(self.plan.due)
        schedule, gap_ms = self.owner.schedule, self.rules.gap_ms
        for visitor_id, visitor in self.changed.items():
            self.effects.states[visitor_id] = state.encode(visitor)
            known = schedule.get(visitor_id)
            deadline = visitor.deadline(gap_ms)
            earlier = deadline is not None and (known is None or deadline < known)
            if earlier or (visitor_id in due and deadline != known):
                self.effects.deadlines[visitor_id] = deadline

    def _visitor(self, visitor_id: str) -> state.Visitor:
        visitor = self.visitors.get(visitor_id)
        if visitor is None:
            blob = self.plan.blobs[visitor_id]
            visitor = state.Visitor() if blob is None else state.decode(blob)
            self.visitors[visitor_id] = visitor
        return visitor

    def _watermark_before(self, index: int) -> int:
        if index:
            return self.plan.watermarks[index - 1]
        return self.owner.watermark_time
