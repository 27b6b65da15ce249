"""What a process reads the changelog with when it takes partitions over, kept for the next time.

A new client connects twice, or once more for each broker that it asks; with TLS and SCRAM that was most of a hand-over.
And a rebalance takes all partitions of a process over at the same time.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.backends.clients import KafkaClients, ended, kafka_call, start_client, stop_quietly

#: Consumers that are kept while nobody reads, each with its connections.
IDLE_MAX: Final = 4
#: Consumers to begin with: what a process that joins a group is given, nobody reads until it has connected.
_FIRST: Final = 2

#: What a fetch at the end of what is committed waits for more: a broker answers a connection's requests in turn, so the
#: next reading's would wait as long.
_FETCH_WAIT_MS: Final = 20


class ChangelogReading:
    """Consumers without a group, for all partitions of a process."""

    def __init__(self, clients: KafkaClients) -> None:
        self._clients = clients
        self._idle: list[AIOKafkaConsumer] = []
        self._asking: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect before anything is taken over. Raises LogError; nothing is lost by it, what lacks comes later."""
        # One after the other: of several at once the others would go on when one has failed, and nobody close them.
        await self._asked()
        while len(self._idle) < _FIRST:
            self._idle.append(await self._started())

    async def end(self, place: TopicPartition) -> int:
        """Where the next record of a partition goes, behind those of open transactions, too. Raises LogError."""
        ends = await kafka_call("reading the changelog's end", (await self._asked()).end_offsets([place]))
        return int(ends[place])

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A started consumer of committed records, nothing assigned, for one caller. Raises LogError.

        It is stopped when its block fails, or is left early: nobody knows what it still waits for.
        """
        consumer = await self._taken()
        try:
            yield consumer
        except BaseException:
            await stop_quietly(consumer)
            raise
        if len(self._idle) >= IDLE_MAX:
            await stop_quietly(consumer)
        else:
            # `unsubscribe` would do the same, but what the client does meanwhile then stumbles over it, and ends.
            consumer.assign([])
            self._idle.append(consumer)

    async def close(self) -> None:
        """Disconnect. Nothing may be lent any more."""
        idle, self._idle = self._idle, []
        asking, self._asking = self._asking, None
        for consumer in [*idle, *([asking] if asking is not None else [])]:
            await stop_quietly(consumer)

    async def _taken(self) -> AIOKafkaConsumer:
        while self._idle:
            consumer = self._idle.pop()
            if not ended(consumer):
                return consumer
            await stop_quietly(consumer)
        return await self._started()

    async def _started(self) -> AIOKafkaConsumer:
        consumer = self._clients.reader(fetch_wait_ms=_FETCH_WAIT_MS)
        await start_client("starting the restore", consumer)
        return consumer

    async def _asked(self) -> AIOKafkaConsumer:
        # A consumer of committed records would be told where the first open transaction begins, whoever's it is. What
        # lies behind it must be restored too: the restore waits until that transaction has ended.
        if self._asking is None:
            consumer = self._clients.reader(committed_only=False)
            await start_client("asking for the changelog's end", consumer)
            if self._asking is None:
                self._asking = consumer
            else:  # several partitions are the first
                await stop_quietly(consumer)
        return self._asking
