"""An events topic that was told to take 12 MB: what comes in is cut on the dead letters' topic, and nothing stops."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from producers.sink import partition_of
from stream_app import topics
from stream_app.core.events import Event
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

TAKEN = 12 * 1024 * 1024
#: Any instant: 2023-11-14T22:13:20Z.
T0 = 1_700_000_000_000


def event(n: int) -> Event:
    return Event(f"e{n}", "view_item", T0 + n, "visitor")


async def test_records_of_megabytes_are_cut_dead_letters_and_the_events_around_them_are_scored(
    real_servers: Servers, names: Names
) -> None:
    deployment = Deployment(real_servers, names)
    settings = deployment.settings
    name = settings.topic(topics.EVENTS)
    admin = AIOKafkaAdminClient(bootstrap_servers=real_servers.bootstrap)
    await admin.start()
    limits = {"max.message.bytes": str(TAKEN)}
    await admin.create_topics([NewTopic(name, settings.topic_partitions, 1, topic_configs=limits)])
    await admin.close()
    partition = partition_of(b"visitor", settings.topic_partitions)
    large = {size: b"\x00 \xff" * (size // 3) for size in (1_500_000, 3_000_000, 10_000_002)}
    async with deployment:
        await deployment.send([event(0)])
        producer = AIOKafkaProducer(bootstrap_servers=real_servers.bootstrap, max_request_size=TAKEN)
        async with producer:
            for value in large.values():
                await producer.send_and_wait(name, value, key=b"visitor", partition=partition)
        await deployment.send([event(1)])
        deployment.start("worker")
        await deployment.until_all_scored(2)
        letters = await deployment.read(topics.DEAD_LETTERS)
        await deployment.until_caught_up()
    # Of the key, 7 bytes, and the value 2,000,000 bytes are kept.
    kept = {headers["source_offset"]: (value, headers.get("cut_from_bytes")) for _, value, headers in letters}
    assert kept == {
        "1": (large[1_500_000], None),
        "2": (large[3_000_000][:1_999_993], "3000007"),
        "3": (large[10_000_002][:1_999_993], "10000009"),
    }
    assert {(headers["reason"], headers["source_partition"]) for _, _, headers in letters} == {
        ("too_large", str(partition))
    }
