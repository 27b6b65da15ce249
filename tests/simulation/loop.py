"""Time and processes of a simulation: an event loop that never sleeps, and processes that can be stopped or killed.

When nothing is left to do the clock jumps to the next timer, so an hour costs nothing. Every callback belongs to the
process in whose context it was made: those of a killed process are dropped (no `finally` runs, as after SIGKILL), those
of a stopped one are kept until it goes on (as after SIGSTOP and SIGCONT). What belongs to no process is the world: the
network, the broker, the faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import sys
import time
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

#: In Unix seconds: where each simulation begins. 2026-01-01T00:00:00Z.
EPOCH_S: Final = 1_767_225_600.0

#: Callbacks of one run: two hundred times what a run needs. A run that needs more goes round in circles.
STEPS_MAX: Final = 3_000_000

_process: ContextVar[Process | None] = ContextVar("process", default=None)


class StuckError(Exception):
    """The simulation cannot go on: nothing is scheduled, or it never ends."""


class Process:
    """What dies and stops as one."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.alive = self.running = True
        self.backlog: list[events.Handle] = []
        self._context = copy_context()
        self._context.run(_process.set, self)

    def start(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as the process's main task."""
        return self._context.run(self.loop.create_task, run)

    def kill(self) -> None:
        """Nothing of it runs any more."""
        self.alive = self.running = False
        self.backlog.clear()

    def stop(self) -> None:
        """Nothing of it runs until `go_on`."""
        self.running = False

    @property
    def stopped(self) -> bool:
        """Whether it is to go on some time."""
        return self.alive and not self.running

    def go_on(self) -> None:
        """All that should have run meanwhile runs now, in its order."""
        self.running = True
        self.loop.resume(self.backlog)
        self.backlog = []


class _Task(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks have the same order in every run."""

    __slots__ = ("number",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """asyncio's own loop, with its waiting replaced by a jump of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._queue: deque[events.Handle] = deque()
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._numbers = 0
        self._tasks: list[_Task] = []
        self.steps = 0
        #: what tasks of the world raised: the run is void
        self.failures: list[BaseException] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._unhandled)

    # ---- time -------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._now

    @contextlib.contextmanager
    def clocks(self) -> Iterator[None]:
        """Let the clocks of the standard library tell this loop's time."""
        kept = time.time, time.monotonic, time.perf_counter
        time.time, time.monotonic, time.perf_counter = (  # type: ignore[assignment]
            lambda: EPOCH_S + self._now,
            lambda: self._now,
            lambda: self._now,
        )
        try:
            yield
        finally:
            time.time, time.monotonic, time.perf_counter = kept  # type: ignore[assignment]

    # ---- what asyncio asks of a loop --------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> events.Handle:
        """As asyncio's."""
        handle = events.Handle(callback, args, self, context)
        self._queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """As asyncio's."""
        handle = events.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _run_once(self) -> None:
        queue, timers = self._queue, self._timers
        if not queue:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise StuckError("nothing is left to happen, and the run has not ended")
            self._now = max(self._now, timers[0][0])
            while timers and timers[0][0] <= self._now:
                queue.append(heapq.heappop(timers)[2])
        count = len(queue)
        self.steps += count
        if self.steps > STEPS_MAX:
            raise StuckError(f"{self.steps} steps, and no end")
        if self.failures:
            raise self.failures[0]
        for _ in range(count):
            handle = queue.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_process)
            if process is not None and not process.running:
                if not process.alive:
                    continue
                process.backlog.append(handle)
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.failures.append(error)

    def resume(self, handles: list[events.Handle]) -> None:
        """Queue what a stopped process has kept."""
        self._queue.extend(handles)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> _Task:
        self._numbers += 1
        task = _Task(coroutine, self._numbers, loop=loop, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 400:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
        return task

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and context.get("handle") is not None:
            self.failures.append(error)  # a callback of the simulator's own has failed

    # ---- the end ----------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Close what is still suspended, wherever it is: killed processes leave hundreds of coroutines behind."""
        events._set_running_loop(self)
        hook, sys.unraisablehook = sys.unraisablehook, lambda raised: None
        try:
            self._close_tasks()
            self._queue.clear()
            self._timers.clear()
        finally:
            events._set_running_loop(None)
            sys.unraisablehook = hook
        self.set_exception_handler(lambda loop, context: None)
        self.close()

    def _close_tasks(self) -> None:
        while self._tasks:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                if task.done():
                    if not task.cancelled():
                        task.exception()
                    continue
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                for _ in range(20):
                    try:
                        coroutine.close()  # type: ignore[union-attr]
                    except BaseException:
                        continue  # it has a `finally` that awaits: the next one
                    break


def collect() -> None:
    """Free what a run has left in circles; coroutines that end by it find no loop, and have nothing to say."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda raised: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A coroutine that is closed may start another one, which is found the next time.
            while gc.collect():
                pass
    finally:
        sys.unraisablehook = hook


def process_now() -> Process | None:
    """The process that is running; None for the world."""
    return _process.get()


def world() -> Context:
    """A context that belongs to no process: for what outlives the one that asked for it."""
    context = copy_context()
    context.run(_process.set, None)
    return context
