"""Figures: what two logs come to, whoever reads them, in whatever order."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from stream_app.discounts.core import figures as module
from stream_app.discounts.core.figures import ExperimentFigures, Figures
from stream_app.discounts.core.records import Arm, Exposure, Outcome
from stream_app.discounts.core.uplift import ALL
from tests.discounts.core.exposures import T0, exposure, outcome

HALF: dict[str, Any] = {"holdout_share": 0.5}


def unit(number: int, profit: float = 0.0) -> Outcome:
    """Every other one is held out; with a profit it has ordered."""
    arm: Arm = "holdout" if number % 2 else "treatment"
    of = exposure(f"v{number}", time=T0 + number, arm=arm, **HALF)
    return outcome(profit, revenue=3 * profit, orders=int(profit > 0.0), of=of)


def fold(*records: Exposure | Outcome) -> ExperimentFigures:
    found = Figures()
    for record in records:
        if isinstance(record, Exposure):
            found.expose(record)
        else:
            found.settle(record)
    return found.experiments["autumn"]


def test_a_visitor_is_open_from_its_first_exposure_until_its_outcome() -> None:
    again = exposure("v0", time=T0 + 99, **HALF)
    found = fold(unit(0).exposure, again, unit(1).exposure)
    assert (found.exposures["treatment"], found.seen["treatment"], found.open("treatment")) == (2, 1, 1)
    found.settle(unit(0, 4.0))
    assert (found.open("treatment"), found.settled("treatment"), found.open("holdout")) == (0, 1, 1)
    assert (found.from_ms, found.to_ms) == (T0, T0 + 99)


def test_of_a_visitors_outcomes_the_first_in_the_log_counts() -> None:
    found = fold(unit(0, 4.0), unit(0, 9.0))
    assert found.uplift.slices[ALL]["treatment"].spread("profit").mean == 4.0
    assert found.unused["repeated"] == 1
    assert found.is_settled("v0")
    assert not found.is_settled("v1")
    assert not Figures().is_settled("autumn", "v0")


def test_an_outcome_whose_exposure_is_gone_counts_and_is_part_of_the_shares() -> None:
    found = fold(unit(0), unit(1))
    assert (found.seen["treatment"], found.open("treatment"), found.exposures["treatment"]) == (1, 0, 0)
    assert found.ratio is not None
    assert found.ratio.counts == {"treatment": 1, "holdout": 1}


def test_in_any_order_of_both_logs_the_figures_are_the_same() -> None:
    outcomes = [unit(n, float(n % 5)) for n in range(60)]
    records: list[Exposure | Outcome] = [*outcomes, *(each.exposure for each in outcomes)]
    straight = fold(*records)
    random.Random(7).shuffle(records)
    mixed = fold(*records)
    for arm in ("treatment", "holdout"):
        one, other = straight.uplift.slices[ALL][arm], mixed.uplift.slices[ALL][arm]
        assert one.export() == pytest.approx(other.export())
    assert straight.bandit.profits() == pytest.approx(mixed.bandit.profits())
    assert straight.ratio is not None
    assert mixed.ratio is not None
    assert straight.ratio.log_odds == pytest.approx(mixed.ratio.log_odds)


def test_records_of_another_experiment_under_the_same_name_are_counted_and_not_used() -> None:
    found = fold(unit(0), unit(1))
    found.expose(exposure("w", holdout_share=0.2))
    found.settle(outcome(of=exposure("w", holdout_share=0.2)))
    found.settle(msgspec.structs.replace(unit(2), window_ms=5))
    # A level that had no chance by its own account.
    found.settle(outcome(of=exposure("x", percent=10.0, levels=[(5.0, 1.0)], **HALF)))
    assert found.unused == {"repeated": 0, "other_window": 1, "other_share": 2, "wrong": 1, "crowded_out": 0}
    assert found.settled("treatment") + found.settled("holdout") == 2


def test_without_a_holdout_there_is_no_check_of_shares() -> None:
    assert fold(exposure(holdout_share=0.0)).ratio is None


def test_experiments_are_kept_apart_and_past_the_bound_the_newest_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPERIMENTS_MAX", 2)
    found = Figures()
    for minute, name in enumerate(("a", "b", "c")):
        found.expose(exposure(experiment=name, time=T0 + minute))
    assert found.settle(outcome(experiment="a")) is None
    assert (list(found.experiments), found.refused) == (["b", "c"], 1)


def test_past_the_bound_units_are_crowded_out_whatever_their_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNITS_MAX", 3)
    found = fold(*(unit(n).exposure for n in range(5)), *(unit(n) for n in range(5)))
    assert (sum(found.seen.values()), found.settled("treatment") + found.settled("holdout")) == (3, 3)
    assert found.unused["crowded_out"] == 2 + 2


def test_another_exploration_forgets_nothing() -> None:
    found = fold(*(unit(n, float(n % 3)) for n in range(40)))
    before = found.bandit.profits()
    found.explore(0.2)
    assert found.bandit.profits() == before
    chances = [chance for _, chance in found.bandit.choose("shoes", [0.0, 10.0], 0.5).levels]
    assert min(chances) >= 0.1


def test_an_experiment_is_current_until_another_has_run_for_so_long() -> None:
    found = Figures()
    assert found.current(within_ms=10) == []
    found.expose(exposure(experiment="old"))
    found.expose(exposure(experiment="new", time=T0 + 10))
    assert [each.experiment for each in found.current(within_ms=10)] == ["old", "new"]
    found.expose(exposure("w", experiment="new", time=T0 + 11))
    assert [each.experiment for each in found.current(within_ms=10)] == ["new"]
