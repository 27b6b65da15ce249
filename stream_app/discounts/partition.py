"""One partition of the moments, from being given to us to being taken away: take over, then decide batch by batch.

take over: fence, restore (`restoring.py`)
batch: what the agents handed in and the timers that are due → deliberate (`deliberation.py`), costs are booked in Redis
       → one Kafka transaction with exposures and offers → remember them → acknowledge

what fails where                   what is left, and how it is mended
--------------------------------   -------------------------------------------------------------------------------------
before the transaction             costs are booked for decisions that nobody has seen; whoever decides about these
                                   sessions next finds them kept with their bookings
in it, outcome known or not        nothing counts until the partition is taken over again: fencing settles it, and the
                                   exposures say what was written
after it, before acknowledgement   the moments come again; their sessions are known to be decided
Redis does not answer              the batch waits, and is deliberated anew
the budget account is lost         one process opens another from the exposures (`reopening.py`); that fences all
another owner has fenced us        pause for two heartbeats: who has lost the partition has heard so by then
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from stream_app.backends.ports import FencedError, LogError, ViewError
from stream_app.core.codec import Rejected
from stream_app.discounts.activity import BOT, Activity
from stream_app.discounts.budget import AccountLostError, Budget, OtherAccountError
from stream_app.discounts.clock import Clock
from stream_app.discounts.core.deciding import Chooser
from stream_app.discounts.core.records import Moment, decode
from stream_app.discounts.deliberation import Deliberation, Windows
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.policy_watch import InForce
from stream_app.discounts.remembered import Remembered
from stream_app.discounts.reopening import Reopening
from stream_app.discounts.restoring import CLOSED, Restoring
from stream_app.discounts.timers import Timers
from stream_app.discounts.writing import DecisionWriter

#: Records that wait in a partition; the agents wait with the next one.
INBOX_MAX: Final = 1_000
#: Of one batch: what a transaction may hold, and what is done again when it fails.
BATCH_MAX: Final = 200
#: How long a loop sleeps at most, in seconds: timers on a clock that runs faster are due sooner than they seem.
_TICK_S: Final = 0.2
#: Between attempts at what failed, in seconds.
_RETRY_S: Final = 0.5


class Handed(NamedTuple):
    """A record that an agent was given. `acknowledge` when nothing of it is left to do."""

    moment: bool
    value: bytes | None
    offset: int
    acknowledge: Callable[[], object]


class Shared(NamedTuple):
    """What all partitions of a process use."""

    budget: Budget
    reopening: Reopening
    observer: DiscountObserver
    in_force: Callable[[], InForce]
    chooser: Callable[[], Chooser | None]
    windows: Windows
    gap_ms: int
    #: how long to wait after having been fenced, in seconds
    fenced_pause_s: float


class Partition:
    """Decides about the sessions of one partition, until stopped. `state`: restoring, ready, fenced, stopped."""

    def __init__(
        self,
        number: int,
        *,
        shared: Shared,
        writer: DecisionWriter,
        restoring: Restoring,
        clock: Clock,
        activity: Activity,
    ) -> None:
        self.number = number
        self.state = "restoring"
        self.problem = ""
        self.progress = time.monotonic()
        #: since when Redis has not answered; None while it does
        self.waiting_since: float | None = None
        self.failing_since: float | None = None
        self._shared, self._writer, self._restoring, self._clock = shared, writer, restoring, clock
        self._activity = activity
        self._inbox: deque[Handed] = deque()
        self._came, self._left = asyncio.Event(), asyncio.Event()
        self._stopping = asyncio.Event()
        self._remembered, self._timers, self._account = Remembered(since_ms=0), Timers(), 0

    async def take(self, handed: Handed) -> None:
        """Put a record in line; waits while the line is full. A partition that was stopped forgets it."""
        while len(self._inbox) >= INBOX_MAX and not self._stopping.is_set():
            self._left.clear()
            await self._left.wait()
        if not self._stopping.is_set():
            self._inbox.append(handed)
            self._came.set()

    def stop(self) -> None:
        """Finish the batch that is being written, and no other."""
        self._stopping.set()
        self._came.set()
        self._left.set()

    async def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._take_over()
                    while not self._stopping.is_set():
                        await self._batch()
                except AccountLostError as error:
                    await self._reopen(error)
                except OtherAccountError as error:
                    self._tell("restoring", str(error))
                except FencedError as error:
                    await self._fenced(error)
                except (LogError, ViewError) as error:
                    self._failed(error)
                    await self._pause(_RETRY_S)
        finally:
            self._tell("stopped", "")
            await self._writer.close()

    def now_ms(self) -> int:
        """How late it is for the partition's sessions."""
        return self._clock.now_ms()

    @property
    def sizes(self) -> tuple[int, int]:
        """Records in line, and timers."""
        return len(self._inbox), len(self._timers)

    # ---- taking over ------------------------------------------------------------------------------------------------

    async def _take_over(self) -> None:
        self._tell("restoring", self.problem)
        started = time.monotonic()
        policy = self._shared.in_force().policy
        cool_down_ms = round(1000 * policy.offer.cool_down_s)
        found = await self._restoring.decisions(cool_down_ms=cool_down_ms, alive=self._alive)
        self._account, self._remembered, self._timers = found.account, found.remembered, Timers()
        async for moment in self._restoring.moments(found.remembered, alive=self._alive):
            self._wait_again(moment)
        self._shared.observer.restored(self.number, found.exposures, len(self._timers), time.monotonic() - started)
        self.failing_since = self.waiting_since = None
        self._tell("ready", "")

    def _wait_again(self, moment: Moment) -> None:
        """Set the timer that the former owner had set when the moment came, or put an end to it as that one did."""
        moment = self._clock.placed(moment)
        deliberation = self._deliberation()
        came_ms = max(moment.event_time, min(moment.scored_at, self._clock.now_ms()))
        again_ms = deliberation.again(moment, came_ms)
        if again_ms is None:
            self._timers.cancel(moment.visitor_id, moment.session_id)
        else:
            self._timers.set(moment, again_ms)

    def _alive(self) -> None:
        """A long take-over is no standstill."""
        self.progress = time.monotonic()

    async def _reopen(self, lost: AccountLostError) -> None:
        """Open an account, or wait until another process has."""
        self._tell("restoring", f"no budget: {lost}")
        self._shared.observer.budget_lost(self.number, str(lost))
        try:
            if not await self._shared.reopening.run():
                await self._pause(_RETRY_S)
        except (LogError, ViewError) as error:
            self._failed(error)
            await self._pause(_RETRY_S)

    async def _fenced(self, error: FencedError) -> None:
        """Take over again at once if it was for a new account; else another owner did it, and we shall hear of it."""
        self._tell("fenced", str(error))
        try:
            if await self._shared.budget.account() != self._account:
                return
        except (AccountLostError, ViewError):
            return
        self._shared.observer.fenced(self.number, str(error))
        await self._pause(self._shared.fenced_pause_s)

    # ---- deciding ---------------------------------------------------------------------------------------------------

    async def _batch(self) -> None:
        await self._until_there_is_something()
        self.progress = time.monotonic()
        if self._stopping.is_set():
            return
        handed = list(islice(self._inbox, BATCH_MAX))
        since_ms, due = int(time.time() * 1000), self._timers.due(self._clock.now_ms(), BATCH_MAX)
        if not handed and not due:
            return
        try:
            deliberation = await self._deliberated(handed, due)
        except ViewError as error:
            # The writer is as good as before: no need to take over again.
            self._failed(error)
            await self._pause(_RETRY_S)
            return
        self.waiting_since = None
        if deliberation.decided and not self._shared.in_force().policy.enabled:
            # Switched off while costs were booked: the batch is deliberated anew, and comes to nothing.
            return
        if deliberation.decided:
            await self._writer.write(deliberation.decided)
        self.failing_since = None
        self._done(handed, deliberation, since_ms)

    async def _until_there_is_something(self) -> None:
        if self._inbox:
            await asyncio.sleep(0)
            return
        self._came.clear()
        due_ms = self._timers.next_ms()
        wait_s = _TICK_S if due_ms is None else min(_TICK_S, max(0.0, (due_ms - self._clock.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), wait_s)

    async def _deliberated(self, handed: list[Handed], due: list[Moment]) -> Deliberation:
        deliberation = self._deliberation()
        for moment, newest_ms in zip(due, await self._activity.newest_ms(due), strict=True):
            await self._hesitates(deliberation, moment, newest_ms)
        for each in handed:
            if each.moment:
                await self._moment(deliberation, each)
            else:
                self._closed(deliberation, each)
        return deliberation

    async def _hesitates(self, deliberation: Deliberation, moment: Moment, newest_ms: int | None) -> None:
        """Nothing was heard of a session for as long as its timer: if nothing happened either, it hesitates."""
        if newest_ms == BOT:
            deliberation.end(moment.visitor_id, moment.session_id, self._clock.now_ms())
            return
        since_ms = max(moment.event_time, newest_ms or 0)
        told = msgspec.structs.replace(moment, kind="hesitates", event_time=since_ms)
        await deliberation.moment(told, self._clock.now_ms())

    async def _moment(self, deliberation: Deliberation, handed: Handed) -> None:
        moment = decode(Moment, handed.value)
        if isinstance(moment, Rejected):
            self._shared.observer.rejected(self.number, handed.offset, moment.reason, moment.detail)
            deliberation.outcomes["rejected"] += 1
            return
        await deliberation.moment(self._clock.placed(moment), self._clock.now_ms())

    def _closed(self, deliberation: Deliberation, handed: Handed) -> None:
        try:
            closed = CLOSED.decode(handed.value or b"")
        except msgspec.DecodeError as error:
            self._shared.observer.rejected(self.number, handed.offset, "invalid_value", str(error))
            deliberation.outcomes["rejected"] += 1
            return
        deliberation.end(closed.visitor_id, closed.session_id, self._clock.now_ms())

    def _deliberation(self) -> Deliberation:
        shared = self._shared
        return Deliberation(
            shared.in_force(),
            self._remembered,
            budget=shared.budget,
            account=self._account,
            gap_ms=shared.gap_ms,
            windows=shared.windows,
            chooser=shared.chooser(),
        )

    def _done(self, handed: list[Handed], deliberation: Deliberation, since_ms: int) -> None:
        """What was deliberated counts: it is written."""
        now_ms = self._clock.now_ms()
        for exposure, _ in deliberation.decided:
            self._remembered.decide(exposure)
        for (visitor_id, session_id), time_ms in deliberation.ended.items():
            self._remembered.end(visitor_id, session_id, time_ms)
            self._timers.cancel(visitor_id, session_id)
        for session, (moment, again_ms) in deliberation.waiting.items():
            self._timers.cancel(*session)
            if again_ms is not None and session not in deliberation.ended:
                self._timers.set(moment, again_ms)
        cool_down_ms = round(1000 * self._shared.in_force().policy.offer.cool_down_s)
        self._remembered.forget(now_ms, visitors_ms=cool_down_ms)
        for each in handed:
            self._inbox.popleft()
            each.acknowledge()
        self._left.set()
        told_ms = [since_ms if cause.kind == "hesitates" else cause.scored_at for cause in deliberation.causes]
        self._shared.observer.batch(self, deliberation, now_ms=int(time.time() * 1000), told_ms=told_ms)
        self._shared.observer.bounds_hit(
            timers=self._timers.take_refused(), visitors=self._remembered.take_crowded_out()
        )

    # ---- saying so --------------------------------------------------------------------------------------------------

    def _failed(self, error: LogError | ViewError) -> None:
        now = time.monotonic()
        # An outage is waited out: it is no standstill of ours.
        self.progress = now
        if isinstance(error, ViewError):
            again = self.waiting_since is not None
            self.waiting_since = self.waiting_since or now
            self._shared.observer.redis_error(self.number, error, again=again)
        else:
            again = self.failing_since is not None
            self.failing_since = self.failing_since or now
            self._shared.observer.kafka_error(self.number, error, again=again)
        self.problem = str(error)

    def _tell(self, state: str, problem: str) -> None:
        self.state, self.problem, self.progress = state, problem, time.monotonic()
        self._shared.observer.state(self.number, state, problem)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
