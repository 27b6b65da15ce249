"""Workers come and go (matrix rows 7, 8, 33, 34): by request, by chance, and before they are ready."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from stream_app import topics
from tests.faults.conftest import EXACTLY_ONCE_IN_CI, Victims
from tests.faults.launcher import Fault, Plan
from tests.faults.run import SESSION_TIMEOUT_MS, Run

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: A hand-over by request: the batch in flight, the group's round, a look at commit and view. Measured 0.6 to 1.2 s; it
#: must at least be better than a crash, which waits for the session to time out.
_HANDOVER_S = SESSION_TIMEOUT_MS / 1000


@EXACTLY_ONCE_IN_CI
async def test_a_rolling_restart_repeats_nothing_and_keeps_scores_flowing(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        old = [run.start("worker"), run.start("worker")]
        await asyncio.gather(*(run.scoring(worker, 2) for worker in old))
        begun = time.monotonic()
        flowing = asyncio.create_task(run.trickle(0.9, seconds=14))
        codes = []
        for worker in old:
            worker.ask_to_stop()
            codes.append(await asyncio.to_thread(worker.wait))
            await run.scoring(run.start("worker"), 2)
        await flowing
        await run.scored()
        silence = run.watcher.longest_silence(topics.SCORES, since=begun)
        await run.send()
        verdict = await run.finish(f"33 rolling restart of two workers, longest silence {silence:.1f} s")
        assert codes == [0, 0]
        assert verdict.repeated == 0
        assert silence < _HANDOVER_S


@pytest.mark.long
async def test_two_then_three_then_one_worker_share_a_replay(fault_run: Callable[..., Run]) -> None:
    async with fault_run(batch_records_max=20) as run:
        first, second = run.start("worker"), run.start("worker")
        await run.send(0.4)
        third = run.start("worker")
        await run.send(0.6)
        await run.until("three workers", lambda: third.ready()[0])
        await run.send(0.8)
        for leaving in (first, second):
            leaving.ask_to_stop()
            assert await asyncio.to_thread(leaving.wait) == 0
        await run.scoring(third)
        await run.send()
        verdict = await run.finish("two, three, one workers in a replay")
        assert verdict.repeated == 0


@pytest.mark.long
@pytest.mark.parametrize("seconds", [30, pytest.param(600, marks=pytest.mark.timeout(900))])
async def test_a_storm_of_rebalances_makes_progress_and_ends(fault_run: Callable[..., Run], seconds: int) -> None:
    chance = random.Random(7)
    async with fault_run() as run:
        flowing = asyncio.create_task(run.trickle(0.9, seconds=seconds))
        living = [run.start("worker")]
        changes = 0
        while not flowing.done():
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            changes += 1
            if len(living) < 2 or (len(living) < 5 and chance.random() < 0.5):
                living.append(run.start("worker"))
                continue
            leaving = living.pop(chance.randrange(len(living)))
            if chance.random() < 0.5:
                leaving.kill()
            else:
                leaving.ask_to_stop()
        await flowing
        begun = time.monotonic()
        await run.scored()
        calm = time.monotonic() - begun
        await run.send()
        await run.finish(f"7 {changes} comings and goings in {seconds} s, all scored {calm:.1f} s after the last")


@pytest.mark.long
async def test_a_restore_without_redis_or_that_fails_scores_nothing_and_says_so(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    failing = Fault("stream_app.backends.kafka:KafkaPartitionLog.changelog_end", "fail", times=3)
    async with fault_run() as run:
        crashed = run.start("worker", plan=Plan([failing]))
        victims.redis.kill()
        waiting = run.start("worker")
        await run.send(0.3)
        await run.until("readiness false for Redis", lambda: "Redis" in waiting.ready()[1])
        assert await run.deployment.count(topics.SCORES) == 0
        assert waiting.ready()[0] is False
        victims.redis.restart()
        code = await asyncio.to_thread(crashed.wait)
        await run.scoring(waiting)
        await run.send()
        await run.finish(f"8 no Redis in the restore; a restore that fails otherwise ends its worker with {code}")
        assert code == 1
        assert "injected" in crashed.said()


@EXACTLY_ONCE_IN_CI
@pytest.mark.parametrize("loop", ["worker:Worker.run", "partition:Partition.run", "trainer:Trainer.run"])
async def test_a_loop_that_ends_by_itself_ends_the_process(fault_run: Callable[..., Run], loop: str) -> None:
    async with fault_run() as run:
        verb = "trainer" if "trainer" in loop else "worker"
        silent = run.start(verb, plan=Plan([Fault(f"stream_app.{loop}", "skip")]))
        code = await asyncio.to_thread(silent.wait, 60)
        run.report(f"34 {loop} returns: exit code {code}")
        assert code != 0
        assert "by itself" in silent.said()


@pytest.mark.long
async def test_a_partition_that_hangs_is_noticed_within_30_s(fault_run: Callable[..., Run]) -> None:
    hang = Fault("stream_app.backends.kafka:KafkaPartitionLog.publish", "hang", call=5)
    async with fault_run() as run:
        stuck = run.start("worker", plan=Plan([hang]))
        await run.scoring(stuck)
        await run.trickle(0.3, seconds=2)
        begun = time.monotonic()
        await run.until("readiness false", lambda: not stuck.ready()[0], seconds=35)
        noticed = time.monotonic() - begun
        assert stuck.metric("intent_ready", component="worker") == 0
        words = stuck.ready()[1]
        stuck.kill()
        run.start("worker")
        await run.send()
        await run.finish(f"noticed: hung partition unready after {noticed:.1f} s ({words})")
        assert noticed < 30
