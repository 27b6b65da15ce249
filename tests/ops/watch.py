"""Watches a Prometheus' alerts, the readiness of processes and the live page, and says how long after a moment each
changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.ops.page import OpenPage
from tests.ops.prometheus import RealPrometheus
from tests.scenarios.process import Process

_LOOK_S: Final = 0.25
_READY_S: Final = 60.0

#: Where a fault is not to be seen.
NOWHERE: Final = float("nan")
NEVER: Final = float("inf")


class Fault(NamedTuple):
    """What is broken, its alert, and by which notice of the page and in which process' readiness it shows, if any."""

    what: str
    alert: str
    notice: str = ""
    process: str = ""


class Seen(NamedTuple):
    """Seconds until the page, a process' readiness and the alert have changed; NaN where they are not to."""

    page_s: float
    ready_s: float
    alert_s: float


class Comings:
    """When each of some names was last seen to come and to go, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.came: dict[str, float] = {}
        self.went: dict[str, float] = {}

    def saw(self, found: set[str], now: float) -> None:
        """These are there now."""
        self.came.update(dict.fromkeys(found - self.there, now))
        self.went.update(dict.fromkeys(self.there - found, now))
        self.there = found


class Watch:
    """Use it as an async context manager. Times are seconds of the monotonic clock."""

    def __init__(self, prometheus: RealPrometheus, processes: dict[str, Process], page: OpenPage | None = None) -> None:
        self._prometheus, self.page = prometheus, page
        #: by name; may be replaced
        self.processes = processes
        self.alerts, self.notices, self.unready = Comings(), Comings(), Comings()
        self._task: asyncio.Task[None] | None = None
        self._looked = False

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

    async def seen(self, fault: Fault, since: float, *, seconds: float) -> Seen:
        """Wait for a fault to be seen; how long after the moment it was, infinity where not in time."""
        found = await self._all(lambda comings, name: self.came(comings, name, since, seconds), fault)
        print(f"{fault.what}: {fault.alert} seen after {found}")
        return found

    async def over(self, fault: Fault, since: float, *, seconds: float) -> Seen:
        """Wait for a fault not to be seen any more; as `seen`."""
        found = await self._all(lambda comings, name: self.went(comings, name, since, seconds), fault)
        print(f"{fault.what}: {fault.alert} over after {found}")
        return found

    async def came(self, comings: Comings, name: str, since: float, seconds: float) -> float:
        """Wait for a name to be there; how long after the moment it came (0: it was there). Infinity if too late."""
        return await self._after(lambda: comings.came[name] if name in comings.there else 0.0, since, seconds)

    async def went(self, comings: Comings, name: str, since: float, seconds: float) -> float:
        """Wait for a name not to be there; how long after the moment it went. Infinity if too late or never seen."""
        if name not in comings.came:
            return NEVER
        return await self._after(lambda: 0.0 if name in comings.there else comings.went[name], since, seconds)

    async def until_ready(self, *names: str) -> None:
        """Wait for these processes to do their work."""
        await self._until(lambda: self._looked and not self.unready.there & set(names), "readiness", _READY_S)

    async def until_quiet(self, alerts: set[str], *, seconds: float) -> None:
        """Wait until none of these alerts fires, all processes are scraped, and the page has no notice."""
        await self._until(lambda: not alerts & self.alerts.there, f"an end of {sorted(alerts)}", seconds)
        await self._until(lambda: not self.notices.there, "a page without notices", seconds)
        wanted = {f"127.0.0.1:{process.port}" for process in self.processes.values()}
        await asyncio.to_thread(
            self._prometheus.until,
            f"scrapes of {wanted}",
            lambda: wanted <= {instance for instance, up in self._prometheus.up().items() if up},
            seconds=seconds,
        )

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

    async def _all(self, wait: Callable[[Comings, str], Awaitable[float]], fault: Fault) -> Seen:
        places = ((self.notices, fault.notice), (self.unready, fault.process), (self.alerts, fault.alert))
        return Seen(*await asyncio.gather(*(wait(*place) if place[1] else _nowhere() for place in places)))

    async def _after(self, when: Callable[[], float], since: float, seconds: float) -> float:
        while not (found := when()):
            self._goes_on()
            if time.monotonic() - since > seconds:
                return NEVER
            await asyncio.sleep(_LOOK_S / 2)
        return max(0.0, found - since)

    async def _until(self, condition: Callable[[], object], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._goes_on()
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}; notices: {self.notices.there}"
            await asyncio.sleep(_LOOK_S)

    def _goes_on(self) -> None:
        """What has failed in looking is not to be taken for nothing to see."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _look(self) -> None:
        while True:
            self.alerts.saw(await asyncio.to_thread(self._prometheus.firing), time.monotonic())
            answers = {name: await asyncio.to_thread(process.ready) for name, process in list(self.processes.items())}
            self.unready.saw({name for name, (ready, _) in answers.items() if not ready}, time.monotonic())
            if self.page is not None:
                self.notices.saw(await self.page.notices(), time.monotonic())
            self._looked = True
            await asyncio.sleep(_LOOK_S)


async def _nowhere() -> float:
    return NOWHERE
