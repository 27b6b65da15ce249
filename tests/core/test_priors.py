"""Purchase priors: smoothed, decayed, from matured outcomes alone, and the same on the other side of a snapshot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_app.core import priors
from stream_app.core.pages import ENTRY, GROUP_CODE, transition_code
from stream_app.core.prior_tables import clock_of
from stream_app.core.priors import (
    BASE_SESSIONS,
    ENTRIES_MAX,
    HALF_LIFE_MS,
    PRIOR_NAMES,
    SMOOTHING_SESSIONS,
    Clock,
    PriorTable,
    check_entries,
)
from stream_app.core.records import Keys, Touched
from tests.core.streams import T0

BASE = 0.03


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def read(table: PriorTable, keys: Keys) -> dict[str, float]:
    return dict(zip(PRIOR_NAMES, table.values(keys), strict=True))


def table_with_a_seller() -> PriorTable:
    """Ten sessions at T0 touched item i1 of category c1, four of them bought; ten touched i2 of c2, none bought."""
    table = PriorTable(BASE)
    for n in range(10):
        table.learn(Touched(items=["i1"], categories=["c1"]), int(n < 4), T0)
        table.learn(Touched(items=["i2"], categories=["c2"]), 0, T0)
    return table


def test_nothing_known_is_zero_whatever_the_keys() -> None:
    table = PriorTable(BASE)
    keys = Keys("i1", "c1", "b1", "ads", "DE", 6, ["i1", "i2"], ["c1"], ["b1"])
    assert table.values(keys) == [0.0] * len(PRIOR_NAMES)
    assert table.values(Keys()) == [0.0] * len(PRIOR_NAMES)
    assert table.base_rate == pytest.approx(BASE)


def test_the_base_rate_is_the_shops_smoothed_by_the_assumed_one() -> None:
    # 4 of 20 sessions, and 100 imagined ones at 3 %: (4 + 3) / 120.
    assert BASE_SESSIONS == 100
    assert table_with_a_seller().base_rate == pytest.approx(7 / 120)


def test_priors_worked_out_by_hand() -> None:
    # m = 30, b = 7/120. Category c1: (4 + 30 b) / 40 = 0.14375. i1 alone: the same. i1 in c1: (4 + 30 × 0.14375) / 40.
    assert SMOOTHING_SESSIONS == 30
    found = read(table_with_a_seller(), Keys(item="i1", category="c1", items=["i1", "i2"], categories=["c1"]))
    base = logit(7 / 120)
    i1, i2 = logit(0.14375) - base, logit((30 * 7 / 120) / 40) - base
    assert found["prior_category"] == pytest.approx(i1)
    assert found["prior_item"] == pytest.approx(logit((4 + 30 * 0.14375) / 40) - base)
    assert found["prior_item_mean"] == pytest.approx((i1 + i2) / 2)
    assert found["prior_item_max"] == pytest.approx(i1)
    assert found["prior_category_mean"] == found["prior_category_max"] == found["prior_category"]
    assert found["item_popularity"] == pytest.approx(math.log(11))
    assert found["prior_brand"] == found["prior_step"] == found["prior_source"] == found["prior_country"] == 0.0


def test_an_unknown_item_speaks_through_its_category() -> None:
    found = read(table_with_a_seller(), Keys(item="new", category="c1"))
    assert found["prior_item"] == pytest.approx(found["prior_category"])
    assert found["prior_item"] > 0.5
    assert found["item_popularity"] == 0.0


@pytest.mark.parametrize(
    ("touched", "keys", "names"),
    [
        (Touched(brands=["b"]), Keys(brand="b"), {"prior_brand", "cart_brand"}),
        (Touched(steps=[6]), Keys(step=6), {"prior_step"}),
        (Touched(source="ads"), Keys(source="ads"), {"prior_source"}),
        (Touched(country="DE"), Keys(country="DE"), {"prior_country"}),
    ],
)
def test_each_kind_of_key_has_a_prior_of_its_own(touched: Touched, keys: Keys, names: set[str]) -> None:
    table = PriorTable(BASE)
    for _ in range(20):
        table.learn(touched, 1, T0)
        table.learn(Touched(), 0, T0)
    found = read(table, keys)
    assert all(found[name] > 0 for name in names)
    assert all(value == 0 for other, value in found.items() if other not in names)


def test_a_cart_prior_worked_out_by_hand() -> None:
    # 6 of 10 sessions with i1 were carted, 2 of them bought without a word of a cart: 8 of 10. Base: 3 × 3 % assumed.
    table = PriorTable(BASE)
    for n in range(10):
        table.learn(Touched(items=["i1"], carted=n < 6), int(n >= 8), T0)
    base = (8 + 100 * 0.09) / 110
    assert table.cart_rate == pytest.approx(base)
    found = read(table, Keys(item="i1", items=["i1", "new"]))
    expected = logit((8 + 30 * base) / 40) - logit(base)
    assert found["cart_item"] == found["cart_item_max"] == pytest.approx(expected)
    assert found["cart_item_mean"] == pytest.approx(expected / 2)
    # An item in a category that is known falls back to that, also for carts.
    table.learn(Touched(items=["i2"], categories=["c"], carted=True), 0, T0)
    assert read(table, Keys(item="unseen", category="c"))["cart_item"] > 0


def test_transitions_are_told_by_how_much_likelier_buyers_make_them() -> None:
    # From "item" on, buyers went on to "cart" 8 times of 8, others to "item" 6 of 6; add one to each of 11 kinds.
    item, cart = GROUP_CODE["item"], GROUP_CODE["cart"]
    to_cart, to_item = transition_code(item, cart), transition_code(item, item)
    table = PriorTable(BASE)
    for _ in range(4):
        table.learn(Touched(transitions=[to_cart, 2]), 1, T0)
    table.learn(Touched(transitions=[to_item, 6]), 0, T0)
    likelier = math.log((9 / 19) / (1 / 17))
    less_likely = math.log((1 / 19) / (7 / 17))
    found = read(table, Keys(transition=to_cart, transitions=[to_item, 3, to_cart, 1]))
    assert found["markov_step"] == pytest.approx(likelier)
    assert found["markov_sum"] == pytest.approx(likelier + 3 * less_likely)
    assert found["markov_mean"] == pytest.approx((likelier + 3 * less_likely) / 4)
    entered = transition_code(ENTRY, item)
    assert read(table, Keys(transition=entered, transitions=[entered, 1]))["markov_step"] == 0.0
    copied = copy_of(table)
    assert copied.values(Keys(transition=to_cart, transitions=[to_cart, 1]))[-3] == pytest.approx(likelier)


def test_transitions_that_nobody_makes_are_neither_learned_nor_read() -> None:
    table = PriorTable(BASE)
    table.learn(Touched(transitions=[-1, 1, 10**9, 1, 0, 10**9, 5]), 1, T0)
    assert len(table) == 0
    assert table.values(Keys(transition=10**9, transitions=[10**9, 1]))[-3:] == [0.0, 0.0, 0.0]


def test_a_category_named_like_a_kind_of_key_is_only_a_category() -> None:
    table = PriorTable(BASE)
    for n in range(40):
        table.learn(Touched(items=["x"], categories=["item"]), n % 2, T0)
    alone, together = copy_of(table), copy_of(table)
    expected = read(alone, Keys(item="x", category="item"))["prior_item"]
    read(together, Keys(items=["x"]))
    assert read(together, Keys(item="x", category="item"))["prior_item"] == expected


def copy_of(table: PriorTable, *, entries_max: int = ENTRIES_MAX) -> PriorTable:
    """As a restarted trainer has it: from the last record of every entry, then the head."""
    copy = PriorTable(BASE, entries_max=entries_max)
    copy.put_changes(((kind, key), counts) for kind, some in table.entries().items() for key, counts in some.items())
    copy.set_clock(**clock_of(table)._asdict())
    return copy


def test_counts_halve_in_a_half_life() -> None:
    # i1 at T0: 4 of 10 bought. After 14 days 2 of 5 count, and a fresh session without it: base (2 + 3) / (5 + 1 + 100)
    table = PriorTable(BASE)
    for n in range(10):
        table.learn(Touched(items=["i1"]), int(n < 4), T0)
    table.learn(Touched(), 0, T0 + HALF_LIFE_MS)
    base = 5 / 106
    assert table.base_rate == pytest.approx(base)
    found = read(table, Keys(item="i1", items=["i1"]))
    assert found["prior_item"] == pytest.approx(logit((2 + 30 * base) / 35) - logit(base))
    assert found["item_popularity"] == pytest.approx(math.log(6))


def test_a_label_out_of_order_counts_as_old_as_it_is() -> None:
    in_order, swapped = PriorTable(BASE), PriorTable(BASE)
    old, new = (Touched(items=["i"]), 1, T0), (Touched(items=["i"]), 0, T0 + 3 * HALF_LIFE_MS)
    for table, stream in ((in_order, (old, new)), (swapped, (new, old))):
        for touched, label, time in stream:
            table.learn(touched, label, time)
    assert swapped.values(Keys(item="i")) == pytest.approx(in_order.values(Keys(item="i")))


def test_a_first_label_of_the_year_2000_does_not_spoil_those_of_today() -> None:
    plain, odd = PriorTable(BASE), PriorTable(BASE)
    odd.learn(Touched(items=["i"]), 1, 946_684_800_000)
    for n in range(50):
        for table in (plain, odd):
            table.learn(Touched(items=["i"]), n % 2, T0 + n)
    assert odd.values(Keys(item="i", items=["i"])) == pytest.approx(plain.values(Keys(item="i", items=["i"])))


def test_values_are_finite_though_everything_or_nothing_is_bought() -> None:
    for label in (0, 1):
        table = PriorTable(BASE)
        for n in range(3000):
            table.learn(Touched(items=["i"], categories=["c"]), label, T0 + n)
        assert np.isfinite(table.values(Keys("i", "c", items=["i"], categories=["c"]))).all()


def test_the_rarest_entries_of_a_full_kind_go_first() -> None:
    table = PriorTable(BASE, entries_max=10)
    for n in range(10):
        for _ in range(1 + n):
            table.learn(Touched(items=[f"i{n}"], categories=["c"]), 1, T0)
    table.take_changes()
    table.learn(Touched(items=["new"], categories=["c"]), 1, T0)
    # A tenth goes: i0, seen once. The category is of another kind.
    changes = table.take_changes()
    assert changes["item", "i0"] is None
    assert changes["item", "new"] == [1.0, 1.0, 1.0]
    assert len(table) == 11
    assert read(table, Keys(items=["i0"]))["prior_item_mean"] == 0.0


def test_a_copy_fed_with_changes_equals_the_original_and_learns_the_same() -> None:
    random = np.random.default_rng(3)
    original, copy = PriorTable(BASE, entries_max=40), PriorTable(BASE, entries_max=40)

    def outcome(n: int) -> tuple[Touched, int, int]:
        items = [f"i{item}" for item in set(random.integers(0, 60, 3).tolist())]
        return Touched(items, [f"c{n % 5}"], [f"b{n % 7}"], [n % 4], "ads", "DE"), int(random.random() < 0.2), T0 + n

    for n in range(305):
        original.learn(*outcome(n))
        if n % 23 == 0 or n == 304:
            copy.put_changes(original.take_changes().items())
            copy.set_clock(**clock_of(original)._asdict())
    restarted = copy_of(original, entries_max=40)
    keys = [Keys(f"i{n}", f"c{n % 5}", f"b{n}", "ads", "DE", n, [f"i{n}", "i1"], ["c1"]) for n in range(60)]
    for key in keys:
        assert copy.values(key) == restarted.values(key) == original.values(key)
    for one in [outcome(n) for n in range(400, 450)]:
        original.learn(*one)
        restarted.learn(*one)
    assert original.take_changes() == restarted.take_changes()


def test_changes_handed_out_do_not_change_with_the_table() -> None:
    table = table_with_a_seller()
    changes = table.take_changes()
    table.learn(Touched(items=["i1"]), 1, T0)
    assert changes["item", "i1"] == [4.0, 10.0, 4.0]
    assert table.take_changes() == {("item", "i1"): [5.0, 11.0, 5.0]}


def test_reading_without_learning_keeps_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    # The trainer is down and a bot sends ever new items: what was computed must not pile up.
    monkeypatch.setattr(priors, "MEMO_MAX", 100)
    table = table_with_a_seller()
    for n in range(1_000):
        table.values(Keys(item=f"i{n}", category=f"c{n}"))
    assert sum(len(memo) for memo in table._memo.values()) <= 6 * 100


def test_a_clock_travels_whole_and_a_damaged_one_is_refused() -> None:
    clock = clock_of(table_with_a_seller())
    exported = clock.export()
    assert Clock.read(exported) == clock
    assert exported == {"landmark": T0, "newest": T0, "base": clock.base, "base_rate": BASE}
    for name, value in (("base", [1.0, 2.0]), ("base", [1.0, math.nan, 0.0]), ("base_rate", 1.0), ("base_rate", 0.0)):
        with pytest.raises(ValueError, match="priors: got base counts"):
            Clock.read({**exported, name: value})
    with pytest.raises(KeyError, match="newest"):
        Clock.read({name: value for name, value in exported.items() if name != "newest"})


@pytest.mark.parametrize(
    ("counts", "why"),
    [([1.0, 2.0], "got 2 counts"), ([1.0, 2.0, math.inf], "non-finite"), ([math.nan] * 3, "non-finite")],
)
def test_entries_without_three_finite_counts_are_refused(counts: list[float], why: str) -> None:
    check_entries([(("item", "a"), [1.0, 2.0, 1.0]), (("item", "b"), None)])
    with pytest.raises(ValueError, match=why):
        check_entries([(("item", "a"), counts)])
