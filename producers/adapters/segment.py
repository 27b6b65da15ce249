"""Segment: one call, or a body of `/v1/batch` with several → the events in it.

Source: Segment documentation, "Spec: Common fields", "Spec: Page" and "Spec: V2 Ecommerce Events" (the names of V1 are
taken, too). Calls that are no steps of a visit (identify, group, alias, and tracked events of other names) are ignored.

Nothing but what the table names is read: traits, user id (where there is an anonymous one), e-mail and IP address are
dropped. The user agent is asked whether it is a robot's, and dropped as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from producers.adapters.result import Arrival, Record, Result, bounded, placed, with_one_rejection
from producers.adapters.row import shown
from producers.adapters.table import Table, TimeAt, events_of, paths
from producers.adapters.value import TimeForm
from stream_app.core.codec import Rejected

NAME: Final = "segment"

CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")

#: Segment takes 500 kB a batch and 32 kB a call; more calls than this would be tiny ones.
CALLS_MAX: Final = 500

_ISO: Final = TimeForm("iso")

TABLE: Final = Table(
    name=NAME,
    type_at=paths("kind"),
    types={
        "page": "page_view",
        "screen": "page_view",
        "products searched": "search",
        "product list viewed": "view_item_list",
        "product list filtered": "view_item_list",
        "viewed product category": "view_item_list",
        "product clicked": "select_item",
        "product viewed": "view_item",
        "viewed product": "view_item",
        "product added": "add_to_cart",
        "added product": "add_to_cart",
        "wishlist product added to cart": "add_to_cart",
        "product added to wishlist": "add_to_wishlist",
        "product removed": "remove_from_cart",
        "removed product": "remove_from_cart",
        "cart viewed": "view_cart",
        "checkout started": "begin_checkout",
        "checkout step viewed": "begin_checkout",
        "checkout step completed": "add_shipping_info",
        "payment info entered": "add_payment_info",
        "order completed": "purchase",
        "completed order": "purchase",
        "order refunded": "refund",
        "order cancelled": "refund",
        "product shared": "share",
        "cart shared": "share",
    },
    times=tuple(TimeAt((name,), _ISO) for name in ("timestamp", "originalTimestamp", "sentAt", "receivedAt")),
    fields={
        "event_id": paths("messageId"),
        "visitor_id": paths("anonymousId", "userId"),
        "category": paths("properties.category"),
        "order_id": paths("properties.order_id"),
        "currency": paths("properties.currency"),
        "page_url": paths("context.page.url", "properties.url"),
        "referrer": paths("context.page.referrer", "properties.referrer"),
        "source": paths("context.campaign.source"),
        "country": paths("context.location.country"),
        "device": paths("context.device.type", "context.userAgentData.mobile"),
        "search_term": paths("properties.query"),
    },
    user_agents=paths("context.userAgent"),
    item_fields={
        "item_id": paths("product_id", "sku", "id"),
        "category": paths("category"),
        "brand": paths("brand"),
        "price": paths("price"),
        "quantity": paths("quantity"),
    },
    items_at=paths("properties.products"),
    item_at=paths("properties"),
    total_at=paths("properties.revenue", "properties.subtotal", "properties.total", "properties.value"),
    words={"device": {"ios": "mobile", "android": "mobile", "true": "mobile", "false": "desktop"}},
)


def to_events(body: Record, arrival: Arrival) -> list[Result]:
    """Convert one call, or all calls of a batch."""
    parts = by_call(body, arrival)
    return [parts] if isinstance(parts, Rejected) else with_one_rejection([each for part in parts for each in part])


def by_call(body: Record, arrival: Arrival) -> list[list[Result]] | Rejected:
    """Convert one call, or all calls of a batch, the results of each by themselves."""
    calls = body.get("batch")
    if calls is None:
        return [_one(body, arrival)]
    if not isinstance(calls, list) or len(calls) > CALLS_MAX:
        got = f"a batch of {len(calls)} calls" if isinstance(calls, list) else f"batch {shown(calls)}"
        return Rejected("invalid_value", f"got {got}, expected a list of at most {CALLS_MAX}")
    # What all calls of a batch have in common may stand beside it; a call's own values go before that.
    shared = {name: body[name] for name in ("context", "sentAt") if name in body}
    return bounded(
        [placed(result, f"batch[{n}]") for result in _called(shared, call, arrival)] for n, call in enumerate(calls)
    )


def _called(shared: Record, call: object, arrival: Arrival) -> list[Result]:
    if not isinstance(call, Mapping):
        return [Rejected("wrong_type", f"got {shown(call)}, expected a call")]
    return _one({**shared, **call}, arrival)


def _one(call: Record, arrival: Arrival) -> list[Result]:
    kind = call.get("type")
    if kind not in CALLS:
        got = "no type" if kind is None else f"type {shown(kind)}"
        return [Rejected("invalid_value", f"got {got}, expected one of {', '.join(CALLS)}", "event_type")]
    if kind == "track":
        kind = call.get("event")
        if not isinstance(kind, str) or not kind:
            got = "no event" if kind is None else f"event {shown(kind)}"
            return [Rejected("missing_field", f"got {got} in a track call, expected its name")]
    for name in ("properties", "context"):
        if not isinstance(call.get(name), Mapping | None):
            return [Rejected("wrong_type", f"got {name} {shown(call[name])}, expected an object")]
    return events_of(TABLE, {**call, "kind": kind}, arrival, identity=call)
