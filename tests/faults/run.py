"""One fault run: a deployment, the shop's stream in parts, a watcher beside it; `finish` proves what is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from producers.sink import KafkaSink
from stream_app import topics
from stream_app.audit import Report, audit
from tests.faults.stream import EVENTS, SHOP
from tests.scenarios.deployment import PATIENCE_S, Deployment, Left
from tests.scenarios.process import Process
from tests.scenarios.watcher import Watcher
from tests.support.fixtures import Names, Servers

#: The dead are noticed soon, and a busy machine's heartbeats still come in time.
SESSION_TIMEOUT_MS: Final = 3_000


class Verdict(NamedTuple):
    """What `finish` found, all of it proven right but the repetitions, which `at_least_once` allows."""

    left: Left
    repeated: int


class Run:
    """Use it as an async context manager; `start` processes, `send` parts of the stream, break things, `finish`."""

    def __init__(self, servers: Servers, names: Names, *, guarantee: str, calm: Left | None, **flags: Any) -> None:
        self.guarantee = guarantee
        #: what an undisturbed run leaves; None where more than the shop's events is sent, or to other partitions
        self._calm = calm
        usual = {"processing_guarantee": guarantee, "batch_records_max": 100, "session_timeout_ms": SESSION_TIMEOUT_MS}
        self.deployment = Deployment(servers, names, **{**usual, **flags})
        self.start = self.deployment.start
        self.watcher = Watcher(self.deployment.settings)
        self._begun = time.monotonic()
        self._sent = 0
        self._markers = 0

    async def __aenter__(self) -> Self:
        await self.deployment.__aenter__()
        self.watcher.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.watcher.stop()
        finally:
            await self.deployment.__aexit__(kind, error, traceback)

    async def send(self, share: float = 1.0) -> None:
        """Send the stream up to this share of it."""
        upto = round(EVENTS * share)
        await self.deployment.send(SHOP[self._sent : upto])
        self._sent = upto

    async def trickle(self, share: float, *, seconds: float) -> None:
        """Send the stream up to this share of it, evenly over so many seconds: many small batches."""
        settings = self.deployment.settings
        upto = round(EVENTS * share)
        steps = max(1, round(seconds / 0.05))
        first = self._sent
        async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
            for step in range(1, steps + 1):
                until = first + (upto - first) * step // steps
                for event in SHOP[self._sent : until]:
                    await sink.send_event(event)
                await sink.flush()
                self._sent = until
                await asyncio.sleep(0.05)

    async def scored(self, share: float | None = None) -> None:
        """Wait until the watcher has seen the scores of what was sent, or of this share of the stream."""
        await self._seen(topics.SCORES, self._sent if share is None else round(EVENTS * share))

    async def _seen(self, topic: str, events: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (seen := len(self.watcher.events(topic))) < events:
            assert time.monotonic() < deadline, f"{topic}: got {seen} events, expected {events}"
            self.watcher.check()
            codes = [process.exit_code for process in self.deployment.processes]
            assert None in codes, f"no process is left: {codes}"
            await asyncio.sleep(0.05)

    async def scoring(self, process: Process, partitions: int = 4) -> float:
        """Wait until a worker is ready with that many partitions; the seconds that took."""
        words = f"scoring {partitions} partitions"
        return await self.until(f"{process.name} {words}", lambda: process.ready() == (True, words))

    async def until(self, what: str, condition: Callable[[], object], *, seconds: float = PATIENCE_S) -> float:
        """Wait for a condition, asked in a thread as it may block; the seconds that took."""
        started = time.monotonic()
        while not await asyncio.to_thread(condition):
            waited = time.monotonic() - started
            assert waited < seconds, f"waited {waited:.1f} s for {what}"
            await asyncio.sleep(0.05)
        return time.monotonic() - started

    def sent_elsewhere(self) -> None:
        """The whole stream has been sent, in transactions: a commit lies one marker before the log's end."""
        self._sent, self._markers = EVENTS, 1

    async def finish(self, row: str, *, model: bool = False) -> Verdict:
        """Wait for the rest, audit it, and compare it with an undisturbed run; says what was found.

        `model` waits for a trainer to have learned everything.
        """
        await self.scored(1.0)
        await self._seen(topics.FEATURES, EVENTS)
        await self.deployment.until_caught_up(markers=self._markers)
        left = await self.deployment.left()
        assert self.watcher.problems(SHOP) == []
        if self._calm is not None:
            assert left.scores.keys() == self._calm.scores.keys()
            assert left.features == self._calm.features
            assert left.examples == self._calm.examples
            assert left.closed == self._calm.closed
            assert left.states == self._calm.states
        report = await self._audit(model)
        repeated = {name: count for name, count in report.repeated.items() if count}
        assert repeated.get("scores", 0) == left.repeated
        if self.guarantee == "exactly_once":
            assert repeated == {}
            assert [self.watcher.repeated(name) for name in (topics.SCORES, topics.FEATURES)] == [0, 0]
        told = ", ".join(f"{count} {name}" for name, count in repeated.items()) or "nothing"
        self.report(f"{row} | audit clean{' with its model' if model else ''}, repeated {told}")
        return Verdict(left, left.repeated)

    def report(self, text: str) -> None:
        """One line for the table in docs/guarantees.md; pytest shows it with `-s`."""
        print(f"\nfault {text} | {self.guarantee} | {time.monotonic() - self._begun:.1f} s")

    async def _audit(self, model: bool) -> Report:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            report = await audit(self.deployment.settings)
            assert report.clean, report.violations
            assert report.events >= EVENTS
            assert report.behind == {}
            if not model or not any(text.startswith("model") for text in report.unchecked):
                return report
            assert time.monotonic() < deadline, report.unchecked
            await asyncio.sleep(0.5)
