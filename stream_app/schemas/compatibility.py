"""What became of a record since the last release that would break who writes or reads it, in words.

Whoever writes a record that we read (`in`) must be able to go on as before: we accept all that we accepted. Who reads
what we write (`out`) meets old and new records in one topic, with an old or a new reader: there, no value may become
possible or impossible. In both, fields are added with a default, and none goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stream_app.schemas.catalogue import Direction

Schema = dict[str, Any]

_V2: Final = "keep it as it was, or write a v2 topic beside this one (docs/records.md)"
_DEFAULT: Final = "give it a default: records of older versions lack it (docs/records.md)"

#: Of a value: keyword → whether a greater one allows less.
_BOUNDS: Final = {
    "minimum": True, "exclusiveMinimum": True, "minLength": True, "minItems": True,
    "maximum": False, "exclusiveMaximum": False, "maxLength": False, "maxItems": False,
}  # fmt: skip
_NAMES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}


def breaks(old: Schema, new: Schema, *, direction: Direction) -> list[str]:
    """One line for each thing that breaks: the field's path, what became of it, what to do. Empty if nothing does."""
    return list(_Comparison(old, new, direction).objects(old, new, ""))


class _Comparison:
    def __init__(self, old: Schema, new: Schema, direction: Direction) -> None:
        self._old, self._new = old.get("$defs", {}), new.get("$defs", {})
        self._both_ways = direction == "out"

    def objects(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        was, now = old.get("properties", {}), new.get("properties", {})
        for name in was:
            if name in now:
                yield from self._values(was[name], now[name], f"{path}{name}")
            else:
                yield f"{path}{name}: was removed or renamed; {_V2}"
        required, before = set(new.get("required", ())), set(old.get("required", ()))
        for name in sorted(required - before):
            yield f"{path}{name}: is required now; {_DEFAULT}"
        for name in sorted(before - required) if self._both_ways else ():
            if name in now:
                yield f"{path}{name}: may be missing now, and readers count on it; {_V2}"

    def _values(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        was, now = _kinds(old, self._old), _kinds(new, self._new)
        for kind, one in was.items():
            other = now.get(kind) or (now.get("number") if kind == "integer" else None)
            if "any" in now:
                continue
            if other is None:
                yield f"{path}: can be no {kind} any more; {_V2}"
            else:
                yield from self._limits(one, other, path)
        if self._both_ways and "any" not in was:
            for kind in now:
                if kind not in was and not (kind == "integer" and "number" in was):
                    yield f"{path}: can be {kind} now, which readers do not expect; {_V2}"

    def _limits(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        for what in _narrowed(old, new):
            yield f"{path}: {what}: not all that was possible is; {_V2}"
        if self._both_ways:
            for what in _narrowed(new, old):
                yield f"{path}: {what}: more is possible than readers expect; {_V2}"
        if "properties" in old or "properties" in new:
            yield from self.objects(old, new, f"{path}.")
        olds, news = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(olds) != len(news):
            yield f"{path}: had {len(olds)} parts, has {len(news)}; {_V2}"
        for n, (one, other) in enumerate(zip(olds, news, strict=False)):
            yield from self._values(one, other, f"{path}[{n}]")
        for keyword, within in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
                yield from self._values(old[keyword], new[keyword], path + within)


def _kinds(schema: Schema, types: dict[str, Schema]) -> dict[str, Schema]:
    """The alternatives by JSON type; `any` for a schema that says nothing."""
    found: dict[str, Schema] = {}
    for each in schema.get("anyOf", [schema]):
        known = {**types[each["$ref"].rpartition("/")[2]], **each} if "$ref" in each else each
        values = known.get("enum", [])
        kind = known.get("type") or (_NAMES[type(values[0])] if values else "any")
        found[kind] = known
    return found


def _narrowed(old: Schema, new: Schema) -> Iterator[str]:
    """The keywords by which the new one allows less than the old one."""
    for keyword, greater_is_less in _BOUNDS.items():
        was, now = old.get(keyword), new.get(keyword)
        if now is not None and (was is None or (now > was if greater_is_less else now < was)):
            yield f"{keyword} {was} → {now}"
    for keyword in ("pattern", "format"):
        if keyword in new and new[keyword] != old.get(keyword):
            yield f"{keyword} {old.get(keyword)} → {new[keyword]}"
    if "enum" in new:
        gone = [value for value in old.get("enum", ["any other"]) if value not in new["enum"]]
        if gone:
            yield f"enum without {', '.join(map(str, gone))}"
