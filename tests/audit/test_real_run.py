"""A whole run on real servers ends with a clean audit, in both guarantees; what is tampered with afterwards is found.

The run has everything that makes it hard: labels, broken records, sessions that the clock ends while nothing comes,
repeated events, and a worker killed twice.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.audit import NotPossibleError, audit
from stream_app.backends.redis import hash_tag
from stream_app.core.audit.report import Report
from stream_app.core.events import CheckoutLabel, Event
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process
from tests.support.fixtures import Names, Servers

EVENTS = 4_000
#: Sessions so short that they end while the test waits, by the clock too.
QUICK = {"session_gap_ms": 2_000, "grace_ms": 200, "idle_after_ms": 300, "batch_records_max": 300}

#: A visitor's pauses of half a minute become half a second: sessions of several events within `session_gap_ms`.
_FASTER = 60

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


def _shop() -> list[Event | CheckoutLabel]:
    """A shop in quick motion; one event in ten has its order told by a label too, one in fifty comes twice."""
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    shop = Shop(seed=5, start_ms=start_ms, sessions_per_hour=3_000.0, label_share=0.5)
    found: list[Event | CheckoutLabel] = []
    for n, fact in enumerate(islice(shop, EVENTS)):
        if isinstance(fact, CheckoutLabel):
            assert isinstance(fact.checkout_time, int)
            fact.checkout_time = start_ms + (fact.checkout_time - start_ms) // _FASTER
            found.append(fact)
            continue
        assert isinstance(fact.event_time, int)
        fact.event_time = start_ms + (fact.event_time - start_ms) // _FASTER
        found.append(fact)
        if n % 10 == 0:
            found.append(CheckoutLabel(fact.visitor_id, fact.order_id or f"order-{n}", fact.event_time + n % 700))
        if n % 50 == 0:
            found.append(fact)
    return found


async def _send(deployment: Deployment, facts: list[Event | CheckoutLabel]) -> None:
    settings = deployment.settings
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        for n, fact in enumerate(facts):
            if isinstance(fact, CheckoutLabel):
                await sink.send_label(fact)
            else:
                await sink.send_event(fact)
            if n % 200 == 0:
                await sink.send_raw(b'{"event_id": 1, "broken', key=fact.visitor_id)
        await sink.flush()


async def _disturbed_run(deployment: Deployment) -> None:
    """Three parts with pauses in which the clock ends sessions, and a kill -9 in the midst of each but the last."""
    facts = _shop()
    third = len(facts) // 3
    deployment.start("trainer")
    worker = deployment.start("worker")
    for part in range(3):
        before = await deployment.count(topics.SCORES)
        await _send(deployment, facts[part * third : (part + 1) * third])
        await deployment.until(topics.SCORES, before + third // 3)
        if part < 2:
            worker.kill()
            worker = deployment.start("worker")
        await deployment.until_caught_up()
        await asyncio.sleep(4)
    await _until_quiet(deployment)


async def _until_ready(process: Process) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (await asyncio.to_thread(process.ready))[0]:
        assert time.monotonic() < deadline, process.ready()
        await asyncio.sleep(0.2)


async def _until_quiet(deployment: Deployment) -> None:
    """Until nothing is written any more: all sessions have ended by the clock, and all examples are learned."""
    for process in deployment.processes:
        if process.exit_code is None:
            await _until_ready(process)
    last: list[int] = []
    for _ in range(60):
        counts = [await deployment.count(name) for name in (topics.CLOSED, topics.EXAMPLES, topics.SNAPSHOTS)]
        if counts == last:
            return
        last = counts
        await asyncio.sleep(2.5)
    raise AssertionError("the run does not come to rest")


def _lines(report: Report) -> str:
    return "\n".join([json.dumps(report.as_json(), indent=1), *map(str, report.violations)])


@pytest.mark.parametrize("guarantee", ["at_least_once", pytest.param("exactly_once", marks=pytest.mark.long)])
async def test_a_run_with_kills_labels_idle_ends_and_broken_records_is_clean_and_tampering_is_found(
    real_servers: Servers, names: Names, guarantee: str
) -> None:
    async with Deployment(real_servers, names, processing_guarantee=guarantee, **QUICK) as deployment:
        await _disturbed_run(deployment)
        for process in deployment.processes:
            if process.exit_code is None:
                process.terminate()
        report = await audit(deployment.settings)
        assert report.clean, _lines(report)
        assert report.unchecked == []
        assert report.behind == {}
        checks = {name: [check for check in report.checks if check.name == name] for name in _names(report)}
        assert sum(check.found for check in checks["scores"]) > 0.9 * EVENTS
        assert sum(check.found for check in checks["closed sessions"]) > 500
        assert sum(check.found for check in checks["dead letters"]) > EVENTS // 300
        assert report.labels > EVENTS // 11
        told = {example["label_source"] for _, example, _ in await deployment.read(topics.EXAMPLES)}
        assert told == {"label", "purchase", "session_end"}
        clock = {closed["position"][0] for _, closed, _ in await deployment.read(topics.CLOSED)}
        assert clock == {1, 2}
        assert guarantee == "at_least_once" or not any(report.repeated.values())
        print(guarantee, report.repeated)
        # Whoever takes over and finds nothing to do changes nothing that the audit looks at.
        worker = deployment.start("worker")
        await _until_ready(worker)
        worker.terminate()
        report = await audit(deployment.settings)
        assert report.clean, _lines(report)
        await _tamper(deployment)


def _names(report: Report) -> list[str]:
    return sorted({check.name for check in report.checks})


async def _tamper(deployment: Deployment) -> None:
    settings = deployment.settings
    client = Redis.from_url(settings.redis_url.get_secret_value())
    prefix = f"{settings.topic_prefix}{settings.group_id}"
    tag = f"{hash_tag(prefix, 1)}:v:"
    keys = sorted([key async for key in client.scan_iter(match=f"{tag}*", count=1000)])
    blob = await client.get(keys[0])
    try:
        await client.set(keys[0], await client.get(keys[1]))
        await client.delete(keys[2])
        report = await audit(settings)
        found = {(violation.check, violation.kind, violation.event_id) for violation in report.violations}
        assert found == {
            ("view", "differs", keys[0].decode().removeprefix(tag)),
            ("view", "missing", keys[2].decode().removeprefix(tag)),
        }
        await client.set(keys[0], blob)
        await client.delete(f"{hash_tag(prefix, 2)}:position")
        report = await audit(settings)
        assert ("position", 2) in {(violation.check, violation.partition) for violation in report.violations}
        assert any("partition 2: Redis has nothing of group" in text for text in report.unchecked)
    finally:
        await client.aclose()
    await _forge(deployment)


async def _forge(deployment: Deployment) -> None:
    """A score of nobody's event: its record is quoted."""
    settings = deployment.settings
    partition, score, _ = (await deployment.read(topics.SCORES))[0]
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        forged = {**score, "event_id": "forged"}
        await producer.send_and_wait(
            settings.topic(topics.SCORES),
            json.dumps(forged).encode(),
            key=score["visitor_id"].encode(),
            partition=partition,
        )
    finally:
        await producer.stop()
    (violation,) = [v for v in (await audit(settings)).violations if v.check == "scores"]
    assert (violation.kind, violation.partition) == ("unexpected", partition)
    assert '"event_id": "forged"' in violation.got


async def test_with_one_partition_the_model_is_learned_again_bit_by_bit(real_servers: Servers, names: Names) -> None:
    async with Deployment(real_servers, names, topic_partitions=1, **QUICK) as deployment:
        trainer = deployment.start("trainer")
        worker = deployment.start("worker")
        facts = _shop()[:1_500]
        await _send(deployment, facts[:800])
        await deployment.until(topics.SNAPSHOTS, 50)
        trainer.kill()
        trainer = deployment.start("trainer")
        await _send(deployment, facts[800:])
        await deployment.until_caught_up()
        await _until_quiet(deployment)
        for process in (worker, trainer):
            assert process.terminate() == 0
        report = await audit(deployment.settings)
        assert report.clean, _lines(report)
        (model,) = [check for check in report.checks if check.name == "model"]
        assert model.note == "folded again, bit by bit"
        _assert_command(deployment, 0, "Clean.\n")
        told = json.loads(_command(deployment, 0, "--json"))
        assert (told["clean"], told["violations"], told["spelled"], told["unchecked"]) == (True, 0, [], [])
        assert all(check["expected"] == check["found"] for check in told["checks"])
        await deployment.send([fact for fact in facts if isinstance(fact, Event)][:3])
        _assert_command(deployment, 0, "not processed yet: 3 input records of partition 0")


def _assert_command(deployment: Deployment, code: int, text: str, **flags: Any) -> None:
    said = _command(deployment, code, **flags)
    assert text in said, said


def _command(deployment: Deployment, code: int, *extra: str, **flags: Any) -> str:
    """The command itself, as a person runs it; what it printed."""
    settings = deployment.settings
    told = {
        "--kafka-bootstrap": settings.kafka_bootstrap,
        "--redis-url": settings.redis_url.get_secret_value(),
        "--topic-prefix": settings.topic_prefix,
        "--group-id": settings.group_id,
        "--topic-partitions": settings.topic_partitions,
        **{f"--{name.replace('_', '-')}": value for name, value in QUICK.items()},
        **flags,
    }
    arguments = [str(part) for pair in told.items() for part in pair]
    done = subprocess.run(
        [sys.executable, "-m", "stream_app", "audit", *arguments, *extra],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_an_audit_that_cannot_be_made_says_why_and_ends_with_2(real_servers: Servers, names: Names) -> None:
    deployment = Deployment(real_servers, names)
    with pytest.raises(NotPossibleError, match=r"topic .* does not exist"):
        await audit(deployment.settings)
    _assert_command(deployment, 2, "does not exist: are --kafka-bootstrap and --topic-prefix the workers'?")
    nobody = "127.0.0.1:1"
    _assert_command(deployment, 2, f"Kafka at {nobody} does not answer", **{"--kafka-bootstrap": nobody})
    async with deployment:
        nobody = "redis://127.0.0.1:1/0"
        _assert_command(deployment, 2, "Redis does not answer", **{"--redis-url": nobody})
