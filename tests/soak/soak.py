"""A soak from its start to its verdict: traffic, faults, samples; then catch up, stop everything, audit and judge."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from stream_app import topics
from stream_app.audit import audit
from stream_app.core.audit.report import Report
from tests.scenarios.deployment import Deployment
from tests.soak.faults import PAUSE_S, Faults
from tests.soak.gauges import ScoreGauge, lag
from tests.soak.lifetimes import flatness
from tests.soak.stage import KAFKA_SETTINGS, SETTINGS, Stage
from tests.soak.traffic import Traffic
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka, RealRedis

STATUS_S: Final = 10.0
SAMPLE_S: Final = 2.0

#: The longest time without a score, in seconds: Kafka's restart on a machine that has much else to do takes half a
#: minute, a worker's less. Beyond it nobody works, whatever readiness says.
SILENCE_S_MAX: Final = 120.0

#: After the last record: for what lags to be scored, in seconds.
_CAUGHT_UP_S_MAX: Final = 300.0

#: After that: for sessions to end by the clock and for the trainer to learn the last of them, in seconds.
_QUIET_S_MAX: Final = 120.0


@dataclass(frozen=True)
class Orders:
    """What is asked of a soak."""

    minutes: float
    guarantee: str
    seed: int
    rate: float = 400.0
    workers: int = 2
    pause_s: tuple[float, float] = PAUSE_S


@dataclass
class Outcome:
    """What came of it; fine without `problems`."""

    orders: Orders
    problems: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


async def soak(orders: Orders, say: Callable[[str], None] = print) -> Outcome:
    """Run one. Raises UnavailableError where the servers cannot run."""
    with ExitStack() as stack:
        kafka = stack.enter_context(RealKafka(settings=KAFKA_SETTINGS))
        redis = stack.enter_context(RealRedis())
        name = f"soak-{uuid.uuid4().hex[:6]}"
        deployment = Deployment(
            Servers(kafka.bootstrap, redis.url, "real"),
            Names(f"{name}.", name),
            processing_guarantee=orders.guarantee,
            **SETTINGS,
        )
        async with deployment:
            return await _Soak(orders, Stage(kafka, redis, deployment, workers=orders.workers), say).run()


class _Soak:
    def __init__(self, orders: Orders, stage: Stage, say: Callable[[str], None]) -> None:
        self._orders, self._stage = orders, stage
        self._settings = stage.deployment.settings
        self._started = time.monotonic()
        self._say_plainly = say
        self._traffic = Traffic(self._settings, seed=orders.seed, rate=orders.rate)
        self._scores = ScoreGauge(self._settings)
        self._faults = Faults(
            stage, self._traffic, seed=orders.seed, spare_after_s=orders.minutes * 20, say=self._say
        )  # fmt: skip
        self._outcome = Outcome(orders)
        self._lag_max = 0

    def _say(self, text: str) -> None:
        self._say_plainly(f"{time.monotonic() - self._started:7.1f} s  {text}")

    async def run(self) -> Outcome:
        """Everything."""
        self._say(f"{self._orders}")
        self._stage.start_all()
        for name in self._stage.processes:
            await self._stage.until_ready(name)
        self._say("all are ready")
        sending = asyncio.create_task(self._traffic.run(), name="traffic")
        beside = [asyncio.create_task(part) for part in (self._scores.run(), self._watch(), self._report())]
        try:
            await self._unless_broken(self._faults.run(self._orders.minutes * 60, pause_s=self._orders.pause_s), beside)
            self._traffic.stop()
            await sending
            await self._unless_broken(self._catch_up(), beside)
        finally:
            for task in (sending, *beside):
                task.cancel()
            await asyncio.gather(sending, *beside, return_exceptions=True)
        self._stop_all()
        await self._judge()
        return self._outcome

    async def _unless_broken(self, part: Any, beside: list[asyncio.Task[None]]) -> None:
        """Await a part of the run; what happens beside it must not end, which only an error does."""
        doing = asyncio.ensure_future(part)
        await asyncio.wait([doing, *beside], return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            doing.cancel()
        for task in beside:
            if task.done():
                task.result()
        await doing

    # ---- beside the faults ------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Sample, and stop the run as soon as a process has ended by itself: what follows would prove nothing."""
        while True:
            self._stage.sample()
            if ended := self._stage.ended_by_themselves():
                raise RuntimeError("; ".join(ended))
            for name in self._stage.restart_refused():
                self._say(f"{name} could not begin without a server, and was started again")
            await asyncio.sleep(SAMPLE_S)

    async def _report(self) -> None:
        """A line every ten seconds."""
        while True:
            await asyncio.sleep(STATUS_S)
            behind, learning = await asyncio.gather(lag(self._settings), self._stage.learning())
            self._lag_max = max(self._lag_max, behind or 0)
            parts = [
                f"{name.replace('worker-', 'w').replace('trainer-', 't')}{'*' if name == learning else ''} "
                f"{life.samples[-1].rss_mb:.0f} MiB {life.samples[-1].fds} fds"
                for name, life in self._stage.lives.items()
                if life.samples
            ]
            self._say(
                f"sent {self._traffic.sent}, scores {self._scores.count}, lag {'?' if behind is None else behind}, "
                f"last score {self._scores.silence:.1f} s ago | {' | '.join(parts)}"
            )

    # ---- afterwards -------------------------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Until nothing is left to be done."""
        self._say("no more traffic: catching up")
        deadline = time.monotonic() + _CAUGHT_UP_S_MAX
        while (behind := await lag(self._settings)) != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"got a lag of {behind} records {_CAUGHT_UP_S_MAX:g} s after the last, expected 0")
            await asyncio.sleep(1.0)
        await self._stage.deployment.until_caught_up()
        try:
            await self._stage.until_shared(self._settings.topic_partitions)
        except TimeoutError:
            self._outcome.problems.append("a worker has no partitions although there are enough for all")
        self._say("caught up: waiting for the sessions to end and to be learned")
        await asyncio.sleep((self._settings.session_gap_ms + self._settings.grace_ms) / 1000)
        await self._until_still(topics.CLOSED, topics.EXAMPLES, topics.SNAPSHOTS)

    async def _until_still(self, *names: str) -> None:
        deadline = time.monotonic() + _QUIET_S_MAX
        last: list[int] = []
        while time.monotonic() < deadline:
            counts = [await self._stage.deployment.count(name) for name in names]
            if counts == last:
                return
            last = counts
            await asyncio.sleep(3.0)
        raise RuntimeError(f"{names} still grow {_QUIET_S_MAX:g} s after the last event was scored")

    def _stop_all(self) -> None:
        for name, process in self._stage.processes.items():
            code = process.terminate()
            if code != 0:
                self._outcome.problems.append(f"{name} ended with {code} when asked to stop")

    async def _judge(self) -> None:
        problems = self._outcome.problems
        problems += self._stage.ended_by_themselves()
        errors, explained = self._stage.errors()
        problems += errors
        self._say("auditing")
        started = time.monotonic()
        report = await audit(self._settings)
        problems += [str(violation) for violation in report.violations]
        problems += [f"not checked: {text}" for text in report.unchecked]
        problems += [f"partition {number} is {count} records behind" for number, count in report.behind.items()]
        if self._scores.silence_max > SILENCE_S_MAX:
            problems.append(f"got {self._scores.silence_max:.0f} s without a score, expected at most {SILENCE_S_MAX:g}")
        lives = [life for life in (*self._stage.past, *self._stage.lives.values()) if life.samples]
        found = [flatness(life) for life in lives]
        for one in found:
            problems += one.problems
        self._summarise(report, audited_s=time.monotonic() - started)
        self._outcome.summary["lives"] = [one.as_json() for one in found]
        self._outcome.summary["explained_errors"] = explained
        self._outcome.summary["problems"] = problems

    def _summarise(self, report: Report, *, audited_s: float) -> None:
        repeated = {name: count for name, count in report.repeated.items() if count}
        self._outcome.summary |= {
            "guarantee": self._orders.guarantee,
            "minutes": self._orders.minutes,
            "seed": self._orders.seed,
            "rate": self._orders.rate,
            "faults": dict(self._faults.counts),
            "refused_at_start": self._stage.refused,
            "sent": self._traffic.sent,
            "events": report.events,
            "labels": report.labels,
            "clean": report.clean,
            "repeated": repeated,
            "lag_max": self._lag_max,
            "longest_without_score_s": round(self._scores.silence_max, 1),
            "producer_reopened": self._traffic.reopened,
            "audit_s": round(audited_s, 1),
        }
        checks: dict[str, int] = {}
        for check in report.checks:
            checks[check.name] = checks.get(check.name, 0) + check.found
        self._outcome.summary["audited"] = checks
