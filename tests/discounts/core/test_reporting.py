"""Reports: the figures that were folded, and sentences that say no more than they hold."""

from __future__ import annotations

import math

import msgspec
import pytest

from stream_app.discounts.core.figures import ExperimentFigures
from stream_app.discounts.core.records import Arm
from stream_app.discounts.core.reporting import Report, report
from tests.discounts.core.exposures import exposure, outcome


def found(*, treated: tuple[int, int], held_out: tuple[int, int], paid: float = 50.0) -> ExperimentFigures:
    """Units and buyers of each arm; a buyer brings `paid` and two fifths of it as profit."""
    figures = ExperimentFigures("autumn")
    arms: tuple[tuple[Arm, tuple[int, int]], ...] = (("treatment", treated), ("holdout", held_out))
    # As they would come: the arms by turns.
    coming = sorted((n / units, arm, n < buyers) for arm, (units, buyers) in arms for n in range(units))
    for place, arm, bought in coming:
        of = exposure(f"{arm}{place}", arm=arm, holdout_share=0.5)
        figures.expose(of)
        figures.settle(outcome(0.4 * paid * bought, revenue=paid * bought, orders=int(bought), of=of))
    return figures


def test_of_nothing_nothing_is_concluded() -> None:
    told = report(ExperimentFigures("autumn"))
    assert told.conclusions == ["Nobody was exposed so far: there is nothing to conclude."]
    assert (told.differences, told.arms["holdout"].conversion) == ({}, None)


def test_while_there_is_not_enough_it_says_what_is_lacking() -> None:
    told = report(found(treated=(100, 40), held_out=(100, 29)))
    assert told.differences["conversion"].value == pytest.approx(0.11)
    assert told.differences["conversion"].sequential is None
    assert told.conclusions[0] == (
        "Of the share of visitors who order it is too early to say anything: that takes 30 settled buyers in each arm; "
        "there are 40 in treatment and 29 in the holdout."
    )


def test_figures_are_those_of_the_arms_and_the_fixed_interval_is_welchs() -> None:
    told = report(found(treated=(500, 200), held_out=(400, 100)))
    assert told.arms["treatment"].conversion == pytest.approx(0.4)
    assert told.arms["holdout"].conversion == pytest.approx(0.25)
    assert told.arms["treatment"].revenue == pytest.approx(20.0)
    assert told.arms["holdout"].profit == pytest.approx(5.0)
    difference = told.differences["conversion"]
    assert difference.value == pytest.approx(0.15)
    error = math.sqrt(0.4 * 0.6 / 499 + 0.25 * 0.75 / 399)
    assert difference.fixed is not None
    # Student's t with about 870 degrees.
    assert difference.fixed == pytest.approx((0.15 - 1.9627 * error, 0.15 + 1.9627 * error), abs=1e-5)
    assert difference.relative == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("treated", "held_out", "said"),
    [
        ((1000, 500), (1000, 200), "The offers raise the share of visitors who order: by between +2"),
        ((1000, 200), (1000, 500), "The offers lower the share of visitors who order: between -3"),
        ((1000, 200), (1000, 200), "It is not certain that the offers change the share of visitors who order at all"),
    ],
)
def test_what_is_concluded_is_what_the_sequential_interval_leaves(
    treated: tuple[int, int], held_out: tuple[int, int], said: str
) -> None:
    assert report(found(treated=treated, held_out=held_out)).conclusions[0].startswith(said)


def test_arms_without_their_shares_are_said_before_anything_else() -> None:
    told = report(found(treated=(900, 300), held_out=(600, 100)))
    assert told.sample_ratio is not None
    assert told.sample_ratio.mismatch
    assert told.conclusions[0].startswith("The arms have not the shares that they should (900 and 600, planned 50%")
    assert "Believe no figure" in told.conclusions[0]


def test_without_a_holdout_it_says_that_nothing_can_be_known() -> None:
    figures = ExperimentFigures("autumn")
    figures.expose(exposure(holdout_share=0.0))
    (said,) = report(figures).conclusions
    assert said.startswith("Nobody is held out")


def test_bands_and_categories_are_told_apart() -> None:
    told = report(found(treated=(100, 40), held_out=(100, 40)))
    assert [(each.kind, each.name) for each in told.slices] == [("band", "on_the_fence"), ("category", "shoes")]
    assert told.slices[0].settled == {"treatment": 100, "holdout": 100}


def test_a_report_is_json() -> None:
    told = report(found(treated=(500, 200), held_out=(400, 100)))
    assert msgspec.json.decode(msgspec.json.encode(told), type=Report) == told
