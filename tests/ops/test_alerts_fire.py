"""Faults in a running system, as a real Prometheus sees them: the alert fires, soon, and ends when the fault does.

One run of real servers, a worker and a trainer; the faults come one after the other, some of them together. The rules
are those that are shipped, but for the patience (`for`), which is two seconds. The table in docs/runbook.md is made of
what `-s` shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest

from tests.ops.prometheus import RealPrometheus
from tests.ops.shop import LiveShop
from tests.ops.watch import Watch
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: Sessions of seconds, so that there is always something to learn. Batches so small that some thousand events a
#: second are too many.
SETTINGS: Final = {
    "session_gap_ms": 3_000,
    "grace_ms": 500,
    "idle_after_ms": 1_000,
    "batch_records_max": 100,
    "session_timeout_ms": 6_000,
}

RATE: Final = 150.0
#: An overload begins with this rate and grows until the worker cannot follow: how much that is, is the machine's.
OVERLOAD_RATE: Final = 600.0
OVERLOAD_STEP: Final = 1.6
OVERLOAD_STEP_S: Final = 2.0

#: Each fault is to be seen within this many seconds, but for those that are a matter of time.
SOON_S: Final = 30.0
#: An overload has to grow, and what waits has to have waited for ten seconds.
OVERLOAD_SOON_S: Final = 60.0
#: A snapshot is stale after a minute.
STALE_S: Final = 60.0 + SOON_S
#: A rate over a minute forgets within one.
OVER_S: Final = 60.0 + SOON_S


LATER: Final = {"SnapshotStale": STALE_S, "LagHigh": OVERLOAD_SOON_S}


class Sighting(NamedTuple):
    """Seconds from the fault until it was seen in readiness (NaN: it is not its matter) and fired, and from its end on
    until it was resolved.
    """

    fault: str
    alert: str
    unready_s: float
    fired_s: float
    resolved_s: float


#: The faults and their alerts; whose readiness says so, if anybody's.
EXPECTED: Final = {
    "NobodyLearns": "trainer killed",
    "SnapshotStale": "trainer killed, for longer",
    "DeadLettersGrowing": "one broken record for two good ones",
    "LabelsMissing": "labels stopped",
    "LagHigh": "overload",
    "RedisViewBehind": "Redis killed",
    "NotReady": "Redis killed",
}


#: What breaks a running system, and says what was seen of it.
Breaking: TypeAlias = Callable[[Deployment, RealRedis, LiveShop, Watch], Awaitable[list[Sighting]]]

#: Those whose end takes a minute to be forgotten.
SLOWLY: Final = ("ScoringStalled", "EndToEndLatencyHigh")
NOWHERE: Final = float("nan")


@pytest.fixture(scope="module")
def seen(prometheus: Callable[..., RealPrometheus], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sighting]:
    """All faults, once."""
    targets = tmp_path_factory.mktemp("targets")
    scraping = prometheus(targets)
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            sightings = asyncio.run(_run(kafka, redis, scraping, targets, _break_everything))
    except UnavailableError as reason:
        skip_or_fail(reason)
    return _told(sightings)


def _told(sightings: list[Sighting]) -> dict[str, Sighting]:
    """By alert, and as rows of the runbook's table for who looks with `-s`."""
    for sighting in sightings:
        print(f"\n| {sighting.fault} | {sighting.alert} | " + " | ".join(f"{s:.0f}" for s in sighting[2:]) + " |")
    return {sighting.alert: sighting for sighting in sightings}


async def _run(
    kafka: RealKafka, redis: RealRedis, scraping: RealPrometheus, targets: Path, breaking: Breaking
) -> list[Sighting]:
    servers = Servers(kafka.bootstrap, redis.url, "real")
    async with Deployment(servers, Names("alerts.", "alerts"), web_targets=str(targets), **SETTINGS) as deployment:
        trainer = deployment.start("trainer", worker_id="t1")
        worker = deployment.start("worker", worker_id="w1")
        shop = LiveShop(deployment.settings, rate=RATE)
        async with Watch(scraping, {"worker": worker, "trainer": trainer}) as watch:
            await watch.until_ready("worker", "trainer")
            selling = asyncio.create_task(shop.run())
            try:
                # A history to miss something in, and a first snapshot.
                await watch.until_quiet({*EXPECTED, *SLOWLY}, seconds=60)
                await asyncio.sleep(8)
                found = await breaking(deployment, redis, shop, watch)
            finally:
                selling.cancel()
                await asyncio.gather(selling, return_exceptions=True)
        assert watch.processes["worker"].exit_code is None
    return found


async def _break_everything(deployment: Deployment, redis: RealRedis, shop: LiveShop, watch: Watch) -> list[Sighting]:
    trainer_dies = watch.begin()
    await asyncio.to_thread(watch.processes["trainer"].kill)
    shop.labels, shop.broken = False, 0.5
    nobody = await watch.fired("NobodyLearns", trainer_dies, seconds=SOON_S)
    unready = await watch.unready("trainer", trainer_dies, seconds=SOON_S)
    letters = await watch.fired("DeadLettersGrowing", trainer_dies, seconds=SOON_S)
    labels = await watch.fired("LabelsMissing", trainer_dies, seconds=SOON_S)
    input_heals = watch.begin()
    shop.labels, shop.broken = True, 0.0
    labels_over = await watch.resolved("LabelsMissing", input_heals, seconds=OVER_S)

    redis_dies = watch.begin()
    await asyncio.to_thread(redis.kill)
    waits = await watch.unready("worker", redis_dies, seconds=SOON_S)
    behind = await watch.fired("RedisViewBehind", redis_dies, seconds=SOON_S)
    not_ready = await watch.fired("NotReady", redis_dies, seconds=SOON_S)
    redis_back = watch.begin()
    await asyncio.to_thread(redis.restart)
    behind_over = await watch.resolved("RedisViewBehind", redis_back, seconds=OVER_S)
    not_ready_over = await watch.resolved("NotReady", redis_back, seconds=OVER_S)
    await watch.until_caught_up(seconds=OVER_S)

    overload = watch.begin()
    await _overload(shop, watch)
    lag = await watch.fired("LagHigh", overload, seconds=OVERLOAD_SOON_S)
    shop.rate = RATE
    await watch.until_caught_up(seconds=OVER_S)
    caught_up = watch.begin()

    stale = await watch.fired("SnapshotStale", trainer_dies, seconds=STALE_S + OVER_S)
    trainer_back = watch.begin()
    watch.processes["trainer"] = deployment.start("trainer", worker_id="t1")
    lag_over = await watch.resolved("LagHigh", caught_up, seconds=OVER_S)
    nobody_over = await watch.resolved("NobodyLearns", trainer_back, seconds=OVER_S)
    stale_over = await watch.resolved("SnapshotStale", trainer_back, seconds=OVER_S)
    letters_over = await watch.resolved("DeadLettersGrowing", input_heals, seconds=OVER_S + STALE_S)

    rows = [
        ("NobodyLearns", unready, nobody, nobody_over),
        ("SnapshotStale", unready, stale, stale_over),
        ("DeadLettersGrowing", NOWHERE, letters, letters_over),
        ("LabelsMissing", NOWHERE, labels, labels_over),
        ("LagHigh", NOWHERE, lag, lag_over),
        ("RedisViewBehind", waits, behind, behind_over),
        ("NotReady", waits, not_ready, not_ready_over),
    ]
    return [Sighting(EXPECTED[alert], alert, *seconds) for alert, *seconds in rows]


async def _overload(shop: LiveShop, watch: Watch) -> None:
    """More and more visitors, until records wait for some seconds and more; they go on coming."""
    shop.rate = OVERLOAD_RATE
    while await watch.value("max(intent_lag_seconds)") < OVERLOAD_STEP_S:
        await asyncio.sleep(OVERLOAD_STEP_S)
        shop.rate *= OVERLOAD_STEP


@pytest.mark.long
@pytest.mark.parametrize("alert", EXPECTED)
def test_a_fault_is_seen_as_its_alert_and_the_alert_ends_with_it(seen: dict[str, Sighting], alert: str) -> None:
    sighting = seen[alert]
    assert sighting.fired_s <= LATER.get(alert, SOON_S)
    assert sighting.resolved_s <= OVER_S


@pytest.mark.long
@pytest.mark.parametrize("alert", ["NobodyLearns", "RedisViewBehind"])
def test_what_ails_a_process_is_in_its_readiness_within_seconds(seen: dict[str, Sighting], alert: str) -> None:
    assert seen[alert].unready_s < 10


async def _trainer_and_redis_die(
    deployment: Deployment, redis: RealRedis, shop: LiveShop, watch: Watch
) -> list[Sighting]:
    dies = watch.begin()
    await asyncio.to_thread(watch.processes["trainer"].kill)
    await asyncio.to_thread(redis.kill)
    nobody = await watch.fired("NobodyLearns", dies, seconds=OVER_S)
    behind = await watch.fired("RedisViewBehind", dies, seconds=OVER_S)
    unready = await watch.unready("trainer", dies, seconds=OVER_S), await watch.unready("worker", dies, seconds=OVER_S)
    back = watch.begin()
    await asyncio.to_thread(redis.restart)
    watch.processes["trainer"] = deployment.start("trainer", worker_id="t1")
    behind_over = await watch.resolved("RedisViewBehind", back, seconds=OVER_S)
    nobody_over = await watch.resolved("NobodyLearns", back, seconds=OVER_S)
    return [
        Sighting(EXPECTED["NobodyLearns"], "NobodyLearns", unready[0], nobody, nobody_over),
        Sighting(EXPECTED["RedisViewBehind"], "RedisViewBehind", unready[1], behind, behind_over),
    ]


async def test_a_dead_trainer_and_a_dead_redis_are_seen_and_end_when_they_are_back(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            seen = _told(await _run(kafka, redis, prometheus(tmp_path), tmp_path, _trainer_and_redis_die))
    except UnavailableError as reason:
        skip_or_fail(reason)
    assert set(seen) == {"NobodyLearns", "RedisViewBehind"}


async def _stall_and_overload(deployment: Deployment, redis: RealRedis, shop: LiveShop, watch: Watch) -> list[Sighting]:
    dies = watch.begin()
    await asyncio.to_thread(watch.processes["worker"].kill)
    gone = await watch.unready("worker", dies, seconds=SOON_S)
    stalled = await watch.fired("ScoringStalled", dies, seconds=SOON_S)
    back = watch.begin()
    watch.processes["worker"] = deployment.start("worker", worker_id="w1")
    stalled_over = await watch.resolved("ScoringStalled", back, seconds=OVER_S)
    # What had waited is late as well: that is to be forgotten before the overload.
    await watch.until_quiet({"EndToEndLatencyHigh", "LagHigh"}, seconds=2 * OVER_S)

    overload = watch.begin()
    await _overload(shop, watch)
    latency = await watch.fired("EndToEndLatencyHigh", overload, seconds=OVERLOAD_SOON_S)
    shop.rate = RATE
    await watch.until_caught_up(seconds=OVER_S)
    caught_up = watch.begin()
    latency_over = await watch.resolved("EndToEndLatencyHigh", caught_up, seconds=OVER_S)
    print(f"p99 is {await watch.value('intent:end_to_end_seconds:p99_1m'):.2f} s")
    return [
        Sighting("worker killed", "ScoringStalled", gone, stalled, stalled_over),
        Sighting("overload", "EndToEndLatencyHigh", NOWHERE, latency, latency_over),
    ]


@pytest.mark.long
async def test_a_stall_and_late_scores_are_seen_and_end_when_they_do(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            seen = _told(await _run(kafka, redis, prometheus(tmp_path), tmp_path, _stall_and_overload))
    except UnavailableError as reason:
        skip_or_fail(reason)
    for alert in SLOWLY:
        assert seen[alert].fired_s <= OVERLOAD_SOON_S
        assert seen[alert].resolved_s <= OVER_S
