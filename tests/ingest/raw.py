"""Records of raw topics, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: 31 January 2026, 18:30:05.250 UTC: the moment of the golden files.
TIME_MS = 1_769_884_205_250
NOW_MS = TIME_MS + 3_600_000


class Raw(NamedTuple):
    """What is read of a Kafka record."""

    value: bytes | None
    offset: int = 0
    timestamp: int = NOW_MS
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    topic: str = "raw"
    partition: int = 3


def ga4(client: str, *names: str, time_ms: int | None = TIME_MS) -> bytes:
    """A body of GA4's Measurement Protocol."""
    events = ",".join(f'{{"name":"{name}"}}' for name in names)
    at = f'"timestamp_micros":{time_ms * 1000},' if time_ms is not None else ""
    return f'{{"client_id":"{client}",{at}"events":[{events}]}}'.encode()
