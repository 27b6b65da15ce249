"""Redis dies, forgets, goes back in time, evicts, stalls and refuses (matrix rows 14 to 20)."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from stream_app.settings import Settings
from tests.faults.conftest import EXACTLY_ONCE_IN_CI, Victims
from tests.faults.run import Run
from tests.scenarios.process import Process
from tests.support.proxy import Proxy
from tests.support.servers import RealRedis

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: Memory holds so few visitors that many a batch needs Redis.
_SMALL_CACHE = 100


@pytest.fixture
async def redis(victims: Victims) -> AsyncIterator[Redis]:
    """A client of the server to be broken."""
    async with Redis.from_url(victims.servers.redis_url) as client:
        yield client


def _views_lost(run: Run) -> int:
    return run.deployment.said().count("view_lost")


async def _waits(run: Run, worker: Process) -> None:
    """Readiness says that Redis is waited for; the metric has counted, and a line was written."""
    await run.until("a word about Redis", lambda: "for Redis" in worker.ready()[1])
    assert worker.ready()[0] is False
    assert worker.metric("intent_redis_errors_total") > 0
    assert "redis_error" in worker.said()


@EXACTLY_ONCE_IN_CI
async def test_a_redis_killed_with_all_it_knew_is_rebuilt_from_the_changelog(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run(cache_visitors_max=_SMALL_CACHE) as run:
        worker = run.start("worker")
        await run.send(0.4)
        await run.scored()
        victims.redis.kill()
        await run.send(0.7)
        await _waits(run, worker)
        victims.redis.restart()
        await run.scored()
        await run.scoring(worker)
        await run.send()
        await run.finish("14 Redis killed, empty")
        assert "source=changelog" in worker.said()


@EXACTLY_ONCE_IN_CI
async def test_a_redis_that_comes_back_from_an_old_snapshot_is_never_believed(
    victims: Victims, redis: Redis, fault_run: Callable[..., Run]
) -> None:
    async with fault_run(cache_visitors_max=_SMALL_CACHE) as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        await run.deployment.until_caught_up()
        await redis.save()
        await run.send(0.5)
        await run.scored()
        await run.deployment.until_caught_up()
        # The owner lives on: its compare-and-set, or what it loads, tells.
        victims.redis.kill()
        victims.redis.restart()
        await run.send(0.7)
        await run.scored()
        assert _views_lost(run) >= 1
        # The owner dies with it: its successor compares the view with commit and changelog, and brings it up.
        await run.deployment.until_caught_up()
        worker.kill()
        victims.redis.kill()
        victims.redis.restart()
        successor = run.start("worker")
        await run.send()
        await run.finish("15 Redis rolled back")
        assert successor.said().count("restored partition=") == 4


@EXACTLY_ONCE_IN_CI
async def test_a_redis_wiped_under_load_changes_no_output(redis: Redis, fault_run: Callable[..., Run]) -> None:
    async with fault_run(cache_visitors_max=_SMALL_CACHE) as run:
        worker = run.start("worker")
        await run.scoring(worker)
        flowing = asyncio.create_task(run.trickle(0.9, seconds=4))
        for _ in range(3):
            await asyncio.sleep(1.1)
            await redis.flushall()
        await flowing
        await run.send()
        await run.finish("16 Redis wiped three times")
        assert _views_lost(run) >= 3
        assert worker.metric("intent_views_lost_total") >= 3


@pytest.mark.long
async def test_keys_that_vanish_one_by_one_change_no_output(redis: Redis, fault_run: Callable[..., Run]) -> None:
    chance = random.Random(17)
    async with fault_run(cache_visitors_max=_SMALL_CACHE) as run:
        worker = run.start("worker")
        await run.scoring(worker)
        flowing = asyncio.create_task(run.trickle(0.9, seconds=4))
        deleted = 0
        while not flowing.done():
            keys = sorted(await redis.keys("*:v:*"))
            if keys:
                deleted += await redis.delete(*chance.sample(keys, max(1, len(keys) // 50)))
            await asyncio.sleep(0.1)
        await flowing
        await run.scored()
        # Visitors whose sessions are over are asked for only when they return: what is left is put in order by hand.
        await redis.flushall()
        await run.send()
        await run.finish(f"17 {deleted} keys deleted at random")
        assert _views_lost(run) >= 1


@pytest.mark.long
async def test_a_redis_that_evicts_changes_no_output_once_it_has_room_again(
    redis: Redis, fault_run: Callable[..., Run]
) -> None:
    async with fault_run(cache_visitors_max=_SMALL_CACHE) as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", used - 100_000)
        try:
            await run.trickle(0.6, seconds=3)
            await asyncio.sleep(1)
            evicted = (await redis.info("stats"))["evicted_keys"]
        finally:
            await redis.config_set("maxmemory", 0)
            await redis.config_set("maxmemory-policy", "noeviction")
        await run.scored()
        await redis.flushall()
        await run.send()
        await run.finish(f"17 {evicted} keys evicted")
        assert evicted > 0
        assert worker.metric("intent_views_lost_total") >= 1


@EXACTLY_ONCE_IN_CI
async def test_a_redis_that_may_evict_is_refused_at_the_start(redis: Redis, fault_run: Callable[..., Run]) -> None:
    async with fault_run(calm=False) as run:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            worker = run.start("worker")
            assert await asyncio.to_thread(worker.wait) == 1
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
        run.report("17 Redis with allkeys-lru: the worker does not start")
        assert "expected noeviction" in worker.said()


@pytest.mark.long
async def test_a_redis_that_stops_answering_is_waited_for_and_goes_on_where_it_was(
    victims: Victims, redis: Redis, fault_run: Callable[..., Run]
) -> None:
    async with fault_run(cache_visitors_max=_SMALL_CACHE, redis_url=victims.redis_through_proxy) as run:
        worker = run.start("worker")
        await run.send(0.2)
        await run.scored()
        os.kill(victims.redis.pid, signal.SIGSTOP)
        await run.send(0.3)
        await _waits(run, worker)
        os.kill(victims.redis.pid, signal.SIGCONT)
        await run.scored()
        # Its answers are lost, not its deeds: a write is done twice.
        victims.redis_proxy.stall("down")
        await run.send(0.4)
        await _waits(run, worker)
        victims.redis_proxy.heal()
        await run.scored()
        victims.redis_proxy.cut()
        await run.send(0.5)
        await _waits(run, worker)
        victims.redis_proxy.heal()
        await run.scored()
        victims.redis_proxy.reset_some(0.05, seed=18)
        await run.trickle(0.7, seconds=2)
        victims.redis_proxy.heal()
        await redis.client_pause(3_000)
        await run.send(0.9)
        await run.scored()
        await run.scoring(worker)
        await run.send()
        await run.finish("18 Redis stopped, half-open, cut, reset, paused")
        assert "back server=redis" in worker.said()


@pytest.mark.long
async def test_a_redis_that_forgets_the_script_is_given_it_again(redis: Redis, fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.scoring(worker)
        flowing = asyncio.create_task(run.trickle(0.9, seconds=3))
        while not flowing.done():
            await redis.script_flush()
            await asyncio.sleep(0.05)
        await flowing
        await run.send()
        verdict = await run.finish("19 SCRIPT FLUSH twenty times a second")
        assert verdict.repeated == 0
        assert worker.metric("intent_redis_errors_total") == 0


@pytest.mark.long
async def test_a_replica_promoted_with_less_than_its_primary_is_never_believed(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    with RealRedis() as replica, Proxy(victims.redis.port) as link:
        async with (
            Redis.from_url(replica.url) as promoted,
            fault_run(cache_visitors_max=_SMALL_CACHE, redis_url=victims.redis_through_proxy) as run,
        ):
            await promoted.replicaof("127.0.0.1", str(link.port))
            worker = run.start("worker")
            await run.send(0.3)
            await run.scored()
            await run.deployment.until_caught_up()
            await _replicated(promoted, run.deployment.settings)
            link.stall()
            await run.send(0.6)
            await run.scored()
            await run.deployment.until_caught_up()
            await promoted.replicaof("NO", "ONE")
            victims.redis_proxy.target_port = replica.port
            victims.redis_proxy.reset()
            try:
                await run.send()
                await run.finish("20 fail-over to a replica that is behind")
            finally:
                victims.redis_proxy.target_port = victims.redis.port
                victims.redis_proxy.reset()
            assert worker.metric("intent_views_lost_total") >= 1


async def _replicated(replica: Redis, settings: Settings) -> None:
    """Wait until the replica has a position of every partition."""
    async with asyncio.timeout(20):
        wanted = f"*{settings.group_id}*:position"
        while len(await replica.keys(wanted)) < settings.topic_partitions:  # noqa: ASYNC110 (another server's state)
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_a_redis_that_is_out_of_memory_or_of_disk_is_waited_for(
    victims: Victims, redis: Redis, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        await redis.config_set("maxmemory", 100_000)
        try:
            await run.send(0.5)
            await _waits(run, worker)
            assert "OutOfMemoryError" in worker.said()
        finally:
            await redis.config_set("maxmemory", 0)
        await run.scored()
        await run.scoring(worker)
        assert victims.redis.directory is not None
        gone = victims.redis.directory / "gone"
        gone.mkdir()
        await redis.config_set("dir", str(gone))
        shutil.rmtree(gone)
        await redis.config_set("save", "3600 1")
        try:
            await redis.bgsave()
            await run.send(0.8)
            await run.until("a failed save", lambda: "MISCONF" in worker.said())
        finally:
            await redis.config_set("dir", str(victims.redis.directory))
            await redis.config_set("save", "")
        await run.scored()
        await run.scoring(worker)
        await run.send()
        verdict = await run.finish("Redis out of memory, then of disk")
        assert verdict.repeated == 0
