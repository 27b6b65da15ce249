"""On a real broker: the bytes of the engine's own topics come to a window, on the clock that the policy asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from producers.synthetic.shop import Shop
from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients
from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.discounts.beside import Beside
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import read_policy
from stream_app.discounts.core.timed_records import take_closed, take_example
from stream_app.discounts.core.timing import Timing, Window
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.timing_follower import TimingFollower
from stream_app.metrics import Metrics
from stream_app.settings import Settings, load
from tests.core.streams import DAY, RULES, T0, ConstantScorer, Record
from tests.core.streams import Partition as Engine
from tests.discounts_app.policies import policy_text
from tests.support.fixtures import Names
from tests.support.servers import RealKafka

pytestmark = pytest.mark.real_kafka

PATIENCE_S = 60.0
EVENTS = 40_000


def written() -> dict[str, list[bytes]]:
    """A shop's day, folded by the engine: closed sessions and examples as they go to Kafka."""
    engine = Engine(replace(RULES, cache_visitors_max=100_000), ConstantScorer())
    found: dict[str, list[bytes]] = {topics.CLOSED: [], topics.EXAMPLES: []}
    records = []
    for offset, fact in enumerate(fact for fact in Shop(seed=4, start_ms=T0) if isinstance(fact, Event)):
        assert isinstance(fact.event_time, int)
        records.append(Record("events", offset, fact.event_time, fact.visitor_id.encode(), encode(fact)))
        if offset == EVENTS:
            break
    for idle_ms, batch in (*((0, records[n : n + 2_000]) for n in range(0, EVENTS, 2_000)), (DAY, [])):
        effects = engine.compute(batch, [], idle_ms)
        found[topics.CLOSED] += [value for _, value in effects.closed]
        found[topics.EXAMPLES] += [value for _, value in effects.examples]
        engine.states.update(effects.states)
        engine.position = effects.position
        engine.processor.committed(effects)
    return found


def policy(clock: str) -> Policy:
    text = policy_text(earliest='"learned"').replace('clock = "quiet"', f'clock = "{clock}"')
    return read_policy(text, where="")


@asynccontextmanager
async def following(settings: Settings, wanted: Callable[[], Policy]) -> AsyncIterator[TimingFollower]:
    """In a thread of its own, as in the application."""
    registry = CollectorRegistry()
    observer = DiscountObserver(Metrics(registry, discounts=True), registry)
    follower = TimingFollower(settings, observer, KafkaClients(settings), wanted=wanted)
    beside = Beside(follower)
    running = asyncio.create_task(beside.run())
    try:
        yield follower
        assert not running.done(), running
    finally:
        beside.stop()
        await asyncio.wait_for(running, PATIENCE_S)


async def until_known(follower: TimingFollower, wanted: Policy, category: str | None) -> Window:
    async with asyncio.timeout(PATIENCE_S):
        while (window := follower.window(wanted, category)) is None:  # noqa: ASYNC110  another thread is looked at
            await asyncio.sleep(0.05)
    return window


async def test_a_policy_with_learned_bounds_has_the_window_of_what_the_topics_say(
    real_kafka: RealKafka, names: Names
) -> None:
    settings = load(
        flags={
            "kafka_bootstrap": real_kafka.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "topic_partitions": 2,
        }
    )
    assert all(status.fine for status in await admin.create_topics(settings))
    told = written()
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for topic, values in told.items():
            for n, value in enumerate(values):
                await producer.send(settings.topic(topic), value, partition=n % 2)
    expected: dict[str, Timing] = {}
    for clock, topic, take in (("age", topics.CLOSED, take_closed), ("quiet", topics.EXAMPLES, take_example)):
        expected[clock] = Timing()
        for value in told[topic]:
            take(expected[clock], value)
    own = expected["age"].export()["own"]
    category = max(own, key=lambda name: float(own[name]["age"].sum()))
    in_force = policy("age")
    async with following(settings, lambda: in_force) as follower:
        for clock in ("age", "quiet"):
            # The policy in force is another one from here on: the other clock is learned, and the first forgotten.
            in_force = policy(clock)
            for name in (None, category, "never seen"):
                found = await until_known(follower, in_force, name)
                wanted = expected[clock].window(in_force.moments.clock, name)
                assert wanted is not None
                assert found == pytest.approx(wanted, rel=1e-6)
            other = policy("age" if clock == "quiet" else "quiet")
            assert follower.window(other, None) is None
        assert follower.window(read_policy(policy_text(), where=""), None) is None
