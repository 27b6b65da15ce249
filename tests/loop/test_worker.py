"""A worker's beginning and end, on the embedded servers."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError
from prometheus_client import CollectorRegistry

from stream_app.admin import create_topics
from stream_app.backends.child_process import free_port
from stream_app.backends.clients import KafkaClients
from stream_app.observe import Observer
from stream_app.settings import load
from stream_app.worker import Worker
from tests.support.fixtures import Names, Servers


@pytest.fixture
async def worker(embedded_servers: Servers, names: Names) -> Worker:
    """With its topics made; not run yet."""
    settings = load(
        flags={
            "kafka_bootstrap": embedded_servers.bootstrap,
            "redis_url": embedded_servers.redis_url,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "check_crcs": False,
            "session_timeout_ms": 3_000,
        }
    )
    await create_topics(settings)
    return Worker(settings, Observer(CollectorRegistry()))


async def test_a_worker_that_still_waits_for_its_model_stops_at_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def never_done() -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(worker.follower, "run", never_done)
    run = asyncio.create_task(worker.run())
    await reading.wait()
    await asyncio.sleep(0.2)
    assert _joining(worker)
    worker.stop()
    await asyncio.wait_for(run, 10)


async def test_kafka_that_goes_away_while_a_worker_starts_is_waited_for(
    worker: Worker, embedded_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = KafkaClients(load(flags={"kafka_bootstrap": f"127.0.0.1:{free_port()}"}))
    attempts = []

    def refused_twice() -> AIOKafkaAdminClient:
        attempts.append(1)
        return (gone if len(attempts) < 3 else there).admin()

    there = KafkaClients(load(flags={"kafka_bootstrap": embedded_servers.bootstrap}))
    monkeypatch.setattr(worker._clients, "admin", refused_twice)
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(60):
        await _ready(worker)
    assert len(attempts) == 3
    worker.stop()
    await asyncio.wait_for(run, 20)


def _joining(worker: Worker) -> bool:
    ready, why = worker.ready()
    return not ready and re.fullmatch(r"joining the group for \d+ s", why) is not None


async def _ready(worker: Worker) -> None:
    while not worker.ready()[0]:  # noqa: ASYNC110  readiness is asked for, as from outside
        await asyncio.sleep(0.1)


async def test_a_worker_without_partitions_still_polls_and_so_comes_back_from_an_error_in_a_rebalance(
    worker: Worker,
) -> None:
    # The client keeps such an error for the next poll, and until then does nothing to join again.
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(60):
        await _ready(worker)
        consumer = worker._consumer
        assert consumer is not None
        await worker.on_partitions_revoked(list(consumer.assignment()))
        assert _joining(worker)
        assert worker.alive()[0]
        coordinator = consumer._coordinator
        consumer._subscription.begin_reassignment()
        pushed = asyncio.ensure_future(coordinator._push_error_to_user(GroupLoadInProgressError()))
        await asyncio.wait_for(pushed, 10)  # somebody polled, and took it
        assert coordinator._pending_exception is None
        coordinator.request_rejoin()
        await _ready(worker)
    worker.stop()
    await asyncio.wait_for(run, 20)
