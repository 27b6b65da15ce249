"""Which format a topic's records have, told by the newest of them.

The newest, and not those that come next: after a restart there may be none yet, or a single broken one, and how a
process starts must not depend on that more than it has to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka.structs import ConsumerRecord

from producers.avro.wire import HEAD_BYTES
from producers.detection import RECORDS_LOOKED_AT, Detection, detect
from producers.format_option import AVRO
from producers.formats import FORMATS, Format
from stream_app.backends.clients import KafkaClients, kafka_call, stop_quietly
from stream_app.backends.newest import start_at_newest
from stream_app.backends.ports import UnusableError

_POLL_MS: Final = 500

#: What binary CloudEvents have among their headers; their value may be of any of the other formats.
_ENVELOPE: Final = "ce_specversion"


async def told_format(
    clients: KafkaClients, topic: str, *, waiting: Callable[[str], None], stopped: Callable[[], bool]
) -> tuple[Format, str] | None:
    """Wait until the topic's records tell their format; it and why, None if stopped before.

    `waiting` is told what is waited for.

    Raises
    ------
    LogError
        If Kafka does not answer, or there is no such topic.
    UnusableError
        If a hundred records were looked at, and no format, or more than one, fits.
    """
    consumer = clients.reader(fetch_wait_ms=_POLL_MS)
    ends = await start_at_newest("reading the first records", consumer, topic, RECORDS_LOOKED_AT)
    records: list[ConsumerRecord[Any, Any]] = []
    try:
        while not stopped():
            told = detect_records([(record.value, record.headers) for record in records[:RECORDS_LOOKED_AT]])
            there = all([await kafka_call("reading", consumer.position(place)) >= end for place, end in ends.items()])
            if told.format is not None and there:
                return told.format, told.why
            if len(records) >= RECORDS_LOOKED_AT:
                raise UnusableError(f"{topic}: {told.why}; {told.advice}")
            waiting(f"{told.why}; waits for more" if records else f"waits for records of {topic} to tell their format")
            found = await kafka_call("reading the first records", consumer.getmany(timeout_ms=_POLL_MS))
            for batch in found.values():
                records += batch
        return None
    finally:
        await stop_quietly(consumer)


def detect_records(records: Sequence[tuple[bytes | None, Sequence[tuple[str, bytes | None]]]]) -> Detection:
    """Look at values and headers as they come from a topic: JSON, TSV without a header, or binary CloudEvents.

    Avro is told, too, but not taken: it takes a registry.
    """
    framed = sum(value is not None and value[:1] == b"\0" and len(value) > HEAD_BYTES for value, _ in records)
    if 2 * framed > len(records):
        why = f"{framed} of {len(records)} records begin with a zero byte, as Avro with a schema registry does"
        return Detection(None, (AVRO,), why)
    names = [_by_headers_or_columns(value, headers) for value, headers in records]
    for name, format in FORMATS.items():
        if names and 2 * names.count(name) > len(names):
            why = (
                f"have {len(format.fixed_columns)} fields with tabs between"
                if format.fixed_columns
                else f"have the header {_ENVELOPE}"
            )
            return Detection(format, (name,), f"{names.count(name)} of {len(names)} records {why}")
    return detect((value or b"" for value, _ in records), which="newest")


def _by_headers_or_columns(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    if any(name == _ENVELOPE for name, _ in headers):
        return "cloudevents"
    fields = (value or b"").count(b"\t") + 1
    return next((name for name, format in FORMATS.items() if fields == len(format.fixed_columns)), None)
