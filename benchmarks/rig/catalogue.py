"""The contenders: what each is called, what it promises, and how its processes are started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from benchmarks.contenders.contract import FEATURES, SCORES
from benchmarks.rig.preparing import CONTENDERS_PYTHON, JAVA_TARGET
from benchmarks.rig.processes import Command, ours
from benchmarks.rig.servers import Servers

Kind = Literal["ours", "python", "java"]

#: A quarter of a usual worker's machine; the JVM's own default would be a quarter of this one's memory.
_JAVA_HEAP: Final = "2g"


class Contender(NamedTuple):
    """One way to do the job.

    `share` of a round's events is what it gets: enough for some seconds of steady work, however slow it is. `kills`
    says whether it promises that a crash loses nothing, so that killing it means something. `trainer` and `workers` are
    for ours and for scaling.
    """

    name: str
    label: str
    kind: Kind
    module: str
    guarantee: str = "at_least_once"
    share: float = 1.0
    outputs: tuple[str, ...] = (FEATURES, SCORES)
    kills: bool = True
    trainer: bool = False
    workers: int = 1


CONTENDERS: Final[tuple[Contender, ...]] = (
    Contender("copy", "raw aiokafka copy loop", "python", "copy_loop", outputs=(SCORES,), kills=False),
    Contender("ours", "ours, at_least_once", "ours", ""),
    Contender("ours-eo", "ours, exactly_once", "ours", "", "exactly_once"),
    Contender("ours-trainer", "ours, at_least_once, with a trainer beside it", "ours", "", trainer=True, kills=False),
    Contender("faust", "Faust agent, Redis per event", "python", "faust_plain", share=0.05),
    Contender("faust-take", "Faust agent, take(1000)", "python", "faust_take", share=0.1),
    Contender("quix", "Quix Streams, at-least-once", "python", "quix", share=0.5),
    Contender("quix-eo", "Quix Streams, exactly-once", "python", "quix", "exactly_once", share=0.5),
    # Twice as many: the first third is its warm-up, and a JVM takes some seconds for that.
    Contender("streams", "Kafka Streams, at_least_once", "java", "", share=2.0),
    Contender("streams-eo", "Kafka Streams, exactly_once_v2", "java", "", "exactly_once", share=2.0),
)
BY_NAME: Final = {contender.name: contender for contender in CONTENDERS}


def several(contender: Contender, workers: int) -> Contender:
    """The same in so many worker processes."""
    return contender._replace(workers=workers)


def commands(
    contender: Contender, servers: Servers, prefix: str, *, model: Path, tuning: str, learn: bool, restarts: bool
) -> Sequence[Command]:
    """The processes of one run. A kill and a start of the same commands is a restart.

    With `restarts` ours has names by which the group knows it again; without it announces less (docs/adr/0019).
    """
    if contender.kind == "ours":
        settings = servers.settings(prefix, processing_guarantee=contender.guarantee)
        names = [f"{prefix}{n}" if restarts else "" for n in range(contender.workers)]
        found = [ours("worker", settings, worker_id=name) for name in names]
        return [*found, ours("trainer", settings)] if contender.trainer else found
    return [
        _other(contender, servers, prefix, n, model=model, tuning=tuning, learn=learn) for n in range(contender.workers)
    ]


def _other(
    contender: Contender, servers: Servers, prefix: str, number: int, *, model: Path, tuning: str, learn: bool
) -> Command:
    state = servers.directory / prefix / str(number)
    state.mkdir(parents=True, exist_ok=True)
    arguments = [
        "--bootstrap", servers.bootstrap, "--prefix", prefix, "--redis-url", servers.redis_url,
        "--guarantee", contender.guarantee, "--tuning", tuning, "--model", str(model),
        "--state-dir", str(state), "--instance", f"{prefix}{number}",
    ]  # fmt: skip
    if learn:
        arguments.append("--learn")
    if contender.kind == "java":
        # The parallel collector does most per core, the other one pauses least.
        collector = "-XX:+UseParallelGC" if tuning == "throughput" else "-XX:+UseG1GC"
        jvm = ["java", f"-Xmx{_JAVA_HEAP}", collector, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        classes = f"{JAVA_TARGET}/classes:{JAVA_TARGET}/lib/*"
        return Command("worker", (*jvm, "-cp", classes, "bench.Main", *arguments), {})
    # The floor needs nothing that we do not have.
    python = sys.executable if contender.module == "copy_loop" else str(CONTENDERS_PYTHON)
    return Command("worker", (python, "-m", f"benchmarks.contenders.{contender.module}", *arguments), {})
