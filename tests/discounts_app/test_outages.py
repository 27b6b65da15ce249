"""Redis killed again and again under two workers, back empty or with an older copy, while moments flow."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.discounts_app.flow import Flow, until_exposed, until_ready
from tests.discounts_app.policies import policy_file
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealRedis

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("per_hour", [150.0, 1e6])
async def test_a_redis_that_loses_all_or_some_again_and_again_gives_nothing_away_twice(
    real_servers: Servers, names: Names, tmp_path: Path, per_hour: float
) -> None:
    rng = random.Random(11)
    policy = policy_file(tmp_path, per_hour=per_hour, holdout=0.1)
    with RealRedis(persistent=True) as redis:
        servers = real_servers._replace(redis_url=redis.url)
        async with Deployment(servers, names, discount_policy=policy) as deployment:
            workers = [deployment.start("discounts", worker_id=name) for name in ("one", "two")]
            for worker in workers:
                await until_ready(worker)
            async with Flow(deployment) as flow:
                for _ in range(8):
                    await asyncio.sleep(rng.uniform(0.5, 2.0))
                    if rng.random() < 0.6:
                        # The copy that it will come back with.
                        async with Redis.from_url(redis.url) as client:
                            await client.save()
                        await asyncio.sleep(rng.uniform(0.2, 1.5))
                    redis.kill()
                    await asyncio.sleep(rng.uniform(0.0, 1.5))
                    redis.restart()
                    if rng.random() < 0.3:
                        workers[0].kill()
                        workers[0] = deployment.start("discounts", worker_id="one")
                for worker in workers:
                    await until_ready(worker)
            if per_hour > 1e5:
                await until_exposed(deployment, len(flow.sessions))
            else:
                await asyncio.sleep(5.0)
            for worker in workers:
                assert worker.terminate() == 0
            verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=per_hour, per_day=1e6)
    if per_hour > 1e5:
        assert verdict.sessions == flow.sessions
    else:
        # What was booked on an account that is gone comes back with the next one, but for what crashes have left.
        assert verdict.spent > 0.9 * per_hour
