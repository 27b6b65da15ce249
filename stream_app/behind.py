"""What trails a partition's scores: the states on their way into the view, and reads that must see them.

Scores do not wait for Redis's writes. What Kafka has is queued here, written in order by compare-and-set, and until
then read from memory. The queue is bounded: beyond it scoring waits. An outage is waited out, with back-off. A view
that is not where this owner left it ends the ownership: older or missing, it was lost; newer, somebody else works.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from stream_app.backends.ports import FencedError, View, ViewError
from stream_app.core.effects import Effects, Position
from stream_app.observe import Observer, RedisOp
from stream_app.taking_over import ViewLostError

#: Batches, and states in them, that may wait for Redis: scores go on for a while, and memory does not grow while it is
#: away. 20,000 states have some 30 MB. A batch with a visitor that memory does not hold has to be read first, and waits
#: (docs/adr/0014).
BATCHES_MAX: Final = 16
STATES_MAX: Final = 20_000

#: First and longest pause between attempts while Redis is away.
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 5.0

_T = TypeVar("_T")


class _Unwritten(NamedTuple):
    """What the view needs of a batch; its outputs need not stay in memory."""

    position: Position
    states: dict[str, bytes | None]
    deadlines: dict[str, int | None]


class Behind:
    """One owner's. `turn` is called now and then while something waits: a wait is not a hang."""

    def __init__(
        self,
        partition: int,
        view: View,
        *,
        observer: Observer,
        stopping: asyncio.Event,
        turn: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.view = view
        self._partition = partition
        self._observer, self._stopping, self._turn, self._monotonic = observer, stopping, turn, monotonic
        self._queue: asyncio.Queue[_Unwritten] = asyncio.Queue()
        self._writing: asyncio.Task[None] | None = None
        #: visitor → seq and blob of what the view does not have yet
        self.unwritten: dict[str, tuple[int, bytes | None]] = {}
        #: the last position that the view has
        self.durable = Position()
        #: monotonic time since when Redis has been waited for; None while it answers
        self.waiting_since: float | None = None

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self, position: Position) -> None:
        """Begin to write, after what the view has at this position."""
        self._queue, self.unwritten, self.durable = asyncio.Queue(), {}, position
        self._writing = asyncio.create_task(self._write(), name=f"behind-{self._partition}")

    def check(self) -> None:
        """Raise what has ended the writing, if anything did: FencedError, ViewLostError, ViewError."""
        if self._writing is not None and self._writing.done():
            self._writing.result()

    async def stop(self) -> None:
        """End; what is queued is in Kafka, where the next owner finds it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    # ---- writing ----------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Batches that wait."""
        return self._queue.qsize()

    @property
    def _full(self) -> bool:
        return self.queued >= BATCHES_MAX or (self.queued > 0 and len(self.unwritten) >= STATES_MAX)

    async def put(self, effects: Effects) -> None:
        """Queue a batch that was published; wait while there is no room, but not once we are to stop."""
        seq = effects.position.seq
        while self._full:
            self._observer.view_behind(self._partition, self.queued)
            self.check()
            if self._stopping.is_set():
                return
            await asyncio.sleep(BACKOFF_S_MIN / 10)
            self._turn()
        self.unwritten.update({visitor: (seq, blob) for visitor, blob in effects.states.items()})
        self._queue.put_nowait(_Unwritten(effects.position, effects.states, effects.deadlines))

    async def settle(self, *, seconds_max: float | None = None) -> None:
        """Wait until the view has everything. Without a limit only for as long as we are not to stop."""
        joined = asyncio.create_task(self._queue.join())
        stopping = asyncio.create_task(self._stopping.wait())
        assert self._writing is not None
        ends = {joined, self._writing} if seconds_max is not None else {joined, self._writing, stopping}
        try:
            await asyncio.wait(ends, timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()
            stopping.cancel()
        self.check()

    async def _write(self) -> None:
        while True:
            batch = await self._queue.get()
            seq = batch.position.seq
            started = time.perf_counter()
            stored = await self.patiently(
                lambda batch=batch: self.view.write(  # type: ignore[misc]
                    self._partition,
                    expected_seq=batch.position.seq - 1,
                    position=batch.position,
                    states=batch.states,
                    deadlines=batch.deadlines,
                )
            )
            if stored is not None and stored.seq > seq - 1:
                raise FencedError(f"the view has seq {stored.seq}, this worker wanted to write {seq}")
            if stored is not None:
                raise ViewLostError(f"got seq {stored.seq}, expected {seq - 1}")
            self.durable = batch.position
            for visitor in batch.states:
                if self.unwritten[visitor][0] == seq:
                    del self.unwritten[visitor]
            self._observer.behind(self._partition, queued=self.queued, view=time.perf_counter() - started)
            self._queue.task_done()

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def load(
        self, visitors: Sequence[str], *, expected: Sequence[str], newest_seq: int
    ) -> dict[str, bytes | None]:
        """States: those not yet written from memory, the others from the view, which must be ours.

        `expected` are visitors who must have one, `newest_seq` is that of the last batch published.
        """
        loaded: dict[str, bytes | None] = {}
        ask = []
        for visitor in visitors:
            unwritten = self.unwritten.get(visitor)
            if unwritten is None:
                ask.append(visitor)
            else:
                loaded[visitor] = unwritten[1]
        if not ask:
            return loaded
        seq_min = self.durable.seq
        stored, blobs = await self.patiently(lambda: self.view.load(self._partition, ask))
        if stored is None or stored.seq < seq_min:
            raise ViewLostError(f"got seq {stored.seq if stored else 'none'}, expected at least {seq_min}")
        if stored.seq > newest_seq:
            raise FencedError(f"the view has seq {stored.seq}, this worker {newest_seq}")
        loaded.update(zip(ask, blobs, strict=True))
        gone = [visitor for visitor in expected if loaded.get(visitor) is None]
        if gone:
            raise ViewLostError(f"{len(gone)} visitors with open sessions have no state")
        return loaded

    # ---- waiting ----------------------------------------------------------------------------------------------------

    async def patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Wait an outage out; it is told when it begins and when it is over. Raises ViewError once we are to stop."""
        pause = BACKOFF_S_MIN
        while True:
            try:
                answer = await call()
            except ViewError as error:
                self.missed("view", error)
                if self._stopping.is_set():
                    raise
            else:
                self.answered()
                return answer
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            self._turn()
            pause = min(2 * pause, BACKOFF_S_MAX)

    def missed(self, op: RedisOp, error: ViewError) -> None:
        """Redis did not answer."""
        self._observer.redis_error(op, error, again=self.waiting_since is not None)
        if self.waiting_since is None:
            self.waiting_since = self._monotonic()

    def answered(self) -> None:
        """Redis answers."""
        if self.waiting_since is not None:
            self._observer.back("redis", self._monotonic() - self.waiting_since, partition=self._partition)
            self.waiting_since = None
