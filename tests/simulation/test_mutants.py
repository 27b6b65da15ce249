"""Each planted bug is found: a simulator that finds nothing proves nothing."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS

#: Seeds that a bug may take to be found. Most take one to ten; docs/simulation.md says how many each took.
SEEDS_MAX = 150


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_planted_bug_is_found(name: str) -> None:
    mutant = MUTANTS[name]
    assert any(mutant.run(seed).violation for seed in range(mutant.first, mutant.first + SEEDS_MAX)), mutant.says
