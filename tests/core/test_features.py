"""Features: complete, finite, exact on the wire, and a function of the session's own past alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import features
from stream_app.core.events import EVENT_TYPES
from stream_app.core.features import FEATURE_NAMES, FEATURES, FIXED_POINT, RAW
from stream_app.core.pages import GROUPS
from tests.core.streams import T0, Partition, event

LARGEST = 200_000.0


def ln1p(value: float) -> float:
    """As a feature of unit ln(1 + x) reads on the wire."""
    return round(math.log1p(value), 4)


def feature_table(partition: Partition, name: str) -> list[float]:
    return [float(record["features"][name]) for record in partition.features]


def test_the_registry_names_every_column_once_with_unit_and_meaning() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert all(feature.unit and feature.meaning for feature in FEATURES)
    assert {f"last_{group}" for group in GROUPS} < set(FEATURE_NAMES)
    assert features.FeatureValues.__struct_fields__ == FEATURE_NAMES


def test_every_feature_record_has_every_registered_name_and_no_other() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    assert tuple(partition.features[0]["features"]) == FEATURE_NAMES


def test_counts_and_pauses_of_a_hand_worked_session() -> None:
    #  e0 view i1 (10.0) · 60 s · e1 view i2 (40.0) · 120 s · e2 cart i1 (10.0) · 30 s · e3 view i1
    partition = Partition()
    stream: list[tuple[float, str, str, float]] = [
        (0, "view_item", "i1", 10.0),
        (1, "view_item", "i2", 40.0),
        (3, "add_to_cart", "i1", 10.0),
        (3.5, "view_item", "i1", 10.0),
    ]
    partition.step(
        [
            event(n, "a", kind, minutes, item_id=item, category=f"c-{item}", brand="b", price=price, quantity=2)
            for n, (minutes, kind, item, price) in enumerate(stream)
        ]
    )
    expected = {
        "events": [ln1p(n) for n in (1, 2, 3, 4)],
        "episode_events": [ln1p(n) for n in (1, 2, 3, 4)],
        "n_item": [ln1p(n) for n in (1, 2, 2, 3)],
        "n_cart": [ln1p(n) for n in (0, 0, 1, 1)],
        "items": [ln1p(n) for n in (1, 2, 2, 2)],
        "categories": [ln1p(n) for n in (1, 2, 2, 2)],
        "brands": [ln1p(1)] * 4,
        "item_repeats": [ln1p(n) for n in (1, 1, 2, 3)],
        "age": [ln1p(n) for n in (0, 60, 180, 210)],
        "gap": [ln1p(n) for n in (0, 60, 120, 30)],
        "gap_mean": [ln1p(n) for n in (0, 60, 90, 70)],
        "gap_max": [ln1p(n) for n in (0, 60, 120, 120)],
        # d ← 0.6 d + 0.4 gap: 0, 24, 62.4, 49.44
        "gap_decayed": [ln1p(n) for n in (0, 24, 62.4, 49.44)],
        "since_cart": [ln1p(n) for n in (0, 0, 0, 30)],
        "item_dwell": [ln1p(n) for n in (0, 0, 180, 210)],
        "price": [ln1p(n) for n in (10, 40, 10, 10)],
        "cart_value": [ln1p(n) for n in (0, 0, 20, 20)],
        "has_cart": [0, 0, 1, 1],
        "same_item": [0, 0, 0, 1],
        "same_category": [0, 0, 0, 1],
        "item_seen": [0, 0, 1, 1],
        "revisit_ratio": [0, 0, round(1 / 3, 4), 0.5],
        "top_category_share": [1, 0.5, round(2 / 3, 4), 0.75],
        # against the mean so far: 10/10, 40/25, 10/20, 10/17.5
        "price_relative": [round(math.log(r), 4) for r in (1, 1.6, 0.5, 10 / 17.5)],
        "price_range": [0, *[round(math.log(4), 4)] * 3],
        "last_item": [1, 1, 0, 1],
        "last_cart": [0, 0, 1, 0],
        "rate": [ln1p(60 * n / (age + 1)) for n, age in ((1, 0), (2, 60), (3, 180), (4, 210))],
        "returning": [0, 0, 0, 0],
        "purchase_rate": [0.03] * 4,
    }
    assert {name: feature_table(partition, name) for name in expected} == expected


def test_hour_and_weekday_are_on_a_circle_that_starts_at_midnight_and_on_monday() -> None:
    # T0 is Tuesday 22:13:20 UTC. 106 minutes 40 s on it is Wednesday, 0:00: two sevenths of the week after Monday.
    partition = Partition()
    partition.step([event(0, "a", "view_item", 106 + 40 / 60)])
    assert partition.feature("e0", "hour_sin") == 0.0
    assert partition.feature("e0", "hour_cos") == 1.0
    assert partition.feature("e0", "weekday_sin") == round(math.sin(2 * math.pi * 2 / 7), 4)
    assert partition.feature("e0", "weekday_cos") == round(math.cos(2 * math.pi * 2 / 7), 4)


def test_a_purchase_is_scored_with_an_empty_cart_and_no_items() -> None:
    partition = Partition()
    partition.step(
        [
            event(0, "a", "add_to_cart", 0, item_id="i", price=9.0),
            event(1, "a", "purchase", 1, item_id="i", price=9.0),
            event(2, "a", "view_item", 2, item_id="i"),
        ]
    )
    after = {name: feature_table(partition, name)[1:] for name in ("has_cart", "cart_value", "items", "episode_events")}
    assert after == {"has_cart": [0, 0], "cart_value": [0, 0], "items": [0, ln1p(1)], "episode_events": [0, ln1p(1)]}
    assert feature_table(partition, "purchases") == [0, ln1p(1), ln1p(1)]
    assert feature_table(partition, "item_seen") == [0, 0, 0]


def test_removing_the_last_thing_empties_the_cart() -> None:
    partition = Partition()
    kinds = ["remove_from_cart", "add_to_cart", "remove_from_cart", "remove_from_cart"]
    partition.step([event(n, "a", kind, n, item_id="i", price=5.0) for n, kind in enumerate(kinds)])
    assert feature_table(partition, "has_cart") == [0, 1, 0, 0]
    assert feature_table(partition, "cart_value") == [0, ln1p(5), 0, 0]


def test_a_returning_visitor_brings_finished_sessions_only() -> None:
    #  session 1: view, purchase 20.0 | gap | session 2, an hour after it
    partition = Partition()
    partition.step(
        [
            event(0, "a", "view_item", 0),
            event(1, "a", "purchase", 1, price=20.0),
            event(2, "a", "view_item", 61),
        ]
    )
    last = partition.features[-1]["features"]
    assert feature_table(partition, "returning") == [0, 0, 1]
    assert last["earlier_sessions"] == ln1p(1)
    assert last["earlier_purchases"] == ln1p(1)
    assert last["earlier_spend"] == ln1p(20)
    assert last["since_last_session"] == ln1p(3600)
    assert last["purchase_rate"] == round((1 + 0.3) / (1 + 10), 4)


@pytest.mark.parametrize(
    ("url", "group"),
    [
        ("https://shop.example/", "page"),
        ("https://shop.example/search?q=/cart", "search"),
        ("https://cart.example/c/shoes", "list"),
        ("/product/12", "item"),
        ("/checkout/payment", "checkout"),
        ("/Basket", "view_cart"),
        ("/cartoons", "page"),
    ],
)
def test_a_bare_page_view_is_the_kind_its_path_says(url: str, group: str) -> None:
    partition = Partition()
    partition.step([event(0, "a", "page_view", 0, page_url=url)])
    assert partition.feature("e0", f"last_{group}") == 1.0


@pytest.mark.parametrize("device", ["mobile", "Phone", "tablet"])
def test_a_session_on_a_phone_is_mobile(device: str) -> None:
    partition = Partition()
    partition.step([event(0, "a", "page_view", 0, device=device), event(1, "b", "page_view", 0, device="desktop")])
    assert feature_table(partition, "mobile") == [1, 0]


PRICES = st.sampled_from([None, 0.0, -0.0, 5e-324, 1e-300, 0.01, 1.0, 1e9]) | st.floats(0, 1e9)
EVENTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(EVENT_TYPES),
        "minutes": st.sampled_from([0, 0, 1, 5, -5, 31, -40, 1500, -(10**6)]),
        "item_id": st.sampled_from([None, "", "i1", "i2"]),
        "category": st.sampled_from([None, "", "c"]),
        "price": PRICES,
        "quantity": st.sampled_from([None, 0.0, 1e-300, 1e6]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=25))
def test_whatever_comes_in_every_feature_is_finite_and_bounded(stream: list[dict[str, Any]]) -> None:
    partition, minutes = Partition(), 0
    records = []
    for n, one in enumerate(stream):
        fields = {name: value for name, value in one.items() if name not in ("kind", "minutes") and value is not None}
        minutes = max(minutes + one["minutes"], -(10**6))
        records.append(event(n, "a", one["kind"], minutes, **fields))
    partition.step(records)
    for record in partition.features:
        assert all(abs(value) <= LARGEST for value in record["features"].values())
    for example in partition.examples:
        assert math.isfinite(example["weight"])


def test_a_denormal_price_beside_the_highest_one_does_not_stop_the_stream() -> None:
    # ln(5e-324) = -744.4401; against the mean of both, ln(5e8) = 20.0301.
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, price=1e9), event(1, "a", "view_item", 1, price=5e-324)])
    assert partition.feature("e1", "price_relative") == pytest.approx(-764.4702, abs=2e-4)
    assert partition.feature("e1", "price_range") == pytest.approx(math.log(1e9) + 744.4401, abs=2e-4)


def random_raw(rows: int) -> list[tuple[float, ...]]:
    random = np.random.default_rng(7)
    raw = np.exp(random.normal(0, 4, (rows, len(RAW)))) * (random.random((rows, len(RAW))) < 0.5)
    raw[:, -2] = random.integers(0, len(GROUPS), rows)
    raw[:, -1] = T0 + random.integers(0, 10**9, rows)
    return [tuple(row) for row in raw.tolist()]


def test_one_row_equals_many_rows_bit_for_bit() -> None:
    raw = random_raw(500)
    many = features.compute(raw)
    for row, one in zip(many, raw, strict=True):
        assert features.compute([one]).tobytes() == row.tobytes()


def test_no_rows_give_no_rows() -> None:
    assert features.compute([]).shape == (0, len(FEATURES))
    assert features.pack(features.compute([])) == []


FIXED = st.lists(
    st.one_of(st.just(0), st.integers(-(2**31), 2**31 - 1)), min_size=len(FEATURES), max_size=len(FEATURES)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FIXED, min_size=1, max_size=4))
def test_packed_rows_unpack_to_the_same_numbers_and_so_do_numbers_on_the_wire(rows: list[list[int]]) -> None:
    fixed: npt.NDArray[np.int32] = np.array(rows, dtype="<i4")
    floats = features.to_float(fixed).tolist()
    assert [features.unpack(data) for data in features.pack(fixed)] == floats
    assert json.loads(json.dumps(floats)) == floats
    assert np.rint(np.array(floats) * FIXED_POINT).astype("<i4").tolist() == rows


def test_an_examples_features_are_the_bytes_that_were_emitted() -> None:
    partition = Partition()
    stream = [event(n, "a", "view_item", n * 1.7, item_id=f"i{n % 3}", price=n / 7) for n in range(6)]
    partition.step(stream)
    partition.step([event(6, "a", "purchase", 12)])
    emitted = {record["event_id"]: record["features"] for record in partition.features}
    assert len(partition.examples) == 6
    assert all(example["features"] == emitted[example["event_id"]] for example in partition.examples)


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENTS, min_size=2, max_size=15), st.integers(1, 14))
def test_deleting_later_events_changes_no_earlier_feature(stream: list[dict[str, Any]], kept: int) -> None:
    records = []
    for n, one in enumerate(stream):
        fields = {name: value for name, value in one.items() if name not in ("kind", "minutes") and value is not None}
        records.append(event(n, "ab"[n % 2], one["kind"], n + (one["minutes"] if n % 3 == 0 else 0), **fields))
    whole, cut = Partition(), Partition()
    whole.step(records)
    cut.step(records[:kept])
    assert cut.features == whole.features[: len(cut.features)]
    assert len(cut.features) == min(kept, len(records))
