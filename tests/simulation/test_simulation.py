"""Thousands of runs: nothing is lost, nothing is counted twice, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.many import run_many
from tests.simulation.run import GUARANTEES, simulate

#: Of each guarantee. By hand there is `make simulate ARGS="--seeds 0..9999 --jobs 2"`.
SEEDS = 1_000


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.timeout(600)
def test_every_promise_is_kept_for_every_seed(guarantee: str) -> None:
    tally = run_many(range(SEEDS), [guarantee], jobs=os.cpu_count() or 1)
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.runs == SEEDS


def test_a_run_in_which_nothing_goes_wrong_is_short() -> None:
    outcome = simulate(0, "exactly_once")
    assert not outcome.violation
    assert outcome.simulated_s < 60


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_seed_is_the_same_run_in_every_process(guarantee: str) -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "3", "--guarantee", guarantee],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(done.stdout.rpartition("trace ")[2].partition(",")[0])
    assert len(digests) == 1
    assert digests != {""}


def test_two_seeds_are_different_runs() -> None:
    assert simulate(3, "exactly_once").digest != simulate(4, "exactly_once").digest


def test_all_that_can_happen_happens() -> None:
    counts: dict[str, int] = {}
    for seed in range(40):
        for name, count in simulate(seed, "at_least_once").counts.items():
            counts[name] = counts.get(name, 0) + count
    expected = {
        *("crash", "stop", "hand over", "join", "broker away", "redis away", "redis wiped", "redis copied"),
        *("redis rolled back", "snapshot lost", "compaction", "kill", "pause"),
    }
    assert set(counts) == expected
