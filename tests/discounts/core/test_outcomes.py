"""Outcomes: each visitor once, told when it is certain, whatever the order and number of deliveries."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.discounts.core import outcomes as folding
from stream_app.discounts.core.outcomes import Open, Outcomes
from stream_app.discounts.core.records import Checkout, Exposure, Outcome
from stream_app.discounts.core.settled import Settled
from tests.discounts.core.exposures import T0, exposure, order

MINUTE = 60_000
WINDOW, DELAY = 60 * MINUTE, 10 * MINUTE
DUE = T0 + WINDOW + DELAY


def fold(**options: Any) -> Outcomes:
    return Outcomes("autumn", **{"window_ms": WINDOW, "delay_ms": DELAY, "margin": 0.4, **options})


def told(fold: Outcomes, *facts: Exposure | Checkout) -> Outcomes:
    for fact in facts:
        if isinstance(fact, Exposure):
            fold.expose(fact)
        else:
            fold.checkout(fact)
    return fold


def test_nothing_is_told_before_the_window_and_the_delay_are_over() -> None:
    found = told(fold(), exposure(), order())
    assert found.advance(DUE - 1) == []
    (outcome,) = found.advance(DUE)
    assert (outcome.converted, outcome.orders, outcome.matured_at) == (1, 1, DUE)
    assert found.advance(DUE + 10 * WINDOW) == []


def test_who_did_not_buy_is_told_at_the_same_age_as_who_did() -> None:
    found = told(fold(), exposure("buyer"), exposure("other", arm="holdout"), order("buyer"))
    assert [(o.exposure.visitor_id, o.converted) for o in found.advance(DUE)] == [("buyer", 1), ("other", 0)]


def test_only_orders_from_the_first_exposure_to_the_windows_end_count() -> None:
    times = {"before": T0 - 1, "at once": T0, "last": T0 + WINDOW - 1, "after": T0 + WINDOW}
    found = told(fold(), exposure(), *(order(order_id=name, time=time, paid=1.0) for name, time in times.items()))
    assert found.advance(DUE)[0].orders == 2


def test_profit_is_the_margin_on_list_prices_less_what_was_taken_off() -> None:
    # 100 on the list: 90 paid with 10 percent off. 50 on the list, at a margin of its own.
    orders = [order(paid=90.0, percent=10.0), order(order_id="o2", paid=50.0, category="books")]
    (outcome,) = told(fold(margins={"books": 0.1}), exposure(), *orders).advance(DUE)
    assert outcome.revenue == pytest.approx(140.0)
    assert outcome.discount == pytest.approx(10.0)
    assert outcome.profit == pytest.approx(100 * 0.4 - 10 + 50 * 0.1)


def test_an_order_without_a_category_has_the_margin_of_its_visitors_first_exposure() -> None:
    (outcome,) = told(fold(margins={"shoes": 0.2}), exposure(), order(paid=100.0)).advance(DUE)
    assert outcome.profit == pytest.approx(20.0)
    (outcome,) = told(fold(margins={"shoes": 0.2}), exposure(category=None), order(paid=100.0)).advance(DUE)
    assert outcome.profit == pytest.approx(40.0)


def test_a_visitor_counts_once_with_its_first_exposure_by_time_whichever_is_read_first() -> None:
    first, second = exposure(percent=5.0), exposure(time=T0 + 30 * MINUTE, percent=10.0)
    for sequence in ([first, second], [second, first]):
        found = told(fold(), *sequence)
        (outcome,) = found.advance(T0 + 100 * WINDOW)
        assert (outcome.exposure, outcome.exposures) == (first, 2)


def test_a_visitor_that_is_settled_never_counts_again() -> None:
    found = told(fold(), exposure())
    assert len(found.advance(DUE)) == 1
    assert not found.expose(exposure(time=DUE + WINDOW))
    assert found.advance(DUE + 10 * WINDOW) == []
    assert found.settled == 1


def test_repeated_exposures_and_orders_count_once() -> None:
    found = told(fold(), exposure(), exposure(), order(), order(), exposure())
    (outcome,) = found.advance(DUE)
    assert (outcome.exposures, outcome.orders, outcome.revenue) == (1, 1, 90.0)
    assert found.counts["exposures_again"] == 2


def test_an_order_told_twice_in_different_words_is_one_and_the_telling_with_the_offer_is_right() -> None:
    event, label = order(paid=90.0, percent=10.0), order(paid=90.0, time=T0 + 3 * MINUTE)
    for sequence in ([event, label], [label, event]):
        (outcome,) = told(fold(), exposure(), *sequence).advance(DUE)
        assert (outcome.orders, outcome.discount) == (1, pytest.approx(10.0))


def test_the_rows_of_an_order_add_up_and_what_the_order_system_says_was_paid_overrules_them() -> None:
    rows = [
        Checkout(visitor_id="v", order_id="o1", time=T0 + n * MINUTE, rows={f"e{n}": paid})
        for n, paid in enumerate((30.0, 50.0, 20.0))
    ]
    label = order(paid=90.0, percent=10.0, time=T0 + 3 * MINUTE)
    for sequence in itertools.permutations([*rows, rows[0]]):
        (outcome,) = told(fold(), exposure(), *sequence).advance(DUE)
        assert (outcome.orders, outcome.revenue, outcome.discount) == (1, 100.0, 0.0)
    for sequence in itertools.permutations([*rows, label]):
        (outcome,) = told(fold(), exposure(), *sequence).advance(DUE)
        assert (outcome.orders, outcome.revenue) == (1, 90.0)
        assert outcome.discount == pytest.approx(10.0)


def test_of_one_order_a_bounded_number_of_rows_is_kept() -> None:
    rows = [
        Checkout(visitor_id="v", order_id="o1", time=T0, rows={f"e{n}": 1.0}) for n in range(folding.OF_ONE_MAX + 3)
    ]
    found = told(fold(), exposure(), *rows)
    assert found.counts["orders_crowded_out"] == 3
    assert found.advance(DUE)[0].revenue == folding.OF_ONE_MAX


def test_a_purchase_event_without_an_order_id_is_the_order_of_a_label_close_by_and_else_one_of_its_own() -> None:
    event = Checkout(visitor_id="v", order_id="event 7", time=T0 + 5 * MINUTE, rows={"event 7": 40.0}, named=False)
    near, far = order(paid=45.0, time=T0 + 15 * MINUTE), order(paid=45.0, time=T0 + 15 * MINUTE + 1)
    for label, orders, revenue in ((near, 1, 45.0), (far, 2, 85.0)):
        for sequence in ([event, label], [label, event]):
            (outcome,) = told(fold(), exposure(), *sequence).advance(DUE)
            assert (outcome.orders, outcome.revenue) == (orders, revenue)
    # If the label's order is taken back, so is the event's: they are one.
    (outcome,) = told(fold(), exposure(), event, near, order(taken_back=True)).advance(DUE)
    assert outcome.orders == 0


def test_a_unit_whose_outcome_stands_in_the_log_is_not_told_again() -> None:
    found = told(fold(), exposure("a"), exposure("b"), order("a"))
    found.told("a")
    found.told("c")
    assert (found.settled, found.open["treatment"]) == (2, Open(1, 0, 0, 0.0))
    assert not found.expose(exposure("c"))
    assert [outcome.exposure.visitor_id for outcome in found.advance(DUE)] == ["b"]
    found.told("b")
    assert found.settled == 3


def test_an_order_taken_back_was_never_made_whichever_is_told_first() -> None:
    back = order(taken_back=True, paid=0.0, time=T0 + 20 * MINUTE)
    for sequence in ([order(), back], [back, order()], [back, order(), order()]):
        assert told(fold(), exposure(), *sequence).advance(DUE)[0].orders == 0


def test_an_order_read_before_its_visitors_exposure_counts_and_a_forgotten_one_does_not_pile_up() -> None:
    found = told(fold(), order())
    found.advance(T0 + DELAY)
    found.expose(exposure())
    assert found.advance(DUE)[0].orders == 1
    # Nobody exposes these: they are dropped once no exposure can come that they could belong to.
    for n in range(100):
        found.checkout(order(f"w{n}", time=DUE + n, order_id=f"o{n}"))
    found.advance(DUE + 100 + DELAY)
    assert (found._unexposed, found._forget) == ({}, [])


def test_an_order_told_again_with_another_time_is_kept_until_that_one_is_over() -> None:
    found = fold(delay_ms=DELAY)
    told(found, order(time=T0), order(time=T0 + 5 * MINUTE, percent=10.0))
    found.advance(T0 + DELAY + 1)
    told(found, exposure(time=T0 + 4 * MINUTE))
    (outcome,) = found.advance(DUE + 4 * MINUTE)
    assert (outcome.orders, outcome.discount) == (1, pytest.approx(10.0))


def test_a_word_that_comes_too_late_is_counted_and_not_used() -> None:
    found = told(fold(), exposure())
    (outcome,) = found.advance(DUE)
    found.checkout(order(time=T0 + WINDOW - 1))
    assert outcome.orders == 0
    assert found.counts["orders_late"] == 1
    # An order of a settled visitor after its window is nothing late.
    found.checkout(order(order_id="o2", time=DUE + MINUTE))
    assert found.counts["orders_late"] == 1


def test_an_exposure_that_comes_when_its_orders_may_be_forgotten_is_counted_and_not_used() -> None:
    found = fold()
    found.advance(T0 + DELAY)
    assert found.expose(exposure("in time"))
    found.advance(T0 + DELAY + 1)
    assert not found.expose(exposure("late"))
    assert found.counts["exposures_late"] == 1
    assert [o.exposure.visitor_id for o in found.advance(DUE)] == ["in time"]


def test_exposures_of_another_experiment_are_not_ours() -> None:
    found = fold()
    assert not found.expose(exposure(experiment="winter"))
    assert found.open["treatment"] == Open()


def test_what_is_open_is_told_by_arm_and_is_nothing_at_the_end() -> None:
    found = told(fold(), exposure("a"), exposure("b"), exposure("c", arm="holdout"), order("a", paid=0.1))
    told(found, order("a", order_id="o2", paid=0.2), order("c", paid=7.0), order("c", paid=7.0, taken_back=True))
    assert found.open == {"treatment": Open(2, 1, 2, pytest.approx(0.3)), "holdout": Open(1, 0, 0, 0.0)}
    found.advance(DUE)
    assert found.open == {"treatment": Open(), "holdout": Open()}


def test_the_clock_does_not_go_back() -> None:
    found = fold()
    found.advance(T0 + 2 * DELAY)
    found.advance(T0)
    assert not found.expose(exposure(time=T0))


def test_of_one_visitor_a_bounded_number_of_orders_is_kept() -> None:
    found = told(fold(), exposure(), *(order(order_id=f"o{n}", paid=1.0) for n in range(folding.OF_ONE_MAX + 5)))
    assert found.counts["orders_crowded_out"] == 5
    assert found.advance(DUE)[0].orders == folding.OF_ONE_MAX


def test_past_the_bounds_units_are_refused_and_orders_crowded_out_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "OPEN_MAX", 2)
    monkeypatch.setattr(folding, "UNITS_MAX", 3)
    monkeypatch.setattr(folding, "UNEXPOSED_ORDERS_MAX", 2)
    found = told(fold(), exposure("a"), exposure("b"), exposure("c"))
    assert found.counts["units_refused"] == 1
    found.advance(DUE)
    told(found, *(exposure(name, time=DUE) for name in "de"))
    assert (found.counts["units_refused"], found.settled, found.open["treatment"].units) == (2, 2, 1)
    told(found, *(order(f"w{n}", order_id=f"o{n}", time=DUE + n) for n in range(3)))
    assert (found.counts["orders_crowded_out"], list(found._unexposed)) == (1, ["w1", "w2"])


def test_a_window_that_is_none_is_refused() -> None:
    for spans in ({"window_ms": 0}, {"delay_ms": -1}):
        with pytest.raises(ValueError, match="window"):
            fold(**spans)


# ---- against a slow reference, in any order, cut anywhere ---------------------------------------------------------

EXPOSURES = st.builds(
    lambda visitor, minute, percent: exposure(f"v{visitor}", time=T0 + minute * MINUTE, percent=percent),
    st.integers(0, 3), st.integers(0, 90), st.sampled_from([0.0, 5.0, 10.0]),
)  # fmt: skip
ORDERS = st.builds(
    lambda visitor, minute, n, percent, back: order(
        f"v{visitor}", time=T0 + minute * MINUTE, order_id=f"v{visitor}-{n}", paid=n + 1.0, percent=percent,
        taken_back=back,
    ),
    st.integers(0, 3), st.integers(-5, 160), st.integers(0, 5), st.sampled_from([0.0, 10.0]), st.booleans(),
)  # fmt: skip


def reference(facts: list[Exposure | Checkout]) -> dict[str, tuple[str, int, set[str]]]:
    """By visitor: its first exposure, the number of exposures, and the ids of the orders that count."""
    exposures, orders, back = defaultdict(set), defaultdict(list), set()
    for fact in facts:
        if isinstance(fact, Exposure):
            exposures[fact.visitor_id].add((fact.event_time, fact.exposure_id))
        else:
            orders[fact.visitor_id].append(fact)
            if fact.taken_back:
                back.add(fact.order_id)
    found = {}
    for visitor, shown in exposures.items():
        begin, first = min(shown)
        tellings = defaultdict(list)
        for one in orders[visitor]:
            tellings[one.order_id].append(one)
        counted = set()
        for order_id, ways in tellings.items():
            time = min(ways, key=lambda one: (-one.percent, one.time)).time
            if order_id not in back and begin <= time < begin + WINDOW:
                counted.add(order_id)
        found[visitor] = (first, sum(time < begin + WINDOW for time, _ in shown), counted)
    return found


def essence(outcomes: list[Outcome]) -> dict[str, tuple[str, int, int, float]]:
    return {
        o.exposure.visitor_id: (o.exposure.exposure_id, o.exposures, o.orders, round(o.revenue, 6)) for o in outcomes
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(EXPOSURES, max_size=8), st.lists(ORDERS, max_size=14), st.randoms(use_true_random=False))
def test_within_the_delay_any_order_and_number_of_deliveries_comes_to_the_same(
    exposures: list[Exposure], orders: list[Checkout], random: Any
) -> None:
    # One moment of each visitor has one exposure; what is decided there does not change between deliveries.
    facts: list[Exposure | Checkout] = [*{e.exposure_id: e for e in exposures}.values(), *orders]
    expected = reference(facts)
    delivered = facts + random.sample(facts, len(facts) // 2)
    random.shuffle(delivered)
    # The whole story lies within the delay, so that no order of reading it may matter.
    whole = fold(delay_ms=200 * MINUTE)
    clock, found = T0, []
    for fact in delivered:
        told(whole, fact)
        clock += random.randrange(2) * MINUTE
        found += whole.advance(clock)
        if random.random() < 0.1:
            whole = cut(whole)
    found += whole.advance(T0 + 1_000 * MINUTE)
    assert essence(found) == {
        visitor: (first, count, len(counted), float(sum(int(o.rsplit("-")[1]) + 1 for o in counted)))
        for visitor, (first, count, counted) in expected.items()
    }
    assert all(whole.counts[name] == 0 for name in folding.COUNTED if name != "exposures_again")


def cut(before: Outcomes) -> Outcomes:
    """Another process that continues from what this one exported, through plain bytes."""
    values = before.export()
    values["settled"] = values["settled"].tolist()
    values = json.loads(msgspec.json.encode(values))
    values["settled"] = np.array(values["settled"], dtype=np.uint64)
    after = Outcomes("autumn", window_ms=before._window_ms, delay_ms=before._delay_ms, margin=0.4)
    after.restore(values)
    assert {arm: (o.units, o.orders) for arm, o in after.open.items()} == {
        arm: (o.units, o.orders) for arm, o in before.open.items()
    }
    return after


def test_it_refuses_what_is_no_export_of_its_experiment_and_stays_what_it_was() -> None:
    found = told(fold(), exposure(), order())
    values = found.export()
    for changed in (
        {"experiment": "winter"},
        {"spans": [WINDOW, DELAY + 1]},
        {"units": [[{}, {}, []]]},
        {"settled": np.array([2, 1], dtype=np.uint64)},
        {"counts": {}},
    ):
        with pytest.raises((ValueError, KeyError, TypeError)):
            found.restore({**values, **changed})
    assert found.advance(DUE)[0].orders == 1


def test_the_settled_are_found_again_after_merges_and_others_are_not() -> None:
    settled = Settled()
    for n in range(40_000):
        assert f"v{n}" not in settled
        settled.add(f"v{n}")
    again = Settled()
    again.restore(settled.export())
    assert len(again) == len(settled) == 40_000
    assert all(f"v{n}" in settled and f"v{n}" in again for n in range(0, 40_000, 7))
    assert not any(f"w{n}" in settled or f"w{n}" in again for n in range(1_000))
