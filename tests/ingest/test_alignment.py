"""Partitions of a backlog go on together: who waits for whom, step by step."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from stream_app.ingest.alignment import PATIENCE_S, Alignment


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_partition_waits_while_its_events_are_younger_than_anothers_by_more_than_the_slack(
    clock: Clock,
) -> None:
    # time →   0: ──500──────────────       1: ────────────1700────
    alignment = Alignment(slack_ms=1_000, monotonic=clock)
    alignment.at(0, 500)
    alignment.at(1, 1_700)
    assert alignment.horizon_ms(1) == 1_500
    assert alignment.horizon_ms(0) == 2_700
    alignment.at(0, 800)
    assert alignment.horizon_ms(1) == 1_800


async def test_nobody_waits_for_one_that_has_nothing_and_everybody_for_one_that_is_not_known(clock: Clock) -> None:
    alignment = Alignment(slack_ms=1_000, monotonic=clock)
    alignment.at(0, 500)
    assert alignment.horizon_ms(0) == math.inf
    alignment.unknown(1)
    assert alignment.horizon_ms(0) == -math.inf
    alignment.nothing(1)
    assert alignment.horizon_ms(0) == math.inf


async def test_nobody_waits_for_long_for_one_that_does_not_move(clock: Clock) -> None:
    alignment = Alignment(slack_ms=0, monotonic=clock)
    alignment.unknown(0)
    alignment.at(1, 700)
    clock.seconds += PATIENCE_S - 0.1
    alignment.unknown(0)  # said again, and still not moved
    assert alignment.horizon_ms(1) == -math.inf
    clock.seconds += 0.2
    assert alignment.horizon_ms(1) == math.inf
    alignment.at(0, 300)
    assert alignment.horizon_ms(1) == 300


async def test_who_waits_wakes_when_another_moves() -> None:
    alignment = Alignment(slack_ms=0)
    alignment.at(0, 1)
    waiting = asyncio.create_task(alignment.moved(30.0))
    await asyncio.sleep(0)
    begun = time.monotonic()
    alignment.at(0, 2)
    await waiting
    assert time.monotonic() - begun < 5.0
    await alignment.moved(0.01)  # and by itself
