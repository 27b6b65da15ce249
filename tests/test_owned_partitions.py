"""Partitions that a process owns: begun, watched over, and given back however they behave."""

from __future__ import annotations

import asyncio
import time

import pytest

from stream_app.owned_partitions import OwnedPartitions
from stream_app.patience import DEAD_S, FAILING_S, STUCK_S


class _Loop:
    """A partition that ends as it is told to."""

    def __init__(self, *, obedient: bool = True) -> None:
        self.state, self.problem = "ready", ""
        self.progress = time.monotonic()
        self.failing_since: float | None = None
        self.asked, self.end = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self.closing_s = 0.0
        self._obedient = obedient

    async def run(self) -> None:
        try:
            await self.end.wait()
        finally:
            if self.closing_s:
                await asyncio.sleep(self.closing_s)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.asked.set()
        if self._obedient:
            self.end.set()


def _owned(*, may_end: bool = True) -> OwnedPartitions[_Loop]:
    return OwnedPartitions[_Loop](session_timeout_ms=500, may_end=may_end)  # a quarter of a second to give back


async def test_what_is_given_back_has_ended_and_is_no_longer_there() -> None:
    owned, loops = _owned(), [_Loop(), _Loop()]
    for number, loop in enumerate(loops):
        owned.start(number, loop, name="partition")
    assert await owned.give_back([0, 7]) == []
    assert list(owned.by_number) == [1]
    assert (loops[0].asked.is_set(), loops[1].asked.is_set()) == (True, False)
    await owned.give_back([1])


async def test_one_that_does_not_end_is_cancelled_and_one_that_takes_long_to_close_holds_nobody_up() -> None:
    owned, deaf, slow = _owned(), _Loop(obedient=False), _Loop(obedient=False)
    slow.closing_s = 1.0
    owned.start(0, deaf, name="partition")
    owned.start(1, slow, name="partition")
    await asyncio.sleep(0)
    assert await owned.give_back([0, 1]) == []
    (left,) = (task for task in asyncio.all_tasks() if task.get_name() == "partition-1")
    await owned.closed()
    assert left.cancelled()


async def test_a_crash_while_giving_back_is_told() -> None:
    owned, loop = _owned(), _Loop()
    loop.error = ValueError("torn")
    owned.start(3, loop, name="partition")
    assert await owned.give_back([3]) == [loop.error]


@pytest.mark.parametrize(
    ("may_end", "state", "error", "crash"),
    [
        (True, "stopped", None, False),
        (True, "ready", None, True),
        (True, "stopped", ValueError("torn"), True),
        (False, "stopped", None, True),
    ],
)
async def test_one_that_ends_by_itself_is_a_crash(
    may_end: bool, state: str, error: Exception | None, crash: bool
) -> None:
    owned, loop = _owned(may_end=may_end), _Loop()
    owned.start(0, loop, name="partition")
    owned.check()
    loop.state, loop.error = state, error
    loop.end.set()
    await asyncio.sleep(0.01)
    if not crash:
        owned.check()
        return
    with pytest.raises(RuntimeError, match="partition 0 ended by itself") as told:
        owned.check()
    assert told.value.__cause__ is error


async def test_what_is_not_as_it_should_be_is_said_in_words() -> None:
    owned, loop = _owned(), _Loop()
    owned.start(4, loop, name="partition")
    assert owned.unready() == ""
    loop.progress -= STUCK_S + 1.0
    assert owned.unready() == f"partition 4 has made no progress for {STUCK_S + 1.0:.0f} s"
    loop.failing_since = time.monotonic() - FAILING_S - 1.0
    assert owned.unready() == f"partition 4 has failed for {FAILING_S + 1.0:.0f} s: see the log"
    loop.state, loop.problem = "restoring", "12 records left"
    assert owned.unready() == "partition 4 is restoring 12 records left"
    await owned.give_back([4])


async def test_only_what_has_been_stuck_for_minutes_is_dead() -> None:
    owned, loop = _owned(), _Loop()
    owned.start(0, loop, name="partition")
    assert owned.alive() == (True, "running")
    assert owned.joining() == "joining the group for 0 s"
    owned.joined = True
    assert owned.joining() == ""
    loop.progress -= DEAD_S + 1.0
    assert owned.alive() == (False, f"partition 0 has made no progress for {DEAD_S + 1.0:.0f} s")
    loop.state = "stopped"
    assert owned.alive() == (True, "running")
    await owned.give_back([0])
