"""What a soak runs: two workers that have names of their own, two trainers of which one stands by, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Final

from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process
from tests.soak.gauges import footprint
from tests.soak.lifetimes import Lifetime
from tests.support.servers import RealKafka, RealRedis

SESSION_TIMEOUT_MS: Final = 6_000

#: Sessions of seconds, and caches for half of a partition's visitors.
SETTINGS: Final = {
    "session_gap_ms": 20_000,
    "grace_ms": 2_000,
    "idle_after_ms": 1_000,
    "cache_visitors_max": 1_000,
    "batch_records_max": 1_000,
    "session_timeout_ms": SESSION_TIMEOUT_MS,
}

#: Kafka's own defaults, where the other tests are quicker. A broker that reads half an hour of logs after its death and
#: is given up by its controller meanwhile makes its group coordinator forget most of what was committed: docs/soak.md.
KAFKA_SETTINGS: Final = {"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000"}

#: Importing everything takes 3 s, and four times that for four processes at once on two busy cores.
_UP_S_MAX: Final = 240.0
_READY_S_MAX: Final = 240.0

#: A process that the soak has killed, or that ended as it was asked to.
_EXPECTED_ENDS: Final = (None, 0, -9)

#: A log record begins with its time; the lines after it, such as a traceback's, belong to it.
_RECORD: Final = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:)", re.MULTILINE)
_ERROR: Final = re.compile(r"\S+ \S+ (ERROR|CRITICAL) |.*^Traceback ", re.MULTILINE | re.DOTALL)

#: What a fault explains: a producer of a worker that slept, or of a transaction that Kafka has given up while it was
#: away, is told so, and the client's futures of it are nobody's any more.
_EXPLAINED: Final = re.compile(r"\S+ \S+ ERROR asyncio Future exception was never retrieved\n.*=ProducerFenced\(")

#: In the log of whoever has got as far as the group: the state of a partition, or of the training.
_BEGUN: Final = "state="

#: What a worker's readiness says when it works.
_SHARE: Final = re.compile(r"scoring (\d+) partitions")

#: Characters of an error that are shown: its line and the beginning of its traceback.
_QUOTED: Final = 600


class Stage:
    """The servers and, under its name, each process with the life that it leads now."""

    def __init__(self, kafka: RealKafka, redis: RealRedis, deployment: Deployment, *, workers: int) -> None:
        self.kafka, self.redis, self.deployment = kafka, redis, deployment
        self.workers = [f"worker-{n}" for n in range(1, workers + 1)]
        self.trainers = ["trainer-1", "trainer-2"]
        self.processes: dict[str, Process] = {}
        self.lives: dict[str, Lifetime] = {}
        self.past: list[Lifetime] = []
        #: monotonic time up to which one of the servers was down; infinite while it is
        self.down_until = -math.inf
        self._born: dict[int, float] = {}

    def start_all(self) -> None:
        """Everything that is to run."""
        for name in [*self.trainers, *self.workers]:
            self.start(name)

    def start(self, name: str) -> None:
        """Start a process, or start it again."""
        self.processes[name] = process = self.deployment.start(name.partition("-")[0], worker_id=name)
        self._born[process.pid] = time.monotonic()
        self._begin_life(name, name)

    async def until_up(self, name: str) -> None:
        """Wait for a process to serve its pages: until then it is Python that a SIGTERM ends, not our program."""
        async with asyncio.timeout(_UP_S_MAX):
            while not (await asyncio.to_thread(self.processes[name].get, "/healthz"))[0]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def until_ready(self, name: str) -> None:
        """Wait for a process to do its work."""
        async with asyncio.timeout(_READY_S_MAX):
            while not (await asyncio.to_thread(self.processes[name].ready))[0]:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.5)

    async def until_shared(self, partitions: int) -> None:
        """Wait for the workers to share all partitions, none of them idle: who has fallen out of the group is not."""
        async with asyncio.timeout(_READY_S_MAX):
            while True:
                words = [(await asyncio.to_thread(self.processes[name].ready))[1] for name in self.workers]
                shares = [int(found[1]) if (found := _SHARE.fullmatch(text)) else 0 for text in words]
                if min(shares) > 0 and sum(shares) == partitions:
                    return
                await asyncio.sleep(1.0)

    def sample(self) -> None:
        """Look at every process; an ended one has no more to show."""
        for name, process in self.processes.items():
            found = footprint(process.pid) if process.exit_code is None else None
            if found is not None:
                self.lives[name].add(found.rss_mb, found.fds)

    async def learning(self) -> str:
        """The name of the trainer that learns; empty when none does. Its life as the learning one has begun."""
        for name in self.trainers:
            process = self.processes[name]
            words = ""
            # It may be killed while it answers.
            with contextlib.suppress(HTTPException, ValueError):
                words = (await asyncio.to_thread(process.ready))[1]
            if words == "learning" and process.exit_code is None and process is self.processes[name]:
                if self.lives[name].name == name:
                    self._begin_life(name, f"{name} learning")
                return name
        return ""

    @contextmanager
    def server_down(self) -> Iterator[None]:
        """Inside, a server is down."""
        self.down_until = math.inf
        try:
            yield
        finally:
            self.down_until = time.monotonic()

    def restart_refused(self) -> list[str]:
        """Start again, as whatever runs a deployment does, processes that could not begin without a server."""
        names = [name for name, process in self.processes.items() if self._was_refused(process)]
        for name in names:
            self.start(name)
        return names

    @property
    def refused(self) -> int:
        """Processes that could not begin without a server."""
        return sum(map(self._was_refused, self.deployment.processes))

    def _was_refused(self, process: Process) -> bool:
        """Whether it ended at its start and said that a server was away, as one was: so it asks to be restarted."""
        if process.exit_code != 1 or self._born[process.pid] > self.down_until:
            return False
        said = process.said()
        return "does not answer" in said and _BEGUN not in said

    def ended_by_themselves(self) -> list[str]:
        """Processes that nobody has ended."""
        return [
            f"{process.name} (pid {process.pid}) ended by itself with {process.exit_code}"
            for process in self.deployment.processes
            if process.exit_code not in _EXPECTED_ENDS and not self._was_refused(process)
        ]

    def errors(self) -> tuple[list[str], int]:
        """Records at ERROR or with a traceback: nothing is lost, nobody has to act. And how many more are explained."""
        found: list[str] = []
        explained = 0
        for process in self.deployment.processes:
            if self._was_refused(process):
                continue
            for record in _RECORD.split(process.said()):
                if _EXPLAINED.match(record):
                    explained += 1
                elif _ERROR.match(record):
                    found.append(f"{process.name}: {record[:_QUOTED].rstrip()}")
        return found, explained

    def _begin_life(self, name: str, title: str) -> None:
        if name in self.lives:
            self.past.append(self.lives[name])
        self.lives[name] = Lifetime(title)
