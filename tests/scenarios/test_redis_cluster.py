"""A worker, the discounts and the commands on a real Redis Cluster of three masters, one of which dies."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import islice

import pytest
from click.testing import CliRunner, Result

from producers.synthetic.shop import Shop
from stream_app.cli import main
from stream_app.core.events import Event
from stream_app.settings import ENV_PREFIX
from tests.scenarios.deployment import Deployment
from tests.scenarios.test_forget import audited
from tests.support.fixtures import Names, Servers
from tests.support.redis_cluster import RealRedisCluster

EVENTS = 2_000


def _events() -> list[Event]:
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    shop = Shop(seed=5, start_ms=start_ms, sessions_per_hour=3_000.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


def _session(run: Deployment, visitor: str) -> Result:
    told = {
        "redis_url": run.settings.redis_url.get_secret_value(),
        "redis_cluster": "true",
        "topic_prefix": run.settings.topic_prefix,
        "group_id": run.settings.group_id,
    }
    environment = {f"{ENV_PREFIX}{name.upper()}": value for name, value in told.items()}
    return CliRunner().invoke(main, ["session", visitor, "--json"], env=environment)


@pytest.mark.real_redis
async def test_partitions_are_spread_over_the_masters_and_one_that_lost_all_is_filled_again(
    embedded_servers: Servers, names: Names
) -> None:
    shop = _events()
    cluster = await asyncio.to_thread(RealRedisCluster().start)
    servers = Servers(embedded_servers.bootstrap, cluster.url, "embedded")
    try:
        async with Deployment(servers, names, redis_cluster=True) as run:
            run.start("worker")
            discounts = run.start("discounts")
            await run.send(shop[: EVENTS // 2])
            await run.until_all_scored(EVENTS // 2)
            filled = await asyncio.to_thread(cluster.keys)
            assert sum(count > 0 for count in filled) >= 2, filled
            # All that it held is gone; whose partitions it has asks the changelog.
            await asyncio.to_thread(cluster.restart, filled.index(max(filled)))
            await run.send(shop[EVENTS // 2 :])
            await run.until_all_scored(EVENTS)
            await run.until_caught_up()
            report = await audited(run)
            assert report["clean"], report
            told = await asyncio.to_thread(_session, run, shop[-1].visitor_id)
            assert told.exit_code == 0, told.output
            assert json.loads(told.stdout)["visitor_id"] == shop[-1].visitor_id
            ready, said = await asyncio.to_thread(discounts.ready)
            assert ready, said
    finally:
        await asyncio.to_thread(cluster.stop)
