"""Processes that run out of descriptors or of disk (matrix row 27)."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable

import pytest

from tests.faults.conftest import Victims
from tests.faults.run import Run

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: Bytes of a file: less than one of the outputs needs, more than the broker's small files.
_FILE_BYTES = 60_000


@pytest.mark.long
async def test_a_worker_out_of_descriptors_says_so_and_goes_on_when_it_has_some(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.send(0.3)
        await run.scored()
        _, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        # No more than it has; then every connection it loses is one it cannot make again.
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{worker.pid}/fd")) - 4, hard))
        victims.redis.kill()
        victims.redis.restart()
        await run.send(0.6)
        await run.until("a word about it", lambda: "redis_error" in worker.said())
        await asyncio.sleep(2)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (hard, hard))
        await run.scored()
        await run.scoring(worker)
        await run.send()
        await run.finish("27 worker out of file descriptors")


@pytest.mark.long
async def test_a_broker_out_of_disk_ends_and_comes_back_without_harm(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        await run.send(0.7)
        worker = run.start("worker")
        await run.scored(0.1)
        _, hard = resource.prlimit(victims.kafka.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(victims.kafka.pid, resource.RLIMIT_FSIZE, (_FILE_BYTES, hard))
        await run.until("the broker's end", lambda: not victims.kafka.running)
        await run.until("a word about Kafka", lambda: "Kafka has not answered" in worker.ready()[1])
        victims.kafka.kill()
        victims.kafka.restart()
        await run.scored()
        await run.scoring(worker)
        await run.send()
        await run.finish("27 broker out of disk")
