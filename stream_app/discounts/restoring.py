"""What a partition's new owner must know before it decides anything, from the topics alone.

    fence the former owner → which budget account? → exposures to their end: who was decided
    → moments and closed sessions of the last session gap, up to where the group has read: who waits, who is over

Fencing comes first: what the former owner wrote is settled then, and nothing of it can follow. What lies behind the
group's offsets comes by the agents.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import TopicPartition

from stream_app import topics
from stream_app.backends.clients import KafkaClients, kafka_call
from stream_app.backends.ports import LogError
from stream_app.core.codec import Rejected
from stream_app.discounts.budget import DAY_MS, Budget
from stream_app.discounts.core.records import Exposure, Moment, decode
from stream_app.discounts.reading import read_since
from stream_app.discounts.remembered import SESSION_MS_MAX, Remembered
from stream_app.discounts.writing import DecisionWriter
from stream_app.settings import Settings

#: Exposures are read back for two of the longest sessions at least, so that every session that may still be told of
#: began later; and for no longer than the topic keeps them.
_SESSIONS_MS: Final = 2 * SESSION_MS_MAX
EXPOSURES_KEPT_MS: Final = 90 * DAY_MS


class ClosedSession(msgspec.Struct, gc=False):
    """What is looked at of a record of `sessions.closed.v1`."""

    visitor_id: str
    session_id: str


CLOSED: Final = msgspec.json.Decoder(ClosedSession)


class Restored(NamedTuple):
    """What was found: the budget's account, and who was decided and exposed when."""

    account: int
    remembered: Remembered
    exposures: int


class Restoring:
    """Of one partition. `group_id` is the group whose offsets say what the agents have been given.

    Its methods call `alive` now and then, so that a long restore is not taken for a hang.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        *,
        clients: KafkaClients,
        writer: DecisionWriter,
        budget: Budget,
        group_id: str,
    ) -> None:
        self._settings, self._partition = settings, partition
        self._clients, self._writer, self._budget = clients, writer, budget
        self._group_id = group_id

    async def decisions(self, *, cool_down_ms: int, alive: Callable[[], None]) -> Restored:
        """Fence, and read what was decided.

        Raises
        ------
        LogError, ViewError
            Kafka or Redis did not answer: try again.
        AccountLostError
            A budget account has to be opened first.
        """
        await self._writer.fence()
        account = await self._budget.account()
        since_ms = int(time.time() * 1000) - min(EXPOSURES_KEPT_MS, max(_SESSIONS_MS, cool_down_ms))
        # Where the shop's time is its own, it does not say when what is read back began.
        remembered = Remembered(since_ms=since_ms if self._settings.discount_clock == "wall" else 0)
        exposures = 0
        async for records in read_since(self._clients, [self._place(topics.EXPOSURES)], since_ms):
            alive()
            for record in records:
                exposure = decode(Exposure, record.value)
                if not isinstance(exposure, Rejected):
                    remembered.decide(exposure)
                    self._budget.saw(exposure.budget, exposure.booking)
                    exposures += 1
        if account < self._budget.newest_seen:
            # An exposure knows of a newer account than Redis: that one is looked for again, or opened anew.
            account = await self._budget.account()
        return Restored(account, remembered, exposures)

    async def moments(self, remembered: Remembered, *, alive: Callable[[], None]) -> AsyncIterator[Moment]:
        """The moments of the last session gap that the agents were given, in order; who is over, `remembered` learns.

        Raises LogError.
        """
        since_ms = int(time.time() * 1000) - self._settings.session_gap_ms
        read = await self._read_so_far([self._place(topics.MOMENTS), self._place(topics.CLOSED)])
        async for records in read_since(self._clients, list(read), since_ms, until=read):
            alive()
            for record in records:
                if record.topic != self._settings.topic(topics.MOMENTS):
                    _close(remembered, record)
                    continue
                moment = decode(Moment, record.value)
                if isinstance(moment, Rejected):
                    continue
                if moment.kind == "bought":
                    remembered.end(moment.visitor_id, moment.session_id, record.timestamp)
                yield moment

    async def _read_so_far(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the group reads on, of those of which it has read anything."""
        admin = self._clients.admin()
        try:
            await kafka_call("connecting", admin.start())
            asked = admin.list_consumer_group_offsets(self._group_id, partitions=places)
            stored = await kafka_call("reading the committed offsets", asked)
        finally:
            await admin.close()
        if not all(place in stored for place in places):
            raise LogError(f"reading the committed offsets: got an answer without {places}, the coordinator is loading")
        return {place: stored[place].offset for place in places if stored[place].offset > 0}

    def _place(self, topic: str) -> TopicPartition:
        return TopicPartition(self._settings.topic(topic), self._partition)


def _close(remembered: Remembered, record: Any) -> None:
    try:
        closed = CLOSED.decode(record.value or b"")
    except msgspec.DecodeError:
        return
    remembered.end(closed.visitor_id, closed.session_id, record.timestamp)
