"""An opened body → its events, what was rejected, and what the answer says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from producers.adapters import ga4, segment
from producers.adapters.result import Arrival, Ignored, Record, Result, with_one_rejection
from producers.door import Door
from producers.findings import is_unknown_type
from stream_app.collect.core.answer import EventResult
from stream_app.collect.core.body import Body, decoded_object, value
from stream_app.collect.core.clock import SenderClock, clock_of, sent_ms
from stream_app.core.codec import Rejected, decode_event, too_deep
from stream_app.core.events import Event

#: How a body's events were written, a metric's label.
Kind = Literal["canonical", "segment", "ga4", "unknown"]

#: Of GA4's bodies: one of them tells its `events` from ours.
_GA4_NAMES: Final = ("client_id", "app_instance_id", "user_id")

#: Of Segment's bodies, and of no event of ours.
_SEGMENT_NAMES: Final = ("batch", "type")

_ByPart = Callable[[Record, Arrival], list[list[Result]] | Rejected]


class Expected(NamedTuple):
    """What a path's bodies are: of one kind, or any (""); `call` is Segment's, where the path says it."""

    kind: Literal["", "segment", "ga4"] = ""
    call: str = ""


class Letter(NamedTuple):
    """A dead letter: the bytes as they came, why, and the place of the event in its request."""

    raw: bytes
    rejected: Rejected
    row: int


class Reading(NamedTuple):
    """What a body came to.

    Attributes
    ----------
    results
        One entry for each of its events.
    moved, behind_ms
        How many times were corrected, because the sender's clock is so far behind ours (below 0: ahead).
    unknown_types
        How much of it was of no type of ours, ignored or rejected.
    """

    kind: Kind
    events: list[Event]
    letters: list[Letter]
    results: list[EventResult]
    moved: int = 0
    behind_ms: int = 0
    unknown_types: int = 0


class _Time(msgspec.Struct):
    """Whether an event has a time; of one without it is empty."""

    event_time: msgspec.Raw = msgspec.Raw()


_TIME: Final = msgspec.json.Decoder(_Time)


def read(body: Body, *, expected: Expected, received_ms: int, door: Door, by_robot: bool = False) -> Reading:
    """Read all events of a body. Nothing raises: what cannot be read is a letter and a result.

    `received_ms` is when it arrived, in ms since 1970. Events pass the door: what is personal in them stays outside.
    With `by_robot` the page that sent it was open in a robot's browser: none of it did a person.
    """
    try:
        reading = _read(body, expected, received_ms, door)
    except RecursionError:
        # Decoded on the last level that Python has: whatever looks into it goes one too deep.
        reading = _refused("unknown", body, too_deep())
    if by_robot:
        for event in reading.events:
            event.bot = True
    return reading


def _read(body: Body, expected: Expected, received_ms: int, door: Door) -> Reading:
    if body.problem is not None:
        return _refused("unknown", body, body.problem)
    kind = _kind(body, expected)
    if kind == "canonical":
        return _canonical(body, received_ms, door)
    record = decoded_object(body.raw)
    if isinstance(record, Rejected):
        return _refused(kind, body, record)
    if kind == "ga4":
        return _foreign(kind, body, record, ga4.by_event, SenderClock(received_ms), door)
    if expected.call and "batch" not in record:
        record = {**record, "type": expected.call}
    sent = sent_ms("sentAt", record.get("sentAt"))
    # One that is no time says nothing of the clock; whether the call can do without it is the adapter's matter.
    clock = clock_of(received_ms, sent if isinstance(sent, int) else None)
    return _foreign(kind, body, record, segment.by_call, clock, door)


def _kind(body: Body, expected: Expected) -> Literal["canonical", "segment", "ga4"]:
    if expected.kind:
        return expected.kind
    if "events" in body.names and any(name in body.names for name in _GA4_NAMES):
        return "ga4"
    if "event_type" not in body.names and any(name in body.names for name in _SEGMENT_NAMES):
        return "segment"
    return "canonical"


def _canonical(body: Body, received_ms: int, door: Door) -> Reading:
    sent = sent_ms("sent_at", value(body.names.get("sent_at")))
    if isinstance(sent, Rejected):
        return _refused("canonical", body, sent)
    if "events" in body.names and not isinstance(value(body.names["events"]), list):
        return _refused("canonical", body, Rejected("wrong_type", "got events that are no array, expected one"))
    clock = clock_of(received_ms, sent)
    reading = Reading("canonical", [], [], [])
    moved = unknown = 0
    for row, raw in enumerate(body.events):
        event = _event(bytes(raw), clock, door)
        if isinstance(event, Rejected):
            unknown += is_unknown_type(event)
            reading.letters.append(Letter(bytes(raw), event, row))
            reading.results.append(_rejected(event))
            continue
        moved += bool(clock.behind_ms)
        reading.events.append(event)
        reading.results.append(EventResult("accepted", [event.event_id]))
    return reading._replace(moved=moved, behind_ms=clock.behind_ms, unknown_types=unknown)


def _event(raw: bytes, clock: SenderClock, door: Door) -> Event | Rejected:
    event = decode_event(_with_time(raw, clock.now_ms), record_time_ms=clock.now_ms)
    return event if isinstance(event, Rejected) else _admitted(event, clock, door)


def _admitted(event: Event, clock: SenderClock, door: Door) -> Event | Rejected:
    """The event by our clock, and without what is personal in it."""
    corrected = clock.corrected(event)
    return corrected if isinstance(corrected, Rejected) else door.admit(corrected)


def _with_time(raw: bytes, now_ms: int) -> bytes:
    """An event without a time happened when it arrived. Put in front, so that nothing else of it changes."""
    try:
        if bytes(_TIME.decode(raw).event_time):
            return raw
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return raw  # it cannot be decoded as an event either, which says why
    fields = raw.lstrip()[1:]
    return raw if fields.lstrip().startswith(b"}") else b'{"event_time":%d,' % now_ms + fields


def _foreign(kind: Kind, body: Body, record: Record, by_part: _ByPart, clock: SenderClock, door: Door) -> Reading:
    parts = by_part(record, Arrival(clock.now_ms, clock.now_ms))
    if isinstance(parts, Rejected):
        return _refused(kind, body, parts)
    parts = [
        [_admitted(result, clock, door) if isinstance(result, Event) else result for result in part] for part in parts
    ]
    results = [result for part in parts for result in part]
    events = [result for result in results if isinstance(result, Event)]
    # A record is one dead letter at most, whole, as it is where it comes by a topic or a file.
    whole = next((result for result in with_one_rejection(results) if isinstance(result, Rejected)), None)
    letters = [Letter(body.raw, whole, 0)] if whole is not None else []
    return Reading(
        kind,
        events,
        letters,
        [_told(part) for part in parts],
        moved=len(events) if clock.behind_ms else 0,
        behind_ms=clock.behind_ms,
        unknown_types=sum(isinstance(result, Ignored) or is_unknown_type(result) for result in results),
    )


def _told(part: Sequence[Result]) -> EventResult:
    """What the answer says of one event of the request, which may be several of ours."""
    accepted = [result.event_id for result in part if isinstance(result, Event)]
    rejected = next((result for result in part if isinstance(result, Rejected)), None)
    if rejected is not None:
        return _rejected(rejected, accepted)
    return EventResult("accepted", accepted) if accepted else EventResult("ignored")


def _rejected(rejected: Rejected, accepted: list[str] | None = None) -> EventResult:
    return EventResult("rejected", accepted or [], rejected.reason, rejected.detail)


def _refused(kind: Kind, body: Body, rejected: Rejected) -> Reading:
    """A body that is rejected as a whole."""
    letters, results = [Letter(body.raw, rejected, 0)], [_rejected(rejected)]
    return Reading(kind, [], letters, results, unknown_types=int(is_unknown_type(rejected)))
