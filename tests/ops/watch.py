"""Watches a Prometheus' alerts and the readiness of processes, and says how long after a moment each changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from tests.ops.prometheus import RealPrometheus
from tests.scenarios.process import Process

_LOOK_S: Final = 0.25
_READY_S: Final = 60.0


class Watch:
    """Use it as an async context manager. Times are seconds of the monotonic clock."""

    def __init__(self, prometheus: RealPrometheus, processes: dict[str, Process]) -> None:
        self._prometheus = prometheus
        #: by name; may be replaced
        self.processes = processes
        #: alert → when it was last seen to begin to fire, and to have ended
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._firing: set[str] = set()
        #: process → when it was last seen to turn ready or unready
        self._ready: dict[str, tuple[bool, float]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def begin(self) -> float:
        """Now: what `since` is counted from."""
        return time.monotonic()

    async def fired(self, alert: str, since: float, *, seconds: float) -> float:
        """Wait for an alert to fire; how long after the moment it began to. Infinity if it does not in time."""
        found = await self._after(lambda: self._began[alert] if alert in self._firing else 0.0, since, seconds)
        print(f"{alert} fires after {found:.1f} s")
        return found

    async def resolved(self, alert: str, since: float, *, seconds: float) -> float:
        """Wait for an alert not to fire; how long after the moment it ended (0: before). Infinity if too late."""
        if alert not in self._began:
            return float("inf")
        found = await self._after(lambda: 0.0 if alert in self._firing else self._ended[alert], since, seconds)
        print(f"{alert} is over after {found:.1f} s")
        return found

    async def unready(self, process: str, since: float, *, seconds: float) -> float:
        """Wait for a process not to be ready, or to be gone; how long after the moment. Infinity if too late."""

        def turned() -> float:
            ready, when = self._ready[process]
            return 0.0 if ready else when

        found = await self._after(turned, since, seconds)
        print(f"{process} is not ready after {found:.1f} s")
        return found

    async def until_ready(self, *names: str) -> None:
        """Wait for these processes to do their work."""
        await self._until(lambda: all(self._ready.get(name, (False, 0.0))[0] for name in names), "readiness", _READY_S)

    async def until_quiet(self, alerts: set[str], *, seconds: float) -> None:
        """Wait until none of these alerts fires, and all processes are scraped."""
        await self._until(lambda: not alerts & self._firing, f"an end of {sorted(alerts)}", seconds)
        up = await asyncio.to_thread(self._prometheus.up)
        assert all(up.get(f"127.0.0.1:{process.port}") for process in self.processes.values()), up

    async def until_caught_up(self, *, seconds: float) -> None:
        """Wait until no record waits for a second; a process too busy to be scraped (NaN) has not caught up."""
        deadline = time.monotonic() + seconds
        while not await self.value("max(intent_lag_seconds)") < 1:
            rate = await self.value("sum(rate(intent_scores_total[10s]))")
            assert time.monotonic() < deadline, f"the lag does not drain at {rate:.0f} scores/s"
            await asyncio.sleep(_LOOK_S)

    async def value(self, expression: str) -> float:
        """What Prometheus says."""
        return await asyncio.to_thread(self._prometheus.value, expression)

    async def _after(self, when: Callable[[], float], since: float, seconds: float) -> float:
        while not (found := when()):
            if time.monotonic() - since > seconds:
                return float("inf")
            await asyncio.sleep(_LOOK_S / 2)
        return max(0.0, found - since)

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        while True:
            firing = await asyncio.to_thread(self._prometheus.firing)
            now = time.monotonic()
            self._began.update(dict.fromkeys(firing - self._firing, now))
            self._ended.update(dict.fromkeys(self._firing - firing, now))
            self._firing = firing
            for name, process in list(self.processes.items()):
                ready, _ = await asyncio.to_thread(process.ready)
                if name not in self._ready or self._ready[name][0] != ready:
                    self._ready[name] = ready, time.monotonic()
            await asyncio.sleep(_LOOK_S)
