"""Sessions that end at 10,000 a second: how far the closing is behind, and what the scores of others wait for it.

Sessions are opened with event times such that, from a moment agreed on, as many reach their gap in each second of event
time. From then on a trickle of live events moves the watermark on with the clock, and their scores' latency is taken as
in `latency.py`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from benchmarks.contenders.contract import EVENTS, FEATURES, SCORES
from benchmarks.latency import read_arrivals, start_sender
from benchmarks.rig import stream
from benchmarks.rig.models import publish
from benchmarks.rig.processes import Group, ours
from benchmarks.rig.servers import Servers
from benchmarks.rig.stream import Given
from benchmarks.rig.watching import Offsets, watch
from benchmarks.throughput import Warmed
from stream_app import topics
from stream_app.core.codec import encode
from stream_app.core.events import Event

#: Sessions a second, and for how many seconds.
RATE, SECONDS = 10_000, 10
#: Live events a second: enough that each partition's watermark moves evenly.
LIVE_RATE = 500
#: From now until the first session ends: filling in and folding 100,000 events, and the sender's start.
_PREPARE_S = 60.0
#: How long after the last deadline the last closing is waited for.
_DRAIN_S = 20.0


def opening(n: int, time_ms: int) -> Given:
    item = f"i{n % 997}"
    made = Event(event_id=f"o{n}", event_type="view_item", event_time=time_ms, visitor_id=f"o{n}", item_id=item)
    return Given(made.event_id, made.visitor_id, encode(made))


async def measure(servers: Servers, warmed: Warmed) -> dict[str, Any]:
    prefix, count = "expiring.", RATE * SECONDS
    settings = servers.settings(prefix)
    await servers.create(prefix)
    await publish(warmed.ours, settings)
    begin = time.time() + _PREPARE_S
    # A deadline has come when the watermark, which trails by the grace, is a gap past the session's last event.
    first_ms = int(begin * 1000) - settings.session_gap_ms - settings.grace_ms
    given = [opening(n, first_ms + n * 1000 // RATE) for n in range(count)]
    await stream.fill(servers.bootstrap, prefix, given)
    group = Group([ours("worker", settings, worker_id=f"{prefix}0")], servers.log)
    live = LIVE_RATE * (SECONDS + 5)
    try:
        outputs = [f"{prefix}{FEATURES}", f"{prefix}{SCORES}"]
        await watch(servers, outputs, group, expected=count, limit_s=_PREPARE_S)
        if time.time() > begin - 5.0:
            raise SystemExit("the sessions took longer to open than there was time")
        sender = start_sender(servers.bootstrap, f"{prefix}{EVENTS}", rate=LIVE_RATE, count=live, begin=begin)
        closing = asyncio.create_task(_closed(servers, f"{prefix}{topics.CLOSED}", begin, count))
        arrivals = await asyncio.to_thread(
            read_arrivals, servers, f"{prefix}{SCORES}", group, begin=begin, rate=LIVE_RATE, count=live
        )
        found = await closing
        if sender.wait(60.0):
            raise SystemExit(f"the sender ended with {sender.returncode}")
    finally:
        group.stop()
    servers.forget(prefix)
    came = arrivals.waits[~np.isnan(arrivals.waits)][: LIVE_RATE * SECONDS]
    p50, p99 = (float(value) * 1000 for value in np.percentile(came, [50, 99]))
    missing = int(np.isnan(arrivals.waits).sum())
    return {**found, "live_events_per_second": LIVE_RATE, "p50_ms": p50, "p99_ms": p99, "not_scored": missing}


async def _closed(servers: Servers, topic: str, begin: float, count: int) -> dict[str, Any]:
    """Looks at the closed sessions against those that are due, by the clock."""
    behind_max = 0
    async with Offsets(servers.bootstrap, [topic]) as offsets:
        while (now := time.time()) < begin + SECONDS + _DRAIN_S:
            done = await offsets.done()
            due = min(count, max(0, int((now - begin) * RATE)))
            behind_max = max(behind_max, due - done)
            if done >= count:
                break
            await asyncio.sleep(0.05)
    return {
        "due_per_second": RATE,
        "sessions": count,
        "closed": done,
        "took_s": now - begin,
        "behind_max": behind_max,
        "behind_max_s": behind_max / RATE,
    }
