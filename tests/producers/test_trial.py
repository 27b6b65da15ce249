"""Policies tried on the shop: the figures add up, the truth is what happens, and nobody beats who knows the types."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from producers.synthetic.best import Best
from producers.synthetic.chain import BOUGHT, TYPES
from producers.synthetic.offers import MARGIN, SHOPPERS
from producers.synthetic.regime import RegimeKey
from producers.synthetic.shop import Shop
from producers.synthetic.trial import QUIET_S, Offering, Seen, Tally, Trial
from tests.producers.truth_run import START_MS

VISITS = 8_000


def nobody(seen: Seen) -> float:
    return 0.0


def everybody(seen: Seen) -> float:
    return 10.0


def old_cart(seen: Seen) -> float:
    return 10.0 if seen.cart_age_s >= 600.0 else 0.0


def quiet_cart(seen: Seen) -> float:
    return 5.0 if seen.carts and seen.quiet_s >= 15.0 else 0.0


def tried(offering: Offering, visits: int = VISITS, seed: int = 1) -> Tally:
    return Trial(Shop(seed=seed, start_ms=START_MS), offering, margin=MARGIN).run(visits)


@pytest.fixture(scope="module")
def without() -> Tally:
    return tried(nobody)


def test_without_offers_a_trial_counts_what_the_shop_does(without: Tally) -> None:
    shop = Shop(seed=1, start_ms=START_MS)
    began: dict[str, float] = {}
    for happening in shop.happenings():
        event = happening.event
        if event.session_id not in began:
            if len(began) == VISITS:
                break
            began[str(event.session_id)] = 0.0
        if event.event_type == "purchase":
            began[str(event.session_id)] = event.price or 0.0
    orders = sum(price > 0 for price in began.values())
    # The last visits were still under way when that loop ended.
    assert orders <= without.orders <= orders + 12
    assert without.visits == VISITS
    assert (without.offers, without.missed, without.more_orders, without.more_profit) == (0, 0, 0.0, 0.0)
    assert without.profit == pytest.approx(MARGIN * without.revenue)


@pytest.mark.parametrize("offering", [everybody, quiet_cart])
def test_what_a_policy_changes_is_what_was_computed(offering: Offering, without: Tally) -> None:
    tally = tried(offering)
    # Both runs share what was not offered anything; the rest of the chance is that of the offered visits' own
    # purchases.
    variance = tally.orders + without.orders
    assert tally.orders - without.orders == pytest.approx(tally.more_orders, abs=4 * math.sqrt(variance))
    mean_profit = without.profit / without.orders
    assert tally.profit - without.profit == pytest.approx(
        tally.more_profit, abs=4 * 1.6 * mean_profit * math.sqrt(variance)
    )


def test_asking_everybody_at_once_loses_money_and_a_quiet_cart_pays_more_than_an_old_one() -> None:
    gains = {name: tried(offering, 5_000).more_profit for name, offering in (
        ("everybody", everybody), ("old", old_cart), ("quiet", quiet_cart))}  # fmt: skip
    assert gains["everybody"] < 0.0 < gains["old"] < gains["quiet"]


class Recorded:
    """A policy in units of an order's price, by what is hidden: visits begun, and what each offer gains."""

    def __init__(self, shop: Shop, offering: Offering) -> None:
        self._shop, self._offering = shop, offering
        self.visits: dict[tuple[int, str], int] = defaultdict(int)
        self.gains: dict[tuple[int, str], list[float]] = defaultdict(list)

    def __call__(self, seen: Seen) -> float:
        standing = self._shop.standing(seen.visitor_id, seen.now_ms)
        assert standing is not None
        key = (standing.intent, standing.shopper)
        if seen.events == 1 and seen.quiet_s == 0.0:
            self.visits[key] += 1
        percent = self._offering(seen)
        if percent and standing.here:
            effect = standing.effect(percent)
            self.gains[key].append(effect.with_offer * (MARGIN - percent / 100.0) - effect.without * MARGIN)
        return percent


def test_the_best_policy_earns_what_it_was_solved_to_be_worth() -> None:
    shop = Shop(seed=5, start_ms=START_MS)
    best = Best(shop, margin=MARGIN)
    recorded = Recorded(shop, best)
    Trial(shop, recorded, margin=MARGIN).run(VISITS)
    checked = 0
    for key, visits in recorded.visits.items():
        gains = np.array(recorded.gains[key] + [0.0] * (visits - len(recorded.gains[key])))
        worth = best.worth(RegimeKey(), key[0], key[1])  # type: ignore[arg-type]
        assert worth >= 0.0
        if visits < 150:
            continue
        checked += 1
        assert gains.mean() == pytest.approx(worth, abs=4 * gains.std() / math.sqrt(visits) + 1e-9)
    assert checked >= 9
    assert best.worth(RegimeKey(), 3, "sure") == 0.0


def test_no_rule_beats_it_for_any_type_and_intent() -> None:
    for offering in (everybody, quiet_cart, old_cart, lambda seen: 15.0 if seen.carts else 0.0):
        shop = Shop(seed=6, start_ms=START_MS)
        best, recorded = Best(shop, margin=MARGIN), Recorded(shop, offering)
        Trial(shop, recorded, margin=MARGIN).run(2_500)
        for (intent, shopper), visits in recorded.visits.items():
            gains = np.array(recorded.gains[intent, shopper] + [0.0] * (visits - len(recorded.gains[intent, shopper])))
            worth = best.worth(RegimeKey(), intent, shopper)  # type: ignore[arg-type]
            assert gains.mean() <= worth + 4 * gains.std() / math.sqrt(visits) + 1e-12


def test_the_best_rule_waits_first_and_leaves_the_sure_alone() -> None:
    best = Best(Shop(seed=1, start_ms=START_MS), margin=MARGIN)
    rules = {shopper: best._solved(RegimeKey(), 3, shopper) for shopper in SHOPPERS}
    assert not rules["sure"].any()
    view = TYPES.index("view_item")
    assert rules["hesitant"][0, 0, view] == 0.0
    used = set(np.unique(rules["hesitant"])), set(np.unique(rules["bargain_hunter"]))
    assert used[0] <= {0.0, 5.0, 10.0}
    assert {15.0} < used[1] | {15.0, 20.0}
    assert 5.0 not in used[1]
    assert rules["hesitant"].shape[1:] == (len(QUIET_S) + 1, BOUGHT * len(TYPES))


def test_a_policy_may_see_the_truth_as_a_score() -> None:
    scores: list[float] = []

    def look(seen: Seen) -> float:
        scores.append(seen.score)
        return 10.0 if seen.carts else 0.0

    Trial(Shop(seed=1, start_ms=START_MS), look, scored=True).run(2_000)
    assert 0.0 < min(scores) < 0.02
    assert max(scores) > 0.3
    Trial(Shop(seed=1, start_ms=START_MS), look).run(10)
    assert scores[-1] == -1.0


def test_the_same_arguments_give_the_same_figures() -> None:
    assert tried(quiet_cart, 3_000, seed=4) == tried(quiet_cart, 3_000, seed=4) != tried(quiet_cart, 3_000, seed=5)


def test_a_margin_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="got margin 0"):
        Trial(Shop(seed=1, start_ms=START_MS), nobody, margin=0.0)
