"""Where a group begins that has read nothing, or nothing for long: at the sessions that may still go on.

A new group would read a day of moments first, and one that comes back after a day the same: each of a session that is
over, so that nothing could come of it, while those who hesitate now would wait behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients, kafka_call, start_client, stop_quietly
from stream_app.backends.kafka_access import access
from stream_app.backends.ports import LogError
from stream_app.settings import Settings

#: For a coordinator, in seconds, and between two attempts.
_PATIENCE_S: Final = 15.0
_RETRY_S: Final = 0.5


def begin_where_sessions_go_on(settings: Settings) -> None:
    """`begin` before there is an event loop; a click.ClickException if Kafka does not answer."""
    try:
        asyncio.run(_begun(settings))
    except LogError as error:
        raise click.ClickException(str(error)) from None


async def _begun(settings: Settings) -> None:
    """A broker that has never had a group makes the topic for their offsets now, and says so by refusing."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            await begin(settings, group_id(settings))
            return
        except LogError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_RETRY_S)


def group_id(settings: Settings) -> str:
    """The consumer group of the discount application, which also is the Faust application's id."""
    return f"{settings.group_id}-discounts"


async def begin(settings: Settings, group_id: str) -> int:
    """Move an empty group's offsets to one session gap ago, where they are older or were never committed.

    Returns how many it moved. A group that has members refuses, and need not be moved.

    Raises
    ------
    LogError
        If Kafka does not answer.
    """
    clients = KafkaClients(settings)
    reader = clients.reader()
    await start_client("asking for offsets", reader)
    try:
        wanted = await _wanted(settings, reader)
    finally:
        await stop_quietly(reader)
    asking = clients.admin()
    try:
        await kafka_call("connecting", asking.start())
        stored = await kafka_call(
            "reading the committed offsets", asking.list_consumer_group_offsets(group_id, partitions=list(wanted))
        )
    finally:
        await asking.close()
    moved = {
        place: OffsetAndMetadata(offset, "")
        for place, offset in wanted.items()
        if place in stored and stored[place].offset < offset
    }
    if moved:
        await _commit(settings, group_id, moved)
    return len(moved)


async def _wanted(settings: Settings, reader: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Where the moments and closed sessions of the last session gap begin."""
    try:
        facts = await admin.topic_facts(settings)
    except ConnectionError as error:
        raise LogError(str(error)) from error
    names = [settings.topic(name) for name in (topics.MOMENTS, topics.CLOSED)]
    places = [TopicPartition(name, number) for name in names for number in range(facts[name].partitions)]
    since_ms = int(time.time() * 1000) - settings.session_gap_ms
    found = await kafka_call("reading the offsets of a time", reader.offsets_for_times(dict.fromkeys(places, since_ms)))
    firsts = await kafka_call("reading the first offsets", reader.beginning_offsets(places))
    # Nothing so young is known: either all of it is older, or the broker knows no times, as the embedded one.
    return {place: told.offset if (told := found.get(place)) is not None else firsts[place] for place in places}


async def _committed(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
    # Another process has joined meanwhile: it has begun where the offsets were, and goes on from there.
    with contextlib.suppress(CommitFailedError):
        await consumer.commit(offsets)


async def _commit(settings: Settings, group_id: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
    consumer = AIOKafkaConsumer(**access(settings), group_id=group_id, enable_auto_commit=False)
    await start_client("moving the group's offsets", consumer)
    try:
        consumer.assign(list(offsets))
        await kafka_call("moving the group's offsets", _committed(consumer, offsets))
    finally:
        await stop_quietly(consumer)
