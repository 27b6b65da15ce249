"""Whatever comes in, promises hold: kept inputs one by one, then mutations of them, then bytes of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import CORPUS, mutated, seeds
from tests.fuzz.targets import TARGETS

_KEPT = [(target, path) for target in TARGETS for path in seeds(target)]


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(seeds(target) for target in TARGETS)
    # Files by hand, small; what must be large is made in test_large_input.py.
    assert all(path.stat().st_size <= 49_152 for _, path in _KEPT)


@pytest.mark.parametrize(("target", "path"), _KEPT, ids=[f"{target}-{path.name}" for target, path in _KEPT])
def test_a_kept_input_breaks_no_promise(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_spoilt_input_breaks_no_promise(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(mutated(target)))


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_break_no_promise(target: str, data: bytes) -> None:
    TARGETS[target](data)
