"""A worker that stands still for longer than its session, wakes up, and finds its partitions with another one.

one      ──decides──▌ SIGSTOP ············· SIGCONT ▐── fenced, or told by the group ──►
other    ·········· takes all partitions over ──decides──────────────────────────────►
"""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import pytest

from tests.discounts_app.flow import Flow, until_exposed, until_ready
from tests.discounts_app.policies import policy_file
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


def _has_all(worker: Process) -> bool:
    return "in 4 partitions" in worker.ready()[1]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_worker_that_wakes_up_after_its_session_makes_no_second_offer(
    real_servers: Servers, names: Names, tmp_path: Path
) -> None:
    async with Deployment(real_servers, names, discount_policy=policy_file(tmp_path)) as deployment:
        one, other = deployment.start("discounts"), deployment.start("discounts")
        await until_ready(one)
        await until_ready(other)
        async with Flow(deployment) as flow:
            for paused, going_on in ((one, other), (other, one), (one, other)):
                paused.pause()
                await asyncio.sleep(9.0)  # the session time-out is 6 s
                has_all = functools.partial(_has_all, going_on)
                await asyncio.to_thread(wait_for, "the other to have all", has_all, seconds=PATIENCE_S)
                paused.resume()
                await asyncio.sleep(4.0)
                await until_ready(paused)
        await until_exposed(deployment, len(flow.sessions))
        for worker in (one, other):
            assert worker.terminate() == 0
        verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=1e6, per_day=1e6)
    assert verdict.sessions == flow.sessions
