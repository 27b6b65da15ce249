"""Reading closed sessions and journeys off a Kafka: back some way, then on; once each; within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.settings import Settings, load
from stream_app.web import newest_records
from stream_app.web.newest_records import NewestRecords
from stream_app.web.shop_reading import ShopReading
from tests.live.planted import records
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

T0 = 1_719_792_000_000


def closed(n: int, *, bought: bool) -> bytes:
    return msgspec.json.encode(
        {
            "visitor_id": f"v{n}", "session_id": f"s{n}", "start": T0, "end": T0 + 1_000 * n, "duration_ms": 1_000 * n,
            "events": 2, "purchases": int(bought), "labelled_checkouts": 0, "spend": 0.0,
            "source": "mail" if n % 2 else "ads", "country": None, "reason": "gap",
        }
    )  # fmt: skip


async def write(settings: Settings, topic: str, values: Sequence[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for n, value in enumerate(values):
            await producer.send(settings.topic(topic), value, partition=n % settings.topic_partitions)
        await producer.flush()
    finally:
        await producer.stop()


async def until(true: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 30 s: {what}")


@asynccontextmanager
async def running(reading: ShopReading | NewestRecords) -> AsyncIterator[None]:
    task = asyncio.create_task(reading.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def settings(embedded_servers: Servers, names: Names) -> AsyncIterator[Settings]:
    async with Deployment(embedded_servers, names, topic_partitions=4) as deployment:
        yield deployment.settings


async def test_what_is_told_is_what_the_topics_hold_and_after_a_restart_the_same(settings: Settings) -> None:
    values, _ = records(1_600, 5)
    await write(settings, topics.CLOSED, [closed(n, bought=n % 5 == 0) for n in range(200)])
    await write(settings, topics.EXAMPLES, [*values[:800], b"no JSON", b'{"left":0,"event_time":"x"}'])
    first = ShopReading(settings)
    async with running(first):
        await until(lambda: first.kinds.begun and first.figures.sessions == 200, "all read")
        await write(settings, topics.CLOSED, [closed(n, bought=False) for n in range(200, 230)])
        await write(settings, topics.EXAMPLES, values[800:900])
        await until(lambda: first.figures.sessions == 230 and first.kinds.journeys == 900, "what came since")
    facts = first.facts(now=0.0)
    assert (facts["problem"], facts["reading_back"], facts["passed_over"]) == (None, False, 0)
    assert (facts["sessions"]["sessions"], facts["sessions"]["bought"]) == (230, 40)
    assert {row["source"]: (row["sessions"], row["bought"]) for row in facts["sessions"]["by_source"]} == {
        "ads": (115, 20), "mail": (115, 20),
    }  # fmt: skip
    assert facts["journeys"]["journeys"] == 900
    second = ShopReading(settings)
    async with running(second):
        await until(lambda: second.kinds.begun and second.figures.sessions == 230, "all read again")
    again = second.facts(now=0.0)
    assert again["sessions"] == facts["sessions"]
    assert again["journeys"]["journeys"] == 900


async def test_a_broker_that_went_away_takes_nothing_twice(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest_records, "_AGAIN_S", 0.1)
    taken: list[bytes] = []
    reading = NewestRecords(
        KafkaClients(settings), settings.topic(topics.CLOSED), back=1_000, per_second=1_000, take=taken.extend
    )
    await write(settings, topics.CLOSED, [b"%d" % n for n in range(40)])
    async with running(reading):
        await until(lambda: len(taken) == 40, "the first")
        consumer = reading._consumer
        assert consumer is not None
        await consumer.stop()  # type: ignore[no-untyped-call]
        await write(settings, topics.CLOSED, [b"%d" % n for n in range(40, 60)])
        await until(lambda: len(taken) >= 60, "the rest")
        await asyncio.sleep(1.0)
    assert sorted(map(int, taken)) == list(range(60))


async def test_no_more_is_read_back_than_was_asked_for_and_the_newest_at_that(settings: Settings) -> None:
    taken: list[bytes] = []
    reading = NewestRecords(
        KafkaClients(settings), settings.topic(topics.CLOSED), back=40, per_second=1_000, take=taken.extend
    )
    await write(settings, topics.CLOSED, [b"%d" % n for n in range(400)])
    async with running(reading):
        await until(lambda: reading.caught_up, "read back")
    assert sorted(map(int, taken)) == list(range(360, 400))


async def test_what_is_too_much_is_passed_over_and_counted(settings: Settings) -> None:
    taken: list[bytes] = []
    reading = NewestRecords(
        KafkaClients(settings), settings.topic(topics.CLOSED), back=20, per_second=8, take=taken.extend
    )
    async with running(reading):
        await until(lambda: reading.problem is None, "a start")
        await write(settings, topics.CLOSED, [b"%d" % n for n in range(400)])
        await until(lambda: reading.passed_over > 0, "passing over")
        await until(lambda: b"399" in taken, "the newest")
    assert len(taken) + reading.passed_over <= 400
    assert reading.passed_over > 200


async def test_a_kafka_that_is_away_is_a_problem_told() -> None:
    reading = ShopReading(load(flags={"kafka_bootstrap": "127.0.0.1:1"}))
    async with running(reading):
        async with asyncio.timeout(30):
            now = 0.0
            while "Error" not in str(reading.facts(now)["problem"]):
                now += 10.0
                await asyncio.sleep(0.1)
    assert reading.facts(now + 10.0)["sessions"]["sessions"] == 0


async def test_switched_off_it_says_so() -> None:
    reading = ShopReading(load(flags={"live_analytics": False}))
    assert reading.facts(now=0.0) == {
        "problem": "switched off by the setting live_analytics", "sessions": None, "journeys": None,
    }  # fmt: skip
