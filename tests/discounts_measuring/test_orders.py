"""Orders as the topics tell them: who says what, what is nobody's order, and what is not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.core.codec import encode
from stream_app.core.events import CheckoutLabel, Event
from stream_app.discounts.core.records import Checkout
from stream_app.discounts.orders import order_of_event, order_of_label, time_of_event

NOW = 1_760_000_000_000


def event(**fields: Any) -> bytes:
    values = {"event_id": "e1", "event_type": "purchase", "event_time": NOW, "visitor_id": "v", **fields}
    return json.dumps(values).encode()


def test_a_purchase_event_is_a_row_of_its_order() -> None:
    value = event(order_id="o1", price=20.0, quantity=3.0, category="shoes", discount_percent=10.0, more={"x": [1]})
    assert order_of_event(value, record_time_ms=NOW) == Checkout(
        visitor_id="v", order_id="o1", time=NOW, rows={"e1": 60.0}, percent=10.0, category="shoes"
    )


def test_without_an_order_id_it_is_an_order_without_a_name_and_without_a_price_it_is_one_all_the_same() -> None:
    assert order_of_event(event(), record_time_ms=NOW) == Checkout(
        visitor_id="v", order_id="e1", time=NOW, rows={"e1": 0.0}, named=False
    )
    assert order_of_event(event(order_id=""), record_time_ms=NOW) == order_of_event(event(), record_time_ms=NOW)


def test_a_refund_takes_back_the_order_that_it_names_and_else_nobody_knows_which() -> None:
    back = order_of_event(event(event_type="refund", order_id="o1", price=20.0), record_time_ms=NOW)
    assert back == Checkout(visitor_id="v", order_id="o1", time=NOW, taken_back=True)
    assert order_of_event(event(event_type="refund"), record_time_ms=NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        encode(Event("e", "view_item", NOW, "v", item_id="purchase")),
        event(price=-1.0),
        event(discount_percent=100.0),
        event(event_time=NOW + 25 * 3_600_000),
        event(event_time=1_760_000_000),
        b'{"event_type": "purchase"',
        b'"purchase"',
        b'{"event_type": "purchase"}' + b" " * 300_000,
        b"[" * 100_000 + b'"purchase"',
        b'"purchase\xff"',
    ],
)
def test_what_the_engine_does_not_take_as_a_purchase_is_no_order(value: bytes | None) -> None:
    assert order_of_event(value, record_time_ms=NOW) is None


def test_a_label_tells_the_order_as_a_whole() -> None:
    label = CheckoutLabel("v", "o1", NOW, value=90.0, discount_percent=10.0)
    told = order_of_label(encode(label), record_time_ms=NOW)
    assert told == Checkout(visitor_id="v", order_id="o1", time=NOW, paid=90.0, percent=10.0)
    for kind in ("refund", "cancel"):
        back = order_of_label(encode(CheckoutLabel("v", "o1", NOW, value=90.0, kind=kind)), record_time_ms=NOW)  # type: ignore[arg-type]
        assert back == Checkout(visitor_id="v", order_id="o1", time=NOW, taken_back=True)
    assert order_of_label(b"{}", record_time_ms=NOW) is None


def test_the_time_of_any_event_is_read_if_it_is_a_number() -> None:
    for written in (NOW, "2025-10-09T08:53:20Z", "2025-10-09T10:53:20.000+02:00"):
        told = time_of_event(event(event_type="page_view", event_time=written), record_time_ms=NOW)
        assert told is not None
        assert (told.event_time, told.visitor_id) == (NOW, "v")
    for value in (None, b"", b"{}", event(event_time="2025-10-09"), event(event_time=NOW + 25 * 3_600_000)):
        assert time_of_event(value, record_time_ms=NOW) is None
