"""What comes in is broken, aborted, or set to a wrong time (matrix rows 21, 22, 23, 28)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from producers.sink import KafkaSink, partition_of
from stream_app import topics
from stream_app.core.codec import encode
from tests.faults.conftest import EXACTLY_ONCE_IN_CI
from tests.faults.launcher import CLOCK_JUMPS, Plan
from tests.faults.run import Run
from tests.faults.stream import EVENTS, SHOP
from tests.scenarios.deployment import Left
from tests.scenarios.process import Process

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_POISON = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b'{"event_id": "x", "event_type": "page_view", "event_time": NaN, "visitor_id": "v"}',
    b'{"event_id": "x", "event_type": "page_view", "event_time": 1e999, "visitor_id": "v"}',
    b'{"event_id": 1, "event_type": "page_view", "event_time": 1, "visitor_id": "v"}',
    b"[" * 100_000,
    b'{"event_id": "' + b"x" * 900_000 + b'"}',
]


@EXACTLY_ONCE_IN_CI
async def test_poison_becomes_dead_letters_one_for_one_and_holds_up_nobody(fault_run: Callable[..., Run]) -> None:
    async with fault_run(calm=False) as run:
        worker = run.start("worker")
        settings = run.deployment.settings
        async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
            for turn in range(3):
                await run.trickle(0.3 * (turn + 1), seconds=1)
                for number, value in enumerate(_POISON):
                    await sink.send_raw(value, key=f"poison-{number}")
                await sink.flush()
        await run.send()
        await run.finish(f"21 {3 * len(_POISON)} poisonous records")
        assert await run.deployment.count(topics.DEAD_LETTERS) >= 3 * len(_POISON)
        assert worker.metric("intent_dead_letters_total") == 3 * len(_POISON)
        assert "dead_letter" in worker.said()


@pytest.mark.long
async def test_an_output_too_large_for_its_topic_stops_its_partition_aloud_until_there_is_room(
    fault_run: Callable[..., Run],
) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        await _limit(run, "600")
        await run.send(0.6)
        await run.until("a word about it", lambda: "MessageSizeTooLarge" in worker.said())
        await run.until("readiness false", lambda: not worker.ready()[0], seconds=40)
        assert worker.metric("intent_kafka_errors_total") > 0
        await _limit(run, "1048588")
        await run.scored()
        await run.send()
        await run.finish("22 features too large for their topic, then not")


async def _limit(run: Run, size: str) -> None:
    """Set what the features topic takes."""
    settings = run.deployment.settings
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        resource = ConfigResource(
            ConfigResourceType.TOPIC, settings.topic(topics.FEATURES), configs={"max.message.bytes": size}
        )
        await admin.alter_configs([resource])
    finally:
        await admin.close()


@EXACTLY_ONCE_IN_CI
async def test_what_an_upstream_transaction_aborts_was_never_there(fault_run: Callable[..., Run]) -> None:
    chance = random.Random(23)
    async with fault_run(calm=False) as run:
        worker = run.start("worker")
        settings = run.deployment.settings
        topic = settings.topic(topics.EVENTS)
        aborted = 0
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap, transactional_id=f"{settings.group_id}-upstream"
        )
        await producer.start()
        try:
            start = 0
            while start < EVENTS:
                await producer.begin_transaction()
                for event in SHOP[start : start + 50]:
                    key = event.visitor_id.encode()
                    place = partition_of(key, settings.topic_partitions)
                    await producer.send(topic, encode(event), key=key, partition=place)
                if chance.random() < 0.3:
                    await producer.abort_transaction()
                    aborted += 1
                else:
                    await producer.commit_transaction()
                    start += 50
        finally:
            await producer.stop()
        run.sent_elsewhere()
        # Control markers are offsets without records: lag must come to nothing all the same.
        await run.scored()
        await run.until("no lag", lambda: worker.metric("intent_lag_records") == 0, seconds=20)
        worker.kill()
        successor = run.start("worker")
        await run.scoring(successor)
        await run.finish(f"23 upstream aborted {aborted} transactions")


@pytest.mark.long
async def test_a_clock_a_day_behind_changes_nothing(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        worker = await _jumping(run, seconds=-86_400)
        await run.send()
        await run.finish("28 clock set back by a day")
        assert worker.ready()[0]


@pytest.mark.long
async def test_a_clock_a_day_ahead_stops_the_worker_aloud_and_harms_nothing(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        worker = await _jumping(run, seconds=86_400)
        await run.send(0.7)
        # Kafka takes no record from more than an hour ahead.
        await run.until("a word about it", lambda: "InvalidTimestampError" in worker.said())
        noticed = await run.until("readiness false", lambda: worker.metric("intent_ready", component="worker") == 0)
        worker.kill()
        run.start("worker")
        await run.send()
        await run.finish(f"28 clock set forward by a day: unready after {noticed:.1f} s; goes on with the right one")


@pytest.mark.long
async def test_a_clock_set_forward_while_idle_ends_no_session(fault_run: Callable[..., Run], calm: Left) -> None:
    # Sessions may end by the clock here, as many as were due within the seconds that the partitions were idle.
    async with fault_run(calm=False, idle_after_ms=500) as run:
        worker = await _jumping(run, seconds=3_000)
        await run.send()
        await run.scored()
        await run.deployment.until_caught_up()
        # Sessions go on to end by the clock, one now and then: an audit wants a system that stands still.
        assert await asyncio.to_thread(worker.terminate) == 0
        verdict = await run.finish("28 clock set forward by 50 min while idle")
        begun_anew = [key for key, record in verdict.left.features.items() if record != calm.features[key]]
        assert len(begun_anew) < EVENTS // 100


async def _jumping(run: Run, *, seconds: float) -> Process:
    """A worker whose clock jumps when it has scored half of the stream and is idle at the end of its log."""
    jumping = run.start("worker", plan=Plan(clock_jump_s=seconds))
    await run.scoring(jumping)
    await run.send(0.5)
    await run.scored()
    await asyncio.sleep(2)
    os.kill(jumping.pid, CLOCK_JUMPS)
    await asyncio.sleep(2)
    return jumping
