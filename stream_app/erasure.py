"""Asking the workers to forget visitors, and seeing whether they have: one request on each partition of the events.

On each, and not only on the one where Kafka's default puts the key: a shop's producers may place keys by another rule,
or by two, and a state on a partition that nobody asked would stay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from stream_app import topics
from stream_app.backends.clients import KafkaClients, all_acknowledged, kafka_call, start_client, stop_quietly
from stream_app.backends.kafka_access import DENIED
from stream_app.backends.ports import LogError, ViewError
from stream_app.backends.redis import FAILURES, connect_by, hash_tag
from stream_app.core.forgetting import encode_request
from stream_app.settings import Settings

#: Between two looks at what the workers have committed, in seconds: a person waits, and a coordinator has other work.
_LOOK_S: Final = 0.2

#: How long Kafka may take to write the requests, in seconds.
_SEND_S_MAX: Final = 30.0


class Asked(NamedTuple):
    """The requests: for each partition of the events the offset after the last one."""

    visitors: list[str]
    ends: dict[int, int]


async def ask(settings: Settings, visitors: Sequence[str]) -> Asked:
    """Write the requests; when this returns, Kafka has them.

    Raises
    ------
    LogError
        If Kafka does not answer, or there is no such topic.
    """
    topic, now_ms = settings.topic(topics.EVENTS), int(time.time() * 1000)
    producer = KafkaClients(settings).producer(client_id=f"{settings.group_id}-forget")
    await start_client("asking to forget", producer)
    try:
        partitions = sorted(await kafka_call(f"asking for {topic}", producer.partitions_for(topic)))
        async with asyncio.timeout(_SEND_S_MAX):
            sending = [
                await producer.send(
                    topic, encode_request(visitor, requested_at=now_ms), key=visitor.encode(), partition=partition
                )
                for partition in partitions
                for visitor in visitors
            ]
            written = await kafka_call("asking to forget", all_acknowledged(sending))
    except TimeoutError:
        raise LogError(f"asking to forget: Kafka did not take the requests within {_SEND_S_MAX:g} s") from None
    finally:
        await stop_quietly(producer)
    ends: dict[int, int] = {}
    for record in written:
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    return Asked(list(visitors), ends)


async def wait_for(settings: Settings, asked: Asked, *, seconds: float) -> list[int]:
    """Wait until the workers have committed what comes after the requests; the partitions where they have not in time.

    Raises
    ------
    LogError
        If Kafka does not answer. (While offsets of a transaction are on their way, it says no more than: not yet.)
    """
    admin = KafkaClients(settings).admin()
    await kafka_call("asking what is committed", admin.start())
    try:
        deadline = time.monotonic() + seconds
        while True:
            last = time.monotonic() >= deadline
            try:
                left = await _not_committed(settings, asked, admin)
            except LogError as error:
                # Nobody is given a right while one waits.
                if last or isinstance(error.__cause__, DENIED):
                    raise
            else:
                if last or not left:
                    return left
            await asyncio.sleep(_LOOK_S)
    finally:
        await admin.close()


async def _not_committed(settings: Settings, asked: Asked, admin: AIOKafkaAdminClient) -> list[int]:
    ends = {TopicPartition(settings.topic(topics.EVENTS), number): end for number, end in asked.ends.items()}
    asking = admin.list_consumer_group_offsets(settings.group_id, partitions=list(ends))
    stored = await kafka_call("asking what is committed", asking)
    return [place.partition for place, end in ends.items() if place not in stored or stored[place].offset < end]


async def known(settings: Settings, visitors: Sequence[str], *, partitions: Sequence[int]) -> list[str]:
    """Of some visitors those of whom Redis has a state. Raises ViewError if it does not answer."""
    client: Redis = connect_by(settings)
    try:
        pipeline = client.pipeline(transaction=False)
        for number in partitions:
            for visitor in visitors:
                pipeline.exists(f"{hash_tag(settings.namespace, number)}:v:{visitor}")
        found = await pipeline.execute()
    except FAILURES as error:
        raise ViewError(f"Redis does not answer ({type(error).__name__} {error})") from error
    finally:
        await client.aclose()
    return [visitor for place, visitor in enumerate(visitors) if any(found[place :: len(visitors)])]
