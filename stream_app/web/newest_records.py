"""A topic's newest records and then each as it comes, for an aggregate that needs no record in particular.

What it may cost is bounded: so many records a second are read, and where a shop has more the rest is passed over, a
stretch at a time. Shares stay what they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.backends.clients import KafkaClients, ended, kafka_call, next_offset, stop_quietly
from stream_app.backends.newest import start_at_newest
from stream_app.backends.ports import LogError

#: Between two looks, in seconds: what people look at may be so old, and a look has a price of its own.
TURN_S: Final = 0.5

#: What a look waits for records that are on their way, and how many it takes before the event loop gets its turn: about
#: a millisecond's work.
_WAIT_MS: Final = 20
_SLICE: Final = 200

#: Pause after a failure, or while there is no such topic, in seconds.
_AGAIN_S: Final = 5.0


class NewestRecords:
    """Reads `back` records back and follows, at most `per_second`; `take` is given their values.

    Attributes
    ----------
    caught_up
        Whether everything that was there at the beginning has been read.
    passed_over
        Records that were not read because there were too many.
    problem
        Why nothing can be read; None where it can.
    """

    def __init__(
        self,
        clients: KafkaClients,
        topic: str,
        *,
        back: int,
        per_second: int,
        take: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._clients, self._topic, self._take = clients, topic, take
        self._back, self._turn = back, max(1, int(per_second * TURN_S))
        self._consumer: AIOKafkaConsumer | None = None
        #: the next offset by partition: where to go on after a failure
        self._places: dict[TopicPartition, int] = {}
        #: where the partitions that have any records ended at the beginning
        self._ends: dict[TopicPartition, int] = {}
        self.caught_up = False
        self.passed_over = 0
        self.problem: str | None = "not asked yet"

    async def run(self) -> None:
        """Until cancelled. A Kafka that does not answer is a problem told, and asked again."""
        try:
            while True:
                try:
                    await self._read()
                    await asyncio.sleep(TURN_S)
                except LogError as error:
                    self.problem = str(error)
                    await self._stop()
                    await asyncio.sleep(_AGAIN_S)
        finally:
            await self._stop()

    async def _read(self) -> None:
        if self._consumer is None:
            self._consumer = await self._start()
            self.problem = None
        consumer = self._consumer
        if why := ended(consumer):
            raise LogError(f"reading the newest records: {why}")
        left = self._turn
        while left > 0:
            found = await kafka_call(
                "reading the newest records", consumer.getmany(timeout_ms=_WAIT_MS, max_records=min(left, _SLICE))
            )
            values = [record.value for records in found.values() for record in records if record.value is not None]
            if not found:
                break
            left -= sum(map(len, found.values()))
            if values:
                self._take(values)
            await asyncio.sleep(0)
        self._keep_up(consumer)

    async def _start(self) -> AIOKafkaConsumer:
        consumer = self._clients.reader()
        self._ends = await start_at_newest("reading the newest records", consumer, self._topic, self._back)
        for place, offset in self._places.items():
            # What was taken is not taken again.
            if place in consumer.assignment() and offset >= (next_offset(consumer, place) or 0):
                consumer.seek(place, offset)
        return consumer

    def _keep_up(self, consumer: AIOKafkaConsumer) -> None:
        """Pass over what is older than the newest `back` records: at this pace it would only ever be more."""
        behind = 0
        for place in consumer.assignment():
            offset = next_offset(consumer, place)
            if offset is not None:
                self._places[place] = offset
                behind += max(0, (consumer.highwater(place) or offset) - offset)
        self.caught_up = self.caught_up or all(self._places.get(p, 0) >= end for p, end in self._ends.items())
        if behind > 2 * self._back:
            share = self._back // len(consumer.assignment())
            for place in consumer.assignment():
                newest = (consumer.highwater(place) or 0) - share
                if newest > self._places.get(place, newest):
                    self.passed_over += newest - self._places[place]
                    consumer.seek(place, newest)

    async def _stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)
