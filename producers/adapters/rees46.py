"""REES46 shop exports (Kaggle: "eCommerce behavior data from multi category store" and its siblings), one row an event.

| column | becomes |
| --- | --- |
| event_time | event_time; text such as `2021-02-28 19:13:22 UTC`, whole seconds |
| event_type | event_type: view → view_item, cart → add_to_cart, remove_from_cart, purchase |
| product_id | item_id |
| category_code, category_id | category: the code, such as `computers.components.cpu`, else the id |
| brand, price | brand, price; often empty, which is normal |
| user_id | visitor_id; where it is empty the visitor is the session |
| user_session | session_id; where it is empty the session is derived from the visitor's inactivity gap |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from producers.adapters.row import accept, price, row_id, shown
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

NAME: Final = "rees46"

COLUMNS: Final = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)

EVENT_TYPES: Final = {
    "view": "view_item",
    "cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "purchase": "purchase",
}

_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", re.ASCII)


def to_event(row: Mapping[str, str], *, now_ms: int) -> Event | Rejected:
    """Turn one row, by column name, into an event; `now_ms` bounds how far ahead its time may lie."""
    event_type = EVENT_TYPES.get(row.get("event_type") or "")
    if event_type is None:
        got = shown(row.get("event_type") or "")
        return Rejected("invalid_value", f"got event_type {got}, expected one of {', '.join(EVENT_TYPES)}")
    event_time = time_ms(row.get("event_time") or "")
    if isinstance(event_time, Rejected):
        return event_time
    session_id = row.get("user_session") or None
    visitor_id = row.get("user_id") or session_id
    if visitor_id is None:
        return Rejected("bad_row", "got neither user_id nor user_session, expected at least one: whose event is it?")
    amount = price(row.get("price") or "")
    if isinstance(amount, Rejected):
        return amount
    event_id = row_id(NAME, row, COLUMNS)
    if isinstance(event_id, Rejected):
        return event_id
    fields = {
        "event_id": event_id,
        "event_type": event_type,
        "event_time": event_time,
        "visitor_id": visitor_id,
        "session_id": session_id,
        "item_id": row.get("product_id") or None,
        "category": row.get("category_code") or row.get("category_id") or None,
        "brand": row.get("brand") or None,
        "price": amount,
    }
    return accept(fields, now_ms=now_ms)


def time_ms(text: str) -> int | Rejected:
    """Read `2021-02-28 19:13:22 UTC` as milliseconds since the epoch."""
    match = _TIME.fullmatch(text)
    try:
        # A full match may still be no date (February 30th), or a leap second, which Python's dates do not know.
        moment = datetime.fromisoformat(match[1]) if match else None
    except ValueError:
        moment = None
    if moment is None:
        return Rejected("invalid_value", f"got event_time {shown(text)}, expected a time like 2021-02-28 19:13:22 UTC")
    return int(moment.replace(tzinfo=UTC).timestamp()) * 1000
