"""Topics and offsets that are not what they were (matrix rows 24, 25, 26)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from redis.asyncio import Redis

from stream_app import topics
from tests.faults.conftest import EXACTLY_ONCE_IN_CI, Victims
from tests.faults.run import Run
from tests.scenarios.process import Process

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


@asynccontextmanager
async def _admin(run: Run) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=run.deployment.settings.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _half_done(run: Run) -> None:
    """Half of the stream scored and committed by a worker that then stops."""
    worker = run.start("worker")
    await run.send(0.5)
    await run.scored()
    await run.deployment.until_caught_up()
    assert await asyncio.to_thread(worker.terminate) == 0


async def _stands_still(run: Run, worker: Process, words: str) -> None:
    """Readiness is false and says why; so do the log and the metric; nothing is scored."""
    before = await run.deployment.count(topics.SCORES)
    await run.until("a refusal of each", lambda: worker.metric("intent_unusable_total") == 4)
    ready, found = worker.ready()
    assert ready is False
    assert words in found
    assert worker.said().count(" ERROR stream_app unusable ") == 4
    await asyncio.sleep(1)
    assert await run.deployment.count(topics.SCORES) == before


@EXACTLY_ONCE_IN_CI
async def test_records_deleted_before_they_were_read_stop_their_partition_until_a_person_acts(
    fault_run: Callable[..., Run],
) -> None:
    async with fault_run() as run:
        await _half_done(run)
        await run.send()
        place = TopicPartition(run.deployment.settings.topic(topics.EVENTS), 0)
        async with _admin(run) as admin:
            await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
        worker = run.start("worker")
        await _stands_still_alone(run, worker)
        run.report("25 records deleted before they were read: refused aloud")


async def _stands_still_alone(run: Run, worker: Process) -> None:
    """Partition 0 is refused; the others work."""
    await run.until("a refusal", lambda: "records were deleted before they were read" in worker.ready()[1])
    await run.until("the others", lambda: worker.metric("intent_partition_state", state="ready") == 3)
    assert worker.ready()[0] is False
    assert worker.metric("intent_unusable_total") == 1
    assert "ERROR stream_app unusable partition=0" in worker.said()


@EXACTLY_ONCE_IN_CI
async def test_an_input_topic_made_again_is_refused(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        await _half_done(run)
        name = run.deployment.settings.topic(topics.EVENTS)
        async with _admin(run) as admin:
            await admin.delete_topics([name])
            await asyncio.sleep(1)
            await admin.create_topics([NewTopic(name, 4, 1)])
            await asyncio.sleep(0.5)
        worker = run.start("worker")
        await _stands_still(run, worker, "made again")
        run.report("26 events topic made again: refused aloud")


@pytest.mark.long
async def test_another_partition_count_is_refused_at_the_start(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        await _half_done(run)
        settings = run.deployment.settings
        async with _admin(run) as admin:
            await admin.create_partitions({settings.topic(topics.EVENTS): NewPartitions(6)})
            await asyncio.sleep(0.5)
        worker = run.start("worker")
        assert await asyncio.to_thread(worker.wait) == 1
        assert "does not fit" in worker.said()
        # … and where all of them got more, the states would still be on the wrong ones.
        async with _admin(run) as admin:
            names = [settings.topic(spec.name) for spec in topics.TOPICS if spec.copartitioned]
            names.remove(settings.topic(topics.EVENTS))
            await admin.create_partitions({name: NewPartitions(6) for name in names})
            await asyncio.sleep(0.5)
        worker = run.start("worker")
        await _stands_still(run, worker, "expected the 4")
        run.report("26 partitions added: refused aloud")


@pytest.mark.long
async def test_a_topic_deleted_under_a_worker_is_said_aloud(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        await run.scoring(worker)
        async with _admin(run) as admin:
            await admin.delete_topics([run.deployment.settings.topic(topics.EVENTS)])
        noticed = await run.until(
            "readiness false or the end", lambda: worker.exit_code is not None or not worker.ready()[0], seconds=60
        )
        words = f"{worker.ready()[1]}, exit code {worker.exit_code}"
        run.report(f"26 events topic deleted under a worker: noticed after {noticed:.1f} s: {words}")
        assert worker.exit_code != 0
        assert worker.exit_code is not None or worker.metric("intent_kafka_errors_total") > 0


@pytest.mark.long
@pytest.mark.parametrize("view", ["kept", "wiped"])
async def test_lost_group_offsets_do_not_start_the_log_over_in_silence(
    fault_run: Callable[..., Run], view: str
) -> None:
    async with fault_run() as run:
        await _half_done(run)
        async with _admin(run) as admin:
            group = run.deployment.settings.group_id
            answer = await admin._client.send(await admin.find_coordinator(group), DeleteGroupsRequest([group]))
            assert answer.results == [(group, 0)]
        if view == "wiped":
            async with Redis.from_url(run.deployment.settings.redis_url.get_secret_value()) as redis:
                await redis.flushall()
            await _stands_still(run, run.start("worker"), "offsets")
            run.report("25 the group's offsets deleted and Redis wiped: refused aloud")
            return
        worker = run.start("worker")
        await run.send()
        await run.finish("25 the group's offsets deleted: goes on from Redis")
        assert worker.said().count("WARNING stream_app offsets_lost ") == 4


@pytest.mark.long
async def test_an_open_transaction_at_the_changelogs_end_hides_no_state(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        await _half_done(run)
        settings = run.deployment.settings
        open_ended = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap,
            transactional_id=uuid.uuid4().hex,
            transaction_timeout_ms=20_000,  # still open when the second worker takes over, or nothing is shown
        )
        await open_ended.start()
        await open_ended.begin_transaction()
        for partition in range(settings.topic_partitions):
            await open_ended.send_and_wait(settings.topic(topics.CHANGELOG), b"", key=b"nobody", partition=partition)
        # More comes behind it, which a reader of committed records does not get to see for now.
        worker = run.start("worker")
        await run.send(0.7)
        await asyncio.sleep(5)
        worker.kill()
        async with Redis.from_url(victims.servers.redis_url) as redis:
            await redis.flushall()
        run.start("worker")
        await run.send()
        await run.scored(1.0)
        await open_ended.stop()
        await run.finish("24 a crashed writer's open transaction at the changelog's end")
