"""How soon a worker that was killed scores again."""

from __future__ import annotations

import asyncio
import time

import pytest

from producers.sink import KafkaSink
from stream_app import topics
from tests.faults.stream import EVENTS, SHOP
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

#: Far beyond what a restart takes: a group that waited for it would show.
SESSION_TIMEOUT_MS = 60_000


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("guarantee", [pytest.param("at_least_once", marks=pytest.mark.long), "exactly_once"])
async def test_a_worker_that_comes_back_under_its_name_waits_for_no_time_out(
    real_servers: Servers, names: Names, guarantee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"processing_guarantee": guarantee, "worker_id": "only-one", "session_timeout_ms": SESSION_TIMEOUT_MS}
    async with Deployment(real_servers, names, **flags) as run:
        worker = run.start("worker")
        async with KafkaSink(run.settings.kafka_bootstrap, topic_prefix=run.settings.topic_prefix) as sink:
            sent = 0
            for event in SHOP[: EVENTS // 2]:
                await sink.send_event(event)
                sent += 1
            await sink.flush()
            await run.until_all_scored(sent)
            worker.kill()
            killed = time.monotonic()
            run.start("worker")
            for event in SHOP[EVENTS // 2 : EVENTS // 2 + 200]:
                await sink.send_event(event)
            await sink.flush()
            before = await run.count(topics.SCORES)
            while await run.count(topics.SCORES) <= before:  # noqa: ASYNC110  another process is looked at
                await asyncio.sleep(0.05)
            took = time.monotonic() - killed
            await run.until_all_scored(sent + 200)
    with capsys.disabled():
        print(f"\n{guarantee}: first new score {took:.1f} s after kill -9 of the only worker")
    assert took < SESSION_TIMEOUT_MS / 2_000
