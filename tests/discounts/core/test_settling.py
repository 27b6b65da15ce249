"""Settling: all experiments at once, each outcome to the partition of its exposure, and told once."""

from __future__ import annotations

import pytest

from stream_app.discounts.core import settling as module
from stream_app.discounts.core.settling import Settling
from tests.discounts.core.exposures import T0, exposure, order, outcome

MINUTE = 60_000
WINDOW, DELAY = 60 * MINUTE, 10 * MINUTE
DUE = T0 + WINDOW + DELAY


def settling() -> Settling:
    return Settling(window_ms=WINDOW, delay_ms=DELAY, margin=0.4)


def test_an_order_counts_in_every_experiment_of_its_visitor_also_in_one_that_is_read_of_later() -> None:
    found = settling()
    found.expose(exposure(experiment="a"), 3)
    found.checkout(order())
    found.expose(exposure(experiment="b"), 3)
    due = found.advance(DUE)
    assert [(told.partition, told.outcome.exposure.experiment, told.outcome.orders) for told in due] == [
        (3, "a", 1),
        (3, "b", 1),
    ]
    assert found.open == 0


def test_what_stands_in_the_log_by_then_is_not_told_again() -> None:
    found = settling()
    found.expose(exposure(), 0)
    found.told(outcome())
    found.told(outcome(experiment="never heard of"))
    found.expose(exposure(), 0)
    assert found.open == 0
    assert found.advance(DUE) == []


def test_an_experiment_that_is_over_is_let_go_and_what_it_did_not_use_stays_counted() -> None:
    found = settling()
    for told in (exposure(), exposure(), exposure("w", experiment="next", time=DUE + 59 * MINUTE)):
        found.expose(told, 0)
    assert len(found.advance(DUE)) == 1
    found.advance(DUE + 60 * MINUTE)
    assert list(found._folds) == ["autumn", "next"]
    found.advance(DUE + 60 * MINUTE + 1)
    assert list(found._folds) == ["next"]
    assert found.counts["exposures_again"] == 1
    # Should somebody of it come after all, it is late there as anywhere.
    found.expose(exposure("late"), 0)
    assert (found.open, found.counts["exposures_late"]) == (1, 1)


def test_units_whose_orders_are_gone_are_left_out_of_their_partition_alone() -> None:
    found = settling()
    for name, partition, minute in (("a", 0, 0), ("b", 0, 30), ("c", 1, 0)):
        found.expose(exposure(name, time=T0 + minute * MINUTE), partition)
    assert found.incomplete(0, T0 + 30 * MINUTE) == 1
    assert found.counts["incomplete"] == 1
    assert [told.outcome.exposure.visitor_id for told in found.advance(DUE + 30 * MINUTE)] == ["c", "b"]


def test_new_margins_are_those_of_outcomes_told_from_then_on_and_nothing_is_forgotten() -> None:
    found = settling()
    found.expose(exposure("a"), 0)
    found.expose(exposure("b", time=T0 + 30 * MINUTE), 0)
    for name in "ab":
        found.checkout(order(name, time=T0 + 40 * MINUTE, paid=100.0))
    (first,) = found.advance(DUE)
    found.reckon(0.1, {"shoes": 0.2})
    (second,) = found.advance(DUE + 30 * MINUTE)
    assert (first.outcome.profit, second.outcome.profit) == (pytest.approx(40.0), pytest.approx(20.0))
    found.expose(exposure("a", time=T0 + 100 * MINUTE), 0)
    assert found.open == 0


def test_past_the_bound_experiments_are_refused_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPERIMENTS_MAX", 1)
    found = settling()
    found.expose(exposure(experiment="a"), 0)
    found.expose(exposure(experiment="b"), 0)
    assert (found.open, found.counts["experiments_refused"]) == (1, 1)


def test_spans_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="window"):
        Settling(window_ms=0, delay_ms=1)
