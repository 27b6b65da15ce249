"""What a policy may look at: named numbers and texts of a moment, at a time."""

from __future__ import annotations

import math

import pytest

from stream_app.core.features import FEATURE_NAMES
from stream_app.discounts.core.situation import NUMBERS, TEXTS, situation
from tests.discounts.core.policies import NOW_MS, moment


def test_every_feature_has_a_name_and_plain_numbers_win_where_both_have_one() -> None:
    assert set(FEATURE_NAMES) < set(NUMBERS)
    assert NUMBERS["events"].unit == "events"  # the feature of that name is ln(1 + events)
    assert NUMBERS["n_cart"].unit == "ln(1 + events)"
    told = moment(events=5, cart_value=80.0, features={"events": math.log1p(5), "cart_value": 4.4, "n_cart": 0.6931})
    seen = situation(told, now_ms=NOW_MS)
    assert seen.numbers["events"] == 5.0
    assert seen.numbers["cart_value"] == 80.0
    assert seen.numbers["n_cart"] == 0.6931


def test_time_goes_on_after_the_newest_event() -> None:
    told = moment(event_time=NOW_MS - 90_000, features={"age": math.log1p(240.0)})
    seen = situation(told, now_ms=NOW_MS)
    assert seen.numbers["quiet_s"] == 90.0
    assert seen.numbers["age_s"] == pytest.approx(330.0)


def test_a_clock_behind_the_event_is_no_time_at_all() -> None:
    assert situation(moment(event_time=NOW_MS + 5_000), now_ms=NOW_MS).numbers["quiet_s"] == 0.0


def test_what_is_not_told_is_absent_and_names_nobody_knows_are_left_out() -> None:
    told = moment(features={"from_the_future": 1.0}, category=None, source=None)
    seen = situation(told, now_ms=NOW_MS, stock="low")
    assert "age_s" not in seen.numbers
    assert "from_the_future" not in seen.numbers
    assert set(seen.numbers) <= set(NUMBERS)
    assert seen.texts == {"band": "on_the_fence", "kind": "quiet", "item": "i1", "stock": "low"}
    assert set(seen.texts) <= set(TEXTS)
