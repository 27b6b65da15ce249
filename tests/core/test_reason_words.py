"""Reasons in words: what a shop reads is what its events were."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stream_app.core import features
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.reason_catalogue import REASON_IDS, REASONS
from stream_app.core.reason_words import facts, odds_factor, sentence
from stream_app.core.records import Keys
from tests.core.streams import Partition, event

NO_FEATURES = dict.fromkeys(FEATURE_NAMES, 0.0)


def told(*events: tuple[str, float, dict[str, Any]]) -> dict[str, str]:
    """The facts after the last of some events: (type, minutes, fields)."""
    partition = Partition()
    partition.step([event(n, "v1", kind, minutes, **fields) for n, (kind, minutes, fields) in enumerate(events)])
    record = partition.features[-1]
    return facts(record["features"], Keys(**record["keys"]))


def test_the_facts_are_those_of_the_events_in_the_shops_own_numbers() -> None:
    shoe = {"item_id": "i1", "category": "shoes", "brand": "acme", "price": 80.0}
    boot = {"item_id": "i2", "category": "boots", "brand": "acme", "price": 120.0}
    said = told(
        ("search", 0, {"source": "email", "country": "DE", "device": "mobile"}),
        ("view_item", 1, shoe),
        ("view_item", 2, boot),
        ("add_to_cart", 2.5, {**boot, "quantity": 1}),
        ("view_item", 6.5, shoe),
    )
    assert said == {
        "depth": "5 steps, an item was looked at 3 times",
        "choice": "2 items, 2 categories and 1 brand seen",
        "favourite": "one item came up twice, first 6 minutes ago",
        "pace": "6 minutes in the shop, 4 minutes since the step before",
        "browsing": "1 search",
        "interest": "nothing liked or wished for",
        "cart": "something was put into the cart once, worth 120.00, untouched for 4 minutes",
        "checkout": "not at the checkout yet",
        "bought": "nothing bought yet in this visit",
        "items": "item i1, category shoes, brand acme",
        "path": "the order of the steps, the newest an item",
        "visitor": "no earlier visit known",
        "price": "a price of 80.00, 20% below the mean of what was seen",
        "origin": "source email, country DE and on a phone or tablet",
    }


def test_a_first_event_has_words_too() -> None:
    said = told(("page_view", 0, {}))
    assert said["depth"] == "1 step, no item looked at yet"
    assert said["choice"] == said["items"] == "no item seen yet"
    assert said["pace"] == "the visit begins"
    assert said["cart"] == "nothing in the cart"
    assert said["price"] == "no price at hand"
    assert said["origin"] == "not on a phone or tablet"


def test_after_a_purchase_and_a_pause_of_days_a_visitor_is_known() -> None:
    said = told(
        ("add_to_cart", 0, {"item_id": "i1", "price": 1_500.0}),
        ("purchase", 1, {"item_id": "i1", "price": 1_500.0, "order_id": "o1"}),
        ("view_item", 2, {"item_id": "i2"}),
        ("view_item", 3 * 24 * 60, {"item_id": "i3"}),
        ("add_to_cart", 3 * 24 * 60 + 1, {"item_id": "i3"}),
        ("remove_from_cart", 3 * 24 * 60 + 2, {"item_id": "i3"}),
    )
    assert said["visitor"] == "1 earlier visit with 1 purchase, the last 3 days ago"
    assert said["cart"] == "the cart was emptied again"
    assert said["bought"] == "nothing bought yet in this visit"
    within = told(
        ("add_to_cart", 0, {"item_id": "i1", "price": 1_500.0}),
        ("purchase", 1, {"item_id": "i1", "price": 1_500.0, "order_id": "o1"}),
        ("view_item", 2, {"item_id": "i2"}),
    )
    assert within["bought"] == "1 purchase in this visit"
    assert within["depth"] == "3 steps, 1 of them since the last purchase, an item was looked at once"


def test_counts_come_back_exactly_as_far_as_a_session_goes() -> None:
    for count in (1, 7, 99, 1_234, 10_000):
        raw = [0.0] * len(features.RAW)
        raw[0] = raw[1] = float(count)
        row = features.to_float(features.compute([tuple(raw)]))[0]
        said = facts(dict(zip(FEATURE_NAMES, row.tolist(), strict=True)), Keys())
        assert said["depth"].startswith(f"{count:,} step")


@pytest.mark.parametrize("extreme", [-200_000.0, -1.0, 0.0, 1.0, 200_000.0])
def test_words_never_print_what_is_no_number(extreme: float) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        values = {name: extreme * float(random.integers(0, 2)) for name in FEATURE_NAMES}
        for said in facts(values, Keys("i", "c", "b", "s", "DE")).values():
            assert said
            assert "nan" not in said.lower().split()
            assert "inf" not in said.lower().split()
            assert "\n" not in said


def test_names_from_outside_are_shown_on_one_line_and_cut() -> None:
    said = facts(NO_FEATURES, Keys("\x1b[31mred\n", "c" * 100, None, "e\u0000mail"))
    assert said["items"] == f"item ?[31mred?, category {'c' * 39}…"
    assert said["origin"] == "source e?mail and not on a phone or tablet"


def test_a_sentence_says_which_way() -> None:
    reason = REASONS[REASON_IDS.index("cart")]
    assert sentence(reason, "nothing in the cart", -0.4) == "nothing in the cart: this speaks against a purchase"
    assert sentence(reason, "nothing in the cart", 0.4) == "nothing in the cart: this speaks for a purchase"
    for little in (-0.049, 0.0, 0.049):
        assert sentence(reason, "nothing in the cart", little) == "nothing in the cart: hardly matters"


def test_a_contribution_as_a_factor_of_the_odds() -> None:
    expected = {
        0.0: "×1.0", math.log(1.8): "×1.8", math.log(0.5): "×0.50", math.log(0.123): "×0.12", math.log(12): "×12",
        9.0: "×100 or more", -9.0: "×0.01 or less", 1e6: "×100 or more", -1e6: "×0.01 or less",
    }  # fmt: skip
    assert {value: odds_factor(value) for value in expected} == expected
