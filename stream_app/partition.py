"""The worker's loop for one partition: take over, then poll, plan, load, apply, publish, write behind, commit.

What a crash leaves after each step, and what mends it:

| crash after       | `at_least_once`: in Kafka       | `exactly_once`: in Kafka | in Redis | on restart               |
| ----------------- | ------------------------------- | ------------------------ | -------- | ------------------------ |
| poll … apply      | nothing                         | nothing                  | nothing  | the batch is read again  |
| announced, if     | what the batch will be          | –                        | nothing  | the same batch again     |
| need be           |                                 |                          |          |                          |
| outputs sent      | some or all outputs             | an aborted transaction   | nothing  | the same again; in the   |
|                   |                                 |                          |          | left column outputs      |
|                   |                                 |                          |          | repeat, same event_id    |
| changelog sent    | outputs, new states             | an aborted transaction   | nothing  | the view is brought up   |
|                   |                                 |                          |          | to the changelog; the    |
|                   |                                 |                          |          | batch again, its records |
|                   |                                 |                          |          | are known by the states  |
| committed         | –                               | everything               | nothing  | the view is brought up   |
| view written      | outputs, new states             | everything               | all      | left: as above           |
| offsets committed | everything (with the next       | –                        | all      | nothing to do            |
|                   | announcement, or in a pause)    |                          |          |                          |

The trainer drops repeated examples by their position. For that what is carried out again has to come to the same, also
where labels and events meet and where the clock ended sessions: hence the announcements (`announcing.py`).

The states in memory are the authority while the partition is owned; Redis trails by at most `behind.BATCHES_MAX`
batches. Any failure drops memory and takes the partition over again: there is one way to begin, and it is the one that
is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import msgspec

from stream_app.announcing import Announcements, boot_time
from stream_app.backends.ports import (
    BehindError,
    FencedError,
    LogError,
    PartitionLog,
    Polled,
    UnusableError,
    View,
    ViewError,
)
from stream_app.behind import Behind
from stream_app.beside import LARGE, beside
from stream_app.core import state
from stream_app.core.effects import Effects, Planned
from stream_app.core.forgetting import place_of_request, requested
from stream_app.core.processor import PartitionProcessor, Scorer
from stream_app.core.watermark import Watermark
from stream_app.erasing import Erasing
from stream_app.observe import Observer
from stream_app.patience import HAND_OVER_S_MAX
from stream_app.taking_over import TakingOver, ViewLostError
from stream_app.together import Together, Turn
from stream_app.tracing import ScoreHeaders, Tracing

#: A poll returns at the latest after this: how soon stopping and the clock of an idle partition are noticed.
POLL_MS: Final = 200

#: First and longest pause before a partition whose work failed is taken over again.
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 5.0

#: How long committed offsets that are older than what is known are asked for again: a coordinator reads a large log in
#: seconds after its broker's restart.
DOUBT_S: Final = 60.0

#: How often a partition in a pause looks whether somebody else wrote to its changelog.
INTRUDERS_S: Final = 10.0

_NOTHING: Final = Polled((), (), False)
_UNTRACED: Final[ScoreHeaders] = {}


class Partition:
    """One owned partition. `run` ends when `stop` was called, when fenced, or when a person must act."""

    def __init__(
        self,
        partition: int,
        *,
        log: PartitionLog,
        view: View,
        processor: PartitionProcessor,
        scorer: Callable[[], Scorer],
        observer: Observer,
        records_max: int,
        idle_after_ms: int,
        fenced_pause_s: float,
        lease_s: float = 0.0,
        hand_over_s: float = HAND_OVER_S_MAX,
        restoring: asyncio.Semaphore | None = None,
        together: Together | None = None,
        model_in_use: asyncio.Lock | None = None,
        tracing: Tracing | None = None,
        listener: Callable[[Effects, int], None] | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = boot_time,
    ) -> None:
        self.partition = partition
        self.log, self.view, self.processor = log, view, processor
        self.scorer, self.observer, self.listener = scorer, observer, listener
        self.now, self.monotonic = now, monotonic
        self.records_max, self.idle_after_ms = records_max, idle_after_ms
        self.fenced_pause_s, self.hand_over_s = fenced_pause_s, hand_over_s
        self._restoring, self._together = restoring or asyncio.Semaphore(1), together or Together()
        self._model_in_use = model_in_use or asyncio.Lock()
        #: restoring, ready, fenced or stopped; and why
        self.state = "restoring"
        self.problem = ""
        self.caught_up = False
        self._stopping = asyncio.Event()
        self.behind = Behind(
            partition, view, observer=observer, stopping=self._stopping, turn=self._waits, monotonic=monotonic
        )
        self._tracing = tracing
        self._announcements = Announcements(log, lease_s=lease_s, boottime=boottime)
        self._erasing = Erasing(
            log=log, processor=processor, behind=self.behind, announcements=self._announcements, observer=observer,
            stopping=self._stopping, now=now,
        )  # fmt: skip
        #: polled, and not carried out yet
        self._ahead = _NOTHING
        self._looked = monotonic()
        self._idle_since = 0.0
        self._rebuild = False
        #: monotonic time since when the committed offsets have been older than what is known
        self._doubted_since: float | None = None
        #: monotonic time of the last finished batch or empty poll: what readiness looks at
        self.progress = monotonic()
        #: monotonic time since when no batch has got through, None if the last one did
        self.failing_since: float | None = None

    def stop(self) -> None:
        """Finish the batch in flight, then end."""
        self._stopping.set()

    async def run(self) -> None:
        """Own the partition until stopped."""
        try:
            await self._own()
        finally:
            await asyncio.shield(self.log.close())

    async def _own(self) -> None:
        pause = BACKOFF_S_MIN
        while not self._stopping.is_set():
            self._set_state("restoring")
            started = self.progress = self.monotonic()
            try:
                planned = await self._take_over()
                self.behind.answered()
                self._set_state("ready")
                await self._work(planned)
            except (ViewLostError, state.DamagedStateError) as error:
                self._rebuild = True
                self.observer.view_lost(self.partition, str(error))
            except ViewError as error:
                self.behind.missed("partition", error)
            except LogError as error:
                if isinstance(error, BehindError) and self._doubted_since is None:
                    self._doubted_since = self.monotonic()
                self.observer.kafka_error("partition", error)
                self.failing_since = self.failing_since or self.monotonic()
            except FencedError as error:
                # Long enough for the group to tell us if it has given the partition to another; else it is still ours.
                self.observer.fenced(self.partition, str(error))
                self._set_state("fenced", str(error))
                self.failing_since = self.failing_since or self.monotonic()
                await self._sleep(self.fenced_pause_s)
            except (UnusableError, state.StateVersionError) as error:
                self._set_state("stopped", str(error))
                self.observer.unusable(self.partition, str(error))
                return
            if self._stopping.is_set():
                break
            pause = BACKOFF_S_MIN if self.monotonic() - started > BACKOFF_S_MAX else min(2 * pause, BACKOFF_S_MAX)
            await self._sleep(pause)
        self._set_state("stopped", "given back")

    def _believes(self) -> bool:
        return self._doubted_since is not None and self.monotonic() - self._doubted_since >= DOUBT_S

    async def _take_over(self) -> Planned | None:
        """Begin from what Kafka has committed; the batch that a former owner announced and may have begun."""
        self.caught_up = False
        taken = await TakingOver(
            self.partition,
            log=self.log,
            view=self.view,
            rules=self.processor.rules,
            observer=self.observer,
            now=self.now,
            alive=self._alive,
            restoring=self._restoring,
        ).run(rebuild=self._rebuild, seq_min=self.processor.position.seq, believe=self._believes())
        self._rebuild, self._doubted_since = False, None
        self.processor.start(taken.position, taken.deadlines)
        self._ahead = _NOTHING
        self._announcements.start(taken.position, taken.planned, events_end=taken.events_end)
        self._idle_since = self.monotonic()
        return taken.planned

    # ---- working ----------------------------------------------------------------------------------------------------

    async def _work(self, planned: Planned | None) -> None:
        self.behind.start(self.processor.position)
        try:
            # What was over at the committed position is ended before anything new is read, as its owner would have.
            more_due = await self._carry_out_again(planned) if planned is not None else True
            while not self._stopping.is_set():
                polled = _NOTHING if more_due else await self._poll()
                if len(polled.events) == 1 and (forgotten := requested(polled.events[0])) is not None:
                    await self._erasing.carry_out(forgotten, polled.events[0].offset)
                    self._alive()
                    self.failing_since = None
                    continue
                effects = await self._step(polled, idle_ms=self._idle_ms(polled))
                if not more_due:
                    self.failing_since = None
                if effects is None:
                    await self._commit()
                    await self._look_for_intruders()
                more_due = effects is not None and effects.more_due
            # As long as a hand-over may take: the last writes to Redis, then the commit.
            await self.behind.settle(seconds_max=self.hand_over_s)
            await self._commit()
        finally:
            await self.behind.stop()

    async def _carry_out_again(self, planned: Planned) -> bool:
        """Do what a former owner had announced, as it would have; whether more is due then.

        The records before it were done: they only move the position. Were it one batch with the announced one, a label
        could meet its session at another moment than it did.
        """
        before = await self._read_to(planned.events_from, planned.labels_from)
        if before.events or before.labels:
            await self._step(before, idle_ms=0, announce=False)
        self._set_watermark(planned.watermark.copy())
        batch = await self._read_to(planned.events_to, planned.labels_to)
        if self._stopping.is_set():
            return False
        effects = await self._step(batch, idle_ms=planned.idle_ms)
        self._announcements.carried_out()
        if effects is None:
            # It was carried out whole: nothing is due any more, but the time that it let pass has passed.
            reached = self.processor.position.watermark.copy()
            reached.advance(planned.idle_ms)
            self._set_watermark(reached)
        return effects is not None and effects.more_due

    def _set_watermark(self, watermark: Watermark) -> None:
        # In a copy: the position itself may be on its way to the view.
        self.processor.position = msgspec.structs.replace(self.processor.position, watermark=watermark)

    async def _read_to(self, events_offset: int, labels_offset: int) -> Polled:
        """All records up to these offsets; what came along beyond them is kept for the next poll."""
        events, labels = list(self._ahead.events), list(self._ahead.labels)
        while not self._stopping.is_set():
            reached = await self.log.position()
            if reached[0] >= events_offset and reached[1] >= labels_offset:
                break
            polled = await self._poll_log()
            events += polled.events
            labels += polled.labels
            self._alive()
        self._ahead = Polled(
            [record for record in events if record.offset >= events_offset],
            [record for record in labels if record.offset >= labels_offset],
            False,
        )
        return Polled(
            [record for record in events if record.offset < events_offset],
            [record for record in labels if record.offset < labels_offset],
            False,
        )

    async def _poll(self) -> Polled:
        wait_s = 0.0 if self.log.atomic else self._announcements.labels_wait_s(self.processor.position)
        polled, self._ahead = self._ahead, _NOTHING
        if wait_s and polled.labels:
            polled, self._ahead = Polled(polled.events, (), False), Polled((), polled.labels, False)
        if not polled.events and not polled.labels:
            polled = await self._poll_log(labels_after_s=wait_s)
        if polled.labels:
            self._announcements.took_labels()
        elif not polled.events and wait_s:
            self._announcements.nothing_more_before((await self.log.position())[0])
        # Under steady traffic the log's end is never quite reached; one batch from it is caught up.
        self.caught_up = self.caught_up or 0 <= self.log.lag() <= self.records_max
        self._tell_lag()
        return self._up_to_request(polled)

    def _up_to_request(self, polled: Polled) -> Polled:
        """All before the first request to forget somebody, or that alone; the rest comes with the next poll."""
        place = place_of_request(polled.events)
        if place is None:
            return polled
        end = place if place or polled.labels else 1
        labels = [*self._ahead.labels]
        self._ahead = Polled([*polled.events[end:], *self._ahead.events], labels, False)
        return Polled(polled.events[:end], polled.labels, False)

    async def _poll_log(self, *, labels_after_s: float = 0.0) -> Polled:
        """New records; none as soon as we are to stop. Without labels, if they are to wait, and not for longer.

        aiokafka's poll waits for the end of a rebalance, and the rebalance waits until we have stopped.
        """
        timeout_ms = min(POLL_MS, 1 + int(1000 * labels_after_s)) if labels_after_s else POLL_MS
        polling = asyncio.ensure_future(
            self.log.poll(timeout_ms=timeout_ms, records_max=self.records_max, labels=not labels_after_s)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                return polling.result()
            # What it may have taken off the consumer is read again from the commit, by the next owner.
            return _NOTHING
        finally:
            polling.cancel()
            stopping.cancel()
            await asyncio.gather(polling, stopping, return_exceptions=True)

    async def _step(self, polled: Polled, *, idle_ms: int, announce: bool = True) -> Effects | None:
        """One batch, all the way to the queue for Redis; None if there was nothing to do."""
        # Asked first: who was fenced while waiting for records must not publish them.
        self.behind.check()
        if not polled.events and not self.log.atomic:
            # What the clock does can be read from no record: it begins at a position that is committed.
            if self.behind.durable.seq != self.processor.position.seq:
                await self.behind.settle()
            if self._stopping.is_set():
                return None
        # A transaction is a producer's own: there is nothing to send together.
        traced = self._tracing.batch(polled.events) if self._tracing else contextlib.nullcontext(_UNTRACED)
        with self._together.batch(LARGE if self.log.atomic else polled.records) as turn, traced as headers:
            effects = await self._carry_out(polled, idle_ms, turn, headers, announce=announce)
        self._alive()
        if effects is not None:
            await self.behind.put(effects)
        return effects

    async def _carry_out(
        self, polled: Polled, idle_ms: int, turn: Turn, headers: ScoreHeaders, *, announce: bool
    ) -> Effects | None:
        """One batch up to its publication."""
        started = time.perf_counter()
        plan = await beside(polled.records, self.processor.plan, polled.events, polled.labels, idle_ms=idle_ms)
        if not (polled.events or polled.labels or plan.due):
            return None
        planned = time.perf_counter()
        # Asked now that the records are read: what a next owner is promised is that they lie before where it begins.
        alone = bool(polled.events) and not polled.labels
        if announce and not self.log.atomic and self._announcements.needed(plan, alone=alone):
            await self._announcements.announce(self.processor.position, plan, idle_ms, durable=self.behind.durable)
        announced = time.perf_counter()
        loaded: dict[str, bytes | None] = {}
        if plan.missing:
            newest_seq = self.processor.position.seq
            loaded = await self.behind.load(plan.missing, expected=plan.expected, newest_seq=newest_seq)
        ready = time.perf_counter()
        now_ms = int(self.now() * 1000)
        async with self._model_in_use:
            weight = polled.records + len(plan.due)
            effects = await beside(weight, self.processor.apply, plan, loaded, self.scorer(), now_ms=now_ms)
        applied = time.perf_counter()
        effects.score_headers = headers
        await turn.come()
        effects.position.changelog_end = await self.log.publish(effects)
        if effects.position.changelog_end < 0:
            effects.position.changelog_end = self.processor.position.changelog_end
        published = time.perf_counter()
        self.processor.committed(effects)
        if idle_ms or polled.events:
            self._idle_since = self.monotonic()
        stages = {
            "announce": announced - planned,
            "load": ready - announced,
            "fold": planned - started + applied - ready,
            "publish": published - applied,
        }
        self.observer.batch(
            self.partition,
            effects,
            records=polled.records,
            received_ms=[record.timestamp for record in polled.events],
            first_offset=polled.events[0].offset if polled.events else -1,
            now_ms=int(self.now() * 1000),
            stages=stages,
        )
        self.observer.open_sessions(self.partition, len(self.processor.schedule))
        self.observer.cache(self.partition, len(self.processor.cache))
        if self.listener is not None:
            self.listener(effects, self.partition)
        return effects

    def _idle_ms(self, polled: Polled) -> int:
        """Time to move the watermark on by: only at the end of the log, only if something is then due.

        By a clock that nobody sets: a wall clock that is put right would end sessions, or keep them.
        """
        if polled.events or not polled.at_end or self._ahead.labels:
            return 0
        elapsed_ms = int((self.monotonic() - self._idle_since) * 1000)
        deadline = self.processor.schedule.next_deadline()
        if elapsed_ms < self.idle_after_ms or deadline is None:
            return 0
        reached = self.processor.position.watermark.copy()
        reached.advance(elapsed_ms)
        return elapsed_ms if reached.time(grace_ms=self.processor.rules.grace_ms) >= deadline else 0

    async def _look_for_intruders(self) -> None:
        """A former owner may write after our last batch, and nothing of ours follow that would show it."""
        if not self.log.atomic and self.monotonic() - self._looked >= INTRUDERS_S:
            self._looked = self.monotonic()
            await self.log.check()

    # ---- the rest ---------------------------------------------------------------------------------------------------

    async def _commit(self) -> None:
        if not self.log.atomic:
            await self._announcements.commit(self.processor.position, durable=self.behind.durable)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _waits(self) -> None:
        # A wait is not a hang: readiness looks at `behind.waiting_since`.
        self._alive()
        self._tell_lag()

    def _tell_lag(self) -> None:
        self.observer.lag(self.partition, self.log.lag(), self.processor.watermark_time, int(self.now() * 1000))

    def _alive(self) -> None:
        self.progress = self.monotonic()

    def _set_state(self, name: str, problem: str = "") -> None:
        self.state, self.problem = name, problem
        self.observer.partition_state(self.partition, name)
