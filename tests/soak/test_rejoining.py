"""A client that meets an error in the midst of a rebalance joins its group again: in a soak a worker did not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from stream_app import admin
from stream_app.observe import Observer
from stream_app.settings import load
from stream_app.worker import Worker
from tests.support.fixtures import Names, Servers


async def _until_scoring(worker: Worker, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while worker.ready() != (True, "scoring 4 partitions"):
        assert time.monotonic() < deadline, worker.ready()
        await asyncio.sleep(0.1)


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_coordinator_that_is_loading_in_the_midst_of_a_rebalance_costs_a_worker_nothing(
    real_servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: dict[str, Any] = {
        "kafka_bootstrap": real_servers.bootstrap,
        "redis_url": real_servers.redis_url,
        "topic_prefix": names.topic_prefix,
        "group_id": names.group_id,
    }
    settings = load(flags=flags)
    await admin.create_topics(settings)
    worker = Worker(settings, Observer(CollectorRegistry()))
    running = asyncio.create_task(worker.run())
    try:
        await _until_scoring(worker, 30)
        sync: Any = CoordinatorGroupRebalance._send_sync_group_request
        refused: list[Any] = []

        async def loading(self: Any, request: Any) -> Any:
            if not refused:
                refused.append(request)
                # As aiokafka does with an error that it knows of joining, but not of syncing.
                self._coordinator._rejoin_needed_fut = asyncio.get_running_loop().create_future()
                self._coordinator.request_rejoin()
                raise KafkaError("GroupLoadInProgressError()")
            return await sync(self, request)

        monkeypatch.setattr(CoordinatorGroupRebalance, "_send_sync_group_request", loading)
        consumer: Any = worker._consumer
        consumer._coordinator.request_rejoin()
        deadline = time.monotonic() + 10
        while not refused:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert not worker.ready()[0]
        await _until_scoring(worker, 20)
        assert not running.done()
    finally:
        worker.stop()
        await running
