"""What is in an Avro record goes the way that the same record as JSON goes: recognised, or by a mapping file."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producers.adapters.result import Arrival, Ignored, Result
from producers.avro.decoder import Decoder
from producers.avro.envelope import avro_format
from producers.avro.wire import frame
from producers.formats import FORMATS, Format
from producers.mapping_file import read_mapping
from stream_app.core.codec import Rejected
from stream_app.core.events import Event
from stream_app.schemas.avro import as_avro, avro_schema
from tests.ingest.raw import NOW_MS, TIME_MS
from tests.producers.avro.written import KIOSK, SEGMENT, body, registered

MOMENT = datetime.datetime.fromtimestamp(TIME_MS / 1000, datetime.UTC)
VISITOR = UUID(int=5)
ORDER: dict[str, Any] = {
    "type": "track", "event": "Order Completed", "messageId": "m-1", "anonymousId": VISITOR, "userId": None,
    "timestamp": MOMENT, "properties": {"order_id": "o-1", "currency": "EUR", "products": [
        {"product_id": "tea", "price": Decimal("4.50"), "quantity": 2},
        {"product_id": "cup", "price": Decimal("12.00"), "quantity": 1},
    ]},
}  # fmt: skip


def results(schema: dict[str, Any], record: dict[str, Any], inner: Format | None = None) -> list[Result]:
    format = avro_format(inner, {1: Decoder(registered(schema))})
    return format.results(frame(1, body(schema, record)), Arrival(NOW_MS))


def as_json(format: Format, record: dict[str, Any]) -> list[Result]:
    return format.results(json.dumps(record).encode(), Arrival(NOW_MS))


def test_a_call_of_segment_is_what_it_is_as_json() -> None:
    found = results(SEGMENT, ORDER)
    properties = {**ORDER["properties"], "products": [
        {"product_id": "tea", "price": 4.5, "quantity": 2}, {"product_id": "cup", "price": 12.0, "quantity": 1},
    ]}  # fmt: skip
    told = {**ORDER, "anonymousId": str(VISITOR), "timestamp": MOMENT.isoformat(), "properties": properties}
    del told["userId"]
    assert found == as_json(FORMATS["segment"], told)
    assert [(event.event_id, event.item_id, event.price) for event in found if isinstance(event, Event)] == [
        ("m-1", "tea", 4.5), ("m-1-1", "cup", 12.0),
    ]  # fmt: skip


def test_a_field_that_is_null_is_one_that_its_format_has() -> None:
    """A view has no transaction, and is a record of that shop all the same."""
    view = {"timestamp": 1_433_221_332_117, "visitorid": "257597", "event": "view", "itemid": "355908"}
    fields = [
        {"name": "timestamp", "type": "long"},
        *({"name": n, "type": "string"} for n in ("visitorid", "event", "itemid")),
    ]
    nullable = {"name": "transactionid", "type": ["null", "string"]}
    schema = {"type": "record", "name": "View", "fields": [*fields, nullable]}
    (found,) = results(schema, {**view, "transactionid": None})
    assert isinstance(found, Event), found
    assert [found] == as_json(FORMATS["retailrocket"], {**view, "transactionid": None})


def test_what_no_visit_is_made_of_is_ignored() -> None:
    (found,) = results(SEGMENT, {**ORDER, "type": "identify"})
    assert isinstance(found, Ignored)


@pytest.mark.parametrize("time", [TIME_MS, {"type": "long", "logicalType": "timestamp-millis"}])
def test_our_own_events_by_our_own_schema_or_with_a_moment(time: Any) -> None:
    told = {"event_id": "e-1", "event_type": "view_item", "event_time": TIME_MS, "visitor_id": "v", "price": 4.5}
    schema = avro_schema(Event)
    record = as_avro(schema, told)
    if isinstance(time, dict):
        (field,) = [field for field in schema["fields"] if field["name"] == "event_time"]
        field["type"], record["event_time"] = time, MOMENT
    assert results(schema, record) == as_json(FORMATS["canonical"], told)


def test_a_mapping_file_reads_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "kiosk.toml").write_text(
        'event_type = "what"\nevent_time = "at"\nvisitor_id = "who.cookie"\nitem_id = "lines[].sku"\n'
        'price = "lines[].cents"\nprice_unit = "minor"\ntime = { unit = "seconds" }\n'
        'types = { looked = "view_item", paid = "purchase" }\n'
    )
    mapping = read_mapping(tmp_path / "kiosk.toml")
    paid = {"what": "paid", "at": 1769884225.5, "who": {"cookie": "k-7"}, "lines": [{"sku": "tea", "cents": 1650}]}
    assert results(KIOSK, paid, mapping) == as_json(mapping, paid)
    (event,) = results(KIOSK, paid, mapping)
    assert isinstance(event, Event)
    assert (event.event_type, event.visitor_id, event.price) == ("purchase", "k-7", 16.5)
    (pulse,) = results(KIOSK, {**paid, "what": "pulse", "lines": None}, mapping)
    assert isinstance(pulse, Rejected)


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b'{"event_id":"e"}', "not_avro", "as JSON has"),
        (frame(1, b"\x02"), "not_avro", "no Kiosk"),
        (frame(2, b""), "unknown_schema", "schema 2"),
        (frame(1, body(KIOSK, {"what": "x", "at": 0.0, "who": {"cookie": "k"}})), "invalid_value",
         "got an object with at, lines, what, who, expected an event of one of the known formats"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(value: bytes, reason: str, words: str) -> None:
    decoders = {1: Decoder(registered(KIOSK)), 2: Rejected("unknown_schema", "got a record of schema 2")}
    (found,) = avro_format(None, decoders).results(value, Arrival(NOW_MS))
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert words in found.detail
