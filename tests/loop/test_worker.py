"""A worker's beginning and end, on the embedded servers."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from stream_app.admin import create_topics
from stream_app.observe import Observer
from stream_app.settings import load
from stream_app.worker import Worker
from tests.support.fixtures import Names, Servers


async def test_a_worker_that_still_waits_for_its_model_stops_at_once(
    embedded_servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(
        flags={
            "kafka_bootstrap": embedded_servers.bootstrap,
            "redis_url": embedded_servers.redis_url,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "check_crcs": False,
        }
    )
    await create_topics(settings)
    worker = Worker(settings, Observer(CollectorRegistry()))
    reading = asyncio.Event()

    async def never_done() -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(worker.follower, "run", never_done)
    run = asyncio.create_task(worker.run())
    await reading.wait()
    await asyncio.sleep(0.2)
    assert worker.ready() == (False, "joining the group")
    started = time.monotonic()
    worker.stop()
    await asyncio.wait_for(run, 10)
    assert time.monotonic() - started < 3
