"""RetailRocket rows, made by hand: what each column becomes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.adapters import retailrocket
from stream_app.core import codec
from stream_app.core.codec import REJECT_REASONS, Rejected
from stream_app.core.events import Event

#: 2030-01-01: later than every time below.
NOW_MS = 1_893_456_000_000

ROW = {"timestamp": "1433000000123", "visitorid": "77", "event": "view", "itemid": "5", "transactionid": ""}


def rejected(**changes: str) -> Rejected:
    result = retailrocket.to_event(ROW | changes, now_ms=NOW_MS)
    assert isinstance(result, Rejected), result
    return result


def test_a_view_becomes_view_item_without_a_session() -> None:
    event = retailrocket.to_event(ROW, now_ms=NOW_MS)
    assert isinstance(event, Event)
    assert event == Event(
        event_id=event.event_id,
        event_type="view_item",
        event_time=1_433_000_000_123,
        visitor_id="77",
        item_id="5",
    )


def test_a_transaction_becomes_a_purchase_with_its_order() -> None:
    event = retailrocket.to_event(ROW | {"event": "transaction", "transactionid": "900"}, now_ms=NOW_MS)
    assert isinstance(event, Event)
    assert (event.event_type, event.order_id, event.session_id) == ("purchase", "900", None)


def test_addtocart_becomes_add_to_cart() -> None:
    event = retailrocket.to_event(ROW | {"event": "addtocart"}, now_ms=NOW_MS)
    assert isinstance(event, Event)
    assert event.event_type == "add_to_cart"


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"event": "purchase"}, "invalid_value", ["'purchase'", "view, addtocart, transaction"]),
        ({"timestamp": "1433000000"}, "time_out_of_range", ["in seconds"]),
        ({"timestamp": "2015-06-01"}, "invalid_value", ["'2015-06-01'", "milliseconds"]),
        ({"timestamp": "9" * 5000}, "invalid_value", ["5002 characters"]),
        ({"timestamp": "١٤٣٣٠٠٠٠٠٠١٢٣"}, "invalid_value", ["milliseconds"]),
        ({"visitorid": ""}, "bad_row", ["empty visitorid"]),
        ({"itemid": "i" * 257}, "invalid_value", ["item_id", "256"]),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_got_and_expected(
    changes: dict[str, str], reason: str, words: list[str]
) -> None:
    result = rejected(**changes)
    assert result.reason == reason
    assert [word for word in words if word not in result.detail] == []


@given(
    row=st.fixed_dictionaries(
        {},
        optional={
            "timestamp": st.one_of(st.just("1433000000123"), st.text(), st.integers().map(str)),
            "event": st.one_of(st.sampled_from(["view", "addtocart", "transaction"]), st.text()),
            "visitorid": st.text(max_size=300),
            "itemid": st.text(),
            "transactionid": st.text(),
        },
    )
)
def test_any_text_is_an_event_that_survives_the_wire_or_a_named_rejection(row: dict[str, str]) -> None:
    result = retailrocket.to_event(row, now_ms=NOW_MS)
    if isinstance(result, Rejected):
        assert result.reason in REJECT_REASONS
        assert "got" in result.detail
        assert "expected" in result.detail.lower()
    else:
        assert codec.decode_event(codec.encode(result), record_time_ms=NOW_MS) == result
