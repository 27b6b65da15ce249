"""One registered Avro schema: bodies that were written with it → records with values as JSON has them.

A record is read by the schema that it was written with, which is all that is needed: formats and mappings find what
they look for by name, so that a field that was added later is passed over, and one that is not there yet is missing.

Values that JSON has no word for become what other formats have in their place: moments RFC 3339 text (of a local
timestamp without a zone), dates and times text, decimals numbers, UUIDs text, bytes text in UTF-8. What is NaN
or infinite is null. Fields of the record that are null are there, for its format is told by their names; those of what
it holds are left out.
"""

from __future__ import annotations

import datetime
import io
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from producers.adapters.row import shown
from stream_app.core.codec import Rejected
from stream_app.schema_registry import RegisteredSchema

#: Types within types. Readers recurse: a list of lists of … would end in a crash of the process, not in an error.
DEPTH_MAX: Final = 32

#: Values that take no bytes: they cost memory all the same, and a record of records of them has any number.
EMPTY_MAX: Final = 256

#: Of a decimal: 600 digits. What turns it into one takes time by the square of its length.
_DECIMAL_BYTES_MAX: Final = 256

#: Most of what a record has.
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
_MOMENTS: Final = (datetime.datetime, datetime.date, datetime.time)


_read_decimal: Final = fastavro.read.LOGICAL_READERS["bytes-decimal"]


def _short_decimal(data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Any:
    if len(data) > _DECIMAL_BYTES_MAX:
        raise ValueError(f"got a decimal of {len(data)} bytes, expected at most {_DECIMAL_BYTES_MAX}")
    return _read_decimal(data, writer_schema, reader_schema)


# Of the whole process: the library knows no other way, and nobody else here reads Avro.
fastavro.read.LOGICAL_READERS["bytes-decimal"] = _short_decimal


class SchemaError(ValueError):
    """Records of this schema cannot be read; the text says why."""


class Decoder:
    """Reads records of one schema.

    Raises
    ------
    SchemaError
        If it is none of Avro's, not of a record, or one whose records take more than their bytes to read: a type within
        itself, or lists of nothing.
    """

    def __init__(self, schema: RegisteredSchema) -> None:
        if schema.kind != "AVRO":
            raise SchemaError(f"got a schema of kind {schema.kind}, expected AVRO")
        try:
            named: dict[str, Any] = {}
            for text in schema.references:
                fastavro.parse_schema(json.loads(text), named_schemas=named)
            self._schema = fastavro.parse_schema(json.loads(schema.text), named_schemas=named)
        except (ValueError, TypeError, KeyError, RecursionError, SchemaParseException, UnknownType) as error:
            raise SchemaError(f"got a schema that is none of Avro's ({type(error).__name__}: {error})") from None
        if not isinstance(self._schema, dict) or self._schema.get("type") not in ("record", "error"):
            raise SchemaError("got a schema that is not of a record, expected one of a record")
        _Reading(named).size(self._schema, ())
        self.name = str(self._schema["name"])

    def __call__(self, body: bytes) -> dict[str, Any] | Rejected:
        """The record, or why it is none. Never raises."""
        stream = io.BytesIO(body)
        try:
            found = fastavro.schemaless_reader(stream, self._schema, None)
        except MemoryError:
            raise
        except Exception as error:  # whatever a reader of bytes stumbles over: the bytes are not what they should be
            return Rejected("not_avro", f"got bytes that are no {self.name} ({type(error).__name__}: {error})"[:300])
        if rest := len(body) - stream.tell():
            return Rejected(
                "not_avro", f"got {rest} bytes behind a {self.name}, expected none: another schema's record?"
            )
        if not isinstance(found, dict):
            return Rejected("not_avro", f"got {shown(found)}, expected a record")
        return {name: _as_json(inner) for name, inner in found.items()}


class _Size(NamedTuple):
    """Of the values of a type: at least so many bytes, so many types within types, so many values without bytes."""

    bytes: int
    height: int = 0
    empties: int = 0


class _Reading:
    """What reading values of a schema takes, told before any is read."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._sizes: dict[str, _Size] = {}

    def size(self, schema: Any, within: Sequence[str]) -> _Size:
        """What its values take; `within` are the types around it."""
        found = self._size(schema, within)
        if len(within) + found.height > DEPTH_MAX:
            raise SchemaError(f"got a schema with types within types to more than {DEPTH_MAX} levels, expected fewer")
        if found.empties > EMPTY_MAX:
            raise SchemaError(f"got a schema with more than {EMPTY_MAX} values that have no bytes, expected fewer")
        return found

    def _size(self, schema: Any, within: Sequence[str]) -> _Size:
        if len(within) > DEPTH_MAX:
            return _Size(0, 1)
        if isinstance(schema, list):
            sizes = [self.size(each, (*within, "")) for each in schema]
            empties = max((each.empties for each in sizes), default=0)
            return _Size(1, 1 + max((each.height for each in sizes), default=0), empties)  # which of them it is
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.size(kind, within)
        if isinstance(schema, str) and schema in self._named:
            return self._of_name(schema, within)
        if kind in ("record", "error"):
            return self._of_name(schema["name"], within, schema)
        if kind == "fixed":
            return _Size(int(schema["size"]), empties=int(schema["size"] == 0))
        if kind in ("array", "map"):
            inner = self.size(schema["items" if kind == "array" else "values"], (*within, ""))
            if kind == "array" and inner.bytes == 0:
                # A count of 2⁶² in nine bytes, and as many empty values in memory.
                raise SchemaError("got a schema with lists of values that have no bytes, expected none")
            return _Size(1, 1 + inner.height, inner.empties)
        return _Size(0, empties=1) if kind == "null" else _Size(1)

    def _of_name(self, name: str, within: Sequence[str], schema: Any = None) -> _Size:
        if name in within:
            # As deep as a record's bytes allow, and readers recurse.
            raise SchemaError(f"got a schema in which {name} is within itself, expected none: it has no greatest depth")
        if name not in self._sizes:
            found = self._named[name] if schema is None else schema
            if found["type"] in ("record", "error"):
                sizes = [self.size(field["type"], (*within, name)) for field in found["fields"]]
                taken = sum(each.bytes for each in sizes)
                empties = sum(each.empties for each in sizes) + (taken == 0)
                self._sizes[name] = _Size(taken, 1 + max((each.height for each in sizes), default=0), empties)
            else:
                self._sizes[name] = self.size(found, within)
        return self._sizes[name]


def _as_json(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict:
        return {name: told for name, inner in value.items() if (told := _as_json(inner)) is not None}
    if kind is list:
        return [_as_json(inner) for inner in value]
    if kind is bytes:
        return value.decode(errors="replace")  # as of Parquet: most often a text that is not marked as such
    if kind is Decimal:
        return _as_json(float(value))
    if kind is UUID:
        return str(value)
    return value.isoformat() if isinstance(value, _MOMENTS) else value
