"""GA4's export to BigQuery: one row of an `events_` table, an event → its events.

Source: Google Analytics help, "BigQuery Export schema". Rows come as JSON lines (`bq extract` writes 64-bit numbers as
text) or as Parquet.

A row has no id of its own; it is derived from the whole row. Of the row nothing is read but what the table names: user
properties, user id (where there is a pseudonymous one), city, and ad ids are dropped.

GA4 leaves known robots out by itself, and its rows have no user agent. A shop that sends one to see what is left does
so in a parameter of its own, most often called `user_agent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from producers.adapters import ga4
from producers.adapters.result import Arrival, Record, Result, with_one_rejection
from producers.adapters.row import shown
from producers.adapters.table import Table, TimeAt, events_of, paths
from stream_app.core.codec import Rejected

NAME: Final = "ga4-bigquery"

#: One of these is set in a parameter's value.
_VALUES: Final = ("string_value", "int_value", "double_value", "float_value")

TABLE: Final = Table(
    name=NAME,
    type_at=paths("event_name"),
    types=ga4.TYPES,
    times=(TimeAt(("event_timestamp",), ga4.MICROSECONDS),),
    fields={
        "visitor_id": paths("user_pseudo_id", "user_id"),
        "session_id": paths("params.ga_session_id"),
        "order_id": paths("ecommerce.transaction_id", "params.transaction_id"),
        "currency": paths("params.currency"),
        "page_url": paths("params.page_location"),
        "referrer": paths("params.page_referrer"),
        "source": paths(
            "session_traffic_source_last_click.manual_campaign.source",
            "collected_traffic_source.manual_source",
            "params.source",
            "traffic_source.source",
        ),
        "country": paths("geo.country"),
        "device": paths("device.category"),
        "search_term": paths("params.search_term"),
    },
    user_agents=paths("params.user_agent"),
    item_fields=ga4.ITEM_FIELDS,
    items_at=paths("items"),
    total_at=paths("ecommerce.purchase_revenue", "ecommerce.refund_value", "params.value"),
    absent=ga4.ABSENT,
)


def to_events(row: Record, arrival: Arrival) -> list[Result]:
    """Convert one row."""
    params = _params(row.get("event_params"))
    if isinstance(params, Rejected):
        return [params]
    return with_one_rejection(events_of(TABLE, {**row, "params": params}, arrival, identity=row))


def _params(found: object) -> dict[str, Any] | Rejected:
    """The list of keys and typed values as a plain mapping."""
    if found is None:
        return {}
    if not isinstance(found, list):
        return Rejected("wrong_type", f"got event_params {shown(found)}, expected a list of key and value")
    params: dict[str, Any] = {}
    for n, param in enumerate(found):
        key = param.get("key") if isinstance(param, Mapping) else None
        value = param.get("value") if isinstance(param, Mapping) else None
        if not isinstance(key, str) or not (value is None or isinstance(value, Mapping)):
            return Rejected(
                "wrong_type", f"got event_params[{n}] {shown(param)}, expected a key and a value with string_value, …"
            )
        params[key] = next((value[kind] for kind in _VALUES if value.get(kind) is not None), None) if value else None
    return params
