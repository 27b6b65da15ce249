"""A format as a table: where in its records each field of ours is, and how one turns such records into events.

An adapter prepares a record (its `Scope`) so far that each field has a place; the rest is this one interpreter, which a
user's own mapping file (`producers.mapping_file`) is read by as well. The tables of docs/formats.md are made from it.

One thing a visitor did is one event of each item it was done *with* for `PER_ITEM` types; all other types are one
event, however many items a list showed or a cart held: to see a list of 40 is not to look at 40 items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from producers.adapters.result import Arrival, Ignored, Record, Result
from producers.adapters.robots import declares_robot
from producers.adapters.row import accept, shown
from producers.adapters.value import TimeForm, flag, number, text, time_ms
from stream_app.core.codec import Rejected

#: Names from the outermost inwards; a number is a position in a list.
Path: TypeAlias = tuple[str, ...]

#: Event types of which each item of a list is an event of its own.
PER_ITEM: Final = frozenset(
    {
        "select_item",
        "view_item",
        "add_to_wishlist",
        "add_to_cart",
        "remove_from_cart",
        "purchase",
        "refund",
        "like",
        "share",
    }
)

#: GA4 takes no more items in one event. A record of 256 kB could hold tens of thousands of empty ones.
ITEMS_MAX: Final = 200

#: The fields that are amounts; all others are texts.
NUMBERS: Final = frozenset({"price", "quantity"})

#: As `row.row_id`: duplicates are looked for within one visitor.
_ID_BYTES: Final = 8

#: Of the name of an ignored kind, which is a key of a counter.
_KIND_LENGTH_MAX: Final = 60


class TimeAt(NamedTuple):
    """A place where an event's time may be, and how it is written there."""

    path: Path
    form: TimeForm


class Table(NamedTuple):
    """Where the fields of an event are in a record of a format. Of several places the first that says something counts.

    Attributes
    ----------
    types
        Their name of what happened, in lower case → an event type; looked for at `type_at`.
    fields
        Field of `Event` → places in the record.
    item_fields
        The same within one item; what an item says goes before what the record says.
    items_at
        The list of items.
    item_at
        The one item of a record without such a list.
    total_at
        What the whole event was worth; the price of its one item, where that has none itself.
    words
        Field → text of theirs, in lower case → text of ours.
    absent
        Texts that say that there is nothing.
    constants
        Field → the value where the record has none.
    price_decimals
        How many of a price's digits are behind the point that is not there: 2 where prices are in cents.
    user_agents
        Where the user agent is of whoever did it. It is asked whether it is a declared robot's, and not kept.
    is_open
        Whether other types exist that are no concern of ours (`Ignored`); where not, an unknown one is rejected.
    ignores
        Of a table that is not open, the types, in lower case, that are ignored nevertheless.
    """

    name: str
    type_at: Sequence[Path]
    types: Mapping[str, str]
    times: Sequence[TimeAt]
    fields: Mapping[str, Sequence[Path]]
    item_fields: Mapping[str, Sequence[Path]] = {}
    items_at: Sequence[Path] = ()
    item_at: Sequence[Path] = ()
    total_at: Sequence[Path] = ()
    words: Mapping[str, Mapping[str, str]] = {}
    absent: frozenset[str] = frozenset()
    constants: Mapping[str, str | float] = {}
    price_decimals: int = 0
    user_agents: Sequence[Path] = ()
    is_open: bool = True
    ignores: frozenset[str] = frozenset()


def paths(*dotted: str) -> tuple[Path, ...]:
    """Read places written as `context.page.url`."""
    return tuple(tuple(path.split(".")) for path in dotted)


def look(record: object, places: Sequence[Path]) -> Any:
    """What is at the first of the places that has something: not missing, null or empty text. Else None."""
    for path in places:
        found: Any = record
        for name in path:
            if isinstance(found, Mapping):
                found = found.get(name)
            elif isinstance(found, list) and name.isdigit() and len(name) < 6 and int(name) < len(found):
                found = found[int(name)]
            else:
                found = None
                break
        if found is not None and found != "":
            return found
    return None


def events_of(table: Table, record: Record, arrival: Arrival, *, identity: object) -> list[Result]:
    """Turn a prepared record into its events.

    `identity` is what makes the record the one it is: where it has no event id, equal ones get equal ids.
    """
    event_type = _type_of(table, record)
    if not isinstance(event_type, str):
        return [event_type]
    event_time = _time_of(table, record, arrival)
    if isinstance(event_time, Rejected):
        return [event_time]
    common = _read(table, table.fields, record)
    if isinstance(common, Rejected):
        return [common]
    if not common.get("visitor_id"):
        return [Rejected("missing_field", f"got nothing at {_told(table.fields['visitor_id'])}, expected who it was")]
    common |= {"event_type": event_type, "event_time": event_time}
    if _is_robot(table, record):
        common["bot"] = True
    if not common.get("event_id"):
        common["event_id"] = _derived_id(table.name, event_time, identity)
    items = _items_of(table, record)
    if isinstance(items, Rejected):
        return [items]
    if event_type not in PER_ITEM:
        return [_finished(table, common | _agreed(items), arrival)]
    if len(items) <= 1:
        priced = _priced(table, record, common | (items[0] if items else {}))
        return [priced if isinstance(priced, Rejected) else _finished(table, priced, arrival)]
    first = common["event_id"]
    return [
        _finished(table, common | item | {"event_id": f"{first}-{n}" if n else first}, arrival)
        for n, item in enumerate(items)
    ]


def _type_of(table: Table, record: Record) -> str | Rejected | Ignored:
    theirs = look(record, table.type_at) if table.type_at else table.constants.get("event_type")
    if theirs is None:
        return Rejected("missing_field", f"got nothing at {_told(table.type_at)}, expected what happened")
    if not isinstance(theirs, str):
        return Rejected(
            "wrong_type", f"got {shown(theirs)} at {_told(table.type_at)}, expected the name of what happened"
        )
    key = theirs.lower()
    ours = table.types.get(key)
    if ours is not None:
        return ours
    if table.is_open or key in table.ignores:
        return Ignored(theirs[:_KIND_LENGTH_MAX])
    known = ", ".join(table.types)
    told = f"got {shown(theirs)} at {_told(table.type_at)}, expected one of {known[:200]}"
    return Rejected("invalid_value", told, "event_type")


def _time_of(table: Table, record: Record, arrival: Arrival) -> int | Rejected:
    for place in table.times:
        found = look(record, (place.path,))
        if found is not None:
            return time_ms(".".join(place.path), found, place.form)
    if arrival.received_ms is not None:
        return arrival.received_ms
    where = _told([place.path for place in table.times])
    return Rejected("missing_field", f"got no time at {where}, expected one: a file does not say when its records came")


def _read(table: Table, fields: Mapping[str, Sequence[Path]], record: object) -> dict[str, Any] | Rejected:
    """The fields that say something."""
    read: dict[str, Any] = {}
    for name, places in fields.items():
        found = look(record, places)
        if found is None:
            continue
        if name in table.words:
            found = table.words[name].get(str(found).lower(), found)
        told = ".".join(places[0])
        value = flag(told, found) if name == "bot" else number(told, found) if name in NUMBERS else text(told, found)
        if isinstance(value, Rejected):
            return value
        if value is None or (isinstance(value, str) and value.lower() in table.absent):
            continue
        if name == "price" and table.price_decimals:
            value = float(value) / 10**table.price_decimals
        read[name] = value
    return read


def _is_robot(table: Table, record: Record) -> bool:
    """Whether the user agent declares it. One that is no text says nothing."""
    agent = look(record, table.user_agents)
    return isinstance(agent, str) and declares_robot(agent)


def _items_of(table: Table, record: Record) -> list[dict[str, Any]] | Rejected:
    found = look(record, table.items_at)
    if found is None or found == []:
        one = look(record, table.item_at)
        found = [one] if one is not None else []
    if not isinstance(found, list):
        return Rejected("wrong_type", f"got {shown(found)} at {_told(table.items_at)}, expected a list of items")
    if len(found) > ITEMS_MAX:
        return Rejected("invalid_value", f"got {len(found)} items in one event, expected at most {ITEMS_MAX}")
    items: list[dict[str, Any]] = []
    for n, item in enumerate(found):
        if not isinstance(item, Mapping):
            return Rejected("wrong_type", f"got {shown(item)} as item {n}, expected an object")
        read = _read(table, table.item_fields, item)
        if isinstance(read, Rejected):
            return Rejected(read.reason, f"item {n}: {read.detail}")
        items.append(read)
    return items


def _agreed(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all the items have in common: the category of a category's list, everything of the only item."""
    if not items:
        return {}
    return {name: value for name, value in items[0].items() if all(item.get(name) == value for item in items)}


def _priced(table: Table, record: Record, fields: dict[str, Any]) -> dict[str, Any] | Rejected:
    """With the event's worth as the price of its only item, or of no item."""
    if "price" in fields:
        return fields
    total = number(_told(table.total_at), look(record, table.total_at))
    if isinstance(total, Rejected):
        return total
    quantity = fields.get("quantity", 1.0)
    if total is not None and quantity > 0.0:
        fields["price"] = total / 10**table.price_decimals / quantity
    return fields


def _finished(table: Table, fields: dict[str, Any], arrival: Arrival) -> Result:
    return accept({**table.constants, **fields}, now_ms=arrival.now_ms)


def _derived_id(name: str, event_time: int, identity: object) -> str:
    try:
        content = msgspec.json.encode(identity, order="sorted")
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Integers beyond 64 bits, half of a surrogate pair: rare, and the slow way knows them.
        content = json.dumps(identity, sort_keys=True, default=str, skipkeys=True).encode()
    return blake2b(f"{name}\x1f{event_time}\x1f".encode() + content, digest_size=_ID_BYTES).hexdigest()


def _told(places: Sequence[Path]) -> str:
    return " or ".join(".".join(path) for path in places) or "a place that the table does not name"
