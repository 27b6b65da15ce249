"""What a contender does, seen from outside: the end offsets of its output topics and its processes' CPU time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.contenders.contract import PARTITIONS
from benchmarks.rig.processes import Group
from benchmarks.rig.servers import Servers

#: Between two looks, in seconds: a look costs the broker one request for each topic.
LOOK_S = 0.05
#: Nothing more for so long after the last record was due: it is complete.
SETTLED_S = 1.5
#: Until the first output, in seconds: a JVM, a group that forms, imports.
START_S = 90.0


class Look(NamedTuple):
    """Time (s, monotonic), records in every output by then (markers of transactions count), CPU s of each process.

    `broker` and `redis` are the CPU times of the servers: what a contender makes them do.
    """

    at: float
    done: int
    cpu: tuple[float, ...]
    broker: float
    redis: float


class Offsets:
    """Asks for end offsets only: a watcher that fetched the records would compete with who is measured."""

    def __init__(self, bootstrap: str, topics: Sequence[str], *, committed: bool = True) -> None:
        self._topics = [[TopicPartition(topic, p) for p in range(PARTITIONS)] for topic in topics]
        # Committed ones: what a transaction has not ended is not there for a reader.
        level = "read_committed" if committed else "read_uncommitted"
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level=level)

    async def __aenter__(self) -> Offsets:
        await self._consumer.start()
        self._consumer.assign([place for places in self._topics for place in places])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def done(self) -> int:
        """Records in that topic which has the fewest."""
        ends = await self._consumer.end_offsets([place for places in self._topics for place in places])
        return min(sum(ends[place] for place in places) for places in self._topics)


async def until_written(bootstrap: str, topics: Sequence[str], group: Group, *, more: int) -> int:
    """Wait until so many more records are in each output, committed or not; how many there are then."""
    begun = time.monotonic()
    async with Offsets(bootstrap, topics, committed=False) as offsets:
        before = await offsets.done()
        while (done := await offsets.done()) < before + more:
            group.check()
            if time.monotonic() - begun > START_S:
                raise SystemExit(f"only {done - before} of {more} outputs within {START_S:g} s:\n{group.said()}")
            await asyncio.sleep(LOOK_S)
    return done


async def watch(
    servers: Servers,
    topics: Sequence[str],
    group: Group,
    *,
    expected: int,
    limit_s: float,
    beyond: int = 0,
) -> list[Look]:
    """Look at the outputs until `expected` records are in each and no more come, or for `limit_s` after the first.

    `beyond` were there before: the first look in the list is the first with more. Raises SystemExit if a process ends,
    or nothing at all comes.
    """
    looks: list[Look] = []
    begun = time.monotonic()
    # Written ones, committed or not: a commit every five seconds would make steps of a run that lasts ten. That all of
    # it was committed in the end is seen when the outputs are read back.
    async with Offsets(servers.bootstrap, topics, committed=False) as offsets:
        before = time.monotonic()
        while True:
            done, now = await offsets.done(), time.monotonic()
            group.check()
            if done > beyond and (not looks or done > looks[-1].done):
                looks.append(Look(now, done, group.cpu_seconds(), *servers.cpu_seconds()))
            if looks and ((done >= expected and now - looks[-1].at > SETTLED_S) or now - looks[0].at > limit_s):
                return looks
            if not looks and now - begun > START_S:
                raise SystemExit(f"no output within {START_S:g} s:\n{group.said()}")
            before = max(before + LOOK_S, now)
            await asyncio.sleep(before - now)
