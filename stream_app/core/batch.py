"""One batch, applied: every record folded on private copies, every session that is over closed.

Labels first, then events in offset order, then what is over at the batch's watermark. What it comes to as records is
written by `emission.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Literal
from zlib import crc32

import msgspec

from stream_app.core import checkouts, corrections, moments, outcomes, records, session, state
from stream_app.core.effects import Effects, Keyed, Position
from stream_app.core.emission import (
    MIX,
    Ending,
    Resolved,
    Scored,
    closed_record,
    last_score,
    write_examples,
    write_scores,
)
from stream_app.core.events import EVENT_CODE, CheckoutLabel, Event
from stream_app.core.pages import GROUP_CODE, step_group
from stream_app.core.plan import Plan, Rules, Scorer
from stream_app.core.records import Keys
from stream_app.core.schedule import ExpirySchedule

_PURCHASE: Final = GROUP_CODE["purchase"]
#: The kinds of an example's position, see `records.Example`.
BY_LABEL: Final = 0
BY_EVENT: Final = 1
BY_CLOCK: Final = 2


def effects_of(before: Position, plan: Plan, now_ms: int) -> Effects:
    """What is certain of a batch before anything is folded."""
    return Effects(
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


def count_rejected(effects: Effects, plan: Plan) -> None:
    """Count what was not accepted."""
    for letter in plan.rejected_events:
        effects.events["unknown", letter.reason] += 1
    if plan.rejected_labels:
        effects.labels["rejected"] += len(plan.rejected_labels)


def open_visitors(schedule: ExpirySchedule, effects: Effects) -> int:
    """How many visitors will have a deadline once the effects are taken over."""
    change = sum((deadline is not None) - (visitor in schedule) for visitor, deadline in effects.deadlines.items())
    return len(schedule) + change


class Batch:
    """One call of `apply`: the copies it folds on and the outcomes it collects."""

    def __init__(
        self, rules: Rules, before: Position, schedule: ExpirySchedule, plan: Plan, scorer: Scorer, now_ms: int
    ) -> None:
        self.rules = rules
        self.schedule = schedule
        self.plan = plan
        self.scorer = scorer
        self.now_ms = now_ms
        self.before = before
        self.watermark_before = before.watermark.time(grace_ms=rules.grace_ms)
        self.visitors: dict[str, state.Visitor] = {}
        self.changed: dict[str, state.Visitor] = {}
        self.rows: list[Scored] = []
        self.raw: list[tuple[float, ...]] = []
        self.waiting: list[moments.Waiting] = []
        self.resolved: list[Resolved] = []
        self.due: Sequence[str] = ()
        self.closed: list[Keyed] = []
        self.effects = effects_of(before, plan, now_ms)
        self.effects.closed = self.closed

    def run(self) -> Effects:
        """Fold, score, write: everything that follows from the batch."""
        self.fold(((index, *entry) for index, entry in enumerate(self.plan.events)), self.plan.due)
        self.score()
        write_examples(self.effects, self.resolved)
        self.write_states()
        self.effects.position.open_visitors = open_visitors(self.schedule, self.effects)
        count_rejected(self.effects, self.plan)
        return self.effects

    def fold(self, events: Iterable[tuple[int, int, Event]], due: Sequence[str]) -> None:
        """Fold the labels, these of the batch's events (place, offset, event), and end what is over of all of theirs.

        `due` are visitors to look at besides.
        """
        for offset, label in self.plan.labels:
            self._label(offset, label)
        for index, offset, event in events:
            self._event(index, offset, event)
        # Besides those that were due before, whoever has something in this batch that is over at its end.
        self.due = due
        until, gap_ms, quiet_ms = self.plan.due_until, self.rules.gap_ms, self.rules.quiet_ms
        for visitor_id in dict.fromkeys((*due, *self.changed)):
            visitor = self._visitor(visitor_id)
            deadline = visitor.deadline(gap_ms, quiet_ms)
            if deadline is not None and deadline <= until:
                self._quiet(visitor_id, visitor, until)
                self._close_due(visitor_id, visitor, until, len(self.plan.offsets))

    def score(self) -> None:
        """Score what was folded, and write its records and its moments."""
        write_scores(self.effects, self.rules, self.scorer, self.rows, self.raw, now_ms=self.now_ms)
        turn = moments.units_of(self.rules.trend_turn)
        moments.tell(self.effects, self.rows, self.raw, self.waiting, turn=turn, now_ms=self.now_ms)

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
        watermark = self.plan.watermarks[index]
        here = Ending(BY_EVENT, offset, offset + 1)
        late = event_time + gap_ms <= self._watermark_before(index)
        self.effects.events[event.event_type, "late" if late else "scored"] += 1
        # What its own event says of time comes too late for the visitor to be quiet.
        self._quiet(visitor_id, visitor, self._watermark_before(index))
        self._close_due(visitor_id, visitor, watermark, index, event_time)
        if visitor.taught:
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
            self.effects.sessions_opened += 1
        current.bot = current.bot or bot
        group = step_group(event.event_type, event.page_url)
        bought = group == _PURCHASE and self._purchase(visitor_id, visitor, current, event, event_time, offset)
        step = session.fold(current, event, event_time, group, visitor.history)
        # By position: a keyword costs as much as the field, and this is made for every event.
        sample = state.Sample(
            fingerprint * MIX & 0xFFFFFFFF,
            event.event_id,
            EVENT_CODE[event.event_type],
            event_time,
            current.events,
            offset,
            b"",
            step.item,
            step.category,
            step.brand,
            step.step,
            len(current.items),
            len(current.categories),
            len(current.brands),
            current.steps,
            transition=step.transition,
            transitions=outcomes.pairs(current.transitions),
        )
        keys = Keys(
            event.item_id if step.item >= 0 else None,
            event.category if step.category >= 0 else None,
            event.brand if step.brand >= 0 else None,
            current.source,
            current.country,
            step.step,
            list(current.items),
            list(current.categories),
            list(current.brands),
            step.transition,
            sample.transitions,
        )
        last = last_score(event.event_id, event_time, current.session_id, sample, "")
        visitor.keep_score(current, last)
        self.rows.append(
            Scored(
                event,
                event_time,
                current.session_id,
                current.events,
                late,
                sample,
                keys,
                watermark,
                last,
                current,
                current.item_last,
                current.category_last,
                keys.brands[current.brand_last] if current.brand_last >= 0 else None,
                bought,
                current.bot,
            )
        )
        self.raw.append(step.raw)
        self.effects.bot_events += current.bot
        outcomes.admit(current, sample, reservoir_size=self.rules.reservoir_size)
        visitor.events_offset = offset
        visitor.recent = [*visitor.recent[1 - state.RECENT_EVENTS_MAX :], fingerprint]
        if current.last + gap_ms <= watermark:
            self._close(visitor_id, visitor, current, here, current.last + gap_ms, "gap")
        self.changed[visitor_id] = visitor

    def _purchase(
        self,
        visitor_id: str,
        visitor: state.Visitor,
        current: state.Session,
        event: Event,
        event_time: int,
        offset: int,
    ) -> bool:
        """Whether it begins a checkout, and is not a further row of one."""
        same, order = session.is_same_checkout(current, event), session.order_of(event.order_id, event_time)
        if same:
            corrections.add_row(visitor, current, order)
        else:
            bought = outcomes.resolve(current, label=1, source=state.PURCHASE, time=event_time, orders=[order])
            self._tell((BY_EVENT, offset), visitor_id, visitor, bought)
            session.start_episode(current, event_time)
        session.count_purchase(current, event, event_time, same_checkout=same)
        return not same

    def _label(self, offset: int, label: CheckoutLabel) -> None:
        time = label.checkout_time
        assert isinstance(time, int)
        visitor = self._visitor(label.visitor_id)
        if offset <= visitor.labels_offset:
            self.effects.labels["replayed"] += 1
            return
        visitor.labels_offset = offset
        self.changed[label.visitor_id] = visitor
        mark = state.Mark(time, label.order_id, label.session_id, offset)
        if label.kind != "checkout":
            self.effects.labels[self._take_back(label.visitor_id, visitor, mark) or label.kind] += 1
        elif label.order_id in visitor.taken_back:
            self.effects.labels["taken_back"] += 1
        else:
            self.effects.labels[self._told(label.visitor_id, visitor, mark)] += 1

    def _told(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark) -> str:
        """A checkout was told; what came of it."""
        marks = checkouts.add(visitor.marks, mark)
        if marks is visitor.marks:
            return "duplicate"
        if self._teach(visitor_id, visitor, mark):
            came_of_it = "resolved"
        elif self._correct(visitor_id, visitor, mark, corrections.tell_checkout):
            # The session that it belongs to is over, and has taken it.
            return "corrected"
        else:
            came_of_it = self._what_it_told(visitor, mark)
        if came_of_it in ("resolved", "matched") and all(told.order_id != mark.order_id for told in visitor.marks):
            self._wait(moments.bought_by_label(len(self.rows), visitor_id, visitor, mark, gap_ms=self.rules.gap_ms))
        visitor.marks = marks
        return came_of_it

    def _take_back(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark) -> str | None:
        """An order was taken back; what came of it, None if nothing is known of the order."""
        waiting = [told for told in visitor.marks if told.order_id != mark.order_id]
        was_waiting, visitor.marks = len(waiting) < len(visitor.marks), waiting
        visitor.taken_back = corrections.with_order(visitor.taken_back, mark.order_id)
        if self._correct(visitor_id, visitor, mark, corrections.take_back):
            return "corrected"
        return "taken_back" if was_waiting else None

    def _teach(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark) -> bool:
        """Resolve at once what the label decides for good; whether there was something. Its mark decides the rest."""
        sure = checkouts.sure_session(visitor, mark, gap_ms=self.rules.gap_ms)
        told = outcomes.resolve_told(sure, mark) if sure is not None else None
        self._tell((BY_LABEL, mark.offset), visitor_id, visitor, told)
        return told is not None

    def _correct(self, visitor_id: str, visitor: state.Visitor, mark: state.Mark, find: corrections.Find) -> bool:
        """Tell anew what the label corrects; whether there was something."""
        found = find(
            visitor,
            mark,
            gap_ms=self.rules.gap_ms,
            late_ms=self.rules.late_label_ms,
            watermark=self.watermark_before,
        )
        for correction in found:
            told = corrections.tell_anew(correction, visitor_id, events_offset=visitor.events_offset)
            self.resolved.append(Resolved((BY_LABEL, mark.offset), visitor_id, told))
        return bool(found)

    def _tell(
        self, trigger: tuple[int, int], visitor_id: str, visitor: state.Visitor, taught: state.Taught | None
    ) -> None:
        """Tell an outcome, and remember that."""
        if taught is not None:
            told = outcomes.tell(taught, visitor_id, events_offset=visitor.events_offset)
            self.resolved.append(Resolved(trigger, visitor_id, told))
            corrections.remember(visitor, taught, late_ms=self.rules.late_label_ms)

    def _what_it_told(self, visitor: state.Visitor, mark: state.Mark) -> str:
        """For the counter alone: what the label comes to is decided when its session ends."""
        gap_ms = self.rules.gap_ms
        if any(known.order_id == mark.order_id for known in visitor.marks) or any(
            checkouts.saw_order(current, mark, gap_ms=gap_ms) for current in visitor.sessions
        ):
            return "duplicate"
        if any(checkouts.fits(current, mark, gap_ms=gap_ms) for current in visitor.sessions):
            return "matched"
        if corrections.is_told(visitor, mark, gap_ms=gap_ms):
            return "duplicate"
        # Its session is over and nothing of it is remembered, or its events are yet to come.
        return "unmatched" if mark.time + gap_ms <= self.watermark_before else "early"

    # ---- sessions that are quiet, sessions that end -----------------------------------------------------------------

    def _quiet(self, visitor_id: str, visitor: state.Visitor, until: int) -> None:
        """Tell which of the visitor's sessions the watermark `until` has found quiet, and had not before."""
        gap_ms = self.rules.gap_ms
        found = [
            (quiet_at, current.session_id, current)
            for current in visitor.sessions
            if (quiet_at := current.quiet_at(gap_ms, self.rules.quiet_ms)) is not None and quiet_at <= until
        ]
        # In the order in which they fell quiet: one look may find what two would have, where batches are cut elsewhere.
        for quiet_at, _, current in sorted(found, key=lambda one: one[:2]):
            deadline = current.last + gap_ms
            if deadline > until or self._step_to(quiet_at) < self._step_to(deadline):
                self._wait(moments.quiet(len(self.rows), visitor_id, visitor, current))
                self.changed[visitor_id] = visitor

    def _step_to(self, time: int) -> int:
        """Which event's watermark reached the time: −1 for what was reached before the batch, N if none did."""
        return -1 if time <= self.watermark_before else bisect_left(self.plan.watermarks, time)

    def _wait(self, waiting: moments.Waiting | None) -> None:
        if waiting is not None:
            self.waiting.append(waiting)

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
                over.append((self._at(index), deadline, current))
        over.sort(key=lambda entry: (entry[0].trigger, entry[1], entry[2].session_id))
        for ending, deadline, current in over:
            self._close(visitor_id, visitor, current, ending, deadline, "gap")

    def _passed_at(self, deadline: int, index: int) -> Ending:
        """The event whose watermark first passed the deadline, at most the one at `index`; else the clock did."""
        if deadline <= self.watermark_before:
            # The clock, or an event of a batch that had too many to end: where a batch begins says nothing of it.
            return Ending(BY_CLOCK, deadline, self.before.events_offset)
        place = min(bisect_left(self.plan.watermarks, deadline), index)
        if place < len(self.plan.offsets):
            return self._at(place)
        return Ending(BY_CLOCK, deadline, self.plan.events_offset)

    def _at(self, index: int) -> Ending:
        offset = self.plan.offsets[index]
        return Ending(BY_EVENT, offset, offset + 1)

    def _close(
        self,
        visitor_id: str,
        visitor: state.Visitor,
        current: state.Session,
        ending: Ending,
        time: int,
        reason: Literal["gap", "bound"],
    ) -> None:
        marks = checkouts.settle(visitor, current, gap_ms=self.rules.gap_ms)
        visitor.sessions.remove(current)
        visitor.marks = [mark for mark in visitor.marks if mark not in marks.all]
        for mark in marks.told:
            self._tell(ending.trigger, visitor_id, visitor, outcomes.resolve_told(current, mark))
        rest = outcomes.resolve(current, label=0, source=state.SESSION_END, time=time, orders=current.orders)
        self._tell(ending.trigger, visitor_id, visitor, rest)
        closed = closed_record(
            visitor_id,
            current,
            labelled=len(marks.told),
            reason=reason,
            ending=ending,
            labels_offset=visitor.labels_offset,
        )
        self.closed.append((visitor_id.encode(), records.encode(closed)))
        self.effects.sessions_closed += 1
        self.effects.sessions_bound += reason == "bound"
        self.effects.bot_sessions += current.bot
        session.remember_finished(visitor.history, current)
        self.changed[visitor_id] = visitor

    # ---- states -----------------------------------------------------------------------------------------------------

    def write_states(self) -> None:
        """Write the states, complete with their scores, and say which deadlines they change."""
        due = set(self.due)
        schedule, gap_ms, quiet_ms = self.schedule, self.rules.gap_ms, self.rules.quiet_ms
        for visitor_id, visitor in self.changed.items():
            self.effects.states[visitor_id] = state.encode(visitor)
        # Who was looked at too early, since deadlines are lazy, has only another deadline.
        for visitor_id in dict.fromkeys((*self.changed, *self.due)):
            known = schedule.get(visitor_id)
            deadline = self.visitors[visitor_id].deadline(gap_ms, quiet_ms)
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
        return self.watermark_before
