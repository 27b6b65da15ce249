"""Moments that flow while something is done to the processes, and waiting for what comes of them."""

from __future__ import annotations

import asyncio

from stream_app.discounts.core.records import Moment
from tests.discounts_app.moments import MomentSink, moment
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process


async def until_ready(process: Process) -> None:
    """Wait until a process says that it is."""
    async with asyncio.timeout(PATIENCE_S):
        while process.get("/readyz")[0] != 200:
            assert process.exit_code is None, process.said()[-2000:]
            await asyncio.sleep(0.1)


async def until_exposed(deployment: Deployment, sessions: int) -> Verdict:
    """Wait until so many sessions have been decided about."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            verdict = await Verdict.of(deployment)
            if len(verdict.sessions) >= sessions:
                return verdict
            await asyncio.sleep(1.0)


async def told(sink: MomentSink, stop: asyncio.Event) -> list[Moment]:
    """Some 60 moments a second, three of each session, until asked to stop: a restart must be able to keep up."""
    sent: list[Moment] = []
    while not stop.is_set():
        first = len(sent) // 3
        batch = [
            moment(f"v{number}", f"s{number}", number=event)
            for number in range(first, first + 2)
            for event in (1, 2, 3)
        ]
        await sink.send(batch)
        sent += batch
        await asyncio.sleep(0.1)
    return sent


class Flow:
    """Tells moments from its start to its end; `sent` are those that Kafka has acknowledged."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._stop = deployment, asyncio.Event()
        self.sent: list[Moment] = []

    async def __aenter__(self) -> Flow:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task

    async def _run(self) -> None:
        async with MomentSink(self._deployment.settings) as sink:
            self.sent = await told(sink, self._stop)

    @property
    def sessions(self) -> set[tuple[str, str]]:
        """All that were told of."""
        return {(each.visitor_id, each.session_id) for each in self.sent}
