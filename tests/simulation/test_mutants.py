"""Each planted bug is found: a simulator that finds nothing proves nothing."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS

#: Seeds that a bug may take to be found. The rarest is met in one run of thirty (docs/simulation.md): after a change of
#: the code, which makes every run another, 300 do not miss it by bad luck.
SEEDS_MAX = 300


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_planted_bug_is_found(name: str) -> None:
    mutant = MUTANTS[name]
    assert any(mutant.run(seed).violation for seed in range(SEEDS_MAX)), mutant.says
