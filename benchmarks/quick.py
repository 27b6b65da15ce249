"""Ours against the copy loop in one short round: a ratio for every commit. A slow machine makes no failure of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rig import stream
from benchmarks.rig.catalogue import BY_NAME
from benchmarks.rig.machine import machine
from benchmarks.rig.servers import Servers
from benchmarks.throughput import Warmed, measure

HISTORY = Path(__file__).parent / "history.jsonl"
#: Three seconds of work for ours; more would not make a busy machine's ratio truer.
EVENTS = 60_000


async def run(warm: Callable[[Servers], Warmed]) -> dict[str, Any]:
    """One line of the history."""
    given = stream.make(EVENTS, seed=1)
    with Servers() as servers:
        warmed = warm(servers)
        # The copy loop first: a broker that has just started compiles itself, at the expense of who comes first.
        copy = await measure(BY_NAME["copy"], servers, "copy.", given, warmed)
        ours = await measure(BY_NAME["ours"], servers, "ours.", given, warmed)
    about = machine()
    return {
        **{name: about[name] for name in ("date", "commit", "cpu", "cores")},
        "events": EVENTS,
        "events_per_second": ours["events_per_second"],
        "copy_events_per_second": copy["events_per_second"],
        "share_of_copy": _ratio(ours["events_per_second"], copy["events_per_second"]),
        "cpu_us_per_event": ours["cpu_us_per_event"],
        "cpu_times_copy": _ratio(ours["cpu_us_per_event"], copy["cpu_us_per_event"]),
        "broker_cpu_us_per_event": ours["broker_cpu_us_per_event"],
        "redis_cpu_us_per_event": ours["redis_cpu_us_per_event"],
        "peak_mib": ours["peak_mib"],
        "complete": ours["complete"] and copy["complete"],
    }


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def remember(line: dict[str, Any]) -> None:
    """Append it to the history, one JSON object a line."""
    with HISTORY.open("a") as file:
        file.write(json.dumps(line) + "\n")
