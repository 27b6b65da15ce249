"""A running system to break: real Kafka, Redis and Prometheus, a worker, a trainer, a shop, and the live page open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.ops.page import OpenPage, open_page
from tests.ops.prometheus import RealPrometheus
from tests.ops.shop import LiveShop
from tests.ops.watch import Fault, Seen, Watch
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

#: Sessions of seconds, so that there is always something to learn. Batches so small that some thousand events a
#: second are too many.
SETTINGS: Final = {
    "session_gap_ms": 3_000,
    "grace_ms": 500,
    "idle_after_ms": 1_000,
    "batch_records_max": 100,
    "session_timeout_ms": 6_000,
}

#: Events a second of a usual day.
RATE: Final = 150.0


@dataclass
class Running:
    """All of it. `watch.processes` has `worker` and `trainer`."""

    kafka: RealKafka
    redis: RealRedis
    deployment: Deployment
    shop: LiveShop
    watch: Watch
    page: OpenPage

    async def start(self, verb: str) -> None:
        """Start `worker` or `trainer` again, under its name and on another port; a worker's page is opened there."""
        self.watch.processes[verb] = process = started(self.deployment, verb)
        if verb == "worker":
            await until_listening(process)
            await self.page.go_to(process.port)


@asynccontextmanager
async def running(
    prometheus: Callable[..., RealPrometheus], targets: Path, *, quiet: set[str], scraping: dict[str, Any], **flags: Any
) -> AsyncIterator[Running]:
    """The system once it is well: none of the alerts in `quiet` fires and the page has no notice.

    `scraping` are options of `RealPrometheus`, `flags` settings of both processes. Skips, or in CI fails, where a
    server or a browser is missing.
    """
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            servers = Servers(kafka.bootstrap, redis.url, "real")
            given = {**SETTINGS, **flags, "web_targets": str(targets)}
            async with Deployment(servers, Names("alerts.", "alerts"), **given) as deployment:
                scraper = prometheus(targets, **scraping)
                shop = LiveShop(deployment.settings, rate=RATE)
                processes = {verb: started(deployment, verb) for verb in ("trainer", "worker")}
                await until_listening(processes["worker"])
                async with (
                    open_page(processes["worker"].port) as page,
                    Watch(scraper, processes, page) as watch,
                    selling(shop),
                ):
                    await watch.until_ready("worker", "trainer")
                    await watch.until_quiet(quiet, seconds=60)
                    yield Running(kafka, redis, deployment, shop, watch, page)
    except UnavailableError as reason:
        skip_or_fail(reason)


def started(deployment: Deployment, verb: str, **flags: Any) -> Process:
    """`worker` or `trainer`, with a name, so that it replaces the one before; `flags` are this process's own."""
    return deployment.start(verb, worker_id=f"{verb[0]}1", **flags)


async def until_listening(process: Process) -> None:
    """Wait for its web port to answer."""
    await asyncio.to_thread(wait_for, f"{process.name}'s port", lambda: process.get("/healthz")[0], seconds=30)


@asynccontextmanager
async def selling(shop: LiveShop) -> AsyncIterator[None]:
    """The shop is open."""
    task = asyncio.create_task(shop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def row(fault: Fault, seen: Seen, over: Seen) -> str:
    """A row of the runbook's table."""
    figures = (seen.page_s, seen.ready_s, seen.alert_s, over.page_s, over.ready_s, over.alert_s)
    shown = " | ".join("–" if figure != figure else f"{figure:.1f}" for figure in figures)
    return f"| {fault.what} | {fault.alert} | {shown} |"
