"""The judge of a soak finds what it is there for: memory that climbs and files left open; and nothing else."""

from __future__ import annotations

import math

import pytest

from tests.soak import lifetimes
from tests.soak.lifetimes import FDS_RISE_MAX, MINUTE_RISE_MB_MAX, RSS_MB_MAX, SPAN_S_MIN, Lifetime, Sample, flatness

#: Twenty minutes in steps of two seconds.
AGES = [2.0 * n for n in range(600)]


def _life(*samples: Sample) -> Lifetime:
    life = Lifetime("worker-1")
    life.samples = list(samples)
    return life


def _usual(age: float) -> float:
    """Caches that fill at first; then three steps, at catch-ups that were larger than any before; and some noise."""
    steps = 25.0 * sum(age > step for step in (250.0, 400.0, 900.0))
    return 200.0 - 60.0 * math.exp(-age / 20) + steps + 0.1 * math.sin(age)


def test_a_life_with_steps_is_flat() -> None:
    found = flatness(_life(*(Sample(age, _usual(age), 30 + int(age / 120) % 2 * 6) for age in AGES)))
    assert found.problems == []
    assert found.minute_rise_mb == pytest.approx(0.0, abs=0.2)


def test_a_leak_of_a_hundred_bytes_an_event_is_found() -> None:
    leaked = 100 * 100 / 1024 / 1024  # MiB a second at 100 events/s
    found = flatness(_life(*(Sample(age, _usual(age) + leaked * age, 30) for age in AGES)))
    (problem,) = found.problems
    assert "in the median minute" in problem
    assert found.minute_rise_mb is not None
    assert found.minute_rise_mb > MINUTE_RISE_MB_MAX


def test_what_is_taken_once_while_warming_up_is_no_leak() -> None:
    found = flatness(_life(*(Sample(age, 100.0 + min(age, lifetimes.WARM_UP_S), 30) for age in AGES)))
    assert found.problems == []


def test_a_file_left_open_at_every_fault_is_found() -> None:
    found = flatness(_life(*(Sample(age, 200.0, 30 + int(age / 60)) for age in AGES)))
    (problem,) = found.problems
    assert "open files" in problem
    assert found.fds_last - found.fds_first > FDS_RISE_MAX


def test_a_short_life_is_held_to_the_ceiling_alone() -> None:
    ages = [age for age in AGES if age < SPAN_S_MIN]
    climbing = flatness(_life(*(Sample(age, 100.0 + age / 2, 30 + int(age / 10)) for age in ages)))
    assert climbing.problems == []
    assert climbing.minute_rise_mb is None
    huge = flatness(_life(Sample(0.0, 100.0, 30), Sample(2.0, RSS_MB_MAX + 1, 30)))
    assert "at its largest" in huge.problems[0]
