"""REES46 shop exports (Kaggle: "eCommerce behavior data from multi category store" and its siblings), one row an event.

Where there is no user the visitor is the session, and where there is no session it is derived from the visitor's
inactivity gap. Category, brand and price are often empty, which is normal.
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

#: Field of an event → column, as the documentation says it.
FIELDS: Final = {
    "event_id": "a hash of the row",
    "event_type": "`event_type`",
    "event_time": "`event_time`, text such as `2021-02-28 19:13:22 UTC`",
    "visitor_id": "`user_id` or `user_session`",
    "session_id": "`user_session`",
    "item_id": "`product_id`",
    "category": "`category_code` or `category_id`",
    "brand": "`brand`",
    "price": "`price`",
}

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
        told = f"got event_type {got}, expected one of {', '.join(EVENT_TYPES)}"
        return Rejected("invalid_value", told, "event_type")
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
