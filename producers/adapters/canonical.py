"""Our own events: as JSON exactly as they stand on the events topic, or as rows with columns of those names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from producers.adapters.result import Arrival, Record, Result
from producers.adapters.row import accept, shown
from producers.adapters.table import NUMBERS
from producers.adapters.value import TimeForm, flag, number, text, time_ms
from stream_app.core.codec import Rejected, decode_event
from stream_app.core.events import Event

NAME: Final = "canonical"

#: What every event says.
COLUMNS: Final = ("event_id", "event_type", "event_time", "visitor_id")

#: Text without a zone is refused, as on the wire.
_ISO: Final = TimeForm("iso", zone=None)


def to_event(line: bytes, *, now_ms: int) -> Event | Rejected:
    """Decode one line of JSON; `now_ms` bounds how far ahead its time may lie."""
    return decode_event(line, record_time_ms=now_ms)


def from_record(record: Record, arrival: Arrival) -> list[Result]:
    """Convert an object or row: numbers may be text, as in CSV, times moments, as in Parquet."""
    fields: dict[str, Any] = {}
    for name in Event.__struct_fields__:
        value = record.get(name)
        if value is None or value == "":
            continue
        read = _time(value) if name == "event_time" else _reader(name)(name, value)
        if isinstance(read, Rejected):
            return [read]
        fields[name] = read
    missing = [name for name in COLUMNS if name not in fields]
    if missing:
        return [Rejected("missing_field", f"got no {', '.join(missing)}, expected {', '.join(COLUMNS)}")]
    return [accept(fields, now_ms=arrival.now_ms)]


def _reader(name: str) -> Callable[[str, object], str | float | bool | Rejected | None]:
    return flag if name == "bot" else number if name in NUMBERS else text


def _time(value: object) -> int | Rejected:
    if type(value) is int:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    found = time_ms("event_time", value, _ISO)
    if isinstance(found, Rejected):
        told = "expected milliseconds since 1970 like 1769884205250, or a time like 2026-01-31T18:30:05.250Z"
        return Rejected(found.reason, f"got event_time {shown(value)}, {told}")
    return found
