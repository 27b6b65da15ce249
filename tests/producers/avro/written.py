"""Avro records as a shop's producer writes them, and a registry in memory that knows their schemas."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro

from producers.avro.wire import frame
from stream_app.schema_registry import RegisteredSchema, RegistryError

#: Segment's "Order Completed", as an Avro topic of such calls has it.
SEGMENT: dict[str, Any] = {
    "type": "record", "name": "Track", "namespace": "shop", "fields": [
        {"name": "type", "type": {"type": "enum", "name": "Call", "symbols": ["track", "page", "identify"]}},
        {"name": "event", "type": ["null", "string"], "default": None},
        {"name": "messageId", "type": "string"},
        {"name": "anonymousId", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "userId", "type": ["null", "string"], "default": None},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "properties", "type": {"type": "record", "name": "Properties", "fields": [
            {"name": "order_id", "type": ["null", "string"], "default": None},
            {"name": "currency", "type": ["null", "string"], "default": None},
            {"name": "products", "type": {"type": "array", "items": {
                "type": "record", "name": "Product", "fields": [
                    {"name": "product_id", "type": "string"},
                    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
                    {"name": "quantity", "type": "int"},
                ],
            }}, "default": []},
        ]}},
    ],
}  # fmt: skip

#: The kiosk of docs/formats.md, which takes a mapping file.
KIOSK: dict[str, Any] = {
    "type": "record", "name": "Kiosk", "fields": [
        {"name": "what", "type": "string"},
        {"name": "at", "type": "double"},
        {"name": "who", "type": {"type": "record", "name": "Who", "fields": [{"name": "cookie", "type": "string"}]}},
        {"name": "lines", "type": ["null", {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "sku", "type": "string"}, {"name": "cents", "type": "int"},
        ]}}], "default": None},
    ],
}  # fmt: skip


def body(schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    """The record without what says its schema."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return stream.getvalue()


def value(number: int, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """The record as it is on a topic."""
    return frame(number, body(schema, record))


def registered(schema: Any, *, kind: str = "AVRO", references: tuple[Any, ...] = ()) -> RegisteredSchema:
    return RegisteredSchema(kind, json.dumps(schema), tuple(json.dumps(each) for each in references))


class MemoryRegistry:
    """Knows what it was given, counts what it is asked, and is away when it is told to."""

    def __init__(self) -> None:
        self.schemas: dict[int, RegisteredSchema] = {}
        self.asked: list[int] = []
        self.away = False

    async def schema(self, number: int) -> RegisteredSchema | None:
        self.asked.append(number)
        if self.away:
            raise RegistryError("does not answer")
        return self.schemas.get(number)
