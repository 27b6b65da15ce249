"""Opening a budget account from what the exposures say was spent. Where Redis was lost or went back, all wait for it.

    close the account, keep others out (Redis) → fence every partition's writer → read the exposures to their ends
    → open a new account with their sums, if nobody else has begun the same since (Redis)

Fencing draws the line: what was booked on the old account has either been committed by then, and is in the sums, or can
never be committed (its producer is fenced, and a decision is dropped together with the producer that was to write it).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition

from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients, all_acknowledged, start_transactional, stop_quietly
from stream_app.backends.ports import LogError
from stream_app.core.codec import Rejected
from stream_app.discounts.budget import DAY_MS, HOUR_MS, Budget, buckets, units
from stream_app.discounts.core.records import Exposure, decode
from stream_app.discounts.reading import read_since
from stream_app.discounts.writing import transactional_id
from stream_app.settings import Settings

#: How long others are kept out if this process dies, in ms: above a fencing that has to settle a transaction.
LOCK_MS: Final = 30_000

#: A day and an hour: sums are of decisions on the day, whose records a clock that differs has stamped.
_SINCE_MS: Final = DAY_MS + HOUR_MS

#: Partitions fenced at once: each is a client of its own for a moment.
_AT_ONCE: Final = 8


class Reopening:
    """One attempt after the other, one at a time in this process; other processes are kept out by the lock in Redis."""

    def __init__(
        self,
        settings: Settings,
        clients: KafkaClients,
        budget: Budget,
        *,
        reopened: Callable[[int, int, float], None],
    ) -> None:
        self._settings, self._clients, self._budget = settings, clients, budget
        self._reopened = reopened
        self._one = asyncio.Lock()
        # Of all attempts: one that failed half-way shall not be kept out by itself.
        self._token = uuid.uuid4().hex

    async def run(self) -> bool:
        """Open an account, unless there is one to trust; False while another process is at it, or was quicker.

        Raises
        ------
        ViewError, LogError
            Redis or Kafka did not answer: try again.
        """
        async with self._one:
            said = await self._budget.close(self._token, lock_ms=LOCK_MS)
            if said != "mine":
                return said == "open"
            started = time.monotonic()
            partitions = await self._partitions()
            await self._fence(partitions)
            spent, newest, exposures = await self._sums(partitions)
            budget = max(int(time.time() * 1000), newest + 1, self._budget.newest_seen + 1)
            if not await self._budget.open(self._token, budget, spent):
                return False
            self._reopened(budget, exposures, time.monotonic() - started)
            return True

    async def _partitions(self) -> int:
        try:
            facts = await admin.topic_facts(self._settings)
        except ConnectionError as error:
            raise LogError(str(error)) from error
        return facts[self._settings.topic(topics.EXPOSURES)].partitions

    async def _fence(self, partitions: int) -> None:
        """Start a producer under every partition's id, and give it up."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def fence(partition: int) -> None:
            async with places:
                name = transactional_id(self._settings, partition)
                producer = self._clients.transactional_producer(name, client_id=f"{self._settings.group_id}-discounts")
                await start_transactional("fencing for a new budget account", producer)
                await stop_quietly(producer)

        # All of them, also past a failure: none goes on by itself and fences somebody later.
        await all_acknowledged([asyncio.create_task(fence(partition)) for partition in range(partitions)])

    async def _sums(self, partitions: int) -> tuple[dict[str, int], int, int]:
        """What was spent by bucket, the newest account told, and how many exposures were read."""
        name = self._settings.topic(topics.EXPOSURES)
        places = [TopicPartition(name, partition) for partition in range(partitions)]
        now_ms = int(time.time() * 1000)
        spent: Counter[str] = Counter()
        newest = exposures = 0
        renewed = time.monotonic()
        async for records in read_since(self._clients, places, now_ms - _SINCE_MS):
            for record in records:
                told = decode(Exposure, record.value)
                if isinstance(told, Rejected):
                    continue
                exposures += 1
                newest = max(newest, told.budget)
                for bucket in buckets(told.decided_at):
                    spent[bucket] += units(told.cost)
            if time.monotonic() - renewed > LOCK_MS / 4000:
                await self._budget.close(self._token, lock_ms=LOCK_MS)
                renewed = time.monotonic()
        return _newest(spent), newest, exposures


def _newest(spent: Counter[str]) -> dict[str, int]:
    """Buckets that may still be added to: the newest of each kind, also of clocks that differ or run faster."""
    kept: dict[str, int] = {}
    for kind, most in (("h", 48), ("d", 3)):
        named = [bucket for bucket in spent if bucket.startswith(kind)]
        for bucket in sorted(named, key=lambda name: int(name[2:]))[-most:]:
            kept[bucket] = spent[bucket]
    return kept
