"""RetailRocket's `events.csv` (Kaggle: "Retailrocket recommender system dataset"), one row an event.

One order of several items has several rows with the same id.

The format has no sessions: session_id stays empty and the session is derived from the visitor's inactivity gap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from producers.adapters.row import accept, row_id, shown
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

NAME: Final = "retailrocket"

COLUMNS: Final = ("timestamp", "visitorid", "event", "itemid", "transactionid")

#: Field of an event → column, as the documentation says it.
FIELDS: Final = {
    "event_id": "a hash of the row",
    "event_type": "`event`",
    "event_time": "`timestamp`, milliseconds since 1970",
    "visitor_id": "`visitorid`",
    "item_id": "`itemid`",
    "order_id": "`transactionid`",
}

EVENT_TYPES: Final = {"view": "view_item", "addtocart": "add_to_cart", "transaction": "purchase"}

#: 15 digits of milliseconds reach the year 33658; the bound keeps `int` away from text of any length.
_MILLISECONDS = re.compile(r"\d{1,15}", re.ASCII)


def to_event(row: Mapping[str, str], *, now_ms: int) -> Event | Rejected:
    """Turn one row, by column name, into an event; `now_ms` bounds how far ahead its time may lie."""
    event_type = EVENT_TYPES.get(row.get("event") or "")
    if event_type is None:
        got = shown(row.get("event") or "")
        told = f"got event {got}, expected one of {', '.join(EVENT_TYPES)}"
        return Rejected("invalid_value", told, "event_type")
    timestamp = row.get("timestamp") or ""
    if not _MILLISECONDS.fullmatch(timestamp):
        return Rejected("invalid_value", f"got timestamp {shown(timestamp)}, expected milliseconds like 1433193132535")
    visitor_id = row.get("visitorid") or None
    if visitor_id is None:
        return Rejected("bad_row", "got an empty visitorid, expected one: whose event is it?")
    event_id = row_id(NAME, row, COLUMNS)
    if isinstance(event_id, Rejected):
        return event_id
    fields = {
        "event_id": event_id,
        "event_type": event_type,
        "event_time": int(timestamp),
        "visitor_id": visitor_id,
        "item_id": row.get("itemid") or None,
        "order_id": row.get("transactionid") or None,
    }
    return accept(fields, now_ms=now_ms)
