"""JSON Schema (2020-12) of a type: what msgspec says of it, with each field's meaning, unit and further limits.

Unknown fields are allowed everywhere, since fields are added. `required` are the fields that the type has no default
for: every record of a topic has them, also those that an older version wrote.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from stream_app.core.features import FEATURES
from stream_app.schemas.fields import described

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: Prefix of references to the types within a document.
_DEFINITIONS: Final = "#/$defs/"

Schema = dict[str, Any]


def record_schema(kind: type[msgspec.Struct], *, name: str) -> Schema:
    """The whole document of one type; `name` is its identity: it stays while its fields are only added to."""
    types = definitions(kind, prefix=_DEFINITIONS)
    own = types.pop(kind.__name__)
    document = {"$schema": DIALECT, "$id": f"urn:stream-app:{name}", **own}
    return {**document, "$defs": types} if types else document


def definitions(kind: type[msgspec.Struct], *, prefix: str) -> dict[str, Schema]:
    """The schemas of a type and of all types within it, by name; references to them begin with `prefix`."""
    _, found = msgspec.json.schema_components([kind], ref_template=prefix + "{name}")
    return {name: _told(name, schema) for name, schema in found.items()}


def _told(name: str, schema: Schema) -> Schema:
    """With the docstring's indentation taken off and a line about each field."""
    told = {**schema, "description": inspect.cleandoc(schema["description"])}
    told["properties"] = {field: _field(name, field, given) for field, given in schema["properties"].items()}
    if not told["required"]:
        del told["required"]
    return told


def _field(name: str, field: str, given: Schema) -> Schema:
    line = described(name, field)
    if line is None:
        return given
    told: Schema = {"description": line.meaning}
    if line.unit:
        told["x-unit"] = line.unit
    if line.known:
        told["examples"] = list(line.known)
    if field == "features":
        given = _FEATURES
    return {**told, **_limited(given, dict(line.limits))}


def _limited(given: Schema, limits: Schema) -> Schema:
    """The limits where they apply: to the alternative that is a number or a text or an array, not to `null`."""
    if not limits:
        return given
    if "anyOf" not in given:
        return {**given, **limits}
    kinds = ["string"] if "pattern" in limits else ["integer", "number", "array"]
    return {
        **given,
        "anyOf": [{**each, **limits} if each.get("type") in kinds else each for each in given["anyOf"]],
    }


#: Not required, since a feature that is new is not in the records that an older version wrote.
_FEATURES: Final[Schema] = {
    "type": "object",
    "properties": {
        feature.name: {"description": feature.meaning, "x-unit": feature.unit, "type": "number"} for feature in FEATURES
    },
    "additionalProperties": {"type": "number"},
}
