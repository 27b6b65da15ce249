"""Who watches the partitions: what ends a process, what makes it not ready, and what a rebalance does."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from stream_app.discounts.budget import AccountLostError, Spent
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.owners import Owners
from stream_app.discounts.partition import Handed
from stream_app.metrics import Metrics
from stream_app.patience import DEAD_S

BOTH = ("moments", "closed")


class Idle:
    """A partition that takes records and does nothing until it is stopped, or ends by itself when told to."""

    def __init__(self, number: int) -> None:
        self.number, self.state, self.problem = number, "ready", ""
        self.progress = time.monotonic()
        self.waiting_since: float | None = None
        self.failing_since: float | None = None
        self.sizes = (0, 0)
        self.taken: list[Handed] = []
        self.ending = asyncio.Event()

    async def run(self) -> None:
        await self.ending.wait()

    def stop(self) -> None:
        self.ending.set()

    def now_ms(self) -> int:
        return 0

    async def take(self, handed: Handed) -> None:
        self.taken.append(handed)


class _NoBudget:
    async def account(self) -> int:
        raise AccountLostError("none is open")

    async def spent(self, budget: int, now_ms: int) -> Spent:
        return Spent(0.0, 0.0)


class _Shared:
    def __init__(self) -> None:
        self.budget = _NoBudget()
        registry = CollectorRegistry()
        self.observer = DiscountObserver(Metrics(registry, discounts=True), registry)


def owners_of(made: list[Idle]) -> Owners:
    """Owners of idle partitions; `made` gets each as it is begun."""

    def make(number: int) -> Any:
        made.append(Idle(number))
        return made[-1]

    shared: Any = _Shared()
    return Owners(make, shared, topics=BOTH, client=lambda: None, session_timeout_ms=6_000)


def places(*numbers: int, topics: tuple[str, ...] = BOTH) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic in topics for number in numbers]


async def test_partitions_begin_and_end_as_the_group_says() -> None:
    made: list[Idle] = []
    owners = owners_of(made)
    assert "joining the group" in owners.ready()[1]
    await owners.assigned(places(0, 1))
    assert owners.ready() == (True, "deciding in 2 partitions")
    handed = Handed(True, b"", 0, lambda: None)
    await owners.take(1, handed)
    await owners.take(7, handed)  # not ours any more: its owner will be given it
    assert [len(each.taken) for each in made] == [0, 1]
    await owners.revoked(places(0, 1))
    assert not owners.partitions
    assert not owners.ready()[0]
    await owners.assigned(places(1, 2))
    assert [each.number for each in made] == [0, 1, 1, 2]
    await owners.revoked(places(1, 2))


async def test_a_partition_without_its_twin_is_not_begun() -> None:
    made: list[Idle] = []
    owners = owners_of(made)
    await owners.assigned([*places(0), *places(1, topics=("moments",))])
    assert [each.number for each in made] == [0]
    assert owners.ready() == (False, "partitions [1] came without their twin of the other topic")
    await owners.revoked(places(0, 1))


@pytest.mark.parametrize(
    ("what", "said"),
    [("partition", "partition 0 ended by itself"), ("agent", "the agent of moments"), ("stuck", "no progress for")],
)
async def test_what_nobody_asked_to_end_ends_the_process(what: str, said: str) -> None:
    made: list[Idle] = []
    owners = owners_of(made)
    await owners.assigned(places(0))
    made[0].progress = time.monotonic()
    running = asyncio.create_task(owners.run())
    await asyncio.sleep(0)
    if what == "partition":
        made[0].ending.set()
    elif what == "agent":
        owners.agent_ended("moments", ValueError("lost"))
    else:
        made[0].progress -= DEAD_S + 1.0
    with pytest.raises(RuntimeError, match=said):
        await asyncio.wait_for(running, 5.0)


async def test_asked_to_stop_it_ends_well_and_an_agent_may_end_then() -> None:
    made: list[Idle] = []
    owners = owners_of(made)
    await owners.assigned(places(0))
    running = asyncio.create_task(owners.run())
    await asyncio.sleep(0)
    owners.stop()
    owners.agent_ended("moments", asyncio.CancelledError())
    await asyncio.wait_for(running, 5.0)
    assert made[0].ending.is_set()


async def test_waiting_for_redis_for_long_is_not_ready_and_says_so() -> None:
    made: list[Idle] = []
    owners = owners_of(made)
    await owners.assigned(places(0))
    made[0].waiting_since, made[0].problem = time.monotonic() - 5.0, "no answer"
    ready, why = owners.ready()
    assert not ready
    assert re.fullmatch(r"partition 0 has waited for Redis for \d+ s: no answer", why)
    assert owners.alive() == (True, "running")
    await owners.revoked(places(0))
