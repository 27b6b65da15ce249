"""Runs that once found a bug in the product, kept. Requests are drawn one by one, so after a change of the code a seed
is another run; the bugs themselves are planted again in `mutants.py`."""

from __future__ import annotations

import pytest

from tests.simulation.run import Climate, simulate

_UNANSWERED = Climate({"unanswered": 0.04}, ("join", "hand over", "kill"))


@pytest.mark.parametrize(
    ("seed", "guarantee", "climate"),
    [
        pytest.param(4, "at_least_once", None, id="the time that an announced batch let pass was lost"),
        pytest.param(10, "at_least_once", None, id="the same, with a view that was wiped"),
        pytest.param(151, "exactly_once", None, id="two trainers fenced each other"),
        pytest.param(211, "at_least_once", None, id="a commit was sent again under the next generation"),
        pytest.param(286, "at_least_once", None, id="the same, by another worker"),
        pytest.param(129, "exactly_once", None, id="a late deletion took the open set and left the position"),
        pytest.param(976, "at_least_once", None, id="a zombie wiped the view at its owner's own seq"),
        pytest.param(36, "at_least_once", _UNANSWERED, id="a zombie's states stayed the changelog's last word"),
    ],
)
def test_a_run_that_found_a_bug_keeps_every_promise(seed: int, guarantee: str, climate: Climate | None) -> None:
    outcome = simulate(seed, guarantee, climate=climate)
    assert not outcome.violation, f"{outcome.history.tail(40)}\n{outcome.violation}"
