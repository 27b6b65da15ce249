"""A mapping file: one's own format, told in a few lines of TOML, as a `Format`.

    event_type = "what"
    event_time = "at"
    visitor_id = "who.cookie"
    item_id    = "lines[].sku"
    price      = "lines[].cents"
    price_unit = "minor"
    time       = { unit = "seconds" }
    types      = { looked = "view_item", took = "add_to_cart", paid = "purchase" }

A field of `Event` is told its place, or a list of places of which the first that says something counts. `lines[].sku`
is `sku` in each element of the list `lines`, each an event of its own (`table.PER_ITEM`). The rest: docs/formats.md.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from producers.adapters.result import Arrival, Record, Result, with_one_rejection
from producers.adapters.row import shown
from producers.adapters.table import Path as Place
from producers.adapters.table import Table, TimeAt, events_of
from producers.adapters.value import UNITS, TimeForm
from producers.formats import Format
from producers.source_error import SourceError
from stream_app.core.events import EVENT_TYPES, Event

FIELDS: Final = Event.__struct_fields__

#: The keys that are no fields, and what they are for.
SETTINGS: Final = {
    "types": "a table: your name of what happened = ours. Left out: the names are ours already",
    "ignore": 'a list of your names that are not events of a visit; `["*"]`: all that `types` does not name',
    "user_agent": "a place, or a list of places: of a declared robot the event is a `bot`; it is not kept",
    "time": "a table of `unit` (iso, the default, seconds, milliseconds, …) or `format` (strptime), and `zone` (UTC)",
    "constants": "a table: field = its value where a record has none",
    "price_unit": "`major` (default), or `minor` where prices are whole cents",
}

#: What an event cannot do without, unless it is a constant.
_NEEDED: Final = ("event_type", "event_time", "visitor_id")

#: Cents and the like have two digits in almost all currencies; others set `price_unit` by that number of digits.
_MINOR_DECIMALS: Final = 2
_DECIMALS_MAX: Final = 4

_PLACE: Final = re.compile(r"[^\s.\[\]]+(\.[^\s.\[\]]+)*", re.ASCII)


class MappingError(SourceError):
    """The mapping file is not one; the text is one line that says what was got, what was expected."""


def read_mapping(path: Path) -> Format:
    """Read a mapping file.

    Raises
    ------
    MappingError
        If it cannot be read, is no TOML, or says what is no mapping.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        return mapped_format(told, name=f"{path.stem}.toml")  # which is the name of no other format
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: is not TOML ({error})") from None
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from None


def mapped_format(told: Mapping[str, Any], *, name: str) -> Format:
    """Make a format of what a mapping file says.

    Raises
    ------
    MappingError
        If a key, a place, a type or a setting is not what it should be.
    """
    for key in told:
        if key not in FIELDS and key not in SETTINGS:
            raise MappingError(f"got the key {key!a}, expected a field or a setting{_near(key, [*FIELDS, *SETTINGS])}")
    constants = _constants(told.get("constants", {}))
    for field in _NEEDED:
        if field not in told and (field not in constants or field == "event_time"):
            raise MappingError(f'{field} is missing, expected where it is in a record, such as {field} = "some.name"')
    fields, item_fields, items_at = _fields(told)
    types = _types(told.get("types"))
    ignore = _texts("ignore", told.get("ignore", []))
    form = _time_form(told.get("time", {}))
    table = Table(
        name="mapping",  # derived ids have it in them: they must not change with the name of a file
        type_at=fields.pop("event_type", ()),
        types=types,
        times=tuple(TimeAt(place, form) for place in fields.pop("event_time", ())),
        fields={"visitor_id": (), **fields},
        item_fields=item_fields,
        items_at=(items_at,) if items_at else (),
        constants=constants,
        price_decimals=_decimals(told.get("price_unit", "major")),
        user_agents=[_place("user_agent", dotted) for dotted in _texts("user_agent", told.get("user_agent", []))],
        is_open="*" in ignore,
        ignores=frozenset(kind.lower() for kind in ignore),
    )
    return Format(
        name,
        f"the mapping {name}",
        partial(_to_events, table),
        marks=_marks(table),
        is_tabular=True,
        table=table,
    )


def _to_events(table: Table, record: Record, arrival: Arrival) -> list[Result]:
    return with_one_rejection(events_of(table, record, arrival, identity=record))


def _fields(told: Mapping[str, Any]) -> tuple[dict[str, list[Place]], dict[str, list[Place]], Place]:
    """The places of each field, in the record and in an item, and the place of the items."""
    fields: dict[str, list[Place]] = {}
    item_fields: dict[str, list[Place]] = {}
    lists: dict[Place, str] = {}
    for field in FIELDS:
        for dotted in _texts(field, told.get(field, [])):
            outer, mark, inner = dotted.partition("[].")
            if not mark:
                fields.setdefault(field, []).append(_place(field, dotted))
                continue
            if not _PLACE.fullmatch(outer) or not _PLACE.fullmatch(inner):
                raise MappingError(f"got {field} = {dotted!a}, expected a place such as who.cookie or lines[].sku")
            if field in (*_NEEDED, "event_id", "session_id", "bot"):
                raise MappingError(
                    f"got {field} = {dotted!a}, expected a place outside of the list: all items share it"
                )
            item_fields.setdefault(field, []).append(tuple(inner.split(".")))
            lists[tuple(outer.split("."))] = dotted
    if len(lists) > 1:
        raise MappingError(f"got two lists of items ({' and '.join(lists.values())}), expected one")
    return fields, item_fields, next(iter(lists), ())


def _place(key: str, dotted: str) -> Place:
    if not _PLACE.fullmatch(dotted):
        raise MappingError(f"got {key} = {dotted!a}, expected a place such as who.cookie or lines[].sku")
    return tuple(dotted.split("."))


def _types(told: object) -> dict[str, str]:
    if told is None:
        return {name: name for name in EVENT_TYPES}
    if not isinstance(told, dict) or not told:
        raise MappingError(f'got types = {shown(told)}, expected a table such as {{ looked = "view_item" }}')
    for theirs, ours in told.items():
        if ours not in EVENT_TYPES:
            near = _near(str(ours), EVENT_TYPES) or f", one of {', '.join(EVENT_TYPES)}"
            raise MappingError(f"got types.{theirs} = {shown(ours)}, expected an event type of ours{near}")
    return {theirs.lower(): ours for theirs, ours in told.items()}


def _constants(told: object) -> dict[str, str | float]:
    if not isinstance(told, dict):
        raise MappingError(f'got constants = {shown(told)}, expected a table such as {{ currency = "EUR" }}')
    for field, value in told.items():
        if field not in FIELDS or field in ("event_id", "event_time"):
            raise MappingError(f"got the constant {field!a}, expected a field{_near(field, FIELDS)}")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise MappingError(f"got constants.{field} = {shown(value)}, expected text or a number")
    return dict(told)


def _time_form(told: object) -> TimeForm:
    if not isinstance(told, dict) or told.keys() - {"unit", "format", "zone"}:
        raise MappingError(f"got time = {shown(told)}, expected a table of unit or format, and zone")
    if "unit" in told and "format" in told:
        raise MappingError("got time with unit and format, expected one of them")
    zone = _zone(told.get("zone", "UTC"))
    if "format" in told:
        format = told["format"]
        if not isinstance(format, str) or "%" not in format or not _is_format(format):
            raise MappingError(f'got time.format = {shown(format)}, expected one like "%d.%m.%Y %H:%M:%S"')
        return TimeForm("text", zone, format)
    unit = told.get("unit", "iso")
    if unit != "iso" and unit not in UNITS:
        raise MappingError(f"got time.unit = {shown(unit)}, expected one of {', '.join([*UNITS, 'iso'])}")
    return TimeForm(unit, zone)


def _is_format(format: str) -> bool:
    """Whether times that are written in it can be read again."""
    try:
        datetime.strptime(datetime(2026, 1, 31, tzinfo=UTC).strftime(format), format)
    except (ValueError, re.error):
        return False
    return True


def _zone(name: object) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MappingError(f"got time.zone = {shown(name)}, expected a name such as Europe/Berlin, or UTC") from None


def _decimals(told: object) -> int:
    if told in ("major", "minor"):
        return _MINOR_DECIMALS if told == "minor" else 0
    if type(told) is int and 0 <= told <= _DECIMALS_MAX:
        return told
    raise MappingError(f"got price_unit = {shown(told)}, expected major, minor, or the digits of a minor unit, 0 to 4")


def _marks(table: Table) -> Sequence[Sequence[str]]:
    """The columns that a header has to name: of each field that is needed, one of its places."""
    needed = (table.type_at, [place.path for place in table.times], table.fields["visitor_id"])
    return [[place[0] for place in places] for places in needed if places]


def _texts(key: str, told: object) -> list[str]:
    texts = [told] if isinstance(told, str) else told
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise MappingError(f"got {key} = {shown(told)}, expected text or a list of texts")
    return texts


def _near(got: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(got, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
