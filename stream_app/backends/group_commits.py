"""Offset commits of all of a worker's partitions, in as few requests as possible.

aiokafka sends one commit after another, and with `at_least_once` every batch waits for one. Those that come while one
is under way go together in the next: a batch waits for two round trips at the most, however many partitions there are.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream_app.backends.clients import kafka_call
from stream_app.backends.ports import LogError

_Offsets = dict[TopicPartition, OffsetAndMetadata]


class GroupCommits:
    """The commits of one member of a group. A partition has at most one of its own under way."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._waiting: _Offsets = {}
        self._next: asyncio.Future[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    async def commit(self, offsets: _Offsets) -> None:
        """Commit, and wait until it is.

        Raises
        ------
        LogError
            If Kafka did not answer, or the partitions are not this member's any more.
        """
        lost = offsets.keys() - self._consumer.assignment()
        if lost:
            # Alone, so that the others' commits do not fail with it.
            raise LogError(f"committing: {sorted(lost)} are not ours any more")
        self._waiting.update(offsets)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            # Whoever waited may have been cancelled; then nobody asks what became of it.
            self._next.add_done_callback(lambda sent: sent.exception())
        sent = self._next
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="group-commits")
        await asyncio.shield(sent)

    async def drop(self) -> None:
        """Give up what is under way, when partitions are given back.

        aiokafka would send it again under the next generation, when they may be another's.
        """
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        sent, self._next, self._waiting = self._next, None, {}
        if sent is not None and not sent.done():
            sent.set_exception(LogError("committing: the group is being rebalanced"))

    async def _send(self) -> None:
        while self._next is not None:
            offsets, sent = self._waiting, self._next
            self._waiting, self._next = {}, None
            try:
                await kafka_call("committing", self._consumer.commit(offsets))
            except LogError as error:
                sent.set_exception(error)
            except BaseException:
                sent.set_exception(LogError("committing: cancelled"))
                raise
            else:
                sent.set_result(None)
