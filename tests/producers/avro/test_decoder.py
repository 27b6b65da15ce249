"""A record by its schema: values as JSON has them; broken bytes and dangerous schemas are refused in words."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.avro.decoder import DEPTH_MAX, Decoder, SchemaError
from stream_app.core.codec import Rejected
from tests.producers.avro.written import KIOSK, SEGMENT, body, registered

MOMENT = datetime.datetime(2026, 1, 31, 18, 30, 5, 250_000, tzinfo=datetime.UTC)


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields)}


def field(kind: Any) -> dict[str, Any]:
    return record({"name": "f", "type": kind})


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return field({"type": kind, "logicalType": name, **more})


def read(schema: dict[str, Any], value: dict[str, Any]) -> Any:
    return Decoder(registered(schema))(body(schema, value))


@pytest.mark.parametrize(
    ("schema", "given", "told"),
    [
        (logical("long", "timestamp-millis"), MOMENT, "2026-01-31T18:30:05.250000+00:00"),
        (logical("long", "timestamp-micros"), MOMENT, "2026-01-31T18:30:05.250000+00:00"),
        (logical("long", "local-timestamp-millis"), MOMENT.replace(tzinfo=None), "2026-01-31T18:30:05.250000"),
        (logical("int", "date"), MOMENT.date(), "2026-01-31"),
        (logical("int", "time-millis"), datetime.time(18, 30), "18:30:00"),
        (logical("bytes", "decimal", precision=9, scale=2), Decimal("9.99"), 9.99),
        (logical("string", "uuid"), UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (field("bytes"), "Grün".encode(), "Grün"),
        (field("bytes"), b"\xff", "\ufffd"),
        (field({"type": "map", "values": "long"}), {"a": 1}, {"a": 1}),
        (field({"type": "enum", "name": "E", "symbols": ["view", "buy"]}), "buy", "buy"),
        (field(["null", "double"]), 1.5, 1.5),
        (field("boolean"), True, True),
    ],
)
def test_values_are_as_json_has_them(schema: dict[str, Any], given: Any, told: Any) -> None:
    assert read(schema, {"f": given}) == {"f": told}


@pytest.mark.parametrize("given", [None, math.nan, math.inf, -math.inf])
def test_what_json_would_leave_out_is_left_out(given: float | None) -> None:
    inner = record({"name": "g", "type": ["null", "double"]})
    schema = {"type": "record", "name": "Outer", "fields": [{"name": "f", "type": inner}]}
    assert read(schema, {"f": {"g": given}}) == {"f": {}}


def test_bytes_that_are_not_of_the_schema_are_refused() -> None:
    good = body(KIOSK, {"what": "paid", "at": 1.5, "who": {"cookie": "k"}, "lines": [{"sku": "tea", "cents": 450}]})
    decode = Decoder(registered(KIOSK))
    assert not isinstance(decode(good), Rejected)
    for broken, words in (
        (good[:-1], "got bytes that are no Kiosk"),
        (b"", "got bytes that are no Kiosk"),
        (b"\xff" * 40, "got bytes that are no Kiosk"),
        (good + b"\x00\x00", "got 2 bytes behind a Kiosk, expected none: another schema's record?"),
    ):
        told = decode(broken)
        assert isinstance(told, Rejected)
        assert told.reason == "not_avro"
        assert words in told.detail


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(garbage: bytes) -> None:
    assert isinstance(Decoder(registered(SEGMENT))(garbage), dict | Rejected)


def test_a_schema_may_refer_to_others() -> None:
    who = {"type": "record", "name": "shop.Who", "fields": [{"name": "cookie", "type": "string"}]}
    visit = {"type": "record", "name": "shop.Visit", "fields": [{"name": "who", "type": "shop.Who"}]}
    whole = {**visit, "fields": [{"name": "who", "type": who}]}
    decode = Decoder(registered(visit, references=(who,)))
    assert decode(body(whole, {"who": {"cookie": "k-7"}})) == {"who": {"cookie": "k-7"}}


def deep(levels: int) -> Any:
    return {"type": "array", "items": deep(levels - 1)} if levels else "int"


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
EMPTY = {"type": "record", "name": "Empty", "fields": [{"name": "n", "type": "null"}]}


def within(number: int) -> dict[str, Any]:
    """A record of a list of lists of the record before it."""
    inner: Any = f"W{number - 1}" if number else "long"
    for _ in range(4):
        inner = {"type": "array", "items": inner}
    return {"type": "record", "name": f"W{number}", "fields": [{"name": "f", "type": inner}]}


def twice(number: int) -> dict[str, Any]:
    """A record of two of the record before it, and in the end of nothing."""
    inner = f"T{number - 1}" if number else "null"
    return {"type": "record", "name": f"T{number}", "fields": [{"name": f, "type": inner} for f in "ab"]}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        # Read as they come, 5,000 bytes of the first end the process, and nine of the second take all memory.
        (NODE, "Node is within itself"),
        (field({"type": "array", "items": "null"}), "lists of values that have no bytes"),
        (field({"type": "array", "items": EMPTY}), "lists of values that have no bytes"),
        # Each within the next, told one after the other: what each takes is known when the next one is looked at.
        (
            record(*[{"name": f"f{n}", "type": within(n)} for n in range(8)]),
            "types within types to more than 32 levels",
        ),
        (record(*[{"name": f"f{n}", "type": twice(n)} for n in range(12)]), "more than 256 values that have no bytes"),
        (record(*[{"name": f"f{n}", "type": "null"} for n in range(300)]), "more than 256 values that have no bytes"),
        (field({"type": "map", "values": NODE}), "Node is within itself"),
        (field(deep(DEPTH_MAX + 1)), "types within types to more than 32 levels"),
        ("string", "not of a record"),
        (["null", "string"], "not of a record"),
        (record({"name": "f", "type": "nowhere.Known"}), "none of Avro's"),
        ({"type": "record"}, "none of Avro's"),
        (7, "none of Avro's"),
    ],
)
def test_a_schema_that_cannot_be_read_safely_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Decoder(registered(schema))


def test_a_decimal_that_takes_seconds_to_read_is_refused() -> None:
    schema = record({"name": "f", "type": {"type": "bytes", "logicalType": "decimal", "precision": 700, "scale": 2}})
    decoder = Decoder(registered(schema))
    plain = record({"name": "f", "type": "bytes"})
    found = decoder(body(plain, {"f": b"\x7f" * 257}))
    assert isinstance(found, Rejected)
    assert "got a decimal of 257 bytes, expected at most 256" in found.detail
    # One that is beyond every number is as good as none.
    assert decoder(body(plain, {"f": b"\x7f" * 200})) == {"f": None}


def test_a_schema_of_another_kind_is_refused() -> None:
    with pytest.raises(SchemaError, match="got a schema of kind PROTOBUF, expected AVRO"):
        Decoder(registered({}, kind="PROTOBUF"))


def test_a_type_may_be_used_twice_and_be_nested() -> None:
    money = {"type": "record", "name": "Money", "fields": [{"name": "cents", "type": "long"}]}
    schema = record(
        {"name": "paid", "type": money},
        {"name": "off", "type": ["null", "Money"]},
        {"name": "all", "type": {"type": "array", "items": "Money"}},
        {"name": "deep", "type": deep(DEPTH_MAX - 2)},
    )
    told = read(schema, {"paid": {"cents": 1}, "off": {"cents": 2}, "all": [{"cents": 3}], "deep": []})
    assert told == {"paid": {"cents": 1}, "off": {"cents": 2}, "all": [{"cents": 3}], "deep": []}
