"""Reading what partitions of a topic hold from a time on, to their ends, without a group."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream_app.backends.clients import KafkaClients, kafka_call, start_client, stop_quietly
from stream_app.backends.newest import kept_since
from stream_app.backends.ports import LogError

#: Nothing read for so long, in seconds: the leader is gone, or somebody's transaction is open for longer than brokers
#: let one.
PROGRESS_S_MAX: Final = 30.0


async def read_since(
    clients: KafkaClients, places: Sequence[TopicPartition], since_ms: int, *, until: Mapping[TopicPartition, int] = {}
) -> AsyncIterator[list[ConsumerRecord[Any, Any]]]:
    """Committed records that the broker has had since a time, up to `until` or to the ends, in chunks of one partition.

    Ends are asked for at once and count open transactions in: those are waited for.

    Raises
    ------
    LogError
        If Kafka does not answer, or reading makes no progress.
    """
    spans = await _spans(clients, places, since_ms, until)
    if not spans:
        return
    consumer = clients.reader()
    await start_client("starting to read back", consumer)
    try:
        consumer.assign(list(spans))
        for place, (start, _) in spans.items():
            consumer.seek(place, start)
        async for records in _read(consumer, {place: end for place, (_, end) in spans.items()}):
            if young := [record for record in records if record.timestamp >= since_ms]:
                yield young
    finally:
        await stop_quietly(consumer)


async def _spans(
    clients: KafkaClients, places: Sequence[TopicPartition], since_ms: int, until: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[int, int]]:
    """First and end offset of what is to be read, where there is anything."""
    # A consumer of committed records is told where the first open transaction begins. What lies behind it counts.
    consumer = clients.reader(committed_only=False)
    await start_client("asking for offsets", consumer)
    try:
        found = await kept_since(consumer, places, since_ms)
    finally:
        await stop_quietly(consumer)
    spans = {}
    for place, kept in found.items():
        kept = kept._replace(end=min(kept.end, until.get(place, kept.end)))
        if kept.start < kept.end:
            spans[place] = (kept.start, kept.end)
    return spans


async def _read(
    consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> AsyncIterator[list[ConsumerRecord[Any, Any]]]:
    progress = time.monotonic()
    while ends:
        found = await kafka_call("reading back", consumer.getmany(*ends, timeout_ms=200, max_records=5_000))
        for place, records in found.items():
            progress = time.monotonic()
            if wanted := [record for record in records if record.offset < ends[place]]:
                yield wanted
        # Position, not the last record's offset: the ends of transactions leave offsets without records.
        for place in list(ends):
            if await kafka_call("reading back", consumer.position(place)) >= ends[place]:
                del ends[place]
                consumer.pause(place)
        if ends and not found and time.monotonic() - progress > PROGRESS_S_MAX:
            raise LogError(f"reading back: no progress for {PROGRESS_S_MAX:g} s before {ends}")
