"""What a large state costs: 10 thousand, 100 thousand, a million open sessions.

    python -m benchmarks.state [--sessions 10000,100000,1000000] [--events N] [--out FILE]

For each size: that many visitors open a session; then events come of visitors drawn by Zipf's law, and are watched as
in `throughput.py`. Redis' memory, the worker's memory, and how long a worker that starts anew takes until it is ready:
from Redis, and from the changelog with Redis wiped. Last, sessions that end at 10,000 a second, while events go on to
be scored (`expiring.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from benchmarks import expiring
from benchmarks.__main__ import set_up, warm
from benchmarks.contenders.contract import FEATURES, SCORES
from benchmarks.rig import stream
from benchmarks.rig.models import publish
from benchmarks.rig.processes import Group, ours
from benchmarks.rig.results import RESULTS, keep
from benchmarks.rig.servers import Servers
from benchmarks.rig.stream import Given
from benchmarks.rig.watching import watch
from benchmarks.throughput import Warmed, figures
from stream_app.backends.child_process import free_port
from stream_app.core.codec import encode
from stream_app.core.events import Event

SIZES = (10_000, 100_000, 1_000_000)
#: Of page views in shops: some come back all day, most never. Must be above 1 for the sampler.
ZIPF = 1.1
#: Event times of the openings lie within these minutes before now: far from the gap, in order.
OPENED_MS = 5 * 60 * 1000
_KINDS = ("view_item", "view_item", "view_item_list", "search", "view_item", "add_to_cart", "view_item", "page_view")
_LIMIT_S = 900.0
_READY_S = 300.0


def event(n: int, visitor: int, time_ms: int) -> Given:
    """One event; kinds and items take turns, which is enough for states to grow as a shop's do."""
    kind = _KINDS[n % len(_KINDS)]
    item = f"i{n % 997}" if kind in ("view_item", "add_to_cart") else None
    category = f"c{n % 31}" if item or kind == "view_item_list" else None
    made = Event(
        event_id=f"s{n}", event_type=kind, event_time=time_ms, visitor_id=f"visitor-{visitor:07d}", item_id=item,
        category=category, price=9.99 if item else None, source="direct", device="mobile",
    )  # fmt: skip
    return Given(made.event_id, made.visitor_id, encode(made))


def openings(sessions: int, now_ms: int) -> Iterator[Given]:
    """One event of each visitor."""
    return (event(n, n, now_ms - OPENED_MS + n * OPENED_MS // sessions) for n in range(sessions))


def zipf_events(sessions: int, count: int, now_ms: int) -> list[Given]:
    """Events of visitors by Zipf's law, the ranks spread over all of them."""
    draw = np.random.default_rng(3)
    spread = draw.permutation(sessions)
    weights = 1.0 / np.arange(1, sessions + 1) ** ZIPF
    visitors = spread[draw.choice(sessions, size=count, p=weights / weights.sum())]
    return [event(sessions + n, int(visitor), now_ms + n // 100) for n, visitor in enumerate(visitors)]


class Worker:
    """One worker of ours with a web port that says when it is ready."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self.port = free_port()
        settings = servers.settings(prefix)
        self.begun = time.monotonic()
        self.group = Group([ours("worker", settings, worker_id=f"{prefix}0", web_port=self.port)], servers.log)

    def ready_after_s(self) -> float:
        """Seconds from the process's start until it serves."""
        while time.monotonic() < self.begun + _READY_S:
            self.group.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2.0):
                    return time.monotonic() - self.begun
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise SystemExit(f"not ready within {_READY_S:g} s:\n{self.group.said()}")


async def measure(servers: Servers, warmed: Warmed, sessions: int, count: int) -> dict[str, Any]:
    """One size."""
    prefix = f"state-{sessions}."
    await servers.create(prefix)
    await publish(warmed.ours, servers.settings(prefix))
    names = [f"{prefix}{FEATURES}", f"{prefix}{SCORES}"]
    # A million keys to forget, or to copy for a dump, keep a busy machine for longer than the client waits.
    redis = Redis.from_url(servers.redis_url, socket_timeout=60)
    empty = redis.info("memory")["used_memory"]
    now_ms = int(time.time() * 1000)
    await stream.fill(servers.bootstrap, prefix, openings(sessions, now_ms))
    worker = Worker(servers, prefix)
    found: dict[str, Any] = {"sessions": sessions, "ready_empty_s": worker.ready_after_s()}
    try:
        looks = await watch(servers, names, worker.group, expected=sessions, limit_s=_LIMIT_S)
        found["opening"] = figures(looks, 1.0)
        # Writes to Redis run behind; a settled watch is past them.
        memory = redis.info("memory")["used_memory"]
        found["redis_bytes_per_opened_session"] = (memory - empty) / sessions
        await _zipf(servers, prefix, worker, sessions, count, found)
        found["redis_bytes_per_session"] = (redis.info("memory")["used_memory"] - empty) / sessions
        found["redis_keys"] = redis.dbsize()
        found["worker_rss_mib"], found["worker_peak_mib"] = (
            worker.group.memory_mib("VmRSS")[0], worker.group.memory_mib()[0],
        )  # fmt: skip
        worker.group.stop()
        worker = Worker(servers, prefix)
        found["ready_from_redis_s"] = worker.ready_after_s()
        worker.group.stop()
        redis.flushall()
        worker = Worker(servers, prefix)
        found["ready_from_changelog_s"] = worker.ready_after_s()
        found["redis_keys_restored"] = redis.dbsize()
        found["restored_rss_mib"] = worker.group.memory_mib("VmRSS")[0]
    finally:
        worker.group.stop()
        redis.close()
    servers.forget(prefix)
    return found


async def _zipf(
    servers: Servers, prefix: str, worker: Worker, sessions: int, count: int, found: dict[str, Any]
) -> None:
    """Events on top of the open sessions. The worker is stopped while they are filled in: a backlog, as elsewhere."""
    worker.group.stop()
    events = zipf_events(sessions, count, int(time.time() * 1000))
    await stream.fill(servers.bootstrap, prefix, events)
    worker.group.start()
    names = [f"{prefix}{FEATURES}", f"{prefix}{SCORES}"]
    looks = await watch(servers, names, worker.group, expected=sessions + count, limit_s=_LIMIT_S, beyond=sessions)
    found["zipf"] = figures([look._replace(done=look.done - sessions) for look in looks], 1.0)


async def run(sizes: Sequence[int], count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with Servers() as servers:
        warmed = warm(servers)
        for sessions in sizes:
            found[str(sessions)] = await measure(servers, warmed, sessions, count)
            print(json.dumps(found[str(sessions)]), file=sys.stderr, flush=True)
        found["expiring"] = await expiring.measure(servers, warmed)
        print(json.dumps(found["expiring"]), file=sys.stderr, flush=True)
    return found


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", default=",".join(map(str, SIZES)))
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = asyncio.run(run([int(size) for size in given.sessions.split(",")], given.events))
    keep(given.out, "state", found, vars(given) | {"out": given.out.name})


if __name__ == "__main__":
    main()
