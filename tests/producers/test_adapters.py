"""All adapters: whatever comes in, an answer; what a format can hold comes back as it was."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.adapters import snowplow
from producers.adapters.ga4 import ABSENT
from producers.adapters.result import MADE_MAX, Arrival, Ignored, Result, with_one_rejection
from producers.adapters.snowplow_columns import COLUMNS
from producers.adapters.table import PER_ITEM, Table, look
from producers.formats import FORMATS, HeaderError
from producers.mapping_file import mapped_format
from stream_app.core import codec
from stream_app.core.codec import DETAIL_LENGTH_MAX, REJECT_REASONS, Rejected
from stream_app.core.events import EVENT_TYPES, Event

NOW_MS = 1_893_456_000_000
ARRIVAL = Arrival(NOW_MS)

OWN = {
    "event_id": "id", "event_type": "what", "event_time": "at", "visitor_id": "who.cookie", "session_id": "who.visit",
    "item_id": "lines[].sku", "category": ["lines[].kind", "kind"], "price": "lines[].cents",
    "quantity": "lines[].pieces", "order_id": "order", "page_url": "url", "currency": "money", "price_unit": "minor",
    "time": {"unit": "microseconds"}, "types": {name.upper(): name for name in EVENT_TYPES},
}  # fmt: skip

TABLES: dict[str, Table] = {name: format.table for name, format in FORMATS.items() if format.table is not None}

#: What JSON may say where something else is expected.
ODD: list[Any] = [
    None, True, False, 0, -1, 17, 3.5, -0.0, 1e308, 10**18, 10**19, -(10**40), 10**400,
    "", " ", "x", "0", "-1", "12.50", "12,50", "nan", "1e400", "9" * 400, "\u0000", "é\u2028", "😀" * 300, "(not set)",
    "2026-02-30T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999-23:59", "2026-01-31T18:30:05Z",
    "1769884205250000", 1769884205250000, 1769884205.25, [], [[]], [None], ["a", 1, {}], {}, {"key": None},
    {"data": [{"schema": "iglu:a/b/jsonschema/1-0-0", "data": 1}]}, {"a": {"a": {"a": {"a": []}}}},
    [{"item_id": "r-1", "price": 1}], [{"id": 5, "price": "1", "quantity": 0}] * 3,
]  # fmt: skip
odd = st.sampled_from(ODD)


def assert_answer(results: list[Result]) -> None:
    assert sum(isinstance(result, Rejected) for result in results) <= 1
    for result in results:
        if isinstance(result, Rejected):
            assert result.reason in REJECT_REASONS
            assert 0 < len(result.detail) <= DETAIL_LENGTH_MAX
        elif isinstance(result, Event):
            assert codec.decode_event(codec.encode(result), record_time_ms=NOW_MS) == result


@st.composite
def records(draw: st.DrawFn, table: Table) -> dict[str, Any]:
    """Records with anything at the very places where the table looks."""
    known = [*table.types, "something else"]
    places = [path for paths in table.fields.values() for path in paths]
    places += [*table.type_at, *table.items_at, *table.total_at, *[time.path for time in table.times]]
    names = [place[0] for places in table.item_fields.values() for place in places]
    items = st.lists(st.dictionaries(st.sampled_from(names), odd, max_size=4), max_size=3)
    record: dict[str, Any] = {}
    for path, value in draw(st.lists(st.tuples(st.sampled_from(places), odd), max_size=8)):
        put(record, path, value)
    # More often than not what is needed is there, or nothing behind it would be looked at.
    if draw(st.booleans()):
        put(record, table.times[0].path, draw(st.sampled_from([1769884205250000, "2026-01-31T18:30:05Z"])))
        put(record, table.fields["visitor_id"][0], "v-1")
    put(record, table.type_at[0], draw(st.sampled_from(known)))
    if draw(st.booleans()):
        put(record, table.items_at[0], draw(items))
    return record


def put(record: dict[str, Any], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        inner = record.get(name)
        inner = dict(inner) if isinstance(inner, dict) else {}
        record[name] = inner
        record = inner
    record[path[-1]] = value


def wrapped(name: str, scope: dict[str, Any]) -> dict[str, Any]:
    """A prepared record back in the form that the adapter takes."""
    if name == "ga4":
        event = dict(scope.get("event") or {}) if isinstance(scope.get("event"), dict) else scope.get("event")
        if isinstance(event, dict):
            event["params"] = scope.get("params")
        return {**scope, "events": [event]}
    if name == "ga4-bigquery":
        params = scope.get("params")
        pairs = params.items() if isinstance(params, dict) else []
        return {**scope, "event_params": [{"key": key, "value": {"string_value": value}} for key, value in pairs]}
    if name == "segment":
        return {**scope, "type": "track", "event": scope.get("kind")}
    return scope


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_anything_at_the_places_that_are_read_is_answered(name: str, data: st.DataObject) -> None:
    record = wrapped(name, data.draw(records(TABLES[name])))
    assert_answer(FORMATS[name].results(json.dumps(record).encode(), ARRIVAL))
    assert_answer(FORMATS[name].adapt(record, ARRIVAL))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_anything_at_the_places_of_a_mapping_is_answered(data: st.DataObject) -> None:
    format = mapped_format(OWN, name="own")
    assert format.table is not None
    assert_answer(format.results(json.dumps(data.draw(records(format.table))).encode(), ARRIVAL))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=20, deadline=None)
@given(value=st.binary(max_size=60) | odd.map(lambda value: json.dumps(value).encode()))
def test_any_value_is_answered(name: str, value: bytes) -> None:
    assert_answer(FORMATS[name].results(value, ARRIVAL))
    assert_answer(FORMATS[name].results(value, ARRIVAL, headers=[("ce_specversion", b"1.0"), ("ce_id", value)]))


@settings(max_examples=20, deadline=None)
@given(columns=st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=30) | odd.map(json.dumps)))
def test_any_tsv_line_is_answered(columns: dict[str, str]) -> None:
    line = "\t".join(columns.get(name, "") for name in COLUMNS)
    assert_answer(FORMATS["snowplow"].results(line.encode(errors="replace"), ARRIVAL))
    assert_answer(snowplow.from_tsv(columns, ARRIVAL))


# Round trips: an event of ours in the words of a format, and back.

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text.lower() not in ABSENT
)
maybe = st.none() | names
times = st.integers(1_500_000_000_000, NOW_MS)


def events(*types: str) -> st.SearchStrategy[Event]:
    has_item = [event_type for event_type in types if event_type in PER_ITEM]
    cents = st.integers(0, 10**8).map(lambda cents: cents / 100)

    def event(event_type: str) -> st.SearchStrategy[Event]:
        item = event_type in has_item
        return st.builds(
            Event,
            event_id=names, event_type=st.just(event_type), event_time=times, visitor_id=names, session_id=maybe,
            item_id=names if item else st.none(), category=maybe, brand=maybe if item else st.none(),
            price=st.none() | cents if item else st.none(),
            quantity=st.none() | st.integers(0, 9).map(float) if item else st.none(),
            currency=maybe, order_id=maybe, page_url=maybe, referrer=maybe, source=maybe, country=maybe,
            search_term=names if event_type == "search" else st.none(),
        )  # fmt: skip

    return st.sampled_from(types).flatmap(event)


def without(event: Event, *fields: str) -> Event:
    return msgspec.structs.replace(event, **dict.fromkeys(fields))


def item_of(event: Event, **names: str) -> dict[str, Any]:
    item = {theirs: getattr(event, ours) for ours, theirs in names.items()}
    return {name: value for name, value in item.items() if value is not None}


def as_ga4(event: Event) -> dict[str, Any]:
    params = item_of(
        event, session_id="session_id", currency="currency", order_id="transaction_id", page_url="page_location",
        referrer="page_referrer", source="source", search_term="search_term",
    )  # fmt: skip
    item = item_of(
        event, item_id="item_id", category="item_category", brand="item_brand", price="price", quantity="quantity"
    )
    body = {"client_id": event.visitor_id, "timestamp_micros": int(event.event_time) * 1000, "user_location": {}}
    if event.country is not None:
        body["user_location"] = {"country_id": event.country}
    return {**body, "events": [{"name": event.event_type, "params": {**params, "items": [item] if item else []}}]}


def as_bigquery(event: Event) -> dict[str, Any]:
    body = as_ga4(event)
    params = body["events"][0]["params"]
    items = params.pop("items")
    params["ga_session_id"] = params.pop("session_id", None)
    return {
        "event_name": event.event_type,
        "event_timestamp": str(body["timestamp_micros"]),
        "event_params": [{"key": key, "value": {"string_value": value}} for key, value in params.items()],
        "user_pseudo_id": event.visitor_id,
        "geo": {"country": event.country},
        "items": items,
    }


_SEGMENT_NAMES = {
    ours: theirs for theirs, ours in reversed(TABLES["segment"].types.items()) if theirs not in ("page", "screen")
}


def as_segment(event: Event) -> dict[str, Any]:
    kind = {"type": "page"} if event.event_type == "page_view" else {"type": "track"}
    if event.event_type != "page_view":
        kind["event"] = _SEGMENT_NAMES[event.event_type].title()
    properties = item_of(
        event, item_id="product_id", category="category", brand="brand", price="price", quantity="quantity",
        order_id="order_id", currency="currency", search_term="query",
    )  # fmt: skip
    return {
        **kind,
        "messageId": event.event_id,
        "anonymousId": event.visitor_id,
        "timestamp": _iso(event),
        "properties": properties,
        "context": {
            "page": {"url": event.page_url, "referrer": event.referrer},
            "campaign": {"source": event.source},
            "location": {"country": event.country},
        },
    }


_SNOWPLOW_ACTIONS = {
    ours: theirs for theirs, ours in reversed(TABLES["snowplow"].types.items()) if "classic" not in theirs
} | {"begin_checkout": "checkout_step"}


def as_snowplow(event: Event) -> dict[str, Any]:
    prefix = "com_snowplowanalytics_snowplow_ecommerce"
    product = item_of(event, item_id="id", category="category", brand="brand", price="price", quantity="quantity")
    record = {
        "event_id": event.event_id, "derived_tstamp": _iso(event), "collector_tstamp": _iso(event),
        "domain_userid": event.visitor_id, "domain_sessionid": event.session_id, "event": "unstruct",
        f"unstruct_event_{prefix}_snowplow_ecommerce_action_1": {"type": _SNOWPLOW_ACTIONS[event.event_type]},
        "page_url": event.page_url, "page_referrer": event.referrer, "mkt_source": event.source,
        "geo_country": event.country,
    }  # fmt: skip
    if product:
        record[f"contexts_{prefix}_product_1"] = [product]
    if event.order_id is not None or event.currency is not None:
        told = {"transaction_id": event.order_id, "currency": event.currency}
        record[f"contexts_{prefix}_{'refund' if event.event_type == 'refund' else 'transaction'}_1"] = [told]
    if event.event_type == "page_view":
        record |= {"event": "page_view", f"unstruct_event_{prefix}_snowplow_ecommerce_action_1": []}
    return record


def as_cloudevent(event: Event) -> dict[str, Any]:
    envelope = {"specversion": "1.0", "id": "1", "source": "/test", "type": "test"}
    return {**envelope, "data_base64": base64.b64encode(codec.encode(event)).decode()}


def as_own(event: Event) -> dict[str, Any]:
    line = item_of(event, item_id="sku", category="kind", quantity="pieces")
    if event.price is not None:
        line["cents"] = round(event.price * 100)
    return {
        "id": event.event_id, "what": event.event_type.upper(), "at": int(event.event_time) * 1000,
        "who": {"cookie": event.visitor_id, "visit": event.session_id}, "lines": [line] if line else [],
        "order": event.order_id, "url": event.page_url, "money": event.currency,
    }  # fmt: skip


def _iso(event: Event) -> str:
    seconds, milliseconds = divmod(int(event.event_time), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


SHOPPING = ("view_item_list", "select_item", "view_item", "add_to_cart", "remove_from_cart", "purchase", "refund")

TRIPS: dict[str, tuple[tuple[str, ...], Callable[[Event], dict[str, Any]], tuple[str, ...]]] = {
    "canonical": (EVENT_TYPES, lambda event: json.loads(codec.encode(event)), ()),
    "cloudevents": (EVENT_TYPES, as_cloudevent, ()),
    "ga4": (("page_view", "search", "begin_checkout", *SHOPPING), as_ga4, ()),
    "ga4-bigquery": (("page_view", "search", "begin_checkout", *SHOPPING), as_bigquery, ()),
    "segment": (("page_view", "search", "begin_checkout", "add_to_wishlist", *SHOPPING), as_segment, ("session_id",)),
    "snowplow": (("begin_checkout", *SHOPPING), as_snowplow, ()),
    "own": (EVENT_TYPES, as_own, ("referrer", "source", "country", "search_term", "brand")),
}


@pytest.mark.parametrize("name", TRIPS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_a_format_can_hold_comes_back_as_it_was(name: str, data: st.DataObject) -> None:
    types, write, lost = TRIPS[name]
    event = without(data.draw(events(*types)), *lost)
    if name.startswith("ga4"):
        event.event_id = ""  # derived
    format = mapped_format(OWN, name="own") if name == "own" else FORMATS[name]
    (result,) = format.results(json.dumps(write(event)).encode(), ARRIVAL)
    if name.startswith("ga4") and isinstance(result, Event):
        result.event_id = ""
    assert result == event


def test_without_a_time_the_arrival_is_the_time() -> None:
    body = json.dumps({"client_id": "c-1", "events": [{"name": "page_view"}]}).encode()
    (event,) = FORMATS["ga4"].results(body, Arrival(NOW_MS, received_ms=NOW_MS - 5))
    assert isinstance(event, Event)
    assert event.event_time == NOW_MS - 5
    (later,) = FORMATS["ga4"].results(body, Arrival(NOW_MS, received_ms=NOW_MS - 4))
    assert isinstance(later, Event)
    assert event.event_id != later.event_id  # the same click twice is two events


def test_events_that_are_alike_in_one_body_are_told_apart() -> None:
    event = {"name": "page_view", "params": {}}
    body = {"client_id": "c-1", "timestamp_micros": 1769884205250000, "events": [event, event]}
    first, second = FORMATS["ga4"].results(json.dumps(body).encode(), ARRIVAL)
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert first.event_id != second.event_id


def test_the_binary_form_of_a_cloudevent_has_its_attributes_in_headers() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/web"), ("ce_type", b"seen")]
    timed = [*headers, ("ce_time", b"2026-01-31T18:30:05.250Z"), ("content-type", b"application/json")]
    value = b'{"event_type":"page_view","visitor_id":"v-1"}'
    (event,) = FORMATS["cloudevents"].results(value, ARRIVAL, headers=timed)
    assert isinstance(event, Event)
    assert (event.event_type, event.event_time, event.visitor_id) == ("page_view", 1_769_884_205_250, "v-1")
    structured = {"specversion": "1.0", "id": "7", "source": "/web", "type": "seen", "time": "2026-01-31T18:30:05.250Z"}
    value = json.dumps({**structured, "data": json.loads(value)}).encode()
    assert FORMATS["cloudevents"].results(value, ARRIVAL) == [event]
    (rejected,) = FORMATS["cloudevents"].results(b"<seen/>", ARRIVAL, headers=timed)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "not_json"


def test_several_rejections_are_one_that_says_what_was_accepted() -> None:
    event = Event(event_id="e", event_type="page_view", event_time=NOW_MS, visitor_id="v")
    first, second = Rejected("wrong_type", "got 1"), Rejected("bad_row", "got 2")
    assert with_one_rejection([event, first, Ignored("x"), second]) == [
        event,
        Rejected("wrong_type", "got 1 (and 1 more); 1 event of the record was accepted"),
        Ignored("x"),
    ]


def test_too_many_items_events_or_calls_are_refused() -> None:
    item = {"item_id": "r-1"}
    body = {"client_id": "c", "timestamp_micros": 1769884205250000}
    for events_ in ([{"name": "view_item", "params": {"items": [item] * 201}}], [{"name": "page_view"}] * 51):
        (result,) = FORMATS["ga4"].results(json.dumps({**body, "events": events_}).encode(), ARRIVAL)
        assert isinstance(result, Rejected)
        assert "expected at most" in result.detail


def test_personal_data_is_in_no_event() -> None:
    """Every value of the golden files that is personal: none of it may be in what is sent."""
    from tests.producers.test_golden import FILES, GOLDEN, read

    personal = ("jo@example.org", "203.0.113.7", "Mozilla", "Berlin", "traits", "user_properties")
    for name in FILES:
        rows, _ = read(GOLDEN / name, FILES[name][0])
        sent = b"".join(codec.encode(row.result) for row in rows if isinstance(row.result, Event)).decode()
        assert [word for word in personal if word in sent] == []


def test_a_place_may_be_in_a_list() -> None:
    assert look({"a": [{"b": 1}, {"b": 2}]}, [("a", "1", "b")]) == 2
    assert look({"a": [1]}, [("a", "7"), ("a", "x"), ("a", "0")]) == 1


def test_records_that_do_not_fit_in_columns_have_no_header() -> None:
    with pytest.raises(HeaderError, match="expected JSON: records of ga4 do not fit in columns"):
        FORMATS["ga4"].delimited_parser(b"events,client_id", ARRIVAL)


# ---- what somebody might send on purpose ---------------------------------------------------------------------------


def _within(depth: int, inside: str) -> bytes:
    """A record of a format with a value nested so deeply: as its type, in what it says, and without an id."""
    template = {
        "type": '{"type":DEEP}',
        "params": '{"client_id":"c","events":[{"name":"page_view","params":{"page_location":"/","x":DEEP}}]}',
        # An integer that takes the slow way to an id.
        "properties": '{"type":"track","event":"Product Viewed","anonymousId":"v","timestamp":"2029-01-01T00:00:00Z",'
        '"properties":{"n":1180591620717411303424,"x":DEEP}}',
        "data": '{"specversion":"1.0","id":"1","source":"/","type":"ga4","data":{"client_id":"c","events":DEEP}}',
    }[inside]
    return template.replace("DEEP", "[" * depth + "]" * depth).encode()


@pytest.mark.parametrize("name", ["segment", "ga4", "cloudevents", "snowplow", "rees46"])
@pytest.mark.parametrize("inside", ["type", "params", "properties", "data"])
def test_nothing_is_nested_so_deeply_that_it_raises(name: str, inside: str) -> None:
    # The last level that can be decoded is one that nobody can look into any more: each level is tried.
    limit = sys.getrecursionlimit()
    for depth in (*range(limit - 150, limit + 20), 5_000):
        raw = _within(depth, inside)
        for results in (FORMATS[name].results(raw, ARRIVAL), FORMATS[name].json_parser(ARRIVAL)(raw)):
            (result,) = with_one_rejection(results)
            assert isinstance(result, Rejected | Ignored | Event)


def test_a_record_does_not_come_to_more_events_than_the_bound() -> None:
    products = [{"product_id": str(n)} for n in range(100)]
    call = {
        "type": "track", "event": "Product Viewed", "anonymousId": "v", "timestamp": "2029-01-01T00:00:00Z",
        "properties": {"products": products},
    }  # fmt: skip
    of = MADE_MAX // 100
    assert len(_segment([call] * of)) == MADE_MAX
    (refused,) = _segment([call] * (of + 1))
    assert isinstance(refused, Rejected)
    assert refused.reason == "too_large"
    event = {"name": "view_item", "params": {"items": [{"item_id": str(n)} for n in range(200)]}}
    (refused,) = FORMATS["ga4"].results(
        msgspec.json.encode({"client_id": "c", "timestamp_micros": NOW_MS * 1000, "events": [event] * 11}), ARRIVAL
    )
    assert isinstance(refused, Rejected)
    assert refused.reason == "too_large"


def _segment(calls: list[dict[str, Any]]) -> list[Result]:
    return FORMATS["segment"].results(msgspec.json.encode({"batch": calls}), ARRIVAL)
