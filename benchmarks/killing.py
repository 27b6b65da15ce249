"""kill -9 in mid-run, twice, each time started again at once; then every output is held against a replay.

Nothing learns here, so that a score is a function of the features and can be checked. A contender that says
`at_least_once` may repeat outputs; what it may not do is count an event twice, lose one, or say something else than a
run without a crash would have said.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders.contract import EVENTS, FEATURES, SCORES
from benchmarks.rig import oracle, outputs, stream
from benchmarks.rig.catalogue import Contender
from benchmarks.rig.processes import REPOSITORY, Group, ours
from benchmarks.rig.servers import Servers
from benchmarks.rig.stream import Given
from benchmarks.rig.watching import SETTLED_S, Offsets, until_written
from benchmarks.throughput import Warmed, start

#: It is killed when so large a share of the events has been written, and again when as much more has.
KILLS = (0.3, 0.3)
#: After the last kill, in seconds: session time-outs, restoring, and the work itself.
_LIMIT_S = 240.0
#: Without an output for so long (s) it goes on no more. A killed transaction that nobody fences holds up readers of
#: committed records for librdkafka's 60 s: half a minute was measured to take such a wait for a loss.
_STILL_S = 90.0


async def measure(
    contender: Contender,
    servers: Servers,
    prefix: str,
    given: Sequence[Given],
    warmed: Warmed,
    *,
    base: int,
    kills: Sequence[float],
) -> dict[str, Any]:
    """One contender: wrong, lost and repeated outputs after a kill when each of these shares has been written."""
    mine = list(given[: max(2_000, int(base * contender.share))])
    await servers.create(prefix)
    await stream.fill(servers.bootstrap, prefix, mine)
    names = [f"{prefix}{FEATURES}", f"{prefix}{SCORES}"]
    group = await start(contender, servers, prefix, warmed, tuning="throughput", learn=False, restarts=True)
    killed_at = []
    try:
        for share in kills:
            # Written, if not committed: a transaction that holds the whole run shall be killed in its midst.
            more = int(share * len(mine))
            killed_at.append(await until_written(servers.bootstrap, names, group, more=more))
            group.kill()
            group.start()
        await _until_complete(servers, names, group, mine)
    finally:
        group.stop()
    features, scores = [
        await asyncio.to_thread(lambda n=name: list(outputs.read(servers.bootstrap, n))) for name in names
    ]
    events = await asyncio.to_thread(lambda: list(outputs.read(servers.bootstrap, f"{prefix}{EVENTS}")))
    settings = servers.settings(prefix, processing_guarantee=contender.guarantee)
    if contender.kind == "ours":
        truth = oracle.of_ours(events, warmed.ours, settings)
    else:
        truth = oracle.of_contenders(events, str(warmed.others))
    found = {
        "label": contender.label,
        "events": len(mine),
        "killed_at": killed_at,
        "wrong_features": len(oracle.wrong_features(truth, features)),
        "wrong_scores": len(oracle.wrong_scores(truth, scores)),
        "features": outputs.completeness(mine, features)._asdict(),
        "scores": outputs.completeness(mine, scores)._asdict(),
    }
    if contender.kind == "ours":
        found["audit"] = _audit(ours("audit", settings).environment)
    servers.forget(prefix)
    return found


async def _until_complete(servers: Servers, names: Sequence[str], group: Group, mine: Sequence[Given]) -> None:
    """Until every event has its committed outputs, or nothing has come for longer than a group needs to go on.

    Offsets alone do not say it: records repeat, and transactions are given up.
    """
    wanted = {record.event_id for record in mine}
    done = looked_at = -1
    begun = changed = time.monotonic()
    async with Offsets(servers.bootstrap, names, committed=False) as offsets:
        while (now := time.monotonic()) < min(begun + _LIMIT_S, changed + _STILL_S):
            group.check()
            if (found := await offsets.done()) != done:
                done, changed = found, now
            elif done != looked_at and now > changed + SETTLED_S:
                looked_at = done
                if all([wanted <= await asyncio.to_thread(_event_ids, servers, name) for name in names]):
                    return
            await asyncio.sleep(0.2)


def _event_ids(servers: Servers, name: str) -> set[str]:
    return {record.event_id for record in outputs.read(servers.bootstrap, name)}


def _audit(environment: Mapping[str, str]) -> dict[str, Any]:
    """`stream-app audit` of what ours left: states and view too, which the outputs do not show."""
    command = [sys.executable, "-m", "stream_app", "audit", "--json"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if not done.stdout:
        raise SystemExit(f"the audit could not be made: {done.stderr}")
    report = json.loads(done.stdout)
    # The model was put there by the rig, not learned from the run's examples: its counts cannot be those of the input.
    looked_at = [check for check in report["checks"] if check["name"] != "model"]
    return {
        "violations": sum(check["violations"] for check in looked_at),
        "checks": sorted({check["name"] for check in looked_at}),
        "repeated": sum(check["repeated"] for check in looked_at),
        "spelled": [found for found in report["spelled"] if found["check"] != "model"],
    }


async def all_kills(
    contenders: Sequence[Contender],
    servers: Servers,
    given: Sequence[Given],
    warmed: Warmed,
    *,
    base: int,
    kills: Sequence[float] = KILLS,
) -> dict[str, Any]:
    """Every contender that promises something, with its share of `base` events; without kills, whether each works."""
    found = {}
    for contender in contenders:
        if contender.kills:
            prefix = f"{contender.name}-kill{len(kills)}."
            found[contender.name] = await measure(contender, servers, prefix, given, warmed, base=base, kills=kills)
            print(f"{contender.name:14} {json.dumps(found[contender.name])}", file=sys.stderr, flush=True)
    return found
