"""Runs `stream-app` with faults inside: `FAULTS='[…]' python -m tests.faults.launcher worker …`.

The product has no switch for this: the launcher wraps methods, of the product's classes or of its clients', before the
program starts, and lets the n-th call of one be the process's last, stop it, block its event loop, or fail.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

#: Environment variable with the JSON of a `Plan`.
VARIABLE: Final = "FAULTS"

#: One that neither Python nor Faust has a use for.
CLOCK_JUMPS: Final = signal.SIGRTMIN + 1


class Fault(msgspec.Struct, frozen=True):
    """What happens at a method or function, `module:Class.method`.

    `kill` and `pause` send the process SIGKILL and SIGSTOP, `block` sleeps without letting the event loop run, `fail`
    raises OSError, `hang` never returns, `skip` returns None at once. Counted over the whole process; an async
    generator's `after` is each item.
    """

    at: str
    do: Literal["kill", "pause", "block", "fail", "hang", "skip"]
    when: Literal["before", "after"] = "before"
    call: int = 1
    times: int = 1
    seconds: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """All faults of a process; and by how much its wall clock jumps when it gets `CLOCK_JUMPS`."""

    faults: list[Fault] = []
    clock_jump_s: float = 0.0


def main() -> None:
    """Install the faults, then be the program."""
    plan = msgspec.json.decode(os.environ.pop(VARIABLE), type=Plan)
    if plan.clock_jump_s:
        _shift_clock(plan)
    for fault in plan.faults:
        _install(fault)
    from stream_app.cli import main as stream_app

    stream_app(prog_name="stream-app")


def _shift_clock(plan: Plan) -> None:
    """`time.time` for everybody who imports it from now on; the monotonic clock is nobody's to set."""
    true, shift = time.time, [0.0]
    signal.signal(CLOCK_JUMPS, lambda *_: shift.append(plan.clock_jump_s))
    time.time = lambda: true() + shift[-1]


def _install(fault: Fault) -> None:
    module, _, path = fault.at.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, _wrapped(getattr(owner, name), _Counter(fault)))


class _Counter:
    """Does what the fault says at the calls it names."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._calls = 0

    def due(self, when: str) -> bool:
        """Count one passage of this point, and do what is due; whether that is left to the caller to do."""
        fault = self._fault
        if when != fault.when:
            return False
        self._calls += 1
        if not fault.call <= self._calls < fault.call + fault.times:
            return False
        if fault.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.do == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault.do == "block":
            time.sleep(fault.seconds)
        elif fault.do == "fail":
            raise OSError(f"injected at {fault.at}")
        return fault.do in ("hang", "skip")

    async def over(self) -> None:
        """Return at once for `skip`, never for `hang`."""
        if self._fault.do == "hang":
            await asyncio.Future()


def _wrapped(method: Callable[..., Any], point: _Counter) -> Callable[..., Any]:
    @functools.wraps(method)
    def plain(*args: Any, **options: Any) -> Any:
        point.due("before")
        result = method(*args, **options)
        point.due("after")
        return result

    @functools.wraps(method)
    async def coroutine(*args: Any, **options: Any) -> Any:
        if point.due("before"):
            return await point.over()
        result = await method(*args, **options)
        if point.due("after"):
            return await point.over()
        return result

    @functools.wraps(method)
    async def generator(*args: Any, **options: Any) -> Any:
        if point.due("before"):
            await point.over()
            return
        async for item in method(*args, **options):
            yield item
            point.due("after")

    if inspect.isasyncgenfunction(method):
        return generator
    return coroutine if inspect.iscoroutinefunction(method) else plain


if __name__ == "__main__":
    main()
