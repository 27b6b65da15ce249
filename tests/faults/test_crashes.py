"""Processes die where it hurts (matrix row 1) or stop and come back (2, 3)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.conftest import EXACTLY_ONCE_IN_CI
from tests.faults.launcher import Fault, Plan
from tests.faults.run import Run
from tests.scenarios.process import Process

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_LOG = "stream_app.backends.kafka:KafkaPartitionLog"
_PRODUCER = "aiokafka:AIOKafkaProducer"
_VIEW = "stream_app.backends.redis:RedisView"

#: Points on a batch's way, in its order. The calls are counted over four partitions: some come in mid-stream.
_BOTH = {
    "with the committed offsets read": Fault(f"{_LOG}.take_over", "kill", when="after", call=3),
    "in the restore": Fault(f"{_VIEW}.write", "kill", call=2),
    "after the fetch": Fault(f"{_LOG}.poll", "kill", when="after", call=9),
    "before the first send": Fault(f"{_PRODUCER}.send_batch", "kill", call=1),
    "between two sends": Fault(f"{_PRODUCER}.send_batch", "kill", when="after", call=14),
    "after publishing": Fault(f"{_LOG}.publish", "kill", when="after", call=3),
    "before Redis": Fault(f"{_VIEW}.write", "kill", call=6),
    "after Redis": Fault(f"{_VIEW}.write", "kill", when="after", call=6),
}
_TRANSACTION = "stream_app.backends.clients:TransactionalProducer"
POINTS = {
    "at_least_once": _BOTH
    | {
        "before the announcement": Fault(f"{_LOG}.commit", "kill", call=5),
        "after the announcement": Fault(f"{_LOG}.commit", "kill", when="after", call=5),
        "before the offset commit": Fault("aiokafka:AIOKafkaConsumer.commit", "kill", call=3),
        "after the offset commit": Fault("aiokafka:AIOKafkaConsumer.commit", "kill", when="after", call=3),
    },
    "exactly_once": _BOTH
    | {
        "after the fencing": Fault(f"{_TRANSACTION}.start", "kill", when="after", call=2),
        "with a transaction begun": Fault(f"{_TRANSACTION}.begin_transaction", "kill", when="after", call=5),
        "with the offsets in it": Fault(f"{_TRANSACTION}.send_offsets_to_transaction", "kill", when="after", call=5),
        "before the commit": Fault(f"{_TRANSACTION}.commit_transaction", "kill", call=5),
        "after the commit": Fault(f"{_TRANSACTION}.commit_transaction", "kill", when="after", call=5),
    },
}


@pytest.mark.long
@pytest.mark.parametrize("point", sorted({point for points in POINTS.values() for point in points}))
async def test_a_worker_killed_at_any_point_of_a_batch_leaves_an_exact_rest(
    fault_run: Callable[..., Run], guarantee: str, point: str
) -> None:
    if point not in POINTS[guarantee]:
        pytest.skip(f"{guarantee} has no such point")
    async with fault_run() as run:
        doomed = run.start("worker", plan=Plan([POINTS[guarantee][point]]))
        await run.send(0.7)
        await _killed(run, doomed)
        run.start("worker")
        await run.send()
        await run.finish(f"1 crash {point}")


@EXACTLY_ONCE_IN_CI
async def test_workers_that_die_one_after_the_other_each_at_another_point_leave_an_exact_rest(
    fault_run: Callable[..., Run], guarantee: str
) -> None:
    points = POINTS[guarantee]
    # Each begins where the last one died, under its name: the group need not wait for the session to time out.
    async with fault_run(worker_id="phoenix") as run:
        for number, fault in enumerate(points.values(), 1):
            doomed = run.start("worker", plan=Plan([fault]))
            await run.send(number / (len(points) + 1))
            await _killed(run, doomed)
        run.start("worker")
        await run.send()
        await run.finish(f"1 crash at {len(points)} points")


async def _killed(run: Run, doomed: Process) -> None:
    await run.until(f"the end of {doomed.name}", lambda: doomed.exit_code is not None)
    assert doomed.exit_code == -signal.SIGKILL
