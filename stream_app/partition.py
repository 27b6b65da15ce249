"""The worker's loop for one partition: take over, then poll, plan, load, apply, publish, write behind, commit.

What a crash leaves after each step, and what mends it (`at_least_once`):

| crash after       | in Kafka            | in Redis | on restart                                              |
| ----------------- | ------------------- | -------- | ------------------------------------------------------- |
| poll … apply      | nothing             | nothing  | the batch is read again                                 |
| outputs sent      | some or all outputs | nothing  | outputs repeat, same event_id; the trainer drops        |
|                   |                     |          | repeated examples by their position                     |
| changelog sent    | outputs, new states | nothing  | the view is brought up to the changelog; folding skips  |
|                   |                     |          | what a state has applied                                |
| view written      | outputs, new states | all      | as above, nothing to bring up                           |
| offsets committed | everything          | all      | nothing to do                                           |

The states in memory are the authority while the partition is owned; Redis trails by at most `WRITE_BEHIND_MAX`
batches. Any failure drops memory and takes the partition over again: there is one way to begin, and it is the one that
is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from stream_app.backends.ports import (
    Committed,
    FencedError,
    LogError,
    PartitionLog,
    Polled,
    UnusableError,
    View,
    ViewError,
)
from stream_app.core import state
from stream_app.core.effects import Effects, Position
from stream_app.core.processor import PartitionProcessor, Plan, Scorer
from stream_app.observe import Observer

#: Batches that may wait for Redis: scores do not wait for its writes, and memory does not grow while it is away. A
#: batch with a visitor that memory does not hold has to be read first, and waits (docs/adr/0014).
WRITE_BEHIND_MAX: Final = 16

#: A poll returns at the latest after this: how soon stopping and the clock of an idle partition are noticed.
POLL_MS: Final = 200

#: First and longest pause between attempts while Kafka or Redis is away.
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 5.0

#: How long a partition that is given back waits for its last writes; beyond it the next owner finds them in Kafka.
HAND_OVER_S_MAX: Final = 4.0

#: States per call when the view is rebuilt.
_REBUILD_STATES: Final = 1_000


_T = TypeVar("_T")


class ViewLostError(Exception):
    """Redis is not where it should be: wiped, rolled back, or single keys gone. Restored from the changelog."""


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
        listener: Callable[[Effects, int], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.partition = partition
        self.log, self.view, self.processor = log, view, processor
        self.scorer, self.observer, self.listener, self.now = scorer, observer, listener, now
        self.records_max, self.idle_after_ms = records_max, idle_after_ms
        #: restoring, ready or stopped; and why it stopped
        self.state = "restoring"
        self.problem = ""
        self.caught_up = False
        self._stopping = asyncio.Event()
        self._behind: asyncio.Queue[Effects] = asyncio.Queue(WRITE_BEHIND_MAX)
        self._unwritten: dict[str, tuple[int, bytes]] = {}
        self._written_seq = 0
        self._idle_since = 0.0
        self._rebuild = False
        #: monotonic time since when Redis has been waited for; None while it answers
        self.waiting_since: float | None = None
        #: monotonic time of the last finished batch or empty poll: what readiness looks at
        self.progress = time.monotonic()

    def stop(self) -> None:
        """Finish the batch in flight, then end."""
        self._stopping.set()

    async def run(self) -> None:
        """Own the partition until stopped."""
        pause = BACKOFF_S_MIN
        while not self._stopping.is_set():
            self._set_state("restoring")
            started = self.progress = time.monotonic()
            try:
                await self._take_over()
                if self.waiting_since is not None:
                    self.observer.back("redis", time.monotonic() - self.waiting_since, partition=self.partition)
                    self.waiting_since = None
                self._set_state("ready")
                await self._work()
            except (ViewLostError, state.DamagedStateError) as error:
                self._rebuild = True
                self.observer.view_lost(self.partition, str(error))
            except ViewError as error:
                self.observer.redis_error("partition", error, again=self.waiting_since is not None)
                self.waiting_since = self.waiting_since or time.monotonic()
            except LogError as error:
                self.observer.kafka_error("partition", error)
            except FencedError as error:
                self._end(str(error))
                self.observer.fenced(self.partition, str(error))
                return
            except (UnusableError, state.StateVersionError) as error:
                self._end(str(error))
                self.observer.unusable(self.partition, str(error))
                return
            if self._stopping.is_set():
                break
            pause = BACKOFF_S_MIN if time.monotonic() - started > BACKOFF_S_MAX else min(2 * pause, BACKOFF_S_MAX)
            await self._sleep(pause)
        self._end("given back")

    # ---- taking over ------------------------------------------------------------------------------------------------

    async def _take_over(self) -> None:
        """Begin from what Kafka has committed, with a view that has been brought up to the changelog."""
        self.caught_up = False
        committed = await self.log.take_over()
        stored, _ = await self.view.load(self.partition, [])
        end = await self.log.changelog_end()
        base = committed.position or Position(
            events_offset=committed.events_offset, labels_offset=committed.labels_offset
        )
        if stored is None or self._rebuild or not _is_trusted(stored, committed, end):
            reason = "missing" if stored is None else "lost" if self._rebuild else "not what Kafka committed"
            deadlines, seq = await self._restore(base, stored, end, reason)
            self._rebuild = False
        else:
            deadlines, seq = await self._catch_up(base, stored, end)
        position = msgspec.structs.replace(
            base,
            seq=seq,
            events_offset=committed.events_offset,
            labels_offset=committed.labels_offset,
            changelog_end=end,
        )
        self.processor.start(position, deadlines)
        self._behind = asyncio.Queue(WRITE_BEHIND_MAX)
        self._unwritten = {}
        self._written_seq = seq
        self._idle_since = self.now()
        await self.log.seek(events_offset=committed.events_offset, labels_offset=committed.labels_offset)

    async def _restore(
        self, base: Position, stored: Position | None, end: int, reason: str
    ) -> tuple[dict[str, int], int]:
        """Rebuild the view from the whole changelog; the deadlines found and the seq it now has."""
        started = time.monotonic()
        states: dict[str, bytes] = {}
        async for chunk in self.log.changelog(start=0, end=end):
            self.progress = time.monotonic()
            for visitor, blob in chunk:
                if blob is None:
                    states.pop(visitor, None)
                elif _is_newer(blob, states.get(visitor)):
                    states[visitor] = blob
        await self.view.clear(self.partition)
        # Above all that is known to have been stored: whoever believes in the old view fails its compare-and-set.
        seq = max(base.seq, stored.seq if stored else 0, self.processor.position.seq) + 1
        deadlines: dict[str, int] = {}
        seq = await self._write_view(states, deadlines, base, expected=0, seq=seq, end=end)
        self.observer.restored(self.partition, "changelog", len(states), time.monotonic() - started, reason)
        return deadlines, seq

    async def _catch_up(self, base: Position, stored: Position, end: int) -> tuple[dict[str, int], int]:
        """Bring a view up to the changelog's tail, if it missed any, and to a seq that fences the former owner."""
        started = time.monotonic()
        tail: dict[str, bytes | None] = {}
        if stored.changelog_end < end:
            async for chunk in self.log.changelog(start=stored.changelog_end, end=end):
                for visitor, blob in chunk:
                    if blob is None or _is_newer(blob, tail.get(visitor)):
                        tail[visitor] = blob
            _, known = await self.view.load(self.partition, list(tail))
            for visitor, blob in zip(list(tail), known, strict=True):
                newest = tail[visitor]
                if newest is not None and not _is_newer(newest, blob):
                    del tail[visitor]
        deadlines = await self.view.open_visitors(self.partition)
        seq = await self._write_view(tail, deadlines, base, expected=stored.seq, seq=stored.seq + 1, end=end)
        if tail:
            self.observer.restored(
                self.partition, "changelog tail", len(tail), time.monotonic() - started, "the view was behind"
            )
        return deadlines, seq

    async def _write_view(
        self,
        states: Mapping[str, bytes | None],
        deadlines: dict[str, int],
        base: Position,
        *,
        expected: int,
        seq: int,
        end: int,
    ) -> int:
        """Write states in steps and update `deadlines` by them; the seq of the last step.

        Each step has a seq of its own: two that share one would look like one write that is repeated. Only the last
        says that the view is complete (its `changelog_end`); before it the view is marked as one that covers nothing.
        """
        gap_ms = self.processor.rules.gap_ms
        visitors = list(states)
        for start in range(0, max(1, len(visitors)), _REBUILD_STATES):
            self.progress = time.monotonic()
            chunk = {visitor: states[visitor] for visitor in visitors[start : start + _REBUILD_STATES]}
            try:
                changes = {
                    visitor: state.decode(blob).deadline(gap_ms) if blob is not None else None
                    for visitor, blob in chunk.items()
                }
            except state.DamagedStateError as error:
                raise UnusableError(f"the changelog holds a state that cannot be read: {error}") from None
            last = start + _REBUILD_STATES >= len(visitors)
            position = msgspec.structs.replace(
                base, seq=seq, changelog_end=end if last else -1, wall_time=int(self.now() * 1000)
            )
            stored = await self.view.write(
                self.partition, expected_seq=expected, position=position, states=chunk, deadlines=changes
            )
            if stored is not None:
                raise ViewLostError(
                    f"the view changed while it was restored: got seq {stored.seq}, expected {expected}"
                )
            expected, seq = seq, seq + 1
            for visitor, deadline in changes.items():
                if deadline is None:
                    deadlines.pop(visitor, None)
                else:
                    deadlines[visitor] = deadline
        return expected

    # ---- working ----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        writer = asyncio.create_task(self._write_behind(), name=f"write-behind-{self.partition}")
        try:
            # What was over at the committed position is ended before anything new is read, as its owner would have.
            more_due = True
            while not self._stopping.is_set():
                polled = Polled((), (), False) if more_due else await self._poll()
                # Asked last: who was fenced while waiting for records must not publish them.
                if writer.done():
                    writer.result()
                effects = await self._step(polled)
                self.progress = time.monotonic()
                more_due = effects is not None and effects.more_due
                if effects is not None:
                    await self._hand_to(writer, effects)
            await self._drain(writer)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _poll(self) -> Polled:
        polled = await self.log.poll(timeout_ms=POLL_MS, records_max=self.records_max)
        # Under steady traffic the log's end is never quite reached; one batch from it is caught up.
        self.caught_up = self.caught_up or 0 <= self.log.lag() <= self.records_max
        self.observer.lag(self.partition, self.log.lag(), self.processor.watermark_time, int(self.now() * 1000))
        return polled

    async def _step(self, polled: Polled) -> Effects | None:
        """One batch up to its publication; None if there was nothing to do."""
        started = time.perf_counter()
        idle_ms = self._idle_ms(polled)
        plan = self.processor.plan(polled.events, polled.labels, idle_ms=idle_ms)
        if not (polled.events or polled.labels or plan.due):
            return None
        planned = time.perf_counter()
        loaded = await self._load(plan) if plan.missing else {}
        ready = time.perf_counter()
        now_ms = int(self.now() * 1000)
        effects = self.processor.apply(plan, loaded, self.scorer(), now_ms=now_ms)
        applied = time.perf_counter()
        effects.position.changelog_end = await self.log.publish(effects)
        if effects.position.changelog_end < 0:
            effects.position.changelog_end = self.processor.position.changelog_end
        published = time.perf_counter()
        self.processor.committed(effects)
        if idle_ms or polled.events:
            self._idle_since = self.now()
        stages = {
            "load": ready - planned,
            "fold": planned - started + applied - ready,
            "publish": published - applied,
        }
        self.observer.batch(
            self.partition,
            effects,
            records=len(polled.events) + len(polled.labels),
            received_ms=[record.timestamp for record in polled.events],
            now_ms=int(self.now() * 1000),
            stages=stages,
        )
        self.observer.open_sessions(self.partition, len(self.processor.schedule))
        self.observer.cache(self.partition, len(self.processor.cache))
        if self.listener is not None:
            self.listener(effects, self.partition)
        return effects

    def _idle_ms(self, polled: Polled) -> int:
        """Wall-clock time to move the watermark on by: only at the end of the log, only if something is then due."""
        if polled.events or not polled.at_end:
            return 0
        elapsed_ms = int((self.now() - self._idle_since) * 1000)
        deadline = self.processor.schedule.next_deadline()
        if elapsed_ms < self.idle_after_ms or deadline is None:
            return 0
        reached = msgspec.structs.replace(self.processor.position.watermark)
        reached.advance(elapsed_ms)
        return elapsed_ms if reached.time(grace_ms=self.processor.rules.grace_ms) >= deadline else 0

    async def _load(self, plan: Plan) -> dict[str, bytes | None]:
        """The missing states: those not yet written from memory, the others from the view, which must be ours."""
        loaded: dict[str, bytes | None] = {}
        ask = []
        for visitor in plan.missing:
            unwritten = self._unwritten.get(visitor)
            if unwritten is None:
                ask.append(visitor)
            else:
                loaded[visitor] = unwritten[1]
        if not ask:
            return loaded
        floor = self._written_seq
        stored, blobs = await self._retry_view(lambda: self.view.load(self.partition, ask))
        if stored is None or stored.seq < floor:
            raise ViewLostError(f"got seq {stored.seq if stored else 'none'}, expected at least {floor}")
        if stored.seq > self.processor.position.seq:
            raise FencedError(f"the view has seq {stored.seq}, this worker {self.processor.position.seq}")
        loaded.update(zip(ask, blobs, strict=True))
        gone = [visitor for visitor in plan.expected if loaded.get(visitor) is None]
        if gone:
            raise ViewLostError(f"{len(gone)} visitors with open sessions have no state")
        return loaded

    # ---- behind -----------------------------------------------------------------------------------------------------

    async def _hand_to(self, writer: asyncio.Task[None], effects: Effects) -> None:
        """Queue the batch for Redis and the commit; wait while the queue is full, but not for a dead writer."""
        seq = effects.position.seq
        self._unwritten.update({visitor: (seq, blob) for visitor, blob in effects.states.items()})
        while self._behind.full():
            self.observer.view_behind(self.partition, self._behind.qsize())
            if writer.done():
                writer.result()
            if self._stopping.is_set():
                return  # it is in Kafka: the next owner finds it there
            await asyncio.sleep(BACKOFF_S_MIN / 10)
            self.progress = time.monotonic()
        self._behind.put_nowait(effects)

    async def _write_behind(self) -> None:
        """Bring Redis up, then commit, batch after batch in order."""
        uncommitted = 0
        while True:
            effects = await self._behind.get()
            position = effects.position
            started = time.perf_counter()
            stored = await self._retry_view(
                lambda effects=effects: self.view.write(  # type: ignore[misc]
                    self.partition,
                    expected_seq=effects.position.seq - 1,
                    position=effects.position,
                    states=effects.states,
                    deadlines=effects.deadlines,
                )
            )
            if stored is not None and stored.seq > position.seq - 1:
                raise FencedError(f"the view has seq {stored.seq}, this worker wanted to write {position.seq}")
            if stored is not None:
                raise ViewLostError(f"got seq {stored.seq}, expected {position.seq - 1}")
            written = time.perf_counter()
            self._written_seq = position.seq
            for visitor in effects.states:
                if self._unwritten[visitor][0] == position.seq:
                    del self._unwritten[visitor]
            uncommitted += 1
            # Batches that queue up need one commit, the last says it all; but a queue that is never empty must not put
            # it off for ever.
            if self._behind.empty() or uncommitted >= WRITE_BEHIND_MAX:
                await self.log.commit(position)
                uncommitted = 0
            self.observer.behind(
                self.partition,
                queued=self._behind.qsize(),
                view=written - started,
                commit=time.perf_counter() - written,
            )
            self._behind.task_done()

    async def _retry_view(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Wait a Redis outage out, with back-off; it is told when it begins and when it is over."""
        pause = BACKOFF_S_MIN
        while True:
            try:
                answer = await call()
            except ViewError as error:
                self.observer.redis_error("view", error, again=self.waiting_since is not None)
                if self.waiting_since is None:
                    self.waiting_since = time.monotonic()
                if self._stopping.is_set():
                    raise
            else:
                if self.waiting_since is not None:
                    self.observer.back("redis", time.monotonic() - self.waiting_since, partition=self.partition)
                    self.waiting_since = None
                return answer
            await self._sleep(pause)
            # A wait is not a hang: only readiness looks at `waiting_since`.
            self.progress = time.monotonic()
            self.observer.lag(self.partition, self.log.lag(), self.processor.watermark_time, int(self.now() * 1000))
            pause = min(2 * pause, BACKOFF_S_MAX)

    async def _drain(self, writer: asyncio.Task[None]) -> None:
        """Let the last writes reach Redis and the commit, for as long as a hand-over may take."""
        joined = asyncio.create_task(self._behind.join())
        await asyncio.wait({joined, writer}, timeout=HAND_OVER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if writer.done():
            writer.result()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _set_state(self, name: str) -> None:
        self.state = name
        self.observer.partition_state(self.partition, name)

    def _end(self, problem: str) -> None:
        self.problem = problem
        self._set_state("stopped")


def _is_newer(blob: bytes, than: bytes | None) -> bool:
    """Whether a state from the changelog replaces one that came before it.

    Nothing fences a former owner's last writes under `at_least_once`: they may land behind the new owner's. What has
    been applied tells them apart; at equal offsets (a session that the clock ended) the later record has the say.

    Raises
    ------
    UnusableError
        If a state in the changelog cannot be read: there is nothing left to rebuild it from.
    """
    if than is None:
        return True
    try:
        return state.applied(blob) >= state.applied(than)
    except state.DamagedStateError as error:
        raise UnusableError(f"the changelog holds a state that cannot be read: {error}") from None


def _is_trusted(stored: Position, committed: Committed, end: int) -> bool:
    """Whether the view may be built upon: not older than the commit, and a prefix of this changelog."""
    if not 0 <= stored.changelog_end <= end:
        return False
    if committed.position is None:
        return True  # nothing was committed yet: the states' applied offsets say what they contain
    return stored.seq >= committed.position.seq
