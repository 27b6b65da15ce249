"""GA4 Measurement Protocol: the body of one request → the events in it.

Source: Google Analytics developer documentation, "Measurement Protocol reference" and "Recommended events" (web and app
streams have one shape but for the id of the device).

A body may leave the time out, which then is the time of its arrival; in a file, which does not know that, it is
rejected. An event has no id; equal events of one body are told apart by their position, and a body that is sent again
has the same ids, if it tells its time (a record of a topic that is read again has, too: it arrived once). Nothing but
what the table names is read: user properties, user data and the user id (where there is an id of the device) are
dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from producers.adapters.result import Arrival, Record, Result, bounded, placed, with_one_rejection
from producers.adapters.row import shown
from producers.adapters.table import Table, TimeAt, events_of, paths
from producers.adapters.value import TimeForm
from stream_app.core.codec import Rejected

NAME: Final = "ga4"

#: The recommended e-commerce events, those of page and search, and the old name of a purchase in apps.
TYPES: Final = {
    "page_view": "page_view",
    "screen_view": "page_view",
    "search": "search",
    "view_search_results": "search",
    "view_item_list": "view_item_list",
    "select_item": "select_item",
    "view_item": "view_item",
    "add_to_wishlist": "add_to_wishlist",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "view_cart": "view_cart",
    "begin_checkout": "begin_checkout",
    "add_shipping_info": "add_shipping_info",
    "add_payment_info": "add_payment_info",
    "purchase": "purchase",
    "ecommerce_purchase": "purchase",
    "refund": "refund",
    "share": "share",
}

ITEM_FIELDS: Final = {
    "item_id": paths("item_id", "item_name"),
    "category": paths("item_category"),
    "brand": paths("item_brand"),
    "price": paths("price"),
    "quantity": paths("quantity"),
    "currency": paths("currency"),
}

#: What GA4 writes where it has nothing to say.
ABSENT: Final = frozenset({"(not set)", "(not provided)", "(not available)", "(data not available)", "(direct)"})

MICROSECONDS: Final = TimeForm("microseconds")

#: GA4 takes no more events in one request; twice as many are let through, for servers that batch themselves.
EVENTS_MAX: Final = 50

TABLE: Final = Table(
    name=NAME,
    type_at=paths("event.name"),
    types=TYPES,
    times=(
        TimeAt(("event", "timestamp_micros"), MICROSECONDS),
        TimeAt(("timestamp_micros",), MICROSECONDS),
    ),
    fields={
        "visitor_id": paths("client_id", "app_instance_id", "user_id"),
        "session_id": paths("params.session_id", "params.ga_session_id"),
        "order_id": paths("params.transaction_id"),
        "currency": paths("params.currency"),
        "page_url": paths("params.page_location"),
        "referrer": paths("params.page_referrer"),
        "source": paths("params.source"),
        "country": paths("user_location.country_id"),
        "device": paths("device.category"),
        "search_term": paths("params.search_term"),
    },
    user_agents=paths("user_agent", "params.user_agent"),
    item_fields=ITEM_FIELDS,
    items_at=paths("params.items"),
    total_at=paths("params.value"),
    absent=ABSENT,
)


def to_events(body: Record, arrival: Arrival) -> list[Result]:
    """Convert one request's body."""
    parts = by_event(body, arrival)
    return [parts] if isinstance(parts, Rejected) else with_one_rejection([each for part in parts for each in part])


def by_event(body: Record, arrival: Arrival) -> list[list[Result]] | Rejected:
    """Convert one request's body, the results of each of its events by themselves."""
    events = body.get("events")
    if not isinstance(events, list) or not events:
        got = "no events" if events is None else f"events {shown(events)}"
        return Rejected("missing_field", f"got {got}, expected a list of one event or more")
    if len(events) > EVENTS_MAX:
        return Rejected("invalid_value", f"got {len(events)} events in one body, expected at most {EVENTS_MAX}")
    return bounded(
        [placed(result, f"events[{n}]") for result in _one(body, event, n, arrival)] for n, event in enumerate(events)
    )


def _one(body: Record, event: object, position: int, arrival: Arrival) -> list[Result]:
    if not isinstance(event, Mapping):
        return [Rejected("wrong_type", f"got {shown(event)}, expected an object with name and params")]
    params = event.get("params")
    if params is not None and not isinstance(params, Mapping):
        return [Rejected("wrong_type", f"got params {shown(params)}, expected an object")]
    identity = [body.get("client_id"), body.get("app_instance_id"), body.get("user_id"), position, event]
    scope = {**body, "event": event, "params": params or {}}
    return events_of(TABLE, scope, arrival, identity=identity)
