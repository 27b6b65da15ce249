"""Avro schemas of the records, made from the types as their JSON Schemas are, and a record's JSON as Avro has it.

What differs from JSON: what may be left out is null; `features` is a map; a pair such as a reason and its contribution
is a record, as Avro has no tuples; times stay whole numbers of milliseconds, as −1 says "not known" in some. Texts with
a few values stay texts, since a new value would break Avro's enumerations.

Every field that has a default in the type has one here, which is what lets one be added: docs/records.md.

Source: Apache Avro 1.12 Specification, "Schema Declaration".
"""

from __future__ import annotations

import inspect
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import inspect as types

from stream_app.schemas.catalogue import RECORDS, Direction
from stream_app.schemas.documents import as_text
from stream_app.schemas.fields import described

NAMESPACE: Final = "stream_app"

Schema = dict[str, Any]

Level = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]

#: What a registry is to hold versions to, as docs/records.md says: we read all that shops wrote; who reads what we
#: write meets old and new records, with an old or a new schema.
LEVELS: Final[dict[Direction, Level]] = {"in": "BACKWARD_TRANSITIVE", "out": "FULL_TRANSITIVE"}

#: Pairs that are lists in JSON, by the field that they are in: their name as a record, and the names of their parts.
_PAIRS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "reasons": ("Reason", ("id", "contribution")),
    "levels": ("Level", ("percent", "probability")),
}

_PLAIN: Final[dict[type, str]] = {
    types.StrType: "string", types.IntType: "long", types.FloatType: "double", types.BoolType: "boolean",
    types.NoneType: "null", types.LiteralType: "string",
}  # fmt: skip


class AvroRecord(NamedTuple):
    """A record's schema by the name of its topic, and what the registry is to hold its versions to."""

    topic: str
    direction: Direction
    schema: Schema

    @property
    def level(self) -> Level:
        """The compatibility level."""
        return LEVELS[self.direction]


def avro_records() -> list[AvroRecord]:
    """All records that have a value of ours, in the order of the catalogue."""
    return [
        AvroRecord(record.topic, record.direction, avro_schema(record.value))
        for record in RECORDS
        if record.value is not None
    ]


def avro_documents() -> dict[str, str]:
    """Every file's text by its name."""
    return {f"{record.topic}.avsc": as_text(record.schema) for record in avro_records()}


def avro_schema(kind: type[msgspec.Struct]) -> Schema:
    """The schema of a type, with those within it where they are met first."""
    schema: Schema = _Writer().struct(kind)
    return schema


def as_avro(schema: Any, value: Any) -> Any:
    """A value of a record's decoded JSON as its Avro schema has it; what is left out gets its default."""
    if isinstance(schema, list):
        return None if value is None else as_avro(schema[1], value)
    if not isinstance(schema, dict):
        return value
    if schema["type"] == "record":
        fields = schema["fields"]
        if isinstance(value, list):
            value = {field["name"]: part for field, part in zip(fields, value, strict=True)}
        return {
            field["name"]: as_avro(field["type"], value.get(field["name"], field.get("default"))) for field in fields
        }
    if schema["type"] == "array":
        return [as_avro(schema["items"], each) for each in value]
    return value


class _Writer:
    def __init__(self) -> None:
        #: Avro defines a type once, and names it after that
        self._written: set[str] = set()

    def struct(self, kind: type[msgspec.Struct]) -> Any:
        name = kind.__name__
        if name in self._written:
            return f"{NAMESPACE}.{name}"
        self._written.add(name)
        told = types.type_info(kind)
        assert isinstance(told, types.StructType)
        schema: Schema = {"type": "record", "name": name}
        if len(self._written) == 1:
            schema["namespace"] = NAMESPACE
        schema["doc"] = inspect.cleandoc(kind.__doc__ or "")
        return {**schema, "fields": [self._field(name, field) for field in told.fields]}

    def _field(self, record: str, field: types.Field) -> Schema:
        schema = {"name": field.encode_name, "type": self._type(field.encode_name, field.type)}
        line = described(record, field.encode_name)
        if line is not None:
            schema["doc"] = f"{line.meaning}{f' ({line.unit})' if line.unit else ''}"
        if field.required:
            return schema
        made = field.default_factory
        default = field.default if made is msgspec.NODEFAULT else made()
        if default in (msgspec.NODEFAULT, msgspec.UNSET, None):
            return {**schema, "type": _or_null(schema["type"]), "default": None}
        if isinstance(default, tuple):
            default = list(default)
        return {**schema, "default": default}

    def _type(self, field: str, told: types.Type) -> Any:
        if isinstance(told, types.Metadata):
            return self._type(field, told.type)
        if (plain := _PLAIN.get(type(told))) is not None:
            return plain
        if isinstance(told, types.StructType):
            return self.struct(told.cls)
        if isinstance(told, types.ListType):
            return {"type": "array", "items": self._type(field, told.item_type)}
        if isinstance(told, types.TupleType):
            return self._tuple(field, told)
        if isinstance(told, types.UnionType):
            return self._union(field, told)
        if field == "features":
            return {"type": "map", "values": "double"}
        raise TypeError(f"got {field} of {told}, expected a type that has its like in Avro: say it in this file")

    def _tuple(self, field: str, told: types.TupleType) -> Any:
        if field in _PAIRS:
            name, parts = _PAIRS[field]
            fields = [
                {"name": part, "type": self._type(field, each)}
                for part, each in zip(parts, told.item_types, strict=True)
            ]
            return {"type": "record", "name": name, "fields": fields}
        (kind,) = {self._type(field, each) for each in told.item_types}
        return {"type": "array", "items": kind}

    def _union(self, field: str, told: types.UnionType) -> Any:
        # A time may be text on the wire; whoever has a schema has no need of it.
        kinds = [each for each in told.types if not isinstance(_bare(each), types.NoneType | types.DateTimeType)]
        (kind,) = kinds
        found = self._type(field, kind)
        return _or_null(found) if told.includes_none else found


def _bare(told: types.Type) -> types.Type:
    return _bare(told.type) if isinstance(told, types.Metadata) else told


def _or_null(schema: Any) -> Any:
    return schema if isinstance(schema, list) else ["null", schema]
