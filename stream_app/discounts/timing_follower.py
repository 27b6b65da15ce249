"""Follows what tells when purchases are made, to learn a policy's bounds: every process reads all, without a group.

The clock `age` is learned from `sessions.closed.v1`, the clock `quiet` from `training.examples.v1`
(`core/timed_records.py`): the one that the policy in force asks for, and nothing while it asks for none.

It runs beside the loop that makes offers, which is given windows and never a curve: they are made anew now and then,
and replaced as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer

from stream_app import topics
from stream_app.backends.clients import KafkaClients, kafka_call, next_offset, start_client, stop_quietly
from stream_app.backends.newest import assign_newest
from stream_app.backends.ports import LogError
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.timed_records import take_closed, take_example
from stream_app.discounts.core.timing import Clock, Timing, Window
from stream_app.discounts.observe import DiscountObserver
from stream_app.settings import Settings

#: Closed sessions that are read back at the start, at most: ten thousand purchases at a base rate of 2 %, where a
#: hundred are enough, and read in some ten seconds.
SESSIONS_BACK: Final = 500_000

#: Examples, likewise: those of some 40,000 sessions, of which at 2 % some 800 buy after several pauses each.
EXAMPLES_BACK: Final = 200_000

#: Between two times that windows are made, in seconds: what they are made of halves in a week.
_WINDOWS_S: Final = 5.0

_RETRY_S: Final = 1.0


class _Source(NamedTuple):
    """A topic, how many of its newest records are read back, and what is made of one."""

    topic: str
    back: int
    take: Callable[[Timing, bytes | None], None]


_SOURCES: Final[Mapping[Clock, _Source]] = {
    "age": _Source(topics.CLOSED, SESSIONS_BACK, take_closed),
    "quiet": _Source(topics.EXAMPLES, EXAMPLES_BACK, take_example),
}


class _Known(NamedTuple):
    """The windows of a clock by category, under None the common one."""

    clock: Clock | None
    windows: Mapping[str | None, Window]


class TimingFollower:
    """Learns while the policy `wanted` asks for a bound that is learned."""

    def __init__(
        self, settings: Settings, observer: DiscountObserver, clients: KafkaClients, *, wanted: Callable[[], Policy]
    ) -> None:
        self._settings, self._observer, self._clients, self._wanted = settings, observer, clients, wanted
        self._known = _Known(None, MappingProxyType({}))
        self._stopping = asyncio.Event()
        self._failing = False

    def window(self, policy: Policy, category: str | None) -> Window | None:
        """See `deliberation.Windows`. Without a bound that is learned there is nothing to look up."""
        clock, windows = self._known
        if clock is None or clock != _asked(policy):
            return None
        return windows.get(category or None) or windows.get(None)

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Follow until stopped; Kafka's failures are told and waited out."""
        while not self._stopping.is_set():
            clock = _asked(self._wanted())
            if clock is None:
                await self._pause()
                continue
            consumer = self._clients.reader()
            try:
                await start_client("reading what tells of time", consumer)
                await self._follow(consumer, clock)
            except LogError as error:
                self._observer.timing(error, again=self._failing)
                self._failing = True
                await self._pause()
            finally:
                await stop_quietly(consumer)

    async def _follow(self, consumer: AIOKafkaConsumer, clock: Clock) -> None:
        source, timing = _SOURCES[clock], Timing()
        ends = await assign_newest(consumer, self._settings.topic(source.topic), source.back)
        level, told, changed, made = False, False, True, 0.0
        while not self._stopping.is_set() and _asked(self._wanted()) == clock:
            found = await kafka_call("reading what tells of time", consumer.getmany(timeout_ms=500, max_records=1_000))
            for records in found.values():
                for record in records:
                    source.take(timing, record.value)
            changed = changed or bool(found)
            # What was learned before is good enough until all of it has been read again.
            level = level or all((next_offset(consumer, place) or 0) >= end for place, end in ends.items())
            if level and changed and time.monotonic() - made >= _WINDOWS_S:
                windows = timing.windows(clock)
                self._known = _Known(clock, MappingProxyType(windows))
                self._failing, changed, made = False, False, time.monotonic()
                if windows and not told:
                    self._observer.timing_learned(clock, windows)
                    told = True

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _RETRY_S)


def _asked(policy: Policy) -> Clock | None:
    """The clock on which a bound is to be learned."""
    return policy.moments.clock if "learned" in (policy.moments.earliest, policy.moments.latest) else None
