"""An erasure: a record on the events topic that asks for it, and what it comes to.

The request lies among the visitor's own events, on their partition and under their key. So it has a place: what the
visitor did before it is forgotten, what it does after it is a new visitor's, whoever reads the partition and whenever.
It is no event: time does not move, nothing is scored, and an open session is dropped without an end, so that nothing is
learned from it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream_app.core.batch import open_visitors
from stream_app.core.effects import Effects, Position
from stream_app.core.events import Identifier
from stream_app.core.plan import Record
from stream_app.core.schedule import ExpirySchedule

#: What the value of a request begins with, to the byte: every record is looked at for it, and no event has this field.
_BEGIN: Final = b'{"forget":'


class ForgetRequest(msgspec.Struct, frozen=True):
    """`forget` is the visitor, `requested_at` the requester's clock in ms."""

    forget: Identifier
    requested_at: int = 0


_DECODER: Final = msgspec.json.Decoder(ForgetRequest)


def encode_request(visitor_id: str, *, requested_at: int) -> bytes:
    """The value of a request; its key is the visitor's id."""
    return msgspec.json.encode(ForgetRequest(visitor_id, requested_at))


def requested(record: Record) -> str | None:
    """The visitor that a record asks to forget; None if it does not, or is broken, and is rejected like any other."""
    value = record.value
    if value is None or not value.startswith(_BEGIN):
        return None
    try:
        request = _DECODER.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return None
    # The key decides on which partition it lies, and with it whose events come before it.
    return request.forget if record.key == request.forget.encode() else None


def place_of_request(events: Sequence[Record]) -> int | None:
    """The place of the first request among records; None if there is none."""
    for place, record in enumerate(events):
        value = record.value
        if value is not None and value.startswith(_BEGIN) and requested(record) is not None:
            return place
    return None


def forgotten(before: Position, schedule: ExpirySchedule, visitor_id: str, *, offset: int, now_ms: int) -> Effects:
    """What a request at an offset of the events comes to: no state, no deadline, and the position after it."""
    effects = Effects(
        msgspec.structs.replace(before, seq=before.seq + 1, events_offset=offset + 1, wall_time=now_ms),
        states={visitor_id: None},
        deadlines={visitor_id: None} if visitor_id in schedule else {},
    )
    effects.position.open_visitors = open_visitors(schedule, effects)
    return effects
