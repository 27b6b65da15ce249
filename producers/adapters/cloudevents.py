"""CloudEvents 1.0 around any of the other formats: structured (one JSON object), or binary (`ce_` headers of a record).

Source: CloudEvents specification 1.0, "JSON Event Format" and "Kafka Protocol Binding". What is inside is recognised by
its shape, record by record; our own events may leave `event_id` and `event_time` to the envelope's `id` and `time`.
Where another format has no time of its own, the envelope's `time` takes its place.

Two envelopes are the same event if `source` and `id` are the same: an event of ours without an id gets one of both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from producers.adapters.result import Adapt, Arrival, Record, Result, placed
from producers.adapters.row import shown
from producers.adapters.value import TimeForm, time_ms
from stream_app.core.codec import Rejected

NAME: Final = "cloudevents"

STRUCTURED: Final = "application/cloudevents+json"

#: Attribute → where it goes in the event of ours inside, if that does not say it itself.
FIELDS: Final = {"id": "event_id", "time": "event_time"}

#: What is not in the envelope: it makes an event of ours.
_OURS: Final = frozenset({"event_type", "visitor_id"})

_HEADER_PREFIX: Final = "ce_"
_ISO: Final = TimeForm("iso")
_ID_BYTES: Final = 8

#: A payload → its format's adapter, or why there is none.
Recognise: TypeAlias = Callable[[Record], Adapt | Rejected]


def to_events(envelope: Record, arrival: Arrival, *, recognise: Recognise, canonical: Adapt) -> list[Result]:
    """Convert one envelope in structured form."""
    version = envelope.get("specversion")
    if version != "1.0":
        return [Rejected("invalid_value", f"got specversion {shown(version)}, expected 1.0")]
    for name in ("id", "source", "type"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            got = f"no {name}" if envelope.get(name) is None else f"{name} {shown(envelope[name])}"
            return [Rejected("missing_field", f"got {got}, expected the CloudEvent's {name}")]
    time = envelope.get("time")
    if time is not None:
        found = time_ms("time", time, _ISO)
        if isinstance(found, Rejected):
            return [found]
        arrival = arrival._replace(received_ms=found)
    data = _data(envelope)
    if isinstance(data, Rejected):
        return [data]
    if data.keys() >= _OURS:
        return canonical(_completed(data, envelope, arrival), arrival)
    adapt = recognise(data)
    if isinstance(adapt, Rejected):
        return [placed(adapt, "data")]
    return adapt(data, arrival)


def envelope_of(headers: Sequence[tuple[str, bytes]], value: bytes) -> dict[str, Any] | Rejected | None:
    """Bring a record in binary form into the structured one; None if its headers are none of a CloudEvent."""
    envelope: dict[str, Any] = {}
    for name, content in headers:
        if name.startswith(_HEADER_PREFIX):
            try:
                envelope[name.removeprefix(_HEADER_PREFIX)] = content.decode()
            except UnicodeDecodeError:
                return Rejected("invalid_value", f"got header {shown(name)} {shown(content)}, expected UTF-8 text")
    if "specversion" not in envelope:
        return None
    # Attributes in headers may not be called data: what is inside is the record's value.
    envelope.pop("data", None)
    envelope["data_base64"] = base64.b64encode(value).decode()
    return envelope


def _data(envelope: Record) -> dict[str, Any] | Rejected:
    data = envelope.get("data")
    if data is None and isinstance(envelope.get("data_base64"), str):
        try:
            data = base64.b64decode(envelope["data_base64"], validate=True)
        except (binascii.Error, ValueError):
            return Rejected("invalid_value", "got data_base64 that is not Base64, expected the payload in it")
    if isinstance(data, str | bytes):
        # JSON within a text, and all of binary form.
        try:
            data = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return Rejected("not_json", f"got data that is not JSON ({error}), expected a JSON object")
    if data is None:
        return Rejected("empty_value", "got no data, expected an event of one of the known formats")
    if not isinstance(data, Mapping):
        return Rejected("wrong_type", f"got data {shown(data)}, expected a JSON object")
    return dict(data)


def _completed(data: dict[str, Any], envelope: Record, arrival: Arrival) -> dict[str, Any]:
    if "event_id" not in data:
        name = f"{envelope['source']}\x1f{envelope['id']}".encode(errors="backslashreplace")
        data["event_id"] = blake2b(name, digest_size=_ID_BYTES).hexdigest()
    if "event_time" not in data and arrival.received_ms is not None:
        data["event_time"] = arrival.received_ms
    return data
