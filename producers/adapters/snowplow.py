"""Snowplow's enriched events: the line of 131 columns (TSV), or the JSON that the analytics SDKs make of it → events.

Source: Snowplow documentation, "Understanding the enriched TSV format" and "Ecommerce events and entities"; Iglu
Central, `com.snowplowanalytics.snowplow.ecommerce`. What is understood: page views, the e-commerce action
with its entities (product, transaction, refund, checkout step), site search, the older add_to_cart and remove_from_cart
events, and the classic transaction columns. Other events (page pings, structured events, promotions …) are ignored.

A classic order is one event for the order and one for each item; only the items carry prices here, for together they
would count twice.

Whether a robot did it is told by the enrichments that look for one (`_ROBOTS`) and by the user agent, which is dropped.

Nothing but what the table names is read: IP address, place, user id (where there is an id of the browser) and all other
entities are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from producers.adapters.result import Arrival, Record, Result, with_one_rejection
from producers.adapters.row import shown
from producers.adapters.table import Table, TimeAt, events_of, paths
from producers.adapters.value import TimeForm
from stream_app.core.codec import Rejected

NAME: Final = "snowplow"

#: Columns of JSON text in a TSV line.
_JSON_COLUMNS: Final = ("contexts", "derived_contexts", "unstruct_event")

#: `iglu:com.example/cart_shared/jsonschema/1-0-0`: vendor and name.
_IGLU: Final = re.compile(r"iglu:([^/]{1,200})/([^/]{1,200})/[^/]{1,40}/\d{1,9}-\d{1,9}-\d{1,9}", re.ASCII)

#: `contexts_com_example_cart_1`, in loaders also `…_1_0_0`: prefix, vendor and name, version.
_SHREDDED: Final = re.compile(r"(contexts|unstruct_event)_(\w{1,400}?)_\d{1,9}(?:_\d{1,9}_\d{1,9})?", re.ASCII)

_VENDOR: Final = "com_snowplowanalytics_snowplow"
_ACTION: Final = f"{_VENDOR}_ecommerce_snowplow_ecommerce_action"

#: As a column of a loader may write it, too.
_YES: Final[frozenset[object]] = frozenset({True, "true"})

#: Entity → the name of its place in the prepared record, for the first of its kind.
_ENTITIES: Final = {
    f"{_VENDOR}_ecommerce_transaction": "transaction",
    f"{_VENDOR}_ecommerce_refund": "refund",
    f"{_VENDOR}_ecommerce_checkout_step": "step",
    f"{_VENDOR}_ecommerce_cart": "cart",
    f"{_VENDOR}_client_session": "session",
}

#: Entity → its fields, and what they say of a robot: Snowplow documentation, "Bot detection enrichment". Any of them
#: that says so is believed, none of them can say that it was a person.
_ROBOTS: Final[Mapping[str, Mapping[str, frozenset[object]]]] = {
    "com_iab_snowplow_spiders_and_robots": {"spiderOrRobot": _YES},
    "nl_basjes_yauaa_context": {
        "deviceClass": frozenset({"Robot", "Robot Mobile", "Robot Imitator"}),
        "agentClass": frozenset({"Robot", "Robot Mobile"}),
    },
}
#: How the entity of the enrichment that sums these up ends, and that of the tracker's plugin, `…_client_side_…`.
_BOT_DETECTION: Final = "_bot_detection"
_PRODUCT: Final = f"{_VENDOR}_ecommerce_product"

_ISO: Final = TimeForm("iso")

TABLE: Final = Table(
    name=NAME,
    type_at=paths("kind"),
    types={
        "page_view": "page_view",
        "screen_view": "page_view",
        "site_search": "search",
        "list_view": "view_item_list",
        "list_click": "select_item",
        "product_view": "view_item",
        "add_to_cart": "add_to_cart",
        "remove_from_cart": "remove_from_cart",
        "checkout_step": "begin_checkout",
        "checkout_step with delivery_method": "add_shipping_info",
        "checkout_step with payment_method": "add_payment_info",
        "transaction": "purchase",
        "classic transaction": "purchase",
        "classic transaction_item": "purchase",
        "refund": "refund",
    },
    times=tuple(
        TimeAt((name,), _ISO) for name in ("true_tstamp", "derived_tstamp", "collector_tstamp", "dvce_created_tstamp")
    ),
    fields={
        "event_id": paths("event_id"),
        "visitor_id": paths("domain_userid", "session.userId", "network_userid", "user_id"),
        "session_id": paths("domain_sessionid", "session.sessionId"),
        "item_id": paths("ti_sku"),
        "category": paths("ti_category"),
        "price": paths("ti_price"),
        "quantity": paths("ti_quantity"),
        "currency": paths("transaction.currency", "refund.currency", "ti_currency", "tr_currency", "cart.currency"),
        "order_id": paths("transaction.transaction_id", "refund.transaction_id", "tr_orderid", "ti_orderid"),
        "page_url": paths("page_url"),
        "referrer": paths("page_referrer"),
        "source": paths("mkt_source", "refr_source"),
        "country": paths("geo_country"),
        "device": paths("dvce_type", "dvce_ismobile"),
        "search_term": paths("search_terms"),
        "bot": paths("robot"),
    },
    user_agents=paths("useragent"),
    item_fields={
        "item_id": paths("id", "sku"),
        "category": paths("category"),
        "brand": paths("brand"),
        "price": paths("price", "unitPrice"),
        "quantity": paths("quantity"),
        "currency": paths("currency"),
    },
    items_at=paths("products"),
    total_at=paths("transaction.revenue", "refund.refund_amount"),
    words={"device": {"computer": "desktop", "1": "mobile", "0": "desktop", "true": "mobile", "false": "desktop"}},
)


def from_tsv(row: Mapping[str, str], arrival: Arrival) -> list[Result]:
    """Convert one line, by column name; empty columns are none."""
    record: dict[str, Any] = {name: value for name, value in row.items() if value}
    for name in _JSON_COLUMNS:
        if name in record:
            try:
                record[name] = msgspec.json.decode(record[name])
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                detail = f"got {name} {shown(record[name])} ({error}), expected JSON"
                return [Rejected("not_json", detail)]
    return to_events(record, arrival)


def to_events(record: Record, arrival: Arrival) -> list[Result]:
    """Convert one event, its entities given as self-describing JSON or as the SDKs name them."""
    scope: dict[str, Any] = {}
    what: tuple[str, Any] | None = None
    products: list[Any] = []
    for role, name, data in _described(record):
        if role == "unstruct_event":
            what = (name, data)
        elif name == _PRODUCT:
            products.append(data)
        elif _tells_of_robot(name, data):
            scope["robot"] = True
        elif name in _ENTITIES:
            scope.setdefault(_ENTITIES[name], data)
    kind = _kind(record, what, scope)
    if isinstance(kind, Rejected):
        return [kind]
    if what is not None and kind in ("add_to_cart", "remove_from_cart") and what[0] != _ACTION:
        products = [what[1]]  # the older events are their item
    terms = what[1].get("terms") if what is not None and kind == "site_search" else None
    if isinstance(terms, list):
        scope["search_terms"] = " ".join(term for term in terms if isinstance(term, str))
    scope |= {"kind": kind, "products": products}
    identity = record if not record.get("event_id") else None
    return with_one_rejection(events_of(TABLE, {**record, **scope}, arrival, identity=identity))


def _kind(record: Record, what: tuple[str, Any] | None, scope: Mapping[str, Any]) -> str | Rejected:
    """What happened, by one name, whichever way it was told."""
    event = record.get("event")
    if what is not None:
        name, data = what
        if not isinstance(data, Mapping):
            return Rejected("wrong_type", f"got {shown(data)} as data of {name}, expected an object")
        if name != _ACTION:
            return name.removeprefix(f"{_VENDOR}_")
        action = data.get("type")
        if not isinstance(action, str):
            return Rejected("wrong_type", f"got an e-commerce action of type {shown(action)}, expected its name")
        step = scope.get("step")
        if action == "checkout_step" and isinstance(step, Mapping):
            method = next((method for method in ("payment_method", "delivery_method") if step.get(method)), None)
            return f"{action} with {method}" if method else action
        return action
    if event in ("transaction", "transaction_item"):
        return f"classic {event}"
    told = event if event not in (None, "", "unstruct") else record.get("event_name") or event
    if not isinstance(told, str) or not told:
        got = "no event" if told is None else f"event {shown(told)}"
        return Rejected("missing_field", f"got {got}, expected page_view, unstruct or another kind")
    return told


def _tells_of_robot(entity: str, data: object) -> bool:
    fields = {"bot": _YES} if entity.endswith(_BOT_DETECTION) else _ROBOTS.get(entity)
    if fields is None or not isinstance(data, Mapping):
        return False
    return any(isinstance(data.get(name), str | bool) and data[name] in said for name, said in fields.items())


def _described(record: Record) -> Iterator[tuple[str, str, Any]]:
    """Each self-describing part: its role (contexts, unstruct_event), vendor and name in one, and its data."""
    for column in _JSON_COLUMNS:
        outer = record.get(column)
        if isinstance(outer, Mapping):
            inner = outer.get("data")
            role = "unstruct_event" if column == "unstruct_event" else "contexts"
            parts = inner if isinstance(inner, list) else [inner]
            for part in (part for part in parts if isinstance(part, Mapping)):
                schema = part.get("schema")
                match = _IGLU.fullmatch(schema) if isinstance(schema, str) else None
                if match is not None:
                    yield role, f"{match[1].replace('.', '_').lower()}_{_snake(match[2])}", part.get("data")
    for key, value in record.items():
        # Most keys are columns: a look at the beginning is quicker than the pattern.
        is_part = isinstance(key, str) and key.startswith(("contexts_", "unstruct_event_"))
        if is_part and (match := _SHREDDED.fullmatch(key)) is not None:
            for part in value if isinstance(value, list) else [value]:
                yield match[1], match[2], part


def _snake(name: str) -> str:
    return re.sub(r"([^A-Z_])([A-Z])", r"\1_\2", name).lower()
