"""kill -9 of the discount worker while moments flow, and the same moments told again: nobody is decided about twice.

moments   ──m──m──m──m──m──m──m──m──m──m──m──m──m──m──m──m──►
worker    ──────✗  ──────────✗  ────✗  ──────────────────────
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from stream_app import topics
from stream_app.discounts.beginning import group_id
from tests.discounts_app.flow import Flow, until_exposed, until_ready
from tests.discounts_app.moments import MomentSink, moment
from tests.discounts_app.policies import policy_file
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_KILLS = [1, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(900)])]


async def killed_at_random(deployment: Deployment, *, kills: int, rng: random.Random) -> Process:
    """Kill and start the worker so many times; the last one, ready."""
    # Of one name: started again, it has its partitions back at once.
    worker = deployment.start("discounts", worker_id="one")
    await until_ready(worker)
    for _ in range(kills):
        # Also while it takes over: three in four at work, one anywhere.
        if rng.random() < 0.75:
            await until_ready(worker)
        await asyncio.sleep(rng.uniform(0.0, 2.5))
        worker.kill()
        worker = deployment.start("discounts", worker_id="one")
    await until_ready(worker)
    return worker


@pytest.mark.parametrize("kills", _KILLS)
async def test_a_killed_worker_decides_about_every_session_and_about_none_twice(
    real_servers: Servers, names: Names, tmp_path: Path, kills: int
) -> None:
    async with Deployment(real_servers, names, discount_policy=policy_file(tmp_path)) as deployment:
        async with Flow(deployment) as flow:
            worker = await killed_at_random(deployment, kills=kills, rng=random.Random(kills))
        await until_exposed(deployment, len(flow.sessions))
        # The input once more, as it was: whoever reads it knows that all is decided.
        async with MomentSink(deployment.settings) as sink:
            await sink.send(flow.sent)
            await sink.send([moment("last", "of all")])
        await until_exposed(deployment, len(flow.sessions) + 1)
        assert worker.terminate() == 0
        if kills > 1:
            await all_of_it_again(deployment, len(flow.sent))
        verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=1e6, per_day=1e6)
    assert verdict.sessions == flow.sessions | {("last", "of all")}
    shares = sum(each["arm"] == "holdout" for each in verdict.exposures) / len(verdict.exposures)
    assert 0.1 < shares < 0.3


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_killed_worker_spends_no_more_than_the_budget_and_nearly_all_of_it(
    real_servers: Servers, names: Names, tmp_path: Path
) -> None:
    # An offer costs 1.00; a crash may leave those of one batch booked and unwritten.
    kills, per_hour = 12, 300.0
    policy = policy_file(tmp_path, per_hour=per_hour)
    async with Deployment(real_servers, names, discount_policy=policy) as deployment:
        async with Flow(deployment) as flow:
            worker = await killed_at_random(deployment, kills=kills, rng=random.Random(5))
        await asyncio.sleep(5.0)
        assert worker.terminate() == 0
        verdict = await Verdict.of(deployment)
    assert len(flow.sessions) > 2 * per_hour
    verdict.hold(per_hour=per_hour, per_day=1e6)
    assert verdict.spent > 0.8 * per_hour


async def all_of_it_again(deployment: Deployment, sent: int) -> None:
    """Let a group that has forgotten what it has read read all of it: what was sent, twice, and one moment more."""
    await read_again(deployment)
    worker = deployment.start("discounts", worker_id="one")

    def counted() -> bool:
        return worker.metric("intent_discount_moments_total", outcome="decided") >= 2 * sent + 1

    await asyncio.to_thread(wait_for, "the input to be read again", counted, seconds=PATIENCE_S)
    assert worker.terminate() == 0


async def read_again(deployment: Deployment) -> None:
    """Set the group's offsets to the beginnings."""
    settings = deployment.settings
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, group_id=group_id(settings), enable_auto_commit=False
    )
    names = [settings.topic(name) for name in (topics.MOMENTS, topics.CLOSED)]
    places = [TopicPartition(name, number) for name in names for number in range(settings.topic_partitions)]
    await consumer.start()
    consumer.assign(places)
    # Its member keeps its place for a session time-out, since it has a name; a group with members refuses.
    for _ in range(100):
        with contextlib.suppress(CommitFailedError):
            await consumer.commit({place: OffsetAndMetadata(0, "") for place in places})
            break
        await asyncio.sleep(0.5)
    await consumer.stop()
