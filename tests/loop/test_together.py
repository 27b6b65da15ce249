"""Small batches of several partitions are sent together; nobody waits for long, and large ones for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream_app import together as shipped
from stream_app.together import LARGE, Together

ROUND_TRIP_S = 0.004
#: Who waits so long for another in a test hangs.
PATIENCE_S = 60.0


@pytest.fixture
def nobody_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "WAIT_S_MAX", 10 * PATIENCE_S)


class Broker:
    """What is sent within the same few turns of the loop goes in one request."""

    def __init__(self) -> None:
        self.requests: list[set[str]] = []
        self._next: set[str] | None = None

    async def send(self, name: str) -> None:
        if self._next is None:
            self._next = set()
            self.requests.append(self._next)
            asyncio.get_running_loop().call_soon(self._close)
        self._next.add(name)
        await asyncio.sleep(ROUND_TRIP_S)

    def _close(self) -> None:
        self._next = None


async def work(together: Together, broker: Broker, name: str, *, batches: int, first_after_s: float) -> None:
    await asyncio.sleep(first_after_s)
    for _ in range(batches):
        with together.batch(3) as turn:
            await turn.come()
            await broker.send(name)
        await asyncio.sleep(0)


async def test_partitions_that_began_apart_meet_and_stay_together() -> None:
    together, broker = Together(), Broker()
    names: Sequence[str] = "abcd"
    work_of_all = (
        work(together, broker, name, batches=20, first_after_s=number * 0.0013) for number, name in enumerate(names)
    )
    await asyncio.gather(*work_of_all)
    # Apart, there are 80 requests; at the beginning and the end some are alone.
    assert len(broker.requests) <= 40
    assert broker.requests.count(set(names)) >= 10


@pytest.mark.usefixtures("nobody_gives_up")
async def test_a_batch_alone_does_not_wait() -> None:
    together = Together()
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(50):
            with together.batch(1) as turn:
                await turn.come()


async def test_who_is_held_up_by_another_goes_alone_after_a_while() -> None:
    together = Together()
    with together.batch(1) as slow:
        await slow.come()  # its broker does not answer
        with together.batch(1) as turn:
            await asyncio.wait_for(turn.come(), PATIENCE_S)


@pytest.mark.usefixtures("nobody_gives_up")
async def test_a_large_batch_waits_for_nobody_and_nobody_for_it() -> None:
    together = Together()
    with together.batch(LARGE) as large, together.batch(1) as small:
        await asyncio.wait_for(large.come(), PATIENCE_S)
        await asyncio.wait_for(small.come(), PATIENCE_S)


@pytest.mark.usefixtures("nobody_gives_up")
async def test_a_batch_that_fails_or_is_cancelled_leaves_nothing_behind() -> None:
    together = Together()

    async def hang() -> None:
        with together.batch(1) as turn:
            await turn.come()
            await asyncio.Event().wait()

    async def fail() -> None:
        with together.batch(1):
            raise OSError("away")

    hanging = asyncio.create_task(hang())
    await asyncio.sleep(0.02)
    hanging.cancel()
    results = await asyncio.gather(hanging, fail(), return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, OSError]
    with together.batch(1) as turn:
        await asyncio.wait_for(turn.come(), PATIENCE_S)
