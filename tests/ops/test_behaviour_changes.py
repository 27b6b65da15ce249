"""The synthetic shop's visitors begin to behave otherwise: how long that takes to be seen, and what it takes.

The detector compares hours with the same hours of days before, so the shop is watched for two days of event time
first; all of it is sent as fast as it is scored. What a real shop needs is in the events that it took, not the seconds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from producers.sink import KafkaSink
from producers.synthetic.calendar import Requests
from producers.synthetic.shop import Shop
from stream_app.core.events import Event
from tests.ops.page import open_page
from tests.ops.prometheus import RealPrometheus
from tests.ops.running import started, until_listening
from tests.ops.watch import Fault, Watch
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.long, pytest.mark.timeout(1_500)]

CHANGED: Final = Fault("behaviour changes", "Drift", "behaviour_changed")

_HOUR_MS: Final = 3_600_000
#: A block of the detector is a thousand visits and half an hour at least: with so many an hour it takes an hour and a
#: half, and the two days that it wants to see first have the thirty blocks that it wants.
_VISITS_PER_HOUR: Final = 700.0
_USUAL_HOURS: Final = 54
#: More than the sixteen blocks within which a change that matters is told (docs/adr/0024).
_CHANGED_EVENTS: Final = 100_000

#: Sent at once; then the worker is waited for, so that nothing piles up.
_PART: Final = 4_000
_AHEAD_MAX: Final = 8_000

#: From the alarm to where people see it.
SOON_S: Final = 30.0


async def test_a_change_of_behaviour_is_seen_on_the_page_and_as_its_alert_soon_after_its_alarm(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    start_ms = (int(time.time() * 1000) // _HOUR_MS - 96) * _HOUR_MS
    change_ms = start_ms + _USUAL_HOURS * _HOUR_MS
    shop = Shop(
        seed=4, start_ms=start_ms, sessions_per_hour=_VISITS_PER_HOUR, requests=Requests(change_ms=change_ms)
    )  # fmt: skip
    events = (fact for fact in shop if isinstance(fact, Event))
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            servers = Servers(kafka.bootstrap, redis.url, "real")
            async with Deployment(servers, Names("drift.", "drift"), web_targets=str(tmp_path)) as deployment:
                scraper = prometheus(tmp_path)
                processes = {verb: started(deployment, verb) for verb in ("trainer", "worker")}
                await until_listening(processes["worker"])
                async with open_page(processes["worker"].port) as page, Watch(scraper, processes, page) as watch:
                    await watch.until_ready("worker", "trainer")
                    usual = await _send(deployment, processes["worker"], _until(events, change_ms))
                    await asyncio.to_thread(_until_learned, processes["trainer"])
                    assert CHANGED.alert not in watch.alerts.there
                    assert CHANGED.notice not in watch.notices.there
                    before = processes["trainer"].metric("intent_examples_learned_total")
                    # Made beforehand: what is timed is not how fast this process invents visitors.
                    changed = list(islice(events, _CHANGED_EVENTS))
                    changes = watch.begin()
                    sending = asyncio.create_task(_send(deployment, processes["worker"], iter(changed)))
                    seen = await watch.seen(CHANGED, changes, seconds=600)
                    alarmed_s = _first_alarm(processes["trainer"]) - (time.time() - (watch.begin() - changes))
                    scored = processes["worker"].metric("intent_end_to_end_seconds_count") - usual
                    learned = processes["trainer"].metric("intent_examples_learned_total") - before
                    words = await page.words(CHANGED.notice)
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
    except UnavailableError as reason:
        skip_or_fail(reason)
    rate = scored / max(seen.page_s, seen.alert_s)
    print(f"\n{CHANGED.what}, after {usual:,} events: page {seen.page_s:.1f} s, alert {seen.alert_s:.1f} s")
    print(
        f"{alarmed_s:.1f} s to the trainer's alarm; {scored:,.0f} events, {learned:,.0f} examples, {rate:,.0f} events/s"
    )
    print(words)
    assert seen.page_s - alarmed_s < SOON_S
    assert seen.alert_s - alarmed_s < SOON_S
    assert "Visitors behave otherwise than before" in words or "The scores have changed" in words


def _until(events: Iterator[Event], change_ms: int) -> Iterator[Event]:
    for event in events:
        yield event
        if event.event_time >= change_ms:
            return


async def _send(deployment: Deployment, worker: Process, events: Iterator[Event]) -> int:
    """As fast as they are scored; how many."""
    settings = deployment.settings
    sent = 0
    begun = worker.metric("intent_end_to_end_seconds_count")
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        while part := list(islice(events, _PART)):
            for event in part:
                await sink.send_event(event)
            await sink.flush()
            sent += len(part)
            await asyncio.to_thread(_until_scored, worker, begun + sent - _AHEAD_MAX)
        await asyncio.to_thread(_until_scored, worker, begun + sent)
    return sent


def _until_scored(worker: Process, events: float) -> None:
    wait_for(f"{events} scores", lambda: worker.metric("intent_end_to_end_seconds_count") >= events, seconds=120)


def _until_learned(trainer: Process) -> None:
    wait_for("all learned", lambda: trainer.metric("intent_examples_lag_records") == 0, seconds=300)


def _first_alarm(trainer: Process) -> float:
    """When the trainer's log told of the first one, in seconds since 1970."""
    found = re.search(r"^(\S+ \S+),(\d+) WARNING stream_app drift ", trainer.said(), re.MULTILINE)
    assert found, "an alarm of drift without its line"
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(found[2]) / 1000
