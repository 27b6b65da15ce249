"""From the event that makes a session eligible to the offer that can be read, with the whole chain under load.

    python -m benchmarks.offer_latency [--rates 1000 2000] [--seconds 60] [--guarantee at_least_once]

A broker, a Redis, `stream-app run` (worker and trainer in one process) and `stream-app discounts` share this machine
with an open-loop sender of the synthetic shop's events. The clock starts with the timestamp that the event's record
carries, which its producer gave it, and stops when a reader of committed records is handed the offer. Everybody of whom
a moment is told is eligible at once, so that as many offers are made as there can be; those of quiet sessions are
counted and not timed, since they come when time has passed and not after an event.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from benchmarks.contenders.contract import PARTITIONS
from benchmarks.latency import start_sender
from benchmarks.rig.machine import machine
from benchmarks.rig.processes import Command, Group, ours
from benchmarks.rig.servers import Servers
from benchmarks.rig.stream import fill, make
from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.settings import Settings

#: Events of a shop's past, so that the model that scores has learned something.
PAST = 60_000
#: The first of these seconds are no latency of a running shop.
WARM_UP_S = 10.0
_BEGIN_S, _BEGIN_EVENT_S = 8.0, 60e-6
_PATIENCE_S = 180.0

POLICY = """
format = 1
[experiment]
id = "latency"
salt = "latency"
holdout = 0.0
[moments]
clock = "quiet"
latest = 600
[levels]
percents = [10.0]
rule = "fixed"
fixed = 10.0
[money]
currency = "EUR"
margin = 0.40
order_value = 40.0
[offer]
cool_down_s = 0
[budget]
per_hour = 1e9
per_day = 1e9
"""


class Offers:
    """Reads committed offers as they come: (visitor, session) → when it was handed to us, in s, and its reason."""

    def __init__(self, servers: Servers, settings: Settings) -> None:
        self.found: dict[tuple[str, str], tuple[float, str]] = {}
        self.again = 0
        self._stop = threading.Event()
        self._consumer = _reader(servers, settings.topic(topics.OFFERS))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(1_000, timeout=0.01):
                if message.error() is not None:
                    continue  # the end of a partition, for now
                offer = msgspec.json.decode(message.value())
                session = (offer["visitor_id"], offer["session_id"])
                self.again += session in self.found
                self.found.setdefault(session, (time.time(), offer["reason"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 2_000])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--guarantee", choices=("at_least_once", "exactly_once"), default="at_least_once")
    given = parser.parse_args()
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {about['date']}, {about['commit']}; the worker: {given.guarantee}")
    print("| events/s | offers/s | timed | p50 ms | p90 ms | p99 ms | max ms | by the clock |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with Servers() as servers:
        for rate in given.rates:
            print(_measured(servers, rate, given.seconds, given.guarantee), flush=True)


def _measured(servers: Servers, rate: int, seconds: int, guarantee: str) -> str:
    prefix = f"offers{rate}."
    settings = servers.settings(prefix, processing_guarantee=guarantee)
    asyncio.run(servers.create(prefix))
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.toml"
        policy.write_text(POLICY)
        scoring = Group([ours("run", settings)], servers.log)
        asyncio.run(fill(servers.bootstrap, prefix, make(PAST, seed=7)))
        _until("the past is scored", lambda: _count(servers, settings.topic(topics.SCORES)) >= PAST, scoring)
        command, port = _discounts(settings, policy)
        discounting = Group([command], servers.log)
        try:
            _until("the discounts are ready", lambda: _ready(port), discounting)
            return _row(servers, settings, rate, seconds, (scoring, discounting))
        finally:
            discounting.stop()
            scoring.stop()
            servers.forget(prefix)


def _row(servers: Servers, settings: Settings, rate: int, seconds: int, groups: tuple[Group, ...]) -> str:
    offers = Offers(servers, settings)
    count = rate * (seconds + int(WARM_UP_S))
    begin = time.time() + _BEGIN_S + count * _BEGIN_EVENT_S
    sender = start_sender(servers.bootstrap, settings.topic(topics.EVENTS), rate=rate, count=count, begin=begin)
    if sender.wait():
        raise SystemExit("the sender failed")
    time.sleep(5.0)
    for group in groups:
        group.check()
    offers.stop()
    if offers.again:
        raise SystemExit(f"{offers.again} sessions were offered something twice")
    waits, by_clock = _waits(servers, settings, offers, since=begin + WARM_UP_S)
    if not len(waits):
        raise SystemExit("no offer was made after an event")
    p50, p90, p99 = np.percentile(waits, (50, 90, 99)) * 1000
    made = len(offers.found) / (seconds + WARM_UP_S)
    return (
        f"| {rate:,} | {made:.1f} | {len(waits):,} | {p50:.1f} | {p90:.1f} | {p99:.1f} | {waits.max() * 1000:.1f} "
        f"| {by_clock} |"
    )


def _waits(servers: Servers, settings: Settings, offers: Offers, *, since: float) -> tuple[np.ndarray[Any, Any], int]:
    """Seconds from event to offer of those whose event came after the warm-up; how many offers came by the clock."""
    written = {}
    for message in _all(servers, settings.topic(topics.EVENTS)):
        event = msgspec.json.decode(message.value())
        written[event["visitor_id"], event["event_time"]] = message.timestamp()[1] / 1000
    waits, by_clock = [], 0
    for message in _all(servers, settings.topic(topics.EXPOSURES)):
        exposure = msgspec.json.decode(message.value())
        found = offers.found.get((exposure["visitor_id"], exposure["session_id"]))
        if found is None:
            continue
        arrived, reason = found
        sent = written[exposure["visitor_id"], exposure["event_time"]]
        if reason in ("quiet", "hesitates"):
            by_clock += 1
        elif sent >= since:
            waits.append(arrived - sent)
    return np.array(waits), by_clock


def _discounts(settings: Settings, policy: Path) -> tuple[Command, int]:
    port = free_port()
    command = ours("discounts", settings, web_port=port)
    environment = {**command.environment, "STREAM_APP_DISCOUNT_POLICY": str(policy)}
    return command._replace(environment=environment), port


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(what: str, condition: Callable[[], bool], group: Group) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        group.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_PATIENCE_S:g} s until {what}:\n{group.said()}")
        time.sleep(0.2)


def _reader(servers: Servers, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap,
            "group.id": "offer-latency",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    return consumer


def _count(servers: Servers, topic: str) -> int:
    consumer = _reader(servers, topic)
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)[1]
            for number in range(PARTITIONS)
        )
    finally:
        consumer.close()


def _all(servers: Servers, topic: str) -> list[Any]:
    """Every committed record of a topic."""
    consumer = _reader(servers, topic)
    found: list[Any] = []
    ended: set[int] = set()
    try:
        while len(ended) < PARTITIONS:
            for message in consumer.consume(10_000, timeout=1.0):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise SystemExit(str(error))
        return found
    finally:
        consumer.close()


if __name__ == "__main__":
    sys.exit(main())
