"""Loops that read much, in a thread with an event loop of their own: the loop that makes offers does not wait for them.

What measuring reads are all events, of which a poll takes milliseconds of work in one piece; within one event loop
each offer would wait for such pieces several times. Here it waits for the interpreter's lock at most, which is handed
over every few milliseconds.

A loop that runs here shares with the rest of the process what it says it does, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from threading import Thread
from typing import Protocol


class Loop(Protocol):
    """What runs until it is stopped, in the event loop that `run` is called in."""

    async def run(self) -> None:
        """Work until stopped."""
        ...

    def stop(self) -> None:
        """Let `run` end."""
        ...


class Beside:
    """Runs loops in a thread. To whoever calls it, it is a loop itself."""

    def __init__(self, *loops: Loop) -> None:
        self._loops = loops
        self._theirs: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    async def run(self) -> None:
        """Until all of them have ended. Of one that fails, or ends by itself, the others are cancelled; raises why."""
        here = asyncio.get_running_loop()
        ended: asyncio.Future[None] = here.create_future()

        def end(error: BaseException | None) -> None:
            if ended.done():  # cancelled: nobody waits
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._all())
            except BaseException as failed:  # whatever it is, whoever waits has to know
                error = failed
            # Nobody waits any more where that loop is closed.
            with contextlib.suppress(RuntimeError):
                here.call_soon_threadsafe(end, error)

        # A daemon: what does not stop in time must not keep the process.
        Thread(target=work, name="beside", daemon=True).start()
        await ended

    def stop(self) -> None:
        """Let all of them end; from any thread."""
        self._stopping = True
        if self._theirs is not None:
            with contextlib.suppress(RuntimeError):  # closed: they have ended
                self._theirs.call_soon_threadsafe(self._stop_all)

    async def _all(self) -> None:
        self._theirs = asyncio.get_running_loop()
        # Asked after it is set, as `stop` sets before it asks: one of the two sees the other.
        if self._stopping:
            return
        tasks = {asyncio.create_task(each.run()): each for each in self._loops}
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    loop = tasks.pop(task)
                    task.result()
                    if not self._stopping:
                        raise RuntimeError(f"{type(loop).__name__} ended by itself")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_all(self) -> None:
        for each in self._loops:
            each.stop()
