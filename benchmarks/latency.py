"""From the moment an event was due to the moment its score can be read, open loop, at steady rates.

Kafka's linger, a batch, a transaction's end and a machine that is busy are all inside. The sender is a process of its
own and never waits for anyone; the reader reads committed records and stamps them as they come. A contender that does
not keep up has no percentiles: its latency is how long the run lasted.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.contenders.contract import EVENTS, PARTITIONS, SCORES
from benchmarks.rig.catalogue import Contender
from benchmarks.rig.outputs import Written
from benchmarks.rig.processes import REPOSITORY, Group
from benchmarks.rig.servers import Servers
from benchmarks.throughput import Warmed, start

RATES = (500, 2_000, 10_000)
#: The first of these seconds are no latency of a running shop: groups form, code warms up.
WARM_UP_S = 10.0
#: For the sender to make its events beforehand, and for the contender to start: seconds, and seconds an event.
_PREPARE_S, _PREPARE_EVENT_S = 8.0, 60e-6
#: How long after the last event the last score is waited for; who needs longer has fallen behind.
_DRAIN_S = 10.0
#: Behind for good: later than this (s), and in the last fifth by so many times the first.
_BEHIND_S, _BEHIND_TIMES = 1.0, 3.0


class Arrivals(NamedTuple):
    """Seconds from due to readable by number of the event, NaN for those whose score has not come."""

    waits: npt.NDArray[np.float64]
    repeated: int


def start_sender(bootstrap: str, topic: str, *, rate: int, count: int, begin: float) -> subprocess.Popen[bytes]:
    """Start `latency_sender.py`."""
    command = [
        sys.executable, "-m", "benchmarks.latency_sender", "--bootstrap", bootstrap, "--topic", topic,
        "--rate", str(rate), "--count", str(count), "--begin", repr(begin),
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=REPOSITORY)


def read_arrivals(servers: Servers, topic: str, group: Group, *, begin: float, rate: float, count: int) -> Arrivals:
    """Read the scores of the sender's events as they come; others' ids do not begin with e."""
    waits = np.full(count, np.nan)
    repeated = arrived = 0
    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap,
            "group.id": "latency",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 1,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    try:
        while arrived < count and time.time() < begin + count / rate + _DRAIN_S:
            message = consumer.poll(0.1)
            if message is None or message.error():
                group.check()
                continue
            now = time.time()
            event_id = Written(0, 0, 0, b"", message.value()).event_id
            if event_id[0] != "e":
                continue
            number = int(event_id[1:])
            if np.isnan(waits[number]):
                waits[number] = now - (begin + number / rate)
                arrived += 1
            else:
                repeated += 1
    finally:
        consumer.close()
    return Arrivals(waits, repeated)


async def measure(
    contender: Contender, servers: Servers, prefix: str, warmed: Warmed, *, rate: int, seconds: float
) -> dict[str, Any]:
    """One contender at one rate: percentiles in ms after the warm-up, or by how much it fell behind."""
    await servers.create(prefix)
    count = int(rate * (WARM_UP_S + seconds))
    group = await start(contender, servers, prefix, warmed, tuning="latency", learn=True)
    begin = time.time() + _PREPARE_S + _PREPARE_EVENT_S * count
    sender = start_sender(servers.bootstrap, f"{prefix}{EVENTS}", rate=rate, count=count, begin=begin)
    try:
        arrivals = await asyncio.to_thread(
            read_arrivals, servers, f"{prefix}{SCORES}", group, begin=begin, rate=rate, count=count
        )
        cpu = sum(group.cpu_seconds())
    finally:
        group.stop()
        if sender.wait(60.0):
            raise SystemExit(f"the sender ended with {sender.returncode}")
    servers.forget(prefix)
    return {"rate": rate, "cpu_seconds": cpu, **_figures(arrivals.waits[int(rate * WARM_UP_S) :], arrivals.repeated)}


def _figures(waits: npt.NDArray[np.float64], repeated: int) -> dict[str, Any]:
    came = waits[~np.isnan(waits)]
    missing = len(waits) - len(came)
    fifth = len(waits) // 5
    early, late = (float(np.median(part)) if len(part) else np.inf for part in (came[:fifth], came[-fifth:]))
    if missing or (late > _BEHIND_S and late > _BEHIND_TIMES * early):
        return {"behind": True, "not_scored": missing, "last_s": float(came.max()) if len(came) else None}
    p50, p99, p999 = (float(value) * 1000 for value in np.percentile(came, [50, 99, 99.9]))
    return {
        "behind": False, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": float(came.max()) * 1000,
        "events": len(came), "repeated": repeated,
    }  # fmt: skip


async def all_rates(
    contenders: Sequence[Contender], servers: Servers, warmed: Warmed, *, rates: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Each contender at each rate; above a rate at which one fell behind it is not asked again."""
    found: dict[str, Any] = {contender.name: {"label": contender.label, "rates": []} for contender in contenders}
    behind: set[str] = set()
    for rate in rates:
        for contender in contenders:
            if contender.name in behind:
                continue
            run = await measure(contender, servers, f"{contender.name}-{rate}.", warmed, rate=rate, seconds=seconds)
            found[contender.name]["rates"].append(run)
            if run["behind"]:
                behind.add(contender.name)
            print(f"{contender.name:14} {run}", file=sys.stderr, flush=True)
    return found
