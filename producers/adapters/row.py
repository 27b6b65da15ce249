"""What the CSV adapters share: the id of a row that has none, and the bounds every event must keep."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from stream_app.core.codec import Rejected, check_event_time
from stream_app.core.events import Event

#: Values longer than this are cut in a reject's detail: it becomes a Kafka header and a log line.
_SHOWN_LENGTH_MAX: Final = 80

#: 64 bits, 16 hexadecimal digits. Duplicates are looked for within one visitor, whose few thousand events collide with
#: a chance below 1e-12; a longer id would only cost room in every stored state.
_ID_BYTES: Final = 8

_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)


def row_id(format_name: str, row: Mapping[str, str], columns: Sequence[str]) -> str | Rejected:
    """Derive the event id of a row that carries none: equal rows have equal ids, on every run and machine.

    The id is the BLAKE2b hash (8 bytes, 16 hexadecimal digits) of the format's name and the values in the order of
    `columns`, joined with U+001F: the order of columns in a file does not matter, nor do columns that the format does
    not know. A row that occurs twice is thus one event sent twice, and the scorer counts it once.
    """
    content = "\x1f".join([format_name, *[row.get(column) or "" for column in columns]])
    try:
        return blake2b(content.encode(), digest_size=_ID_BYTES).hexdigest()
    except UnicodeEncodeError:
        return Rejected("bad_row", f"got {shown(content)}, expected text that UTF-8 can hold")


def price(text: str) -> float | Rejected | None:
    """Read a price; empty is None. Only plain decimals count: `nan`, `1e9`, `-1` and `1,5` are rejected."""
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        return Rejected("invalid_value", f"got price {shown(text)}, expected a number such as 12.50, or nothing")
    return float(text)


def accept(fields: dict[str, Any], *, now_ms: int) -> Event | Rejected:
    """Build the event, checking every bound that a decoded record is held to (lengths, amounts, times).

    `now_ms` is the clock that bounds how far ahead an event time may lie, in ms since the epoch.
    """
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        told = f"got {name} {shown(fields.get(name))}: {error}"
        return Rejected("invalid_value", told, name if name == "event_type" else "")
    return check_event_time(event, record_time_ms=now_ms)


def shown(value: object) -> str:
    """Show a value in a reject's detail: quoted, ASCII, cut to 80 characters."""
    try:
        text = ascii(value)
    except RecursionError:
        text = "something nested too deeply"
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}… ({len(text)} characters)"
