"""The contenders' session: state in plain JSON types, its fold, and the 25 features of docs/benchmarks.md.

Deliberately what a good user writes in an afternoon: a dict, so that every store can keep it as JSON. It shares no line
with `stream_app`. The JVM's twin is `kafka_streams/src/main/java/bench/Session.java`.
"""

from __future__ import annotations

from math import log1p
from typing import Any

GAP_MS = 30 * 60 * 1000
#: Distinct items, and categories, that a session remembers: a crawler's would grow without end.
TRACKED_MAX = 64
GAP_DECAY = 0.6

KINDS = {
    "page_view": 0,
    "search": 1,
    "view_item_list": 2,
    "select_item": 2,
    "view_item": 3,
    "add_to_wishlist": 4,
    "like": 4,
    "share": 4,
    "add_to_cart": 5,
    "remove_from_cart": 6,
    "view_cart": 7,
    "begin_checkout": 8,
    "add_shipping_info": 8,
    "add_payment_info": 8,
}
COUNTED = ("page", "search", "list", "item", "interest", "cart", "uncart", "view_cart", "checkout")
FEATURES = (
    "events",
    *(f"n_{kind}" for kind in COUNTED),
    "items",
    "categories",
    "item_repeats",
    "age",
    "gap",
    "gap_mean",
    "gap_max",
    "gap_decayed",
    "has_cart",
    "cart_value",
    "price",
    "same_item",
    "item_seen",
    "earlier_sessions",
    "earlier_purchases",
)

State = dict[str, Any]
Event = dict[str, Any]


def is_new_session(state: State | None, event: Event) -> bool:
    """Whether the event begins a session: another session id, or a pause of more than the gap."""
    if state is None:
        return True
    session_id = event.get("session_id")
    return event["event_time"] - state["last"] > GAP_MS or bool(session_id and session_id != state["session_id"])


def new_session(event: Event, before: State | None) -> State:
    time = event["event_time"]
    return {
        "session_id": event.get("session_id") or f"{event['visitor_id']}-{time}",
        "start": time,
        "last": time,
        "events": 0,
        "purchases": 0,
        "gap": 0,
        "gap_sum": 0,
        "gap_max": 0,
        "gap_decayed": 0.0,
        "counts": [0] * len(COUNTED),
        "items": {},
        "categories": {},
        "item_last": None,
        "same_item": 0,
        "item_seen": 0,
        "price": 0.0,
        "cart_count": 0,
        "cart_value": 0.0,
        "earlier_sessions": before["earlier_sessions"] + 1 if before else 0,
        "earlier_purchases": before["earlier_purchases"] + before["purchases"] if before else 0,
    }


def fold(state: State | None, event: Event) -> State:
    """The state after the event; the one given may be changed."""
    if state is None or is_new_session(state, event):
        state = new_session(event, state)
    time, kind = event["event_time"], event["event_type"]
    gap = max(0, time - state["last"])
    state["last"] = max(state["last"], time)
    state["events"] += 1
    state["gap"] = gap
    state["gap_sum"] += gap
    state["gap_max"] = max(state["gap_max"], gap)
    state["gap_decayed"] = GAP_DECAY * state["gap_decayed"] + (1.0 - GAP_DECAY) * gap
    price = state["price"] = event.get("price") or 0.0
    if kind == "purchase":
        state["purchases"] += 1
        state["cart_count"], state["cart_value"] = 0, 0.0
    elif kind in KINDS:
        state["counts"][KINDS[kind]] += 1
        see(state, event.get("item_id"), event.get("category"))
        if kind == "add_to_cart":
            quantity = event.get("quantity")
            state["cart_count"] += 1
            state["cart_value"] += price * (1.0 if quantity is None else quantity)
        elif kind == "remove_from_cart" and state["cart_count"]:
            state["cart_count"] -= 1
            state["cart_value"] = max(0.0, state["cart_value"] - price) if state["cart_count"] else 0.0
    return state


def see(state: State, item: str | None, category: str | None) -> None:
    """Count an item and a category, where the event has them and there is room."""
    items, categories = state["items"], state["categories"]
    state["same_item"] = int(item is not None and item == state["item_last"])
    state["item_seen"] = int(item is not None and item in items)
    if item is not None:
        state["item_last"] = item
        if item in items or len(items) < TRACKED_MAX:
            items[item] = items.get(item, 0) + 1
    if category is not None and (category in categories or len(categories) < TRACKED_MAX):
        categories[category] = categories.get(category, 0) + 1


def features(state: State) -> dict[str, float]:
    """The 25 features, by name: a pure function of the state."""
    events = state["events"]
    return dict(
        zip(
            FEATURES,
            (
                log1p(events),
                *map(log1p, state["counts"]),
                log1p(len(state["items"])),
                log1p(len(state["categories"])),
                log1p(max(state["items"].values(), default=0)),
                log1p((state["last"] - state["start"]) / 1000),
                log1p(state["gap"] / 1000),
                log1p(state["gap_sum"] / events / 1000),
                log1p(state["gap_max"] / 1000),
                log1p(state["gap_decayed"] / 1000),
                1.0 if state["cart_count"] else 0.0,
                log1p(state["cart_value"]),
                log1p(state["price"]),
                float(state["same_item"]),
                float(state["item_seen"]),
                log1p(state["earlier_sessions"]),
                log1p(state["earlier_purchases"]),
            ),
            strict=True,
        )
    )


def outcome(state: State | None, event: Event) -> bool | None:
    """What the event says of the session so far: bought, ended without, or (None) nothing yet."""
    if state is None:
        return None
    if is_new_session(state, event):
        return None if state["purchases"] else False
    return True if event["event_type"] == "purchase" else None
