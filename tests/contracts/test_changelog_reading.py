"""What a process reads the changelog with: connected before it is needed, kept for the next time, stopped in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiokafka import TopicPartition

from stream_app import admin, topics
from stream_app.backends.changelog_reading import IDLE_MAX, ChangelogReading
from stream_app.backends.clients import KafkaClients
from stream_app.settings import Settings, load
from tests.support.fixtures import Names
from tests.support.servers import RealKafka

pytestmark = pytest.mark.real_kafka


@pytest.fixture
async def settings(real_kafka: RealKafka, names: Names, no_settings_of_this_machine: None) -> Settings:
    found = load(
        flags={
            "kafka_bootstrap": real_kafka.bootstrap, "topic_prefix": names.topic_prefix, "group_id": names.group_id,
        }
    )  # fmt: skip
    await admin.create_topics(found)
    return found


@pytest.fixture
async def reading(settings: Settings) -> AsyncIterator[ChangelogReading]:
    found = ChangelogReading(KafkaClients(settings))
    yield found
    await found.close()


@pytest.fixture
def place(settings: Settings) -> TopicPartition:
    return TopicPartition(settings.topic(topics.CHANGELOG), 1)


async def test_one_that_was_given_back_is_lent_again_and_fetches_nothing_meanwhile(
    reading: ChangelogReading, place: TopicPartition
) -> None:
    await reading.start()
    async with reading.lent() as first, reading.lent() as second:
        assert first is not second
        first.assign([place])
    assert not first.assignment()
    lent = set()
    for _ in range(2):
        async with reading.lent() as again:
            lent.add(again)
            again.assign([place])
            again.seek(place, 0)
            assert await again.getmany(timeout_ms=50) == {}
    assert lent <= {first, second}


async def test_one_that_was_left_in_the_midst_is_stopped(reading: ChangelogReading, place: TopicPartition) -> None:
    lent = []

    async def fail() -> None:
        async with reading.lent() as consumer:
            lent.append(consumer)
            consumer.assign([place])
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert lent[0]._closed
    async with reading.lent() as other:
        assert other is not lent[0]


async def test_no_more_are_kept_than_one_hand_over_needs(reading: ChangelogReading) -> None:
    async with AsyncExitStack() as stack:
        lent = [await stack.enter_async_context(reading.lent()) for _ in range(IDLE_MAX + 2)]
    assert sum(consumer._closed for consumer in lent) == 2


async def test_the_end_is_told_of_any_partition(
    reading: ChangelogReading, settings: Settings, place: TopicPartition
) -> None:
    assert await reading.end(place) == 0
    producer = KafkaClients(settings).producer(client_id="test")
    await producer.start()
    try:
        await producer.send_and_wait(place.topic, b"state", key=b"visitor", partition=place.partition)
    finally:
        await producer.stop()
    assert await reading.end(place) == 1
    assert await reading.end(place._replace(partition=0)) == 0
