"""Events per second, CPU per event and memory of every contender, in interleaved rounds.

Each run: topics of its own are filled with the same records, the contender is started, and its output topics' end
offsets are watched until all is there. The first third is its warm-up and reported apart. Then the outputs are read
back: a run that lost, doubled or misplaced a record says so beside its speed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rig import catalogue, outputs, stream
from benchmarks.rig.catalogue import Contender
from benchmarks.rig.machine import load_average
from benchmarks.rig.models import publish
from benchmarks.rig.processes import Group
from benchmarks.rig.servers import Servers
from benchmarks.rig.stream import Given
from benchmarks.rig.watching import Look, watch
from stream_app.core.snapshots import Signed

#: Of a run's events: before them a JVM compiles, caches fill and connections open.
WARM_UP_SHARE = 1 / 3
#: After its first output a run may take this long, in seconds: what is too slow is measured over what it did.
LIMIT_S = 60.0


class Warmed(NamedTuple):
    """What contenders begin with: our snapshot, and the pipeline of the others."""

    ours: Sequence[Signed]
    others: Path


async def start(
    contender: Contender,
    servers: Servers,
    prefix: str,
    warmed: Warmed,
    *,
    tuning: str,
    learn: bool,
    restarts: bool = False,
) -> Group:
    """Start a contender on topics that exist; ours finds its model there."""
    # With a trainer it learns from nothing: a trainer goes on from its own snapshots only.
    if contender.kind == "ours" and not contender.trainer:
        await publish(warmed.ours, servers.settings(prefix))
    commands = catalogue.commands(
        contender, servers, prefix, model=warmed.others, tuning=tuning, learn=learn, restarts=restarts
    )
    return Group(commands, servers.log)


async def measure(
    contender: Contender, servers: Servers, prefix: str, given: Sequence[Given], warmed: Warmed
) -> dict[str, Any]:
    """One run over all of `given`; figures as in docs/benchmarks.md."""
    mine = list(given)
    await servers.create(prefix)
    await stream.fill(servers.bootstrap, prefix, mine)
    names = [f"{prefix}{name}" for name in contender.outputs]
    group = await start(contender, servers, prefix, warmed, tuning="throughput", learn=True)
    try:
        looks = await watch(servers, names, group, expected=len(mine), limit_s=LIMIT_S)
        memory = group.memory_mib()
    finally:
        group.stop()
    found = [list(await asyncio.to_thread(lambda n=name: list(outputs.read(servers.bootstrap, n)))) for name in names]
    checked = [outputs.completeness(mine, written) for written in found]
    servers.forget(prefix)
    # Markers of transactions have offsets too: scaled so that the last look has the records that were read.
    scale = min(len(written) for written in found) / looks[-1].done
    return {
        **figures(looks, scale),
        "cold_events_per_second": figures(looks, scale, first=True)["events_per_second"],
        "peak_mib": dict(zip(group.roles, memory, strict=True)) if contender.trainer else sum(memory),
        "events": len(mine),
        "output_bytes_per_event": sum(len(record.value) for written in found for record in written) / len(mine),
        "complete": all(check.exact for check in checked),
        "outputs": [check._asdict() for check in checked],
        "load_average": load_average(),
    }


def figures(looks: Sequence[Look], scale: float, *, first: bool = False) -> dict[str, Any]:
    """Between the first output and the end of the warm-up, or from there to the last output."""
    mark = next(n for n, look in enumerate(looks) if look.done >= looks[-1].done * WARM_UP_SHARE)
    # A contender so quick, or of batches so large, that one look saw it all has no part to leave out.
    mark = min(mark, max(0, len(looks) - 2))
    begin, end = (looks[0], looks[mark]) if first else (looks[mark], looks[-1])
    events, seconds = (end.done - begin.done) * scale, end.at - begin.at
    if not seconds:
        return {"events_per_second": None, "cpu_us_per_event": None}
    cpu = [(after - before) / events * 1e6 for before, after in zip(begin.cpu, end.cpu, strict=True)]
    return {
        "events_per_second": events / seconds,
        # Ours with a trainer: the worker first.
        "cpu_us_per_event": sum(cpu),
        "cpu_us_per_event_of": cpu,
        "broker_cpu_us_per_event": (end.broker - begin.broker) / events * 1e6,
        "redis_cpu_us_per_event": (end.redis - begin.redis) / events * 1e6,
    }


async def rounds(
    contenders: Sequence[Contender],
    servers: Servers,
    given: Sequence[Given],
    warmed: Warmed,
    count: int,
    *,
    base: int,
) -> dict[str, Any]:
    """Every contender once a round, each round beginning with another: what drifts on the machine meets all.

    A contender gets its share of `base` events.
    """
    found: dict[str, list[dict[str, Any]]] = {_key(contender): [] for contender in contenders}
    for number in range(count):
        turn = number * len(contenders) // count
        for contender in (*contenders[turn:], *contenders[:turn]):
            key = _key(contender)
            mine = given[: int(base * contender.share)]
            run = await measure(contender, servers, f"{key}-{number}.", mine, warmed)
            found[key].append(run)
            print(
                f"round {number + 1} {key:14} {run['events_per_second'] or 0:10,.0f} events/s "
                f"{run['cpu_us_per_event'] or 0:8.1f} µs  complete: {run['complete']}",
                file=sys.stderr,
                flush=True,
            )
    return {
        _key(contender): {
            "label": contender.label,
            "workers": contender.workers,
            "runs": found[_key(contender)],
            "median": medians(found[_key(contender)]),
        }
        for contender in contenders
    }


def _key(contender: Contender) -> str:
    return contender.name if contender.workers == 1 else f"{contender.name}-x{contender.workers}"


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each number; a contender is complete only if it was in every run."""
    found: dict[str, Any] = {"complete": all(run["complete"] for run in runs)}
    for name, value in runs[0].items():
        values = [run[name] for run in runs if isinstance(run[name], int | float)]
        if isinstance(value, int | float) and name != "complete":
            found[name] = statistics.median(values)
    return found
