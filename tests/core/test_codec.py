"""Bytes become an event or a label, or a `Rejected` with a reason; nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.codec import (
    DETAIL_LENGTH_MAX,
    RECORD_BYTES_MAX,
    REJECT_REASONS,
    Rejected,
    decode_event,
    decode_label,
    encode,
)
from stream_app.core.events import EVENT_TIME_AHEAD_MS_MAX, EVENT_TIME_MS_MIN, CheckoutLabel, Event

#: The broker's clock: 2023-11-14T22:13:20Z.
NOW = 1_700_000_000_000
EVENT = {"event_id": "e1", "event_type": "view_item", "event_time": NOW, "visitor_id": "v1"}
LABEL = {"visitor_id": "v1", "order_id": "o1", "checkout_time": NOW}


def event_of(**changes: Any) -> Event | Rejected:
    return decode_event(json.dumps({**EVENT, **changes}).encode(), record_time_ms=NOW)


def event_with(raw_field: bytes) -> Event | Rejected:
    """The event with one more field, written by hand because `json` would not write it."""
    return decode_event(json.dumps(EVENT).encode()[:-1] + b"," + raw_field + b"}", record_time_ms=NOW)


def reason(decoded: Event | CheckoutLabel | Rejected) -> str:
    assert isinstance(decoded, Rejected), decoded
    assert decoded.reason in REJECT_REASONS
    assert 0 < len(decoded.detail) <= DETAIL_LENGTH_MAX
    return decoded.reason


def test_an_event_with_every_field_survives_its_own_encoding() -> None:
    event = Event(
        event_id="e1", event_type="add_to_cart", event_time=NOW, visitor_id="v1", session_id="s1", item_id="i1",
        category="shoes", brand="Ångström", price=19.99, quantity=2.0, currency="EUR", order_id="o1",
        page_url="/p/1", referrer="https://x.example", source="ads", country="DE", device="mobile", search_term="ж",
    )  # fmt: skip
    assert decode_event(encode(event), record_time_ms=NOW) == event


def test_a_label_survives_its_own_encoding() -> None:
    label = CheckoutLabel("v1", "o1", NOW, session_id="s1", value=5.0, currency="EUR", kind="refund")
    assert decode_label(encode(label), record_time_ms=NOW) == label


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    decoded = event_with(b'"extra":{"deep":[1,2,{"x":null}]},"huge":1e999,"long":' + b"9" * 5000)
    assert decoded == Event("e1", "view_item", NOW, "v1")


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_a_value_is_empty(value: bytes | None) -> None:
    assert reason(decode_event(value, record_time_ms=NOW)) == "empty_value"
    assert reason(decode_label(value, record_time_ms=NOW)) == "empty_value"


@pytest.mark.parametrize(
    "value",
    [
        b"   ",
        b"\xff\xfe",
        b"view,1,2",
        b'{"event_id":"e1"',
        json.dumps(EVENT).encode() + b"x",
        json.dumps(EVENT).replace('"v1"', '"\\ud800"').encode(),
        json.dumps(EVENT).encode().replace(b"v1", b"\xed\xa0\x80"),
        json.dumps(EVENT).encode()[:-1] + b',"price":NaN}',
        json.dumps(EVENT).encode()[:-1] + b',"extra":-Infinity}',
        json.dumps(EVENT).encode()[:-1] + b',"extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["blank", "bytes", "csv", "cut", "trailing", "escaped_surrogate", "raw_surrogate", "nan", "infinity", "deep"],
)
def test_bytes_that_are_no_json_say_so(value: bytes) -> None:
    assert reason(decode_event(value, record_time_ms=NOW)) == "not_json"


@pytest.mark.parametrize("value", [b"null", b"[]", b'"text"', b"1", b"true", b"[" * 200_000])
def test_json_that_is_no_object_has_the_wrong_type(value: bytes) -> None:
    assert reason(decode_event(value, record_time_ms=NOW)) == "wrong_type"


@pytest.mark.parametrize("field", list(EVENT))
def test_an_event_without_a_required_field_is_missing_it(field: str) -> None:
    value = json.dumps({name: value for name, value in EVENT.items() if name != field}).encode()
    decoded = decode_event(value, record_time_ms=NOW)
    assert reason(decoded) == "missing_field"
    assert isinstance(decoded, Rejected)
    assert field in decoded.detail


@pytest.mark.parametrize("field", list(LABEL))
def test_a_label_without_a_required_field_is_missing_it(field: str) -> None:
    value = json.dumps({name: value for name, value in LABEL.items() if name != field}).encode()
    assert reason(decode_label(value, record_time_ms=NOW)) == "missing_field"


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": 1},
        {"visitor_id": None},
        {"event_type": 3},
        {"price": "3.50"},
        {"item_id": ["i1"]},
        {"event_time": 1.7e12},
        {"event_time": True},
        {"event_time": None},
    ],
)
def test_a_field_of_another_type_is_the_wrong_type(changes: dict[str, Any]) -> None:
    assert reason(event_of(**changes)) == "wrong_type"


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "teleport"},
        {"event_id": ""},
        {"visitor_id": ""},
        {"session_id": ""},
        {"visitor_id": "v" * 257},
        {"item_id": "i" * 257},
        {"page_url": "/" * 4097},
        {"price": -0.01},
        {"price": 1e9 + 1},
        {"quantity": -1},
        {"quantity": 1e6 + 1},
        {"event_time": "yesterday"},
        {"event_time": "2023-11-14T22:13:20"},
        {"event_time": "2023-02-30T00:00:00Z"},
    ],
)
def test_a_value_out_of_its_bounds_is_invalid(changes: dict[str, Any]) -> None:
    assert reason(event_of(**changes)) == "invalid_value"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 400, b"9" * 5000])
def test_a_price_beyond_all_numbers_is_invalid(number: bytes) -> None:
    assert reason(event_with(b'"price":' + number)) == "invalid_value"


def test_values_on_their_bounds_are_accepted() -> None:
    decoded = event_of(visitor_id="v" * 256, item_id="ж" * 256, price=1e9, quantity=1e6, page_url="/" * 4096)
    assert isinstance(decoded, Event)
    assert isinstance(event_of(price=0, quantity=0), Event)


@pytest.mark.parametrize("text", ["missing required field", "Expected `str`, got `int`", ", got `"])
def test_words_of_the_sender_do_not_choose_the_reason(text: str) -> None:
    assert reason(event_of(event_type=text)) == "invalid_value"


def test_a_detail_quotes_at_most_its_bound_of_what_came_in() -> None:
    # reason() checks the length; the value itself would fill the dead letter's header.
    assert reason(event_of(event_type="x" * 200_000)) == "invalid_value"
    assert reason(event_of(event_time=10**4000)) == "time_out_of_range"


@pytest.mark.parametrize(
    "event_time",
    [
        pytest.param(NOW // 1000, id="seconds"),
        pytest.param(NOW * 1000, id="microseconds"),
        pytest.param(0, id="epoch"),
        pytest.param(-1, id="negative"),
        pytest.param(EVENT_TIME_MS_MIN - 1, id="before_2000"),
        pytest.param(NOW + EVENT_TIME_AHEAD_MS_MAX + 1, id="past_24h_ahead"),
        pytest.param(10**400, id="ten_to_400"),
        pytest.param(-(10**400), id="minus_ten_to_400"),
        pytest.param("0001-01-01T00:00:00+23:59", id="year_1"),
        pytest.param("9999-12-31T23:59:59-23:59", id="year_9999"),
    ],
)
def test_an_impossible_time_is_out_of_range(event_time: int | str) -> None:
    assert reason(event_of(event_time=event_time)) == "time_out_of_range"
    label = json.dumps({**LABEL, "checkout_time": event_time}).encode()
    assert reason(decode_label(label, record_time_ms=NOW)) == "time_out_of_range"


@pytest.mark.parametrize("event_time", [EVENT_TIME_MS_MIN, NOW, NOW + EVENT_TIME_AHEAD_MS_MAX])
def test_a_time_on_its_bounds_is_accepted(event_time: int) -> None:
    decoded = event_of(event_time=event_time)
    assert isinstance(decoded, Event)
    assert decoded.event_time == event_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # NOW is 2023-11-14T22:13:20Z.
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-15T00:13:20+02:00", NOW),
        ("2023-11-14T16:43:20-05:30", NOW),
        ("2023-11-14T22:13:20.123999Z", NOW + 123),
    ],
)
def test_an_rfc3339_time_becomes_milliseconds_utc(text: str, expected: int) -> None:
    event = event_of(event_time=text)
    assert isinstance(event, Event)
    assert event.event_time == expected
    label = decode_label(json.dumps({**LABEL, "checkout_time": text}).encode(), record_time_ms=NOW)
    assert isinstance(label, CheckoutLabel)
    assert label.checkout_time == expected


def test_a_record_of_256_kib_is_parsed_and_one_byte_more_is_not() -> None:
    start = json.dumps(EVENT).encode()[:-1] + b',"extra":"'
    full = start + b"x" * (RECORD_BYTES_MAX - len(start) - 2) + b'"}'
    assert len(full) == 256 * 1024
    assert isinstance(decode_event(full, record_time_ms=NOW), Event)
    assert reason(decode_event(full + b" ", record_time_ms=NOW)) == "too_large"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=10,
)


def check_outcome(value: bytes) -> None:
    event = decode_event(value, record_time_ms=NOW)
    if isinstance(event, Event):
        assert type(event.event_time) is int
        assert EVENT_TIME_MS_MIN <= event.event_time <= NOW + EVENT_TIME_AHEAD_MS_MAX
        assert decode_event(encode(event), record_time_ms=NOW) == event
    else:
        reason(event)
    label = decode_label(value, record_time_ms=NOW)
    if isinstance(label, CheckoutLabel):
        assert type(label.checkout_time) is int
    else:
        reason(label)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise(value: bytes) -> None:
    check_outcome(value)


@settings(max_examples=150, deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from([*EVENT, *LABEL, "price", "item_id", "quantity"]), JSON_VALUES),
    cut=st.integers(0, 40),
)
def test_no_json_object_raises_whole_or_cut(fields: dict[str, Any], cut: int) -> None:
    value = json.dumps({**EVENT, **LABEL, **fields}).encode()
    check_outcome(value)
    check_outcome(value[: len(value) - cut])
