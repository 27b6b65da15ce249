"""Whole deployments of real processes: replays, kills, a wiped Redis; what is left equals an undisturbed run."""

from __future__ import annotations

import asyncio
import time
from itertools import islice

import pytest
from redis.asyncio import Redis

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import Event
from tests.scenarios.deployment import Deployment, Left
from tests.support.fixtures import Names, Servers

EVENTS = 12_000


def _shop() -> list[Event]:
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    start_ms -= start_ms % 3_600_000
    shop = Shop(seed=11, start_ms=start_ms, sessions_per_hour=3_000.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


SHOP = _shop()


_CALM: dict[str, Left] = {}


async def _undisturbed(servers: Servers, names: Names) -> Left:
    """What the shop leaves when nothing happens; run once for all scenarios on the same servers."""
    if servers.bootstrap not in _CALM:
        _CALM[servers.bootstrap] = await _run_undisturbed(servers, names)
    return _CALM[servers.bootstrap]


async def _run_undisturbed(servers: Servers, names: Names) -> Left:
    calm = Names(topic_prefix=f"{names.topic_prefix}calm.", group_id=f"{names.group_id}-calm")
    async with Deployment(servers, calm) as deployment:
        deployment.start("worker")
        await deployment.send(SHOP)
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        return await deployment.left()


def _assert_equal(disturbed: Left, calm: Left) -> None:
    assert disturbed.scores.keys() == calm.scores.keys()
    assert disturbed.features == calm.features
    assert disturbed.examples == calm.examples
    assert disturbed.closed == calm.closed
    assert disturbed.states == calm.states


@pytest.mark.long  # faults/test_crashes.py kills at each point in CI, audit/test_real_run.py looks at what is left
@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_worker_killed_twice_beside_another_leaves_what_an_undisturbed_run_leaves(
    real_servers: Servers, names: Names
) -> None:
    calm = await _undisturbed(real_servers, names)
    assert calm.repeated == 0
    async with Deployment(real_servers, names) as deployment:
        deployment.start("trainer")
        first, second = deployment.start("worker"), deployment.start("worker")
        third = EVENTS // 3
        await deployment.send(SHOP[:third])
        await deployment.until(topics.SCORES, third // 2)
        first.kill()
        await deployment.send(SHOP[third : 2 * third])
        first = deployment.start("worker")
        await deployment.until(topics.SCORES, third + 500)
        second.kill()
        await deployment.send(SHOP[2 * third :])
        second = deployment.start("worker")
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        _assert_equal(await deployment.left(), calm)
        assert [process.terminate() for process in (first, second)] == [0, 0]


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_redis_wiped_in_mid_replay_is_rebuilt_from_the_changelog_and_features_do_not_notice(
    real_servers: Servers, names: Names
) -> None:
    calm = await _undisturbed(real_servers, names)
    async with Deployment(real_servers, names, cache_visitors_max=100) as deployment:
        worker = deployment.start("worker")
        third = EVENTS // 3
        await deployment.send(SHOP[:third])
        await deployment.until(topics.SCORES, third)
        client = Redis.from_url(real_servers.redis_url)
        sending = asyncio.create_task(deployment.send(SHOP[third:]))
        await asyncio.sleep(0.2)
        await client.flushall()
        await client.aclose()
        await sending
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        log = deployment.said()
        assert "view_lost" in log
        assert "source=changelog" in log
        _assert_equal(await deployment.left(), calm)
        assert worker.terminate() == 0
