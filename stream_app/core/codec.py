"""Bytes ⇄ values for everything that comes in. A failure is a value, `Rejected`, never an exception.

The caller turns a `Rejected` into a dead letter with the bytes unchanged: bad input neither stops the stream nor
disappears.
"""

from __future__ import annotations

import datetime
import re
from typing import Final, TypeVar

import msgspec

from stream_app.core.events import (
    EVENT_TIME_AHEAD_MS_MAX,
    EVENT_TIME_MS_MIN,
    CheckoutLabel,
    Event,
)

#: Larger records are refused before they are parsed: a parser's memory is a multiple of its input. GA4 allows 130 kB
#: a request and Segment 32 kB an event, so a real event never comes near.
RECORD_BYTES_MAX: Final = 256 * 1024

#: Every reason a record can be rejected for, the values of the `reason` label: add here and to the docs only.
REJECT_REASONS: Final = (
    "empty_value",
    "too_large",
    "not_json",
    "missing_field",
    "wrong_type",
    "invalid_value",
    "time_out_of_range",
    "wrong_key",
    "bad_row",
    "not_avro",
    "unknown_schema",
)


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """Why a record was not accepted: `reason` is one of `REJECT_REASONS`, `detail` says got / expected / where.

    `field` is `event_type` where nothing is wrong but that, so that somebody can count what is not known (yet).
    """

    reason: str
    detail: str
    field: str = ""


#: Details travel in a dead letter's header and in log lines, and may quote what came in: longer ones are cut.
DETAIL_LENGTH_MAX: Final = 500

#: Of a key that is quoted in a detail; a key may have megabytes.
KEY_SHOWN_MAX: Final = 40

# msgspec says "Expected `str`, got `int`" for a type, and names the bound or the enumeration otherwise. Only the start
# is read: the rest may quote the record.
_MISSING_FIELD: Final = re.compile(r"Object missing required field ")
_WRONG_TYPE: Final = re.compile(r"Expected `[^`]*`, got `")

#: What it ends with is the place, whatever is quoted before.
_AT_EVENT_TYPE: Final = " - at `$.event_type`"

_EVENT_DECODER = msgspec.json.Decoder(Event)
_LABEL_DECODER = msgspec.json.Decoder(CheckoutLabel)
_ENCODER = msgspec.json.Encoder()

_T = TypeVar("_T")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def decode_event(value: bytes | None, *, record_time_ms: int) -> Event | Rejected:
    """Decode one record of the events topic.

    `record_time_ms` is the broker's record timestamp, the clock that bounds how far ahead an event time may lie.
    """
    event = _decode(_EVENT_DECODER, value)
    if isinstance(event, Event):
        return check_event_time(event, record_time_ms=record_time_ms)
    return event


def decode_label(value: bytes | None, *, record_time_ms: int) -> CheckoutLabel | Rejected:
    """Decode one record of the labels topic; bounds as in `decode_event`."""
    label = _decode(_LABEL_DECODER, value)
    if isinstance(label, CheckoutLabel):
        time = bounded_time_ms(label.checkout_time, record_time_ms=record_time_ms, field="checkout_time")
        if isinstance(time, Rejected):
            return time
        label.checkout_time = time
    return label


def check_event_time(event: Event, *, record_time_ms: int) -> Event | Rejected:
    """Turn `event_time` into integer milliseconds in place, or reject an impossible one."""
    time = event.event_time
    if type(time) is int and EVENT_TIME_MS_MIN <= time <= record_time_ms + EVENT_TIME_AHEAD_MS_MAX:
        return event
    bounded = bounded_time_ms(time, record_time_ms=record_time_ms, field="event_time")
    if isinstance(bounded, Rejected):
        return bounded
    event.event_time = bounded
    return event


def check_key(key: bytes | None, visitor_id: str) -> Rejected | None:
    """Whether a record is keyed by its visitor: only then all records of a visitor meet in one partition."""
    if key == visitor_id.encode():
        return None
    got = "no key" if key is None else f"the key {key[:KEY_SHOWN_MAX]!r}"
    return Rejected(
        "wrong_key",
        f"got {got}, expected the visitor_id {visitor_id[:KEY_SHOWN_MAX]!a} in UTF-8: set the producer's key, or a "
        "visitor's records go to different partitions",
    )


def too_deep() -> Rejected:
    """Why a record is rejected that is nested more deeply than Python looks into."""
    return Rejected("not_json", "got JSON nested too deeply, expected a flat JSON object")


def encode(value: Event | CheckoutLabel) -> bytes:
    """The canonical JSON of an event or a label, as producers write it."""
    return _ENCODER.encode(value)


def _decode(decoder: msgspec.json.Decoder[_T], value: bytes | None) -> _T | Rejected:
    if not value:
        return Rejected("empty_value", "got a record without a value, expected a JSON object")
    if len(value) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got {len(value)} bytes, expected at most {RECORD_BYTES_MAX}")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        message = str(error)
        reason = _validation_reason(message)
        is_of_type = reason == "invalid_value" and message.endswith(_AT_EVENT_TYPE)
        return Rejected(reason, message[:DETAIL_LENGTH_MAX], "event_type" if is_of_type else "")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejected("not_json", f"got bytes that are not JSON ({error}), expected a JSON object")
    except RecursionError:
        return too_deep()


def _validation_reason(message: str) -> str:
    if _MISSING_FIELD.match(message):
        return "missing_field"
    return "wrong_type" if _WRONG_TYPE.match(message) else "invalid_value"


def bounded_time_ms(time: int | datetime.datetime, *, record_time_ms: int, field: str) -> int | Rejected:
    """A time in ms, or why it is none that can be: seconds taken for milliseconds, or a clock of next year."""
    time_ms = time if isinstance(time, int) else (time - _EPOCH) // _MILLISECOND
    if EVENT_TIME_MS_MIN <= time_ms <= record_time_ms + EVENT_TIME_AHEAD_MS_MAX:
        return time_ms
    got = f"{time_ms} ms" if abs(time_ms) < 10**18 else "a number of more than 18 digits"
    return Rejected(
        "time_out_of_range",
        f"got {field} {got}, expected {EVENT_TIME_MS_MIN} (2000-01-01) to 24 h after the record's own "
        f"timestamp {record_time_ms}; is it in seconds, or the client's clock wrong?",
    )
