"""Redis killed and empty, older than it was, or another: the budget is kept, and the topic knows what was spent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from stream_app.backends.ports import UnusableError
from tests.discounts_app.moments import moment
from tests.discounts_app.owner import Owner
from tests.discounts_app.policies import policy_file
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealRedis

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: An offer costs 1.00.
PER_HOUR = 5.0


@pytest.fixture
def redis() -> Iterator[RealRedis]:
    """One of the test's own, which can be killed and keeps what was saved."""
    with RealRedis(persistent=True) as server:
        yield server


@pytest.fixture
async def deployment(
    real_servers: Servers, redis: RealRedis, names: Names, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """On that Redis, with a budget for five offers."""
    policy = policy_file(tmp_path, holdout=0.0, per_hour=PER_HOUR)
    servers = real_servers._replace(redis_url=redis.url)
    async with Deployment(servers, names, discount_policy=policy) as made:
        yield made


async def _five_offers(deployment: Deployment) -> None:
    verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=PER_HOUR, per_day=1e6)
    assert (verdict.spent, len(verdict.offers)) == (PER_HOUR, 5)


@pytest.mark.parametrize("copy", ["empty", "older"])
async def test_a_redis_that_comes_back_empty_or_older_gives_nothing_away_twice(
    deployment: Deployment, redis: RealRedis, copy: str
) -> None:
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s1")])
        if copy == "older":
            async with Redis.from_url(redis.url) as client:
                await client.save()
        await owner.decided([moment("v2", "s2"), moment("v3", "s3")])
        redis.kill()
        offsets = await owner.hand([moment(f"w{n}", f"t{n}") for n in range(10)])
        await owner.until(lambda: owner.partition.waiting_since is not None)
        assert not set(offsets) & set(owner.acknowledged), "they wait"
        redis.restart()
        await owner.until(lambda: set(offsets) <= set(owner.acknowledged))
        assert owner.counted("intent_discount_accounts_total", what="opened") == 2
    await _five_offers(deployment)


async def test_an_older_copy_put_into_the_running_server_is_seen_by_its_bookings(
    deployment: Deployment, redis: RealRedis
) -> None:
    async with Owner(deployment.settings) as owner, Redis.from_url(redis.url) as client:
        await owner.decided([moment("v1", "s1")])
        copy = {key: await client.dump(key) for key in await client.keys("*")}
        await owner.decided([moment("v2", "s2"), moment("v3", "s3")])
        await client.flushall()
        for key, value in copy.items():
            await client.restore(key, 0, value)
        await owner.decided([moment(f"w{n}", f"t{n}") for n in range(10)])
    await _five_offers(deployment)


async def test_two_processes_that_find_it_lost_open_one_account(deployment: Deployment, redis: RealRedis) -> None:
    one, other = Owner(deployment.settings, 0), Owner(deployment.settings, 1)
    async with one, other:
        await one.decided([moment("v1", "s1"), moment("v2", "s2")])
        await other.decided([moment("v3", "s3")])
        redis.kill()
        redis.restart()
        await asyncio.gather(
            one.decided([moment(f"w{n}", f"t{n}") for n in range(10)]),
            other.decided([moment(f"x{n}", f"u{n}") for n in range(10)]),
        )
        assert await one.budget.account() == await other.budget.account()
    await _five_offers(deployment)


async def test_a_redis_that_does_not_answer_is_waited_for(deployment: Deployment, redis: RealRedis) -> None:
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s1")])
        os.kill(redis.pid, signal.SIGSTOP)
        offsets = await owner.hand([moment("v2", "s2")])
        await owner.until(lambda: owner.partition.waiting_since is not None)
        assert owner.partition.state == "ready", "nothing has to be taken over again"
        os.kill(redis.pid, signal.SIGCONT)
        await owner.until(lambda: set(offsets) <= set(owner.acknowledged))
        assert owner.partition.waiting_since is None
        assert owner.counted("intent_discount_accounts_total", what="lost") == 1, "at the very first start"
    assert len((await Verdict.of(deployment)).offers) == 2


async def test_a_policy_that_is_switched_off_while_costs_are_booked_lets_nothing_out(
    deployment: Deployment, redis: RealRedis
) -> None:
    # So long that it is the switch that stops the offer, and not Redis.
    patient = deployment.settings.model_copy(update={"redis_timeout_ms": 20_000})
    async with Owner(patient) as owner:
        await owner.decided([moment("v1", "s1")])
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            offsets = await owner.hand([moment("v2", "s2")])
            await owner.until(lambda: owner.partition.sizes[0] == 1)
            await asyncio.sleep(0.5)
            folder = Path(deployment.settings.discount_policy).parent
            policy_file(folder, holdout=0.0, per_hour=PER_HOUR, enabled=False)
            await owner.policy.look()
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        await owner.until(lambda: set(offsets) <= set(owner.acknowledged))
        assert owner.counted("intent_discount_moments_total", outcome="off") == 1
        assert owner.counted("intent_discount_errors_total", what="redis") == 0
    verdict = await Verdict.of(deployment)
    assert [each["session_id"] for each in verdict.exposures] == ["s1"]


async def test_a_redis_that_drops_keys_to_make_room_is_refused(deployment: Deployment, redis: RealRedis) -> None:
    async with Redis.from_url(redis.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
    owner = Owner(deployment.settings)
    with pytest.raises(UnusableError, match="noeviction"):
        await asyncio.wait_for(owner.partition.run(), 20.0)
    await owner.close()


async def test_an_attempt_that_was_overtaken_opens_nothing(deployment: Deployment) -> None:
    owner = Owner(deployment.settings)
    async with owner:
        await owner.until(lambda: owner.partition.state == "ready")
        async with Redis.from_url(deployment.settings.redis_url.get_secret_value()) as client:
            await client.flushall()
        assert await owner.budget.close("slow", lock_ms=30) == "mine"
        assert await owner.budget.close("quick", lock_ms=60_000) == "busy"
        await asyncio.sleep(0.05)
        assert await owner.budget.close("quick", lock_ms=60_000) == "mine"
        assert not await owner.budget.open("slow", 4_000_000_000_000, {})
        assert await owner.budget.open("quick", 4_000_000_000_001, {"h:1": 5})
        # A repeated call is told that it worked.
        assert await owner.budget.open("quick", 4_000_000_000_001, {"h:1": 9})
        assert (await owner.budget.spent(4_000_000_000_001, 3_600_000)).hour == 0.0005
