"""Events in, offers out: worker, trainer and discounts together, by either command, on servers that need only pip."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import islice
from pathlib import Path

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.core.events import Event
from tests.discounts_app.flow import until_ready
from tests.discounts_app.policies import policy_file, policy_text
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process
from tests.support.fixtures import Names, Servers

#: A shop on a day in the past: its time is not ours.
EVENTS = [fact for fact in islice(Shop(seed=3, start_ms=1_735_689_600_000), 7_000) if isinstance(fact, Event)]


async def test_sessions_of_a_made_up_shop_are_offered_something(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    flags = {
        "discount_policy": policy_file(tmp_path, kinds=("band", "trend", "quiet", "hesitates"), earliest=20.0),
        "discount_clock": "events",
        "session_gap_ms": 240_000,
    }
    async with Deployment(embedded_servers, names, **flags) as deployment:
        scoring, discounts = deployment.start("run"), deployment.start("discounts")
        await until_ready(scoring)
        await until_ready(discounts)
        half = len(EVENTS) // 2
        # A cold model tells of hardly anything: the second half is scored by one that has learned the first.
        await deployment.send(EVENTS[:half])
        await deployment.until_all_scored(half)
        await deployment.send(EVENTS[half:])
        await deployment.until(topics.OFFERS, 1)
        offers = (await Verdict.of(deployment)).offers
        moments = {(each["visitor_id"], each["session_id"]) for _, each, _ in await deployment.read(topics.MOMENTS)}
        assert {(each["visitor_id"], each["session_id"]) for each in offers} <= moments
        assert (discounts.terminate(), scoring.terminate()) == (0, 0)


async def test_bounds_that_are_learned_come_to_a_window_and_nobody_is_offered_anything_before(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(policy_text(kinds=("band", "trend", "quiet", "hesitates"), earliest='"learned"'))
    flags = {"discount_policy": str(policy), "discount_clock": "events", "session_gap_ms": 240_000}
    async with Deployment(embedded_servers, names, **flags) as deployment:
        scoring, discounts = deployment.start("run"), deployment.start("discounts")
        await until_ready(scoring)
        await until_ready(discounts)
        half = len(EVENTS) // 2
        await deployment.send(EVENTS[:half])
        await deployment.until_all_scored(half)
        async with asyncio.timeout(PATIENCE_S):
            while "discounts_timing_learned" not in discounts.said():  # noqa: ASYNC110  another process is looked at
                await asyncio.sleep(0.2)
        await deployment.send(EVENTS[half:])
        await deployment.until(topics.OFFERS, 1)
        exposures = (await Verdict.of(deployment)).exposures
        # On the clock `quiet`: who has just done something is not asked.
        assert min(each["decided_at"] - each["event_time"] for each in exposures) > 2_000
        assert (discounts.terminate(), scoring.terminate()) == (0, 0)


async def test_faust_starts_the_same_application(embedded_servers: Servers, names: Names, tmp_path: Path) -> None:
    async with Deployment(embedded_servers, names, discount_policy=policy_file(tmp_path)) as deployment:
        port = free_port()
        settings = deployment.settings
        environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")} | {
            "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "STREAM_APP_REDIS_URL": settings.redis_url.get_secret_value(),
            "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
            "STREAM_APP_GROUP_ID": settings.group_id,
            "STREAM_APP_CHECK_CRCS": "false",
            "STREAM_APP_WEB_PORT": str(port),
        }
        command = [sys.executable, "-m", "faust", "-A", "stream_app.discounts.app", "worker"]
        process = Process("faust", command, environment, port=port, log=tmp_path / "faust.log")
        deployment.processes.append(process)
        await until_ready(process)
        assert "deciding in 4 partitions" in process.ready()[1]
        assert process.terminate() == 0
