"""Loops in a thread of their own: they run there, end when they are asked to, and what fails there is heard here."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from stream_app.discounts.beside import Beside

PATIENCE_S = 60.0


class Working:
    """Works until stopped, or until it fails or gives up after some time; says in which thread."""

    def __init__(self, *, fails: Exception | None = None, gives_up: bool = False) -> None:
        self.thread: int | None = None
        self.ended = False
        self._fails, self._gives_up = fails, gives_up
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self.thread = threading.get_ident()
        try:
            if self._fails is not None:
                raise self._fails
            if not self._gives_up:
                await self._stopping.wait()
        finally:
            self.ended = True

    def stop(self) -> None:
        self._stopping.set()


async def begun(*working: Working) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(each.thread is None for each in working):  # noqa: ASYNC110  another thread is looked at
            await asyncio.sleep(0.01)


async def test_all_run_in_one_other_thread_until_they_are_stopped() -> None:
    one, other = Working(), Working()
    beside = Beside(one, other)
    running = asyncio.create_task(beside.run())
    await begun(one, other)
    assert one.thread == other.thread != threading.get_ident()
    assert not running.done()
    beside.stop()
    await asyncio.wait_for(running, PATIENCE_S)
    assert one.ended
    assert other.ended


async def test_work_in_one_piece_there_holds_nobody_up_here() -> None:
    class Busy(Working):
        async def run(self) -> None:
            self.thread = threading.get_ident()
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                sum(range(1_000))
            await super().run()

    busy = Busy()
    beside = Beside(busy)
    running = asyncio.create_task(beside.run())
    await begun(busy)
    turns, since = 0, time.monotonic()
    while time.monotonic() - since < 0.5:
        await asyncio.sleep(0.0)
        turns += 1
    # In one loop it would be one.
    assert turns > 10
    beside.stop()
    await asyncio.wait_for(running, PATIENCE_S)


@pytest.mark.parametrize(
    ("failing", "kind", "words"),
    [
        (Working(fails=OSError("no memory left")), OSError, "no memory left"),
        (Working(gives_up=True), RuntimeError, "Working ended by itself"),
    ],
)
async def test_one_that_fails_or_ends_by_itself_ends_the_others_and_is_heard(
    failing: Working, kind: type[Exception], words: str
) -> None:
    good = Working()
    with pytest.raises(kind, match=words):
        await asyncio.wait_for(Beside(good, failing).run(), PATIENCE_S)
    assert good.ended or good.thread is None


async def test_one_that_is_stopped_before_it_began_does_not_begin() -> None:
    one = Working()
    beside = Beside(one)
    beside.stop()
    await asyncio.wait_for(beside.run(), PATIENCE_S)
    assert one.thread is None
