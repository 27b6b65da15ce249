"""The trainer dies, is replaced, and meets snapshots that are not its own (matrix rows 30, 31)."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app import topics
from stream_app.core.snapshots import HEAD_KEY, SIGNATURE_HEADER, SNAPSHOT_SCHEMA, sign
from stream_app.settings import Settings
from tests.faults.conftest import EXACTLY_ONCE_IN_CI
from tests.faults.launcher import Fault, Plan
from tests.faults.run import Run
from tests.scenarios.process import Process

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_WRITER = "stream_app.backends.training_log:SnapshotWriter"
_TRANSACTION = "stream_app.backends.clients:TransactionalProducer"
#: Where a trainer dies: with a snapshot exported, half sent, sent and not committed, committed.
POINTS = {
    "before the snapshot": Fault(f"{_WRITER}.write", "kill", call=2),
    "in the snapshot": Fault("aiokafka:AIOKafkaProducer.send_batch", "kill", when="after", call=3),
    "before the snapshot's commit": Fault("aiokafka:AIOKafkaProducer.commit_transaction", "kill", call=2),
    "after the snapshot": Fault(f"{_WRITER}.write", "kill", when="after", call=2),
}


@EXACTLY_ONCE_IN_CI
async def test_trainers_that_die_around_a_snapshot_learn_every_example_once(fault_run: Callable[..., Run]) -> None:
    # One partition: the order of all examples is known, and the model must be the same to the last bit.
    async with fault_run(topic_partitions=1, snapshot_interval_ms=200, calm=False) as run:
        worker = run.start("worker")
        for number, fault in enumerate(POINTS.values(), 1):
            doomed = run.start("trainer", plan=Plan([fault]))
            await run.until("a learning trainer", lambda doomed=doomed: doomed.ready() == (True, "learning"))
            await run.trickle(0.3 + 0.6 * number / len(POINTS), seconds=2)
            await run.until(f"the end of {doomed.name}", lambda doomed=doomed: doomed.exit_code is not None)
            assert doomed.exit_code == -signal.SIGKILL
        run.start("trainer")
        await run.send()
        await run.scoring(worker, 1)
        await run.finish(f"31 trainer killed at {len(POINTS)} points", model=True)


@pytest.mark.long
async def test_a_second_trainer_stands_by_and_takes_over(fault_run: Callable[..., Run]) -> None:
    async with fault_run() as run:
        run.start("worker")
        pair = [run.start("trainer"), run.start("trainer")]
        await run.until("one to learn and one to stand by", lambda: _states(pair) == ["learning", "standby"])
        await run.trickle(0.6, seconds=3)
        await run.until("one to learn and one to stand by", lambda: _states(pair) == ["learning", "standby"])
        learning = next(trainer for trainer in pair if trainer.ready()[1] == "learning")
        pair.remove(learning)
        learning.kill()
        took = await run.until("the other one learning", lambda: _states(pair) == ["learning"])
        await run.send()
        await run.finish(f"31 second trainer takes over from a killed one in {took:.1f} s", model=True)


def _states(trainers: list[Process]) -> list[str]:
    return sorted(trainer.ready()[1] for trainer in trainers)


@pytest.mark.long
async def test_a_trainer_that_wakes_up_after_another_has_taken_over_publishes_nothing(
    fault_run: Callable[..., Run],
) -> None:
    async with fault_run() as run:
        run.start("worker")
        zombie = run.start("trainer")
        await run.until("a learning trainer", lambda: zombie.ready() == (True, "learning"))
        await run.trickle(0.5, seconds=3)
        zombie.pause()
        successor = run.start("trainer")
        await run.until("the other one learning", lambda: successor.ready() == (True, "learning"))
        await run.send(0.8)
        await run.scored()
        zombie.resume()
        await run.send()
        await run.finish("31 zombie trainer", model=True)
        assert _states([zombie, successor]) == ["learning", "standby"]


@EXACTLY_ONCE_IN_CI
@pytest.mark.parametrize(
    "reasons",
    [
        pytest.param(("unsigned", "bad_signature", "damaged", "foreign_schema"), id="not ours"),
        pytest.param(("non_finite",), id="not finite", marks=pytest.mark.long),
    ],
)
async def test_snapshots_that_are_not_ours_or_not_sound_are_refused_and_the_last_good_one_stays(
    fault_run: Callable[..., Run], reasons: tuple[str, ...]
) -> None:
    async with fault_run() as run:
        worker, trainer = run.start("worker"), run.start("trainer")
        await run.send(0.7)
        await run.scored()
        await run.until("a model", lambda: worker.metric("intent_model_updates") > 0)
        settings = run.deployment.settings
        forgeries = _forgeries(settings, await _newest_head(settings))
        version = worker.metric("intent_model_version")
        await _write(settings, [forgeries[reason] for reason in reasons])
        for reason in reasons:
            await run.until(reason, lambda r=reason: worker.metric("intent_snapshots_refused_total", reason=r) >= 1)
        assert worker.said().count("ERROR stream_app snapshot_refused") == len(reasons)
        assert worker.metric("intent_model_version") < _FAR_AHEAD
        assert worker.ready()[0]
        # A new worker and a new trainer read past them to the last good one, and learning goes on from it.
        trainer.kill()
        run.start("trainer")
        again = run.start("worker")
        await run.send()
        await run.scored()
        await run.until("the model at the new worker", lambda: again.metric("intent_model_version") >= version)
        await run.finish(f"31 snapshots refused: {', '.join(reasons)}", model=True)


#: A version that no trainer comes to here.
_FAR_AHEAD = 1_000_000


def _forgeries(settings: Settings, head: dict[str, Any]) -> dict[str, tuple[bytes, bytes | None]]:
    """What each is refused for → its value and signature; all of a version far ahead."""
    key = HEAD_KEY

    def packed(**changes: Any) -> bytes:
        return msgspec.msgpack.encode({**head, "version": _FAR_AHEAD, **changes})

    def signed(value: bytes, secret: bytes = settings.snapshot_key.get_secret_value().encode()) -> tuple[bytes, bytes]:
        return value, sign(key, value, secret)

    poisoned = msgspec.msgpack.decode(msgspec.msgpack.encode(head["state"]))
    poisoned["priors"]["base"] = [math.nan, math.nan]
    return {
        "unsigned": (packed(), None),
        "bad_signature": signed(packed(), b"somebody else's key"),
        "damaged": signed(b"\xc1 not msgpack"),
        "foreign_schema": signed(packed(schema=SNAPSHOT_SCHEMA - 1)),
        "non_finite": signed(packed(state=poisoned)),
    }


async def _newest_head(settings: Settings) -> dict[str, Any]:
    place = TopicPartition(settings.topic(topics.SNAPSHOTS), 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([place])
        newest: dict[str, Any] = {}
        deadline = time.monotonic() + 20
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if record.key == HEAD_KEY:
                        newest = msgspec.msgpack.decode(record.value)
        return newest


async def _write(settings: Settings, forged: list[tuple[bytes, bytes | None]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for value, signature in forged:
            headers = [(SIGNATURE_HEADER, signature)] if signature is not None else []
            await producer.send_and_wait(settings.topic(topics.SNAPSHOTS), value, key=HEAD_KEY, headers=headers)
            await asyncio.sleep(0.05)
