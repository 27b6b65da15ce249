"""Thousands of runs: nothing is lost, nothing is counted twice, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.many import run_many
from tests.simulation.mutants import LAST_WORDS
from tests.simulation.run import GUARANTEES, simulate

#: Of each guarantee. Most bugs of `mutants.py` are found within ten seeds.
#: By hand there is `make simulate ARGS="--seeds 0..9999 --jobs 2"`.
SEEDS = 40


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.timeout(600)
def test_every_promise_is_kept_for_every_seed_and_all_that_can_happen_happens(guarantee: str) -> None:
    # In this very process: others run tests beside it, and a new one would compute for seconds before its first seed.
    tally = run_many(range(SEEDS), [guarantee], jobs=1)
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.runs == SEEDS
    assert set(tally.counts) == {
        *("crash", "stop", "hand over", "join", "broker away", "redis away", "redis wiped", "redis copied"),
        *("redis rolled back", "snapshot lost", "compaction", "kill", "pause"),
    }


def test_what_a_former_owner_says_while_its_successor_takes_over_changes_nothing() -> None:
    for seed in range(SEEDS // 2):
        outcome = simulate(seed, "exactly_once", climate=LAST_WORDS)
        assert not outcome.violation, f"seed {seed}\n{outcome.history.tail(40)}\n{outcome.violation}"


def test_a_run_in_which_nothing_goes_wrong_is_short() -> None:
    outcome = simulate(0, "exactly_once")
    assert not outcome.violation
    assert outcome.simulated_s < 60


def test_a_seed_is_the_same_run_in_every_process() -> None:
    # Sets of strings change their order from process to process, and from hash seed to hash seed.
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3"],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    digests = [line.rpartition("trace ")[2].partition(",")[0] for line in done.stdout.splitlines()]
    assert digests == [simulate(3, guarantee).digest for guarantee in GUARANTEES]


def test_two_seeds_are_different_runs() -> None:
    assert simulate(3, "exactly_once").digest != simulate(4, "exactly_once").digest
