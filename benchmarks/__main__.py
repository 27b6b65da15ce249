"""The benchmark: ours and its peers on the same work, measured from outside. What is measured: docs/benchmarks.md.

    make bench                                everything but state.py, about an hour; results into docs/benchmarks/
    make bench ARGS="--only latency --contenders ours,quix"
    make bench ARGS=--quick                   ours against the copy loop, half a minute; never fails on time
    python -m benchmarks.state                a million open sessions
    python -m benchmarks.report               docs/benchmarks.md and its plots from the results

Contenders that cannot run here are left out loudly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import killing, latency, quick, throughput
from benchmarks.rig import preparing, stream
from benchmarks.rig.catalogue import BY_NAME, CONTENDERS, Contender, several
from benchmarks.rig.models import learn_ours, learn_river, snapshot
from benchmarks.rig.results import RESULTS, keep
from benchmarks.rig.servers import Servers
from benchmarks.throughput import Warmed

SECTIONS = ("check", "throughput", "workers", "kill", "latency")
#: Events whose outcomes the models have learned before anything is measured.
WARM_EVENTS = 60_000
#: Of the killed runs: enough for batches, commits and caches to matter, few enough to replay. Without a kill, fewer.
KILL_EVENTS, CHECK_EVENTS = 150_000, 40_000
#: Those that scale by processes and are fast enough for two to make a difference here.
SCALED = ("ours", "ours-eo", "quix", "streams")


def available(names: Sequence[str]) -> list[Contender]:
    """The contenders that can run here, made ready; what cannot is said."""
    wanted = [BY_NAME[name] for name in names]
    problems = {}
    if any(c.kind == "python" and c.module != "copy_loop" for c in wanted):
        problems["python"] = preparing.prepare_python()
    if any(c.kind == "java" for c in wanted):
        problems["java"] = preparing.prepare_java()
    found = []
    for contender in wanted:
        problem = "" if contender.module == "copy_loop" else problems.get(contender.kind, "")
        if problem:
            print(f"LEFT OUT {contender.label}: {problem}", file=sys.stderr, flush=True)
        else:
            found.append(contender)
    return found


def warm(servers: Servers, events: int = WARM_EVENTS) -> Warmed:
    """Models for all contenders, learned from another seed's events."""
    given = stream.make(events, seed=99)
    others = servers.directory / "model.json"
    learn_river(given, others)
    settings = servers.settings("")
    return Warmed(snapshot(learn_ours(given, settings), settings), others)


async def run(given: argparse.Namespace) -> None:
    contenders = available(given.contenders.split(","))
    events = stream.make(int(given.events * max(contender.share for contender in contenders)), seed=1)
    with Servers() as servers:
        warmed = warm(servers)
        for section in given.only.split(","):
            found = await _section(section, contenders, servers, events, warmed, given)
            keep(given.out, section, found, {name: value for name, value in vars(given).items() if name != "out"})


async def _section(
    section: str,
    contenders: Sequence[Contender],
    servers: Servers,
    events: Sequence[stream.Given],
    warmed: Warmed,
    given: argparse.Namespace,
) -> dict[str, Any]:
    if section == "throughput":
        return await throughput.rounds(contenders, servers, events, warmed, given.rounds, base=given.events)
    if section == "workers":
        scaled = [several(c, workers) for c in contenders if c.name in SCALED for workers in (1, 2)]
        return await throughput.rounds(scaled, servers, events, warmed, given.rounds, base=given.events)
    if section in ("check", "kill"):
        # The same run with and without crashes; the one without says that each does the work at all.
        kills = killing.KILLS if section == "kill" else ()
        base = min(KILL_EVENTS if section == "kill" else CHECK_EVENTS, given.events)
        return await killing.all_kills(contenders, servers, events, warmed, base=base, kills=kills)
    rates = [int(rate) for rate in given.rates.split(",")]
    return await latency.all_rates(contenders, servers, warmed, rates=rates, seconds=given.seconds)


def set_up() -> None:
    """Of this process: who ends it ends the contenders too, and clients are quiet about what is usual here."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # aiokafka warns of each topic that has no leader in the first moments after it was made.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--contenders", default=",".join(contender.name for contender in CONTENDERS))
    parser.add_argument("--events", type=int, default=300_000, help="of a contender whose share is 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", default=",".join(map(str, latency.RATES)), help="events a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of latency measured, after its warm-up")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file; sections not run stay")
    parser.add_argument("--quick", action="store_true", help="ours against the copy loop; prints one JSON line")
    parser.add_argument("--history", action="store_true", help="with --quick: append the line to history.jsonl")
    given = parser.parse_args()
    unknown = set(given.only.split(",")) - set(SECTIONS) | set(given.contenders.split(",")) - set(BY_NAME)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if given.quick:
        line = asyncio.run(quick.run(warm))
        print(json.dumps(line))
        if given.history:
            quick.remember(line)
        return
    asyncio.run(run(given))


if __name__ == "__main__":
    main()
