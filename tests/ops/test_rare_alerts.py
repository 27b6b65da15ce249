"""What seldom happens, made to happen: a restore that cannot go on, records deleted unread, an example that is none,
another champion, a worker with another key. Each is followed to its end by the steps of docs/runbook.md.

The alerts that look back for a quarter of an hour or an hour look back for half a minute here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream_app import topics
from tests.ops.command import command
from tests.ops.prometheus import RealPrometheus
from tests.ops.running import Running, row, running, started, until_listening
from tests.ops.watch import Fault
from tests.scenarios.process import wait_for

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.long, pytest.mark.timeout(900)]

MEMORY_S: Final = 30
SOON_S: Final = 30.0
OVER_S: Final = 60.0

CHAMPION: Final = Fault("`stream-app models promote`", "ChampionChanged")
NO_EXAMPLE: Final = Fault("a record that is no example on the trainer's topic", "ModelNotFinite")
RESTORING: Final = Fault("a worker starts while Redis is away", "RestoreStuck", "redis_away", "worker")
DELETED: Final = Fault("records deleted before they were read", "PartitionNeedsAPerson", "not_ready", "worker")
REFUSING: Final = Fault("a worker starts with another snapshot key", "SnapshotsRefused")

#: The challenger has learned enough to be believed within this, in seconds.
_WARM_S: Final = 120.0


@asynccontextmanager
async def _system(prometheus: Callable[..., RealPrometheus], targets: Path) -> AsyncIterator[Running]:
    quiet = {fault.alert for fault in (CHAMPION, NO_EXAMPLE, RESTORING, DELETED, REFUSING)}
    async with running(
        prometheus, targets, quiet=quiet, scraping={"memory_s": MEMORY_S}, challengers="naive_bayes"
    ) as system:
        yield system


async def _worked(system: Running) -> None:
    """There are states and committed offsets of every partition."""
    worker = system.watch.processes["worker"]
    await asyncio.to_thread(
        wait_for, "scores", lambda: worker.metric("intent_end_to_end_seconds_count") > 1_000, seconds=60
    )


async def test_another_champion_and_an_example_that_is_none_are_told_and_forgotten(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    async with _system(prometheus, tmp_path) as system:
        watch = system.watch
        async with asyncio.timeout(_WARM_S):
            while (found := await command(system.deployment, "models", "promote", "naive_bayes"))[0]:
                assert "too few to be believed" in found[1]
                await asyncio.sleep(2)
        promoted = watch.begin()
        seen = await watch.seen(CHAMPION, promoted, seconds=SOON_S)
        code, status = await command(system.deployment, "models", "status")
        assert code == 0
        assert "by hand" in status
        print(f"\n{row(CHAMPION, seen, await watch.over(CHAMPION, promoted, seconds=OVER_S))}")

        # What was changed before its start is no news to a new trainer, by whichever scrape it is seen first.
        await asyncio.to_thread(watch.processes["trainer"].kill)
        await system.start("trainer")
        await watch.until_ready("trainer")
        again = await watch.came(watch.alerts, CHAMPION.alert, watch.begin(), 10.0)
        assert again == float("inf")
        code, said = await command(system.deployment, "models", "rollback")
        assert (code, "newton serves" in said) == (0, True), said

        wrong = watch.begin()
        async with AIOKafkaProducer(bootstrap_servers=system.kafka.bootstrap) as producer:
            await producer.send_and_wait(system.deployment.settings.topic(topics.EXAMPLES), b"no example", partition=0)
        waiting = await watch.value("sum(intent_examples_lag_records)")
        # The trainer comes to it after all that waits before it, which is not little after its start on a busy machine.
        seen = await watch.seen(NO_EXAMPLE, wrong, seconds=OVER_S)
        assert "ERROR stream_app model_error" in watch.processes["trainer"].said()
        print(f"{waiting:.0f} examples waited before it")
        print(f"\n{row(NO_EXAMPLE, seen, await watch.over(NO_EXAMPLE, wrong, seconds=OVER_S))}")
        assert seen.alert_s < OVER_S
        assert watch.processes["trainer"].ready() == (True, "learning")


async def test_a_restore_that_waits_for_redis_is_told_until_redis_is_back(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    async with _system(prometheus, tmp_path) as system:
        watch = system.watch
        await _worked(system)
        await asyncio.to_thread(watch.processes["worker"].terminate)
        await asyncio.to_thread(system.redis.kill)
        begins = watch.begin()
        await system.start("worker")
        seen = await watch.seen(RESTORING, begins, seconds=SOON_S)
        ready, words = await asyncio.to_thread(watch.processes["worker"].ready)
        assert (ready, "for Redis" in words) == (False, True), words
        assert "redis_error" in watch.processes["worker"].said()
        back = watch.begin()
        await asyncio.to_thread(system.redis.restart)
        over = await watch.over(RESTORING, back, seconds=OVER_S)
        print(f"\n{row(RESTORING, seen, over)}")
        assert max(seen) < SOON_S
        assert max(over) < OVER_S
        assert "restored partition=0 source=changelog" in watch.processes["worker"].said()


async def test_a_worker_with_another_key_is_told_until_one_with_the_right_key_runs(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    async with _system(prometheus, tmp_path) as system:
        watch = system.watch
        await _worked(system)
        await asyncio.to_thread(watch.processes["worker"].terminate)
        begins = watch.begin()
        watch.processes["worker"] = started(system.deployment, "worker", snapshot_key="another key than the trainer's")
        await until_listening(watch.processes["worker"])
        await system.page.go_to(watch.processes["worker"].port)
        seen = await watch.seen(REFUSING, begins, seconds=SOON_S)
        # It scores with the base rate, and says why.
        await watch.until_ready("worker")
        assert watch.processes["worker"].metric("intent_model_version") == 0
        assert "snapshot_refused reason=bad_signature" in watch.processes["worker"].said()
        await asyncio.to_thread(watch.processes["worker"].terminate)
        mended = watch.begin()
        await system.start("worker")
        over = await watch.over(REFUSING, mended, seconds=OVER_S)
        print(f"\n{row(REFUSING, seen, over)}")
        assert seen.alert_s < SOON_S
        assert over.alert_s < OVER_S
        wait = watch.processes["worker"].metric
        await asyncio.to_thread(wait_for, "a model", lambda: wait("intent_model_version") > 0, seconds=SOON_S)


async def test_records_deleted_unread_need_a_person_who_sets_the_offset_anew(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    async with _system(prometheus, tmp_path) as system:
        watch, settings = system.watch, system.deployment.settings
        await _worked(system)
        await asyncio.to_thread(watch.processes["worker"].terminate)
        place = TopicPartition(settings.topic(topics.EVENTS), 0)
        await asyncio.sleep(2)  # some that nobody reads
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
        await admin.start()
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
        begins = watch.begin()
        await system.start("worker")
        seen = await watch.seen(DELETED, begins, seconds=SOON_S)
        worker = watch.processes["worker"]
        assert "records were deleted before they were read" in worker.ready()[1]
        assert "unusable partition=0" in worker.said()
        print(await system.page.words("not_ready"))

        # The others go on; the line says to decide, and to reset the group's offsets: with the worker stopped.
        assert worker.metric("intent_partition_state", state="ready") == settings.topic_partitions - 1
        assert await asyncio.to_thread(worker.terminate) == 0
        # A worker with a name leaves the group only when its session has timed out: until then nothing can be set.
        await asyncio.sleep(settings.session_timeout_ms / 1000 + 2)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap, group_id=settings.group_id, enable_auto_commit=False
        )
        await consumer.start()
        start = (await consumer.beginning_offsets([place]))[place]
        consumer.assign([place])
        await consumer.commit({place: start})
        await consumer.stop()
        await admin.close()
        back = watch.begin()
        await system.start("worker")
        over = await watch.over(DELETED, back, seconds=OVER_S)
        print(f"\n{row(DELETED, seen, over)}")
        assert max(seen) < SOON_S
        assert max(over) < OVER_S
        await watch.until_ready("worker")
        await watch.until_caught_up(seconds=OVER_S)
