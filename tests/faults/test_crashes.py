"""Processes die where it hurts (matrix row 1) or stop and come back (2, 3)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.launcher import Fault, Plan
from tests.faults.run import Run
from tests.scenarios.process import Process

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_KAFKA = "stream_app.backends.kafka"
_PRODUCER = "aiokafka:AIOKafkaProducer"
_VIEW = "stream_app.backends.redis:RedisView"

#: Points on a batch's way, in its order. The calls are counted over four partitions: some come in mid-stream.
POINTS = {
    "after the fetch": Fault(f"{_KAFKA}:KafkaPartitionLog.poll", "kill", when="after", call=9),
    "before the first send": Fault(f"{_PRODUCER}.send_batch", "kill", call=1),
    "between two sends": Fault(f"{_PRODUCER}.send_batch", "kill", when="after", call=6),
    "after the outputs, before the changelog": Fault(f"{_KAFKA}:all_acknowledged", "kill", when="after", call=2),
    "after publishing": Fault(f"{_KAFKA}:KafkaPartitionLog.publish", "kill", when="after", call=3),
    "before Redis": Fault(f"{_VIEW}.write", "kill", call=6),
    "after Redis": Fault(f"{_VIEW}.write", "kill", when="after", call=6),
    "before the offset commit": Fault("aiokafka:AIOKafkaConsumer.commit", "kill", call=2),
    "after the offset commit": Fault("aiokafka:AIOKafkaConsumer.commit", "kill", when="after", call=2),
    "in the restore": Fault(f"{_VIEW}.write", "kill", call=2),
    "with the committed offsets read": Fault(f"{_KAFKA}:KafkaPartitionLog.take_over", "kill", when="after", call=3),
}


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_any_point_of_a_batch_leaves_an_exact_rest(
    fault_run: Callable[..., Run], point: str
) -> None:
    async with fault_run() as run:
        doomed = run.start("worker", plan=Plan([POINTS[point]]))
        await run.send(0.7)
        await _killed(run, doomed)
        run.start("worker")
        await run.send()
        await run.finish(f"1 crash {point}")


async def test_workers_that_die_one_after_the_other_each_at_another_point_leave_an_exact_rest(
    fault_run: Callable[..., Run],
) -> None:
    async with fault_run() as run:
        for number, fault in enumerate(POINTS.values(), 1):
            doomed = run.start("worker", plan=Plan([fault]))
            await run.send(number / (len(POINTS) + 1))
            await _killed(run, doomed)
        run.start("worker")
        await run.send()
        await run.finish(f"1 crash at {len(POINTS)} points")


async def _killed(run: Run, doomed: Process) -> None:
    await run.until(f"the end of {doomed.name}", lambda: doomed.exit_code is not None)
    assert doomed.exit_code == -signal.SIGKILL
