"""The partitions that a group has given this process: one task for each, watched over, and given back in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer

from stream_app.backends.clients import kafka_call
from stream_app.backends.ports import LogError
from stream_app.patience import DEAD_S, FAILING_S, STUCK_S, hand_over_s

#: A rebalance that is under way is not waited for longer than this, in seconds: its time-outs have their own watch.
_POLL_S: Final = 1.0


class Owned(Protocol):
    """What is asked of a partition. Times are monotonic, in seconds."""

    @property
    def state(self) -> str:
        """`ready` while it works, `stopped` when it has ended."""

    @property
    def problem(self) -> str:
        """What it waits for, in words; empty when all is well."""

    @property
    def failing_since(self) -> float | None:
        """Since when nothing has succeeded; None while all is well."""

    @property
    def progress(self) -> float:
        """When its loop came round."""

    async def run(self) -> None:
        """Work until stopped."""

    def stop(self) -> None:
        """Finish what is in flight and end `run`."""


P = TypeVar("P", bound=Owned)


class OwnedPartitions(Generic[P]):
    """Partitions by number, and whether this process is in the group at all.

    Parameters
    ----------
    session_timeout_ms
        Of the group, which bounds how long giving back may take.
    may_end
        Whether a partition may end without being asked, in the state `stopped`, and wait for the group to take it away.
    """

    def __init__(self, *, session_timeout_ms: int, may_end: bool) -> None:
        self.hand_over_s = hand_over_s(session_timeout_ms)
        self.by_number: dict[int, P] = {}
        self.joined = False
        self._may_end = may_end
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: cancelled, and still closing what is theirs
        self._leaving: set[asyncio.Task[None]] = set()
        self._waiting_to_join = time.monotonic()

    # ---- the group --------------------------------------------------------------------------------------------------

    def left(self) -> None:
        """A rebalance has begun: the group is to be entered anew."""
        self.joined, self._waiting_to_join = False, time.monotonic()

    def excuse_waiting(self) -> None:
        """That the group was not entered so far is nobody's fault here."""
        self._waiting_to_join = time.monotonic()

    async def stay_in_the_group(self, consumer: AIOKafkaConsumer, failed: Callable[[LogError], None]) -> None:
        """Poll what nobody else polls: partitions that are taken over, and nothing at all where none was given to us.

        A consumer that met an error in a rebalance, from a coordinator that is loading, keeps it for the next poll, and
        until then does nothing to come back.
        """
        paused = consumer.paused()
        idle = [place for place in consumer.assignment() if place in paused or place.partition not in self._tasks]
        if self._tasks and not idle:
            return
        try:
            await asyncio.wait_for(kafka_call("staying in the group", consumer.getmany(*idle, timeout_ms=0)), _POLL_S)
        except TimeoutError:
            pass  # a rebalance is under way
        except LogError as error:
            failed(error)

    # ---- partitions -------------------------------------------------------------------------------------------------

    def start(self, number: int, partition: P, *, name: str) -> None:
        """Let it run, in a task of that name and its number."""
        self.by_number[number] = partition
        self._tasks[number] = asyncio.create_task(partition.run(), name=f"{name}-{number}")

    async def give_back(self, numbers: Iterable[int]) -> list[Exception]:
        """Stop partitions, with a bound: what is not done then is found in Kafka by the next owner.

        Returns the errors of those that crashed at it.
        """
        numbers = list(numbers)
        tasks = [self._tasks.pop(number) for number in numbers if number in self._tasks]
        for number in numbers:
            if number in self.by_number:
                self.by_number.pop(number).stop()
        if not tasks:
            return []
        _, unfinished = await asyncio.wait(tasks, timeout=1.25 * self.hand_over_s)
        for task in unfinished:
            task.cancel()
        # A producer that is being stopped without its broker must not hold the group up.
        done, leaving = await asyncio.wait(tasks, timeout=0.25 * self.hand_over_s)
        self._leaving = {task for task in self._leaving if not task.done()} | leaving
        ended = [task.exception() for task in done if not task.cancelled()]
        return [error for error in ended if isinstance(error, Exception)]

    async def closed(self) -> None:
        """Wait for those that were given back unfinished."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    # ---- watching over them -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise RuntimeError if one has ended by itself: that is a crash, and only a restart is left."""
        for number, task in self._tasks.items():
            if not task.done():
                continue
            error = None if task.cancelled() else task.exception()
            if error is not None or not self._may_end or self.by_number[number].state != "stopped":
                raise RuntimeError(f"partition {number} ended by itself") from error

    def joining(self) -> str:
        """For how long the group has not been entered, in words; empty for a member."""
        return "" if self.joined else f"joining the group for {time.monotonic() - self._waiting_to_join:.0f} s"

    def unready(self) -> str:
        """A partition that is not at work, fails or is stuck, in words; empty without one."""
        now = time.monotonic()
        for number, partition in sorted(self.by_number.items()):
            if partition.state != "ready":
                return f"partition {number} is {partition.state} {partition.problem}".rstrip()
            if partition.failing_since is not None and now - partition.failing_since > FAILING_S:
                failing = f"partition {number} has failed for {now - partition.failing_since:.0f} s"
                return f"{failing}: {partition.problem or 'see the log'}"
        return self._stuck(STUCK_S)

    def alive(self) -> tuple[bool, str]:
        """Neither a partition nor the way into the group has been stuck for so long that only a restart is left."""
        if not self.joined and (waited := time.monotonic() - self._waiting_to_join) > DEAD_S:
            return False, f"not in the group for {waited:.0f} s"
        dead = self._stuck(DEAD_S)
        return not dead, dead or "running"

    def _stuck(self, seconds: float) -> str:
        now = time.monotonic()
        for number, partition in sorted(self.by_number.items()):
            if partition.state != "stopped" and now - partition.progress > seconds:
                return f"partition {number} has made no progress for {now - partition.progress:.0f} s"
        return ""
