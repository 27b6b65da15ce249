"""Kafka or Redis goes away in mid-run and comes back: it is said and waited out, nothing is lost or repeated."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import Any

import pytest

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import Event
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka, RealRedis, UnavailableError

EVENTS = 4_000


def _shop() -> list[Event]:
    start_ms = int(time.time() * 1000) - 10 * 24 * 3600 * 1000
    shop = Shop(seed=5, start_ms=start_ms, sessions_per_hour=3_000.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


async def _until(process: Process, ready: bool, text: str) -> str:
    """Wait until readiness is as expected and its words contain the text; the words."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found, words = await asyncio.to_thread(process.ready)
        if found == ready and text in words:
            return words
        assert time.monotonic() < deadline, f"got {found} {words}, expected ready={ready} and {text!r}"
        await asyncio.sleep(0.2)


@pytest.fixture
def own_servers() -> Any:
    """A broker and a Redis of this test's own, to be killed."""
    kafka, redis = RealKafka(), RealRedis()
    try:
        kafka.start()
        redis.start()
    except UnavailableError as error:
        kafka.stop()
        pytest.skip(str(error))
    yield kafka, redis
    redis.stop()
    kafka.stop()


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_redis_that_is_killed_and_started_again_is_waited_for_aloud(
    real_servers: Servers, own_servers: tuple[RealKafka, RealRedis], names: Names
) -> None:
    kafka, redis = own_servers
    shop = _shop()
    async with Deployment(Servers(kafka.bootstrap, redis.url, "real"), names) as deployment:
        worker = deployment.start("worker")
        await deployment.send(shop[: EVENTS // 2])
        await deployment.until(topics.SCORES, EVENTS // 2)
        await _until(worker, True, "scoring 4 partitions")
        redis.kill()
        await deployment.send(shop[EVENTS // 2 :])
        assert "for Redis" in await _until(worker, False, "Redis")
        assert (await asyncio.to_thread(worker.get, "/healthz"))[0] == 200
        redis.restart()
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        await _until(worker, True, "scoring 4 partitions")
        left = await deployment.left()
        assert len(left.scores) == EVENTS
        assert left.repeated == 0
        log = deployment.said()
        # At most a line at its beginning and one at its end for each partition, and one of the rebuilt view.
        assert 1 <= log.count("redis_error") <= 8
        assert "server=redis" in log
        assert "source=changelog" in log
        assert worker.terminate() == 0


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_broker_that_is_killed_and_started_again_repeats_nothing_and_is_said_aloud(
    real_servers: Servers, own_servers: tuple[RealKafka, RealRedis], names: Names
) -> None:
    kafka, redis = own_servers
    shop = _shop()
    async with Deployment(Servers(kafka.bootstrap, redis.url, "real"), names) as deployment:
        worker = deployment.start("worker")
        trainer = deployment.start("trainer")
        await deployment.send(shop[: EVENTS // 2])
        await deployment.until(topics.SCORES, EVENTS // 2)
        await deployment.until_caught_up()
        await _until(worker, True, "scoring 4 partitions")
        await _until(trainer, True, "learning")
        kafka.kill()
        await _until(worker, False, "Kafka has not answered")
        await _until(trainer, False, "Kafka has not answered")
        await asyncio.to_thread(kafka.restart)
        await _until(worker, True, "scoring 4 partitions")
        await _until(trainer, True, "learning")
        await deployment.send(shop[EVENTS // 2 :])
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        left = await deployment.left()
        assert len(left.scores) == EVENTS
        assert left.repeated == 0
        # Nothing was read a second time: a coordinator that is still loading must not pass for one without commits.
        scored = await asyncio.to_thread(worker.metric, "intent_events_total", outcome="scored")
        late = await asyncio.to_thread(worker.metric, "intent_events_total", outcome="late")
        replayed = await asyncio.to_thread(worker.metric, "intent_events_total", outcome="replayed")
        assert (scored + late, replayed) == (EVENTS, 0)
        assert "server=kafka" in deployment.said()
        assert [process.terminate() for process in (worker, trainer)] == [0, 0]
