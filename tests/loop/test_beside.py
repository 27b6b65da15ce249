"""Large batches are computed beside the event loop: it goes on meanwhile, the same comes out, the model stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from stream_app import beside as shipped
from stream_app.beside import LARGE, beside
from stream_app.core.records import Keys
from tests.core.streams import HashScorer
from tests.loop.shop import PATIENCE_S, STREAM, Shop, check_same, undisturbed


@pytest.fixture
def all_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "LARGE", 1)


async def test_few_records_are_computed_here_and_many_beside_the_loop() -> None:
    assert await beside(LARGE - 1, threading.get_ident) == threading.get_ident()
    assert await beside(LARGE, threading.get_ident) != threading.get_ident()


async def test_the_loop_goes_on_while_many_records_are_computed() -> None:
    asked, answered = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def compute() -> bool:
        loop.call_soon_threadsafe(asked.set)
        return answered.wait(PATIENCE_S)

    computing = asyncio.create_task(beside(LARGE, compute))
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    answered.set()
    assert await computing


async def test_who_is_cancelled_waits_until_nothing_is_computed_any_more() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        done.set()

    computing = asyncio.create_task(beside(LARGE, compute))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    computing.cancel()
    await asyncio.sleep(0.01)
    assert not computing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await computing
    assert done.is_set()


async def test_what_fails_beside_the_loop_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        await beside(LARGE, lambda: 1 // 0)


@pytest.mark.usefixtures("all_beside")
async def test_the_same_comes_out() -> None:
    check_same(await Shop().through(STREAM), await undisturbed())


@pytest.mark.usefixtures("all_beside")
async def test_nobody_may_change_the_model_while_it_scores_in_a_thread() -> None:
    held: list[tuple[bool, bool]] = []
    shop = Shop()

    class Scorer(HashScorer):
        def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
            held.append((shop.partition._model_in_use.locked(), threading.current_thread() is threading.main_thread()))
            return super().score_many(x, keys)

    shop.partition.scorer = Scorer
    await shop.through(STREAM)
    assert held
    assert set(held) == {(True, False)}
