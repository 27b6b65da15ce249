"""Back-pressure: what cannot be scored waits in Kafka, not in memory; it is said, and afterwards it is scored.

events  ▁▁ warm ▁▁ ████ poured ████ ▁▁▁▁ ████ poured ████ ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
Redis   ──────────┐                                      ┌──────────────────────
                  └───────────── stopped ────────────────┘
queue   0         → full                                 → 0
lag     0         → poured − queue    → 2 poured − queue → 0
memory  m         → m + queue         → the same         → no more than that
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import msgspec
import pytest

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.audit import audit
from stream_app.behind import BATCHES_MAX
from stream_app.core.events import Event
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.soak.gauges import footprint, lag
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.timeout(420)]

WARM: Final = 10_000

#: A crowd that memory holds, all of whom have come among the warm ones: no batch has to wait for what only Redis knows,
#: and all of the queue is used.
CROWD: Final = 1_500
BATCH: Final = 300
PARTITIONS: Final = 4

#: In bytes, of one event in a batch that waits for Redis: its visitor's state, but not its outputs. Seen: 1,200.
EVENT_BYTES: Final = 1_800
QUEUE_MB: Final = BATCHES_MAX * PARTITIONS * BATCH * EVENT_BYTES / 1024 / 1024
#: Taken from the log and not in Redis: the queue, and of each partition a batch being written and one being handed on.
TAKEN: Final = (BATCHES_MAX + 2) * PARTITIONS * BATCH
#: In MiB: what the client fetches ahead (2 MiB of each input partition, compressed, one batch of it decoded), and what
#: an allocator keeps.
SLACK_MB: Final = 24.0
#: In MiB: how far memory may differ between two looks at a worker that stands still.
STILL_MB: Final = 16.0

PATIENCE_S: Final = 150.0


def _crowd(events: int) -> list[Event]:
    """A shop of `CROWD` visitors who come again and again; over long before now."""
    start_ms = int(time.time() * 1000) - 10 * 24 * 3600 * 1000
    found = []
    facts = (fact for fact in Shop(seed=9, start_ms=start_ms, sessions_per_hour=20_000.0) if isinstance(fact, Event))
    for event in islice(facts, events):
        number = int(event.visitor_id.rpartition("-")[2]) % CROWD
        found.append(msgspec.structs.replace(event, visitor_id=f"v{number}", session_id=None))
    return found


class _Memory:
    """The largest that a process has been, asked five times a second."""

    def __init__(self, process: Process) -> None:
        self._pid = process.pid
        self.now_mb = self.max_mb = 0.0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch while inside."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            found = footprint(self._pid)
            assert found is not None
            self.now_mb = found.rss_mb
            self.max_mb = max(self.max_mb, found.rss_mb)
            await asyncio.sleep(0.2)


async def _until(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        await asyncio.sleep(0.2)


async def _stands_still(deployment: Deployment) -> int:
    """Wait until nothing has been scored for three seconds; the lag then."""
    last = -1
    deadline = time.monotonic() + PATIENCE_S
    while (count := await deployment.count(topics.SCORES)) != last:
        assert time.monotonic() < deadline, "the worker scores on, without Redis"
        last = count
        await asyncio.sleep(3.0)
    found = await lag(deployment.settings)
    assert found is not None
    return found


@pytest.mark.long
@pytest.mark.parametrize(("guarantee", "poured"), [("exactly_once", 30_000), ("at_least_once", 30_000)])
async def test_an_overload_makes_lag_and_not_memory_and_the_lag_drains(
    names: Names, guarantee: str, poured: int
) -> None:
    kafka, redis = RealKafka(), RealRedis()
    try:
        with kafka, redis:
            servers = Servers(kafka.bootstrap, redis.url, "real")
            flags = {"processing_guarantee": guarantee, "batch_records_max": BATCH, "cache_visitors_max": CROWD}
            async with Deployment(servers, names, **flags) as deployment:
                await _overload(deployment, redis, guarantee, poured)
    except UnavailableError as reason:
        skip_or_fail(reason)


async def _overload(deployment: Deployment, redis: RealRedis, guarantee: str, poured: int) -> None:
    events = _crowd(WARM + 2 * poured)
    worker = deployment.start("worker")
    memory = _Memory(worker)
    async with memory.watched():
        await deployment.send(events[:WARM])
        await deployment.until(topics.SCORES, WARM)
        await deployment.until_caught_up()
        await _until("the worker to be ready", lambda: worker.ready()[0])
        before_mb = memory.now_mb
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            await deployment.send(events[WARM : WARM + poured])
            lag_first = await _stands_still(deployment)
            first_mb = memory.now_mb
            await deployment.send(events[WARM + poured :])
            lag_second = await _stands_still(deployment)
            second_mb = memory.now_mb
            await asyncio.to_thread(_says_so, worker, 2 * poured - TAKEN)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        await deployment.until(topics.SCORES, len(events))
        await deployment.until_caught_up()
        await _until("the worker to be ready again", lambda: worker.ready()[0])
    assert await lag(deployment.settings) == 0
    report = await audit(deployment.settings)
    print(
        f"\n{guarantee}: memory {before_mb:.0f} MiB before, {first_mb:.0f} at a lag of {lag_first}, {second_mb:.0f} at "
        f"{lag_second}, {memory.max_mb:.0f} at the most; repeated {report.repeated}"
    )
    assert report.clean, report.violations
    assert report.behind == {}
    assert guarantee == "at_least_once" or not any(report.repeated.values())
    assert lag_first >= poured - TAKEN
    assert lag_second == lag_first + poured
    assert first_mb < before_mb + QUEUE_MB + SLACK_MB
    assert second_mb < first_mb + STILL_MB
    assert memory.max_mb < before_mb + QUEUE_MB + SLACK_MB
    assert worker.terminate() == 0


def _says_so(worker: Process, lag_min: int) -> None:
    """Readiness, metrics and log of a worker that cannot go on."""
    ready, words = worker.ready()
    assert not ready
    assert "for Redis" in words
    assert worker.metric("intent_view_queue_batches") == BATCHES_MAX * PARTITIONS
    assert worker.metric("intent_view_waits_total") > 0
    assert worker.metric("intent_redis_errors_total") > 0
    wait_for("the lag to be told", lambda: worker.metric("intent_lag_records") >= lag_min, seconds=PATIENCE_S)
    assert worker.said().count("view_behind") >= PARTITIONS
