"""A run in which everything happens that a dashboard shows: a shop with labels, bad, late, repeated and stray records,
a snapshot that is not believed, a challenger, a Redis that goes away and comes back empty, and offers that are made,
held back, and measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import CheckoutLabel, Event
from stream_app.settings import Settings
from tests.discounts_app.policies import policy_text
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealRedis

#: Enough for some two hundred buyers: quality is told from twenty on, slice by slice, uplift from one in each arm on.
_FACTS: Final = 24_000

#: Sent at once; then it is waited, so that the run has a length over which rates can be seen.
_PART: Final = 1_200
_PAUSE_S: Final = 1.0

#: Part at which Redis is killed, and for how long it is away, in seconds.
_REDIS_GOES: Final = 6
_REDIS_AWAY_S: Final = 2.0

_HOUR_MS: Final = 3_600_000

#: When the shop opens, yesterday: an afternoon has enough visits and buyers, and not every hour at which this runs.
_OPENS_MS: Final = 14 * _HOUR_MS

#: Six hours of the shop's time pass in half a minute: outcomes are to be settled by then.
_OFFERS: Final = {
    "discount_clock": "events",
    "discount_window_ms": 2 * _HOUR_MS // 3,
    "discount_delay_ms": _HOUR_MS // 2,
}


@asynccontextmanager
async def shop_run(bootstrap: str, redis: RealRedis, names: Names, targets: Path) -> AsyncIterator[Deployment]:
    """Worker and trainer, named in `targets`, after all of the traffic was scored; they run until it ends."""
    servers = Servers(bootstrap, redis.url, "real")
    async with Deployment(servers, names, web_targets=str(targets), challengers="naive_bayes") as deployment:
        policy = targets / "policy.toml"
        # Of the two exposures that a carted visitor may have, one is enough; half of them are held out.
        policy.write_text(policy_text(holdout=0.5, kinds=("quiet", "hesitates"), cool_down_s=86_400.0))
        processes = [
            deployment.start("trainer"),
            deployment.start("worker"),
            deployment.start("discounts", discount_policy=str(policy), **_OFFERS),
        ]
        # What is counted before the first scrape has no rate.
        await asyncio.to_thread(
            wait_for, "both ready", lambda: all(process.ready()[0] for process in processes), seconds=PATIENCE_S
        )
        await _send(deployment, redis)
        await deployment.until_caught_up()
        yield deployment


async def _send(deployment: Deployment, redis: RealRedis) -> None:
    settings = deployment.settings
    now_ms = int(time.time() * 1000)
    start_ms = now_ms - now_ms % (24 * _HOUR_MS) - 24 * _HOUR_MS + _OPENS_MS
    shop = Shop(seed=3, start_ms=start_ms, sessions_per_hour=600.0, label_share=0.4)
    facts = list(islice(shop, _FACTS))
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink, producer:
        for number, first in enumerate(range(0, _FACTS, _PART)):
            if number == _REDIS_GOES:
                redis.kill()
            part = facts[first : first + _PART]
            for fact in part:
                await (sink.send_label(fact) if isinstance(fact, CheckoutLabel) else sink.send_event(fact))
            for fact in _irregular(part, start_ms, now_ms):
                await sink.send_event(fact)
            await sink.send_raw(b'{"event_id": 1, "broken', key="somebody")
            await sink.send_label(CheckoutLabel(f"nobody-{number}", f"order-{number}", start_ms))
            await sink.flush()
            await _send_astray(producer, settings, number, start_ms)
            await asyncio.sleep(_PAUSE_S)
            if number == _REDIS_GOES:
                await asyncio.sleep(_REDIS_AWAY_S)
                redis.restart()


def _irregular(part: list[Event | CheckoutLabel], start_ms: int, now_ms: int) -> list[Event]:
    """An event again; one whose session was over hours ago; one from a clock that is an hour ahead of ours."""
    first = next(fact for fact in part if isinstance(fact, Event))
    late = msgspec.structs.replace(first, event_id=f"{first.event_id}-late", event_time=start_ms - 6 * _HOUR_MS)
    ahead = msgspec.structs.replace(
        first, event_id=f"{first.event_id}-ahead", visitor_id="fast-clock", event_time=now_ms + _HOUR_MS
    )
    return [first, late, ahead]


async def _send_astray(producer: AIOKafkaProducer, settings: Settings, number: int, start_ms: int) -> None:
    """A visitor on all partitions, and something among the snapshots that nobody signed."""
    event = Event(event_id=f"stray-{number}", event_type="page_view", event_time=start_ms, visitor_id="x")
    value, topic = msgspec.json.encode(event), settings.topic(topics.EVENTS)
    for partition in range(settings.topic_partitions):
        await producer.send_and_wait(topic, value, key=b"x", partition=partition)
    await producer.send_and_wait(settings.topic(topics.SNAPSHOTS), b"nobody's", key=b"head")
