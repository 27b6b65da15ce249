"""Our own events, one JSON object a line, exactly as they stand on the events topic."""

from __future__ import annotations

from typing import Final

from stream_app.core.codec import Rejected, decode_event
from stream_app.core.events import Event

NAME: Final = "canonical"


def to_event(line: bytes, *, now_ms: int) -> Event | Rejected:
    """Decode one line; `now_ms` bounds how far ahead its time may lie."""
    return decode_event(line, record_time_ms=now_ms)
