"""The reference: what the records of one partition must come to, by a plain loop over its events in offset order.

It shares with the engine what defines the product (decoding, the session fold, features, outcomes, the watermark) and
nothing of how the engine gets there: no batches, no plan, no cache, no schedule of lazy deadlines, no replay. A session
ends here at the very event whose watermark passes its deadline.

Four things are not told by the events alone, and are taken from the outputs as *evidence*; each is then held against
everything else that was written:

* where the wall clock moved an idle partition on: closed sessions say which of them ended by the clock, and between
  which events; a score says the watermark after its event;
* which labels had been told when a session ended: the closed session says the visitor's last one;
* where a label came that taught at once, or corrected what had been taught: its examples say the visitor's newest event
  by then. A label without such examples taught nothing before its session's end, and corrected nothing;
* where a batch had too many sessions to end and left some to the next: those say that the clock ended them, with a
  deadline that an event had passed before.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final, Literal
from zlib import crc32

from stream_app.core import checkouts, codec, corrections, features, outcomes, session, state
from stream_app.core.audit.expected import Duplicate, Evidence, Expected, Learnable, Refused, Scored
from stream_app.core.batch import BY_CLOCK, BY_EVENT, BY_LABEL
from stream_app.core.codec import Rejected
from stream_app.core.emission import Ending, closed_record, last_score
from stream_app.core.events import EVENT_CODE, CheckoutLabel, Event
from stream_app.core.forgetting import requested
from stream_app.core.outcomes import Outcome
from stream_app.core.pages import GROUP_CODE, step_group
from stream_app.core.plan import Record, Rules
from stream_app.core.watermark import UNKNOWN, Watermark

_PURCHASE: Final = GROUP_CODE["purchase"]
#: As in the engine: ranks decide which events of a long episode are sampled, so they are part of what is promised.
_RANK_MIX: Final = 2_654_435_761


class PartitionFold:
    """The loop. Feed all labels, then events in offset order; `take` what they come to now and then.

    Visitors are held as objects while they have an open session and as blobs after, about 0.5 kB each.
    """

    def __init__(self, rules: Rules, evidence: Evidence, *, partitions: int = 1) -> None:
        self.rules = rules
        self.evidence = evidence
        self.watermark = Watermark()
        self._check_keys = partitions > 1
        self._visitors: dict[str, state.Visitor | bytes] = {}
        self._touched: dict[str, None] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._labels: dict[str, deque[tuple[int, CheckoutLabel]]] = {}
        #: visitor → (offset of its newest event by then, label offset) of the labels that taught at once
        self._taught: dict[str, deque[tuple[int, int]]] = {}
        #: events that a careless sender calls the same → the watermarks after those that were folded
        self._spent: dict[tuple[str, str, str, object], Counter[int]] = {}
        self._clock_read = 0
        #: visitors that were forgotten while labels of theirs waited: the states cannot be worked out
        self.unsure: set[str] = set()
        self._expected: list[Expected] = []
        #: of the scored events among them, what their visitors keep of them
        self._scores: list[state.LastScore] = []
        #: (trigger, rank, visitor) → outcomes of the place at hand
        self._resolved: dict[tuple[tuple[int, int], int, str], list[list[Outcome]]] = {}

    # ---- in ---------------------------------------------------------------------------------------------------------

    def label(self, record: Record) -> str | None:
        """Queue one label until it is known to have been told; its visitor, None if it is refused."""
        label = codec.decode_label(record.value, record_time_ms=record.timestamp)
        if not isinstance(label, Rejected) and self._check_keys:
            label = codec.check_key(record.key, label.visitor_id) or label
        if isinstance(label, Rejected):
            self._expected.append(Refused(record, label))
            return None
        self._labels.setdefault(label.visitor_id, deque()).append((record.offset, label))
        place = self.evidence.taught_at(record.offset)
        if place is not None:
            self._taught.setdefault(label.visitor_id, deque()).append((place, record.offset))
        return label.visitor_id

    def event(self, record: Record) -> None:
        """Fold one record of the events topic."""
        self._clock_before(record.offset)
        if (forgotten := requested(record)) is not None:
            self._forget(forgotten)
            return
        event = codec.decode_event(record.value, record_time_ms=record.timestamp)
        if not isinstance(event, Rejected) and self._check_keys:
            event = codec.check_key(record.key, event.visitor_id) or event
        if isinstance(event, Rejected):
            self._expected.append(Refused(record, event))
            return
        visitor = self._visitor(event.visitor_id)
        fingerprint = crc32(f"{event.event_id}\0{event.event_type}\0{event.event_time}\0{event.item_id}".encode())
        repeated = fingerprint in visitor.recent
        if repeated:
            self._believe_ends(event, record)
        else:
            self._believe_scores(event, record.timestamp)
        before = self._watermark_time()
        self._observe(self.watermark, event, record.timestamp)
        if repeated:
            self._expected.append(Duplicate(record.offset, event))
        else:
            self._fold(visitor, event, record.offset, before, fingerprint)
        here = Ending(BY_EVENT, record.offset, record.offset + 1)
        for deadline, visitor_id, ended in self._due():
            self._close(visitor_id, self._visitor(visitor_id), ended, here, deadline, "gap")
        self._tell_outcomes()

    def finish(self, *, next_offset: int, labels_offset: int, newest: int) -> None:
        """End what the clock has ended after the last event; `newest` is the committed watermark's event time.

        `labels_offset` is that of the next label: those before it have been told.
        """
        self._clock_before(next_offset)
        if newest > self.watermark.newest:
            self._move_on(newest)
            self._end_by_clock(next_offset)
        for visitor_id in list(self._labels):
            self._apply_labels(visitor_id, self._visitor(visitor_id), below=labels_offset)
        self._tell_outcomes()

    # ---- out --------------------------------------------------------------------------------------------------------

    def take(self) -> list[Expected]:
        """What the records since the last call come to, complete with features."""
        taken, self._expected = self._expected, []
        rows = [entry for entry in taken if isinstance(entry, Scored)]
        if rows:
            packed = features.pack(features.compute([row.raw for row in rows]))
            for row, last, x in zip(rows, self._scores, packed, strict=True):
                row.sample.x = last.x = x
        self._scores = []
        for visitor_id in self._touched:
            visitor = self._visitors[visitor_id]
            if isinstance(visitor, state.Visitor) and not visitor.sessions:
                self._visitors[visitor_id] = state.encode(visitor)
        self._touched = {}
        return taken

    def visitors(self) -> Iterable[str]:
        """All that were seen."""
        return self._visitors.keys()

    def state_of(self, visitor_id: str) -> state.Visitor | None:
        """A private copy of the visitor's state, without what depends on the model; None if it was never seen."""
        visitor = self._visitors.get(visitor_id)
        if visitor is None:
            return None
        return state.decode(visitor if isinstance(visitor, bytes) else state.encode(visitor))

    # ---- time -------------------------------------------------------------------------------------------------------

    def _watermark_time(self) -> int:
        return self.watermark.time(grace_ms=self.rules.grace_ms)

    def _observe(self, watermark: Watermark, event: Event, received: int) -> None:
        assert isinstance(event.event_time, int)
        watermark.observe(
            event.event_time, crc32(event.visitor_id.encode()), received=received, grace_ms=self.rules.grace_ms
        )

    def _believe_scores(self, event: Event, received: int) -> None:
        """Move time on where the event's score shows that the clock did so before it, without ending anybody."""
        told = Counter(self.evidence.watermarks_after(event))
        name = (event.visitor_id, event.event_id, event.event_type, event.event_time)
        is_one_of_several = told.total() > 1
        told -= self._spent.get(name, Counter())
        mine = self._reached_with(event, received)
        beyond = [watermark for watermark in told if watermark > mine]
        if beyond and mine not in told:
            self._move_on(min(beyond) + self.rules.grace_ms)
        if is_one_of_several:
            self._spent.setdefault(name, Counter())[self._reached_with(event, received)] += 1

    def _believe_ends(self, event: Event, record: Record) -> None:
        """The same for an event without a score: sessions that it has ended show how far time had come."""
        deadline = self.evidence.passed_by(record.offset)
        if deadline > self._reached_with(event, record.timestamp):
            # That the clock moved at all may have been enough for the event itself to be believed.
            self._move_on(self.watermark.newest + 1)
        if deadline > self._reached_with(event, record.timestamp):
            self._move_on(deadline + self.rules.grace_ms)

    def _reached_with(self, event: Event, received: int) -> int:
        """The watermark's time if the event were observed now."""
        trial = self.watermark.copy()
        self._observe(trial, event, received)
        return trial.time(grace_ms=self.rules.grace_ms)

    def _move_on(self, newest: int) -> None:
        """Let the clock move event time on to `newest`, as far as it is not there."""
        trial = self.watermark.copy()
        trial.advance(1)
        if trial.newest != UNKNOWN:
            self.watermark.advance(max(newest - trial.newest + 1, 1 if self.watermark.newest == UNKNOWN else 0))

    def _clock_before(self, offset: int) -> None:
        """End what the evidence says the clock has ended before the event at `offset`."""
        clock = self.evidence.clock
        while self._clock_read < len(clock) and clock[self._clock_read][0] <= offset:
            place, deadline = clock[self._clock_read]
            self._clock_read += 1
            if deadline > self._watermark_time():
                self._move_on(deadline + self.rules.grace_ms)
            self._end_by_clock(place)

    # ---- one event --------------------------------------------------------------------------------------------------

    def _fold(self, visitor: state.Visitor, event: Event, offset: int, before: int, fingerprint: int) -> None:
        visitor_id, event_time, gap_ms = event.visitor_id, event.event_time, self.rules.gap_ms
        assert isinstance(event_time, int)
        here = Ending(BY_EVENT, offset, offset + 1)
        watermark = self._watermark_time()
        self._apply_taught(visitor_id, visitor)
        # Over at this event, or by the visitor's own coming back.
        over = [s for s in visitor.sessions if s.last + gap_ms <= watermark or s.last + gap_ms < event_time]
        for ended in sorted(over, key=lambda s: (s.last, s.session_id)):
            self._close(visitor_id, visitor, ended, here, ended.last + gap_ms, "gap")
        corrections.forget(visitor, watermark, gap_ms=gap_ms, late_ms=self.rules.late_label_ms)
        if visitor.history.last_seen and event_time - visitor.history.last_seen > self.rules.history_ttl_ms:
            visitor.history = state.History()
        current = session.find_open(visitor, event, event_time, gap_ms=gap_ms)
        bot = event.bot is True
        if current is not None and session.must_split(current, event_time):
            bot = current.bot = True
            self._close(visitor_id, visitor, current, here, event_time, "bound")
            current = None
        if current is None:
            if len(visitor.sessions) >= state.OPEN_SESSIONS_MAX:
                oldest = min(visitor.sessions, key=lambda s: (s.last, s.session_id))
                self._close(visitor_id, visitor, oldest, here, event_time, "bound")
            current = session.open_session(visitor, event, event_time)
        current.bot = current.bot or bot
        group = step_group(event.event_type, event.page_url)
        if group == _PURCHASE:
            same, order = session.is_same_checkout(current, event), session.order_of(event.order_id, event_time)
            if same:
                corrections.add_row(visitor, current, order)
            else:
                bought = outcomes.resolve(current, label=1, source=state.PURCHASE, time=event_time, orders=[order])
                self._resolve(here.trigger, visitor_id, visitor, bought)
                session.start_episode(current, event_time)
            session.count_purchase(current, event, event_time, same_checkout=same)
        step = session.fold(current, event, event_time, group, visitor.history)
        sample = state.Sample(
            rank=fingerprint * _RANK_MIX & 0xFFFFFFFF,
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
            transition=step.transition,
            transitions=outcomes.pairs(current.transitions),
        )
        keys = outcomes.sample_keys(
            sample,
            list(current.items),
            list(current.categories),
            list(current.brands),
            source=current.source,
            country=current.country,
        )
        late = event_time + gap_ms <= before
        self._expected.append(
            Scored(
                offset, event, current.session_id, current.events, late, watermark, keys, sample, step.raw, current.bot
            )
        )
        outcomes.admit(current, sample, reservoir_size=self.rules.reservoir_size)
        last = last_score(event.event_id, event_time, current.session_id, sample, "")
        visitor.keep_score(current, last)
        self._scores.append(last)
        visitor.events_offset = offset
        visitor.recent = [*visitor.recent, fingerprint][-state.RECENT_EVENTS_MAX :]
        if current.last + gap_ms <= watermark:
            self._close(visitor_id, visitor, current, here, current.last + gap_ms, "gap")
        else:
            heapq.heappush(self._deadlines, (current.last + gap_ms, visitor_id))

    # ---- sessions that end ------------------------------------------------------------------------------------------

    def _end_by_clock(self, next_offset: int) -> None:
        for deadline, visitor_id, ended in self._due():
            ending = Ending(BY_CLOCK, deadline, next_offset)
            self._close(visitor_id, self._visitor(visitor_id), ended, ending, deadline, "gap")
        self._tell_outcomes()

    def _due(self) -> Iterator[tuple[int, str, state.Session]]:
        """Deadline, visitor and session of all that the watermark has passed, earliest first; the caller ends each."""
        watermark, gap_ms = self._watermark_time(), self.rules.gap_ms
        while self._deadlines and self._deadlines[0][0] <= watermark:
            deadline, visitor_id = heapq.heappop(self._deadlines)
            visitor = self._visitors.get(visitor_id)
            if not isinstance(visitor, state.Visitor):
                continue
            over = [s for s in visitor.sessions if s.last + gap_ms == deadline]
            for ended in sorted(over, key=lambda s: s.session_id):
                yield deadline, visitor_id, ended

    def _close(
        self,
        visitor_id: str,
        visitor: state.Visitor,
        ended: state.Session,
        ending: Ending,
        time: int,
        reason: Literal["gap", "bound"],
    ) -> None:
        gap_ms = self.rules.gap_ms
        self._touched[visitor_id] = None
        plain = closed_record(visitor_id, ended, labelled=0, reason=reason, ending=Ending(-1, -1, -1), labels_offset=-1)
        told = self.evidence.ending_of(plain)
        if told is not None:
            self._apply_labels(visitor_id, visitor, below=told.labels_offset + 1)
            if ending.kind == BY_EVENT and told.position == (BY_CLOCK, time) and told.next_offset > ending.place:
                # One of too many: the batch of that event left it to the next.
                ending = Ending(*told.position, told.next_offset)
        marks = checkouts.settle(visitor, ended, gap_ms=gap_ms)
        visitor.sessions = [s for s in visitor.sessions if s is not ended]
        visitor.marks = [mark for mark in visitor.marks if mark not in marks.all]
        for mark in marks.told:
            self._resolve(ending.trigger, visitor_id, visitor, outcomes.resolve_told(ended, mark))
        left = outcomes.resolve(ended, label=0, source=state.SESSION_END, time=time, orders=ended.orders)
        self._resolve(ending.trigger, visitor_id, visitor, left)
        self._expected.append(
            closed_record(
                visitor_id,
                ended,
                labelled=len(marks.told),
                reason=reason,
                ending=ending,
                labels_offset=visitor.labels_offset,
            )
        )
        session.remember_finished(visitor.history, ended)

    def _resolve(
        self, trigger: tuple[int, int], visitor_id: str, visitor: state.Visitor, taught: state.Taught | None
    ) -> None:
        if taught is not None:
            self._tell(trigger, visitor_id, outcomes.tell(taught, visitor_id, events_offset=visitor.events_offset))
            corrections.remember(visitor, taught, late_ms=self.rules.late_label_ms)

    def _tell(self, trigger: tuple[int, int], visitor_id: str, resolved: list[Outcome]) -> None:
        place = (trigger, crc32(visitor_id.encode()), visitor_id)
        self._resolved.setdefault(place, []).append(resolved)

    def _tell_outcomes(self) -> None:
        """The examples of the place at hand; visitors whose ids have one CRC share the ordinals, by their ids."""
        taken: dict[tuple[tuple[int, int], int], int] = {}
        for (trigger, rank, _), told in sorted(self._resolved.items(), key=lambda entry: entry[0]):
            for resolved in told:
                for left, outcome in zip(reversed(range(len(resolved))), resolved, strict=True):
                    n = taken.get((trigger, rank), 0)
                    taken[trigger, rank] = n + 1
                    self._expected.append(Learnable(outcome, (*trigger, rank << 16 | n), left))
        self._resolved = {}

    def _forget(self, visitor_id: str) -> None:
        """An erasure: as if nothing had been known. Which of its labels were told before, nothing shows any more."""
        self._visitors.pop(visitor_id, None)
        self._touched.pop(visitor_id, None)
        if self._labels.get(visitor_id):
            self.unsure.add(visitor_id)

    # ---- visitors and their labels ----------------------------------------------------------------------------------

    def _visitor(self, visitor_id: str) -> state.Visitor:
        visitor = self._visitors.get(visitor_id)
        if visitor is None:
            visitor = state.Visitor()
        elif isinstance(visitor, bytes):
            visitor = state.decode(visitor)
        self._visitors[visitor_id] = visitor
        self._touched[visitor_id] = None
        return visitor

    def _apply_taught(self, visitor_id: str, visitor: state.Visitor) -> None:
        """Before an event of the visitor: tell it the labels that taught at once after its last one."""
        taught = self._taught.get(visitor_id)
        while taught and taught[0][0] <= visitor.events_offset:
            _, offset = taught.popleft()
            self._apply_labels(visitor_id, visitor, below=offset + 1)

    def _apply_labels(self, visitor_id: str, visitor: state.Visitor, *, below: int) -> None:
        """Tell the visitor its labels before an offset."""
        waiting = self._labels.get(visitor_id)
        while waiting and waiting[0][0] < below:
            offset, label = waiting.popleft()
            assert isinstance(label.checkout_time, int)
            visitor.labels_offset = offset
            self._apply_label(visitor_id, visitor, offset, label)

    def _apply_label(self, visitor_id: str, visitor: state.Visitor, offset: int, label: CheckoutLabel) -> None:
        assert isinstance(label.checkout_time, int)
        mark = state.Mark(label.checkout_time, label.order_id, label.session_id, offset)
        did = self.evidence.taught_at(offset) is not None
        if label.kind != "checkout":
            visitor.marks = [told for told in visitor.marks if told.order_id != label.order_id]
            visitor.taken_back = corrections.with_order(visitor.taken_back, label.order_id)
            if did:
                self._correct(visitor_id, visitor, mark, corrections.take_back)
        elif label.order_id not in visitor.taken_back:
            marks = checkouts.add(visitor.marks, mark)
            if marks is not visitor.marks and did and not self._teach(visitor_id, visitor, mark):
                marks = visitor.marks
                self._correct(visitor_id, visitor, mark, corrections.tell_checkout)
            visitor.marks = marks

    def _teach(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark) -> bool:
        sure = checkouts.sure_session(visitor, mark, gap_ms=self.rules.gap_ms)
        told = outcomes.resolve_told(sure, mark) if sure is not None else None
        self._resolve((BY_LABEL, mark.offset), visitor_id, visitor, told)
        return told is not None

    def _correct(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark, find: corrections.Find) -> None:
        for correction in find(visitor, mark, gap_ms=self.rules.gap_ms, late_ms=self.rules.late_label_ms):
            told = corrections.tell_anew(correction, visitor_id, events_offset=visitor.events_offset)
            self._tell((BY_LABEL, mark.offset), visitor_id, told)
