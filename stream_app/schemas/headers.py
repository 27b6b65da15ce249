"""The headers of our records, as types: Kafka knows them as names and bytes only. All are UTF-8 text on the wire."""

from __future__ import annotations

import msgspec


class DeadLetterHeaders(msgspec.Struct, omit_defaults=True):
    """Headers of `dead.letters.v1`: why a record was refused, and where it was. Key and value are its own, unchanged.

    A worker tells topic, partition and offset; what sends files tells the file (`source`) and the row.
    """

    reason: str
    detail: str
    source_topic: str | None = None
    source_partition: str | None = None
    source_offset: str | None = None
    source: str | None = None
    row: str | None = None
    cut_from_bytes: str | None = None


class TraceHeaders(msgspec.Struct, omit_defaults=True):
    """W3C Trace Context: an event's headers, which its score's record carries on where the setting `tracing` is on."""

    traceparent: str | None = None
    tracestate: str | None = None
