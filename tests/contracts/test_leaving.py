"""A member with a name of its own: stopped it stays in its group, unless it was told to leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients, leaving
from stream_app.settings import load
from tests.support.fixtures import Names
from tests.support.servers import RealKafka

pytestmark = pytest.mark.real_kafka

#: Longer than the test may take: what happens in it, no time-out has brought about.
_SESSION_MS = 300_000
_PATIENCE_S = 60.0


async def _member(kafka: RealKafka, names: Names, worker_id: str) -> AIOKafkaConsumer:
    settings = load(flags={**_where(kafka, names), "worker_id": worker_id, "session_timeout_ms": _SESSION_MS})
    member = KafkaClients(settings).member(names.group_id, client_id=worker_id)
    member.subscribe([settings.topic(topics.EVENTS)])
    await member.start()
    return member


def _where(kafka: RealKafka, names: Names) -> dict[str, Any]:
    return {"kafka_bootstrap": kafka.bootstrap, "topic_prefix": names.topic_prefix, "group_id": names.group_id}


async def _has(member: AIOKafkaConsumer, partitions: int) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while len(member.assignment()) != partitions:
            await member.getmany(timeout_ms=50)


async def test_told_to_leave_it_gives_way_to_the_others_at_once(
    real_kafka: RealKafka, names: Names, no_settings_of_this_machine: None
) -> None:
    await admin.create_topics(load(flags=_where(real_kafka, names)))
    first = await _member(real_kafka, names, "one")
    second, _ = await asyncio.gather(_member(real_kafka, names, "two"), _has(first, 2))
    await _has(second, 2)
    leaving(first)
    await first.stop()
    await _has(second, 4)
    # Under its name it comes in again as anybody does.
    again, _ = await asyncio.gather(_member(real_kafka, names, "one"), _has(second, 2))
    await _has(again, 2)
    await again.stop()
    # One that only stops keeps its place, as after a crash: nobody else is given it, and it has it back.
    back = await _member(real_kafka, names, "one")
    await _has(back, 2)
    assert len(second.assignment()) == 2
    for member in (back, second):
        leaving(member)
        await member.stop()
