"""Faults in a running system, as a person at the live page, whoever asks /readyz and a real Prometheus see them: each
is seen, soon, and no longer when it is over.

One run of real servers, a worker and a trainer; the faults come one after the other. The rules are those that are
shipped, but for the patience (`for`), which is two seconds. The table in docs/runbook.md is made of what `-s` shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest

from tests.ops.page import LOST
from tests.ops.prometheus import RealPrometheus
from tests.ops.running import RATE, Running, row, running
from tests.ops.watch import Fault, Seen

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: An overload begins with this rate and grows until the worker cannot follow: how much that is, is the machine's.
OVERLOAD_RATE: Final = 600.0
OVERLOAD_STEP: Final = 1.6
OVERLOAD_STEP_S: Final = 2.0

#: How long a system is left alone first: a history to miss labels in.
SETTLE_S: Final = 8.0
#: Each fault is to be seen within this many seconds, but for those that are a matter of time.
SOON_S: Final = 30.0
#: An overload has to grow, and what waits has to have waited for ten seconds.
OVERLOAD_SOON_S: Final = 60.0
#: A snapshot is stale after a minute.
STALE_S: Final = 60.0 + SOON_S
#: A rate over a minute forgets within one.
OVER_S: Final = 60.0 + SOON_S

TRAINER: Final = Fault("trainer killed", "NobodyLearns", "nobody_learns", "trainer")
STALE: Final = Fault("trainer killed, for longer", "SnapshotStale", "nobody_learns", "trainer")
BROKEN: Final = Fault("one broken record for two good ones", "DeadLettersGrowing", "records_rejected")
LABELS: Final = Fault("labels of the order system stopped", "LabelsMissing", "checkouts_missing")
REDIS: Final = Fault("Redis killed, comes back empty", "RedisViewBehind", "redis_away", "worker")
UNREADY: Final = Fault("Redis killed, comes back empty", "NotReady", "redis_away", "worker")
OVERLOAD: Final = Fault("overload, growing by 1.6 every 2 s to twice what is scored", "LagHigh", "behind")
LATE: Final = Fault("overload, growing by 1.6 every 2 s to twice what is scored", "EndToEndLatencyHigh", "behind")
STALL: Final = Fault("the only worker killed", "ScoringStalled", LOST, "worker")

#: Those of the first run.
FAULTS: Final = (TRAINER, STALE, BROKEN, LABELS, REDIS, UNREADY, OVERLOAD)

#: Those that take longer to be seen.
LATER: Final = {STALE: STALE_S, OVERLOAD: OVERLOAD_SOON_S, LATE: OVERLOAD_SOON_S}


class Sighting(NamedTuple):
    """A fault as it was seen, and as it ended."""

    seen: Seen
    over: Seen


#: What breaks a running system, and says what was seen of it.
Breaking: TypeAlias = Callable[[Running], Awaitable[dict[Fault, Sighting]]]


@pytest.fixture(scope="module")
def seen(prometheus: Callable[..., RealPrometheus], tmp_path_factory: pytest.TempPathFactory) -> dict[Fault, Sighting]:
    """All faults, once."""
    return asyncio.run(_seen_of(_break_everything, prometheus, tmp_path_factory.mktemp("targets")))


async def _seen_of(
    breaking: Breaking, prometheus: Callable[..., RealPrometheus], targets: Path
) -> dict[Fault, Sighting]:
    quiet = {fault.alert for fault in (*FAULTS, LATE, STALL)}
    async with running(prometheus, targets, quiet=quiet, scraping={}) as system:
        found = await breaking(system)
        assert system.watch.processes["worker"].exit_code is None
    for fault, sighting in found.items():
        print(f"\n{row(fault, *sighting)}")
    return found


async def _break_everything(system: Running) -> dict[Fault, Sighting]:
    await asyncio.sleep(SETTLE_S)
    found = await _without_a_trainer(system)
    found |= await _without_redis(system, REDIS, UNREADY)
    found |= await _overloaded(system, OVERLOAD)
    return found


async def _without_a_trainer(system: Running) -> dict[Fault, Sighting]:
    """The trainer stays away for longer than a minute: meanwhile records are broken, then labels stop."""
    watch, shop = system.watch, system.shop
    dies = watch.begin()
    await asyncio.to_thread(watch.processes["trainer"].kill)
    trainer = await watch.seen(TRAINER, dies, seconds=SOON_S)
    breaks = watch.begin()
    shop.broken = 0.5
    broken = await watch.seen(BROKEN, breaks, seconds=SOON_S)
    heals = watch.begin()
    shop.broken = 0.0
    stops = watch.begin()
    shop.labels = False
    labels = await watch.seen(LABELS, stops, seconds=SOON_S)
    tells = watch.begin()
    shop.labels = True
    labels_over = await watch.over(LABELS, tells, seconds=OVER_S)
    stale = await watch.seen(STALE, dies, seconds=STALE_S)
    back = watch.begin()
    await system.start("trainer")
    overs = [await watch.over(fault, back, seconds=OVER_S) for fault in (TRAINER, STALE)]
    broken_over = await watch.over(BROKEN, heals, seconds=OVER_S + STALE_S)
    return {
        TRAINER: Sighting(trainer, overs[0]),
        STALE: Sighting(stale, overs[1]),
        BROKEN: Sighting(broken, broken_over),
        LABELS: Sighting(labels, labels_over),
    }


async def _without_redis(system: Running, *faults: Fault) -> dict[Fault, Sighting]:
    watch = system.watch
    dies = watch.begin()
    await asyncio.to_thread(system.redis.kill)
    seen = [await watch.seen(fault, dies, seconds=SOON_S) for fault in faults]
    back = watch.begin()
    await asyncio.to_thread(system.redis.restart)
    over = [await watch.over(fault, back, seconds=OVER_S) for fault in faults]
    await watch.until_caught_up(seconds=OVER_S)
    return {fault: Sighting(*sighting) for fault, *sighting in zip(faults, seen, over, strict=True)}


async def _overloaded(system: Running, fault: Fault) -> dict[Fault, Sighting]:
    """More and more visitors, until records wait for some seconds; then twice as many come as are scored."""
    watch, shop = system.watch, system.shop
    begins = watch.begin()
    shop.rate = OVERLOAD_RATE
    while await watch.value("max(intent_lag_seconds)") < OVERLOAD_STEP_S:
        await asyncio.sleep(OVERLOAD_STEP_S)
        shop.rate *= OVERLOAD_STEP
    shop.rate = 2 * await watch.value("sum(rate(intent_scores_total[5s]))")
    seen = await watch.seen(fault, begins, seconds=OVERLOAD_SOON_S)
    assert watch.unready.came.get("worker", 0.0) < begins, "who has too much to do still does it, and is ready"
    shop.rate = RATE
    await watch.until_caught_up(seconds=2 * OVER_S)
    caught_up = watch.begin()
    return {fault: Sighting(seen, await watch.over(fault, caught_up, seconds=OVER_S))}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.alert)
def test_a_fault_is_seen_on_the_page_in_readiness_and_as_its_alert_and_ends(
    seen: dict[Fault, Sighting], fault: Fault
) -> None:
    sighting = seen[fault]
    _seen_in_time(fault, sighting)


def _seen_in_time(fault: Fault, sighting: Sighting) -> None:
    """NaN, where it is not to be seen, is not greater than anything."""
    assert not any(figure > LATER.get(fault, SOON_S) for figure in sighting.seen), sighting
    assert not any(figure > OVER_S for figure in sighting.over), sighting
    assert not sighting.seen.ready_s > 10, "what ails a process is in its readiness within seconds"


async def _trainer_and_redis_die(system: Running) -> dict[Fault, Sighting]:
    """Both at once, which is not told as one."""
    watch = system.watch
    dies = watch.begin()
    await asyncio.to_thread(watch.processes["trainer"].kill)
    await asyncio.sleep(1)  # outcomes come that nobody learns
    redis_dies = watch.begin()
    await asyncio.to_thread(system.redis.kill)
    redis = await watch.seen(REDIS, redis_dies, seconds=SOON_S)
    trainer = await watch.seen(TRAINER, dies, seconds=SOON_S)
    assert "Redis does not answer" in await system.page.words(REDIS.notice)
    assert "Nobody learns" in await system.page.words(TRAINER.notice)
    back = watch.begin()
    await asyncio.to_thread(system.redis.restart)
    await system.start("trainer")
    redis_over, trainer_over = [await watch.over(fault, back, seconds=OVER_S) for fault in (REDIS, TRAINER)]
    return {REDIS: Sighting(redis, redis_over), TRAINER: Sighting(trainer, trainer_over)}


async def test_a_dead_trainer_and_a_dead_redis_are_seen_and_end_when_they_are_back(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    for fault, sighting in (await _seen_of(_trainer_and_redis_die, prometheus, tmp_path)).items():
        _seen_in_time(fault, sighting)


async def _stall_and_overload(system: Running) -> dict[Fault, Sighting]:
    watch = system.watch
    dies = watch.begin()
    await asyncio.to_thread(watch.processes["worker"].kill)
    stalled = await watch.seen(STALL, dies, seconds=SOON_S)
    back = watch.begin()
    await system.start("worker")
    stalled_over = await watch.over(STALL, back, seconds=OVER_S)
    # What had waited is late as well: that is to be forgotten before the overload.
    await watch.until_quiet({"EndToEndLatencyHigh", "LagHigh"}, seconds=2 * OVER_S)
    late = await _overloaded(system, LATE)
    print(f"p99 is {await watch.value('intent:end_to_end_seconds:p99_1m'):.2f} s")
    return {STALL: Sighting(stalled, stalled_over), **late}


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_stall_and_late_scores_are_seen_and_end_when_they_do(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    for fault, sighting in (await _seen_of(_stall_and_overload, prometheus, tmp_path)).items():
        _seen_in_time(fault, sighting)
