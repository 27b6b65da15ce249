"""Workers that stop for a while and come back as owners of what is somebody else's (matrix rows 2, 3, 32)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from stream_app import topics
from tests.faults.launcher import Fault, Plan
from tests.faults.run import SESSION_TIMEOUT_MS, Run
from tests.faults.view_watch import ViewWatch

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: From a silent worker to a successor that scores: the session time-out, the group's next round (bounded by the
#: heartbeat of the living) and a restore. The allowance is for a busy machine.
_TAKEOVER_S = SESSION_TIMEOUT_MS / 1000 + 2.0


async def test_a_zombie_that_wakes_after_its_partitions_went_to_another_changes_nothing(
    fault_run: Callable[..., Run],
) -> None:
    async with fault_run() as run, ViewWatch(run.deployment.settings) as view:
        zombie = run.start("worker")
        await run.scoring(zombie)
        await run.send(0.2)
        await run.scored()
        flowing = asyncio.create_task(run.trickle(0.6, seconds=6))
        await asyncio.sleep(0.5)
        zombie.pause()
        stopped = time.monotonic()
        successor = run.start("worker")
        await run.scoring(successor)
        takeover = time.monotonic() - stopped
        await flowing
        await run.scored()
        zombie.resume()
        await run.send()
        await run.finish(f"2 zombie, successor scores after {takeover:.1f} s")
        # Both are well again: two partitions each.
        await asyncio.gather(run.scoring(zombie, 2), run.scoring(successor, 2))
        assert view.went_back == []


async def test_an_owner_paused_between_commit_and_redis_finds_its_write_refused(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run, ViewWatch(run.deployment.settings) as view:
        slow = run.start("worker", plan=Plan([Fault("stream_app.backends.redis:RedisView.write", "pause", call=11)]))
        await run.scoring(slow)
        await run.send(0.5)
        successor = run.start("worker")
        await run.scoring(successor)
        await run.send(0.8)
        await run.scored()
        slow.resume()
        await run.send()
        await run.finish("3 paused between commit and Redis")
        await asyncio.gather(run.scoring(slow, 2), run.scoring(successor, 2))
        assert view.went_back == []


@pytest.mark.long
async def test_a_worker_whose_event_loop_is_blocked_loses_its_partitions_and_comes_back(
    fault_run: Callable[..., Run],
) -> None:
    block = Fault("stream_app.core.processor:PartitionProcessor.apply", "block", call=9, seconds=8.0)
    async with fault_run() as run, ViewWatch(run.deployment.settings) as view:
        blocked = run.start("worker", plan=Plan([block]))
        await run.scoring(blocked)
        other = run.start("worker")
        await asyncio.gather(run.scoring(blocked, 2), run.scoring(other, 2))
        begun = time.monotonic()
        await run.trickle(0.9, seconds=6)
        await run.scored()
        silence = run.watcher.longest_silence(topics.SCORES, since=begun)
        # Its loop is still blocked, and its partitions' scores are there: the other one has written them.
        assert silence < _TAKEOVER_S + 1.0
        await run.send()
        # What it still repeats comes when it wakes: the proof is made of all of it.
        await asyncio.gather(run.scoring(blocked, 2), run.scoring(other, 2))
        await run.finish(f"32 event loop blocked for 8 s, longest silence {silence:.1f} s")
        assert view.went_back == []
