"""The worker's side of an erasure: a request among the events is carried out between two batches, as a step of its own.

    all before it durable → committed → tombstone in the changelog → memory → Redis → committed

| crash after                 | in Kafka                    | in Redis  | on restart                             |
| --------------------------- | --------------------------- | --------- | -------------------------------------- |
| the request was sent        | the request                 | the state | it is read in its place                |
| all before it was committed | the offset of the request   | the state | it is read first                       |
| the tombstone was sent      | `at_least_once`: the        | the state | the view is brought up to the          |
|                             | tombstone; `exactly_once`:  |           | changelog: the state is deleted there; |
|                             | the offset after it, too    |           | left: the request is read again, and   |
|                             |                             |           | finds nothing                          |
| the view was written        | the same                    | nothing   | the same                               |
| the offset was committed    | everything                  | nothing   | nothing to do                          |

Committed before and after, because a state that is gone no longer says which events it has applied: were those before
the request read again, they would come to outputs of a visitor nobody knows.

A former owner that wakes up after it (`at_least_once` only) may write the state that it held. Who owns the partition
sees that within seconds and, where the part of the changelog that it reads then has the state that was erased, writes
the tombstone again (`taking_over.py`); where it has not, the state is back, and `stream-app session` shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_app.announcing import Announcements
from stream_app.backends.ports import PartitionLog
from stream_app.behind import Behind
from stream_app.core.forgetting import forgotten
from stream_app.core.processor import PartitionProcessor
from stream_app.observe import Observer


class Erasing:
    """Of one owner of one partition."""

    def __init__(
        self,
        *,
        log: PartitionLog,
        processor: PartitionProcessor,
        behind: Behind,
        announcements: Announcements,
        observer: Observer,
        stopping: asyncio.Event,
        now: Callable[[], float],
    ) -> None:
        self._log, self._processor, self._behind, self._announcements = log, processor, behind, announcements
        self._observer, self._stopping, self._now = observer, stopping, now

    async def carry_out(self, visitor_id: str, offset: int) -> None:
        """Forget the visitor of the request at this offset; not at all once we are to stop.

        Raises what writing and committing raise: the partition is taken over, and the request read again.
        """
        await self._behind.settle()
        if self._stopping.is_set():
            return
        if not self._log.atomic:
            await self._announcements.renew(self._processor.position, durable=self._behind.durable)
        effects = forgotten(
            self._processor.position,
            self._processor.schedule,
            visitor_id,
            offset=offset,
            now_ms=int(self._now() * 1000),
        )
        effects.position.changelog_end = await self._log.publish(effects)
        self._processor.committed(effects)
        await self._behind.put(effects)
        await self._behind.settle()
        if not self._log.atomic:
            await self._announcements.commit(self._processor.position, durable=self._behind.durable)
        self._observer.forgotten(self._processor.partition, offset)
