"""Kafka or Redis goes away in mid-run and comes back: it is said and waited out, nothing is lost or repeated."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from itertools import islice
from typing import Any

import pytest

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.core.events import Event
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka, RealRedis, UnavailableError

EVENTS = 4_000


def _shop() -> list[Event]:
    start_ms = int(time.time() * 1000) - 10 * 24 * 3600 * 1000
    shop = Shop(seed=5, start_ms=start_ms, sessions_per_hour=3_000.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


async def _send(deployment: Deployment, events: list[Event]) -> None:
    settings = deployment.settings
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        for event in events:
            await sink.send_event(event)
        await sink.flush()


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


async def _until(port: int, ready: bool, text: str) -> str:
    """Wait until readiness is as expected and its words contain the text; the words."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status, body = await asyncio.to_thread(_get, port, "/readyz")
        if (status == 200) == ready and text in body:
            return body
        assert time.monotonic() < deadline, f"got {status} {body}, expected ready={ready} and {text!r}"
        await asyncio.sleep(0.2)


def _counted(port: int, outcome: str) -> int:
    _, text = _get(port, "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("intent_events_total") and outcome in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


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
    shop, port = _shop(), free_port()
    async with Deployment(Servers(kafka.bootstrap, redis.url, "real"), names) as deployment:
        worker = deployment.start("worker", web_port=port)
        await _send(deployment, shop[: EVENTS // 2])
        await deployment.until(topics.SCORES, EVENTS // 2)
        await _until(port, True, "scoring 4 partitions")
        redis.kill()
        await _send(deployment, shop[EVENTS // 2 :])
        assert "for Redis" in await _until(port, False, "Redis")
        assert (await asyncio.to_thread(_get, port, "/healthz"))[0] == 200
        redis.restart()
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        await _until(port, True, "scoring 4 partitions")
        left = await deployment.left()
        assert len(left.scores) == EVENTS
        assert left.repeated == 0
        log = deployment.log.read_text()
        # At most a line at its beginning and one at its end for each partition, and one of the rebuilt view.
        assert 1 <= log.count("redis_error") <= 8
        assert "server=redis" in log
        assert "source=changelog" in log
        assert deployment.terminate(worker) == 0


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_broker_that_is_killed_and_started_again_repeats_nothing_and_is_said_aloud(
    real_servers: Servers, own_servers: tuple[RealKafka, RealRedis], names: Names
) -> None:
    kafka, redis = own_servers
    shop, port, trainer_port = _shop(), free_port(), free_port()
    async with Deployment(Servers(kafka.bootstrap, redis.url, "real"), names) as deployment:
        worker = deployment.start("worker", web_port=port)
        trainer = deployment.start("trainer", web_port=trainer_port)
        await _send(deployment, shop[: EVENTS // 2])
        await deployment.until(topics.SCORES, EVENTS // 2)
        await deployment.until_caught_up()
        await _until(port, True, "scoring 4 partitions")
        await _until(trainer_port, True, "learning")
        kafka.kill()
        await _until(port, False, "Kafka has not answered")
        await _until(trainer_port, False, "trainer")
        await asyncio.to_thread(kafka.restart)
        await _until(port, True, "scoring 4 partitions")
        await _until(trainer_port, True, "learning")
        await _send(deployment, shop[EVENTS // 2 :])
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        left = await deployment.left()
        assert len(left.scores) == EVENTS
        assert left.repeated == 0
        # Nothing was read a second time: a coordinator that is still loading must not pass for one without commits.
        scored = await asyncio.to_thread(_counted, port, 'outcome="scored"')
        late = await asyncio.to_thread(_counted, port, 'outcome="late"')
        replayed = await asyncio.to_thread(_counted, port, 'outcome="replayed"')
        assert (scored + late, replayed) == (EVENTS, 0)
        assert "server=kafka" in deployment.log.read_text()
        assert [deployment.terminate(process) for process in (worker, trainer)] == [0, 0]
