"""The few fields of our records that the page needs; the rest of a record is passed over, not decoded."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from stream_app.core.events import EventType
from stream_app.core.records import Reasons

Band = Literal["unlikely", "on_the_fence", "likely"]


class Score(msgspec.Struct, gc=False):
    """Of `records.ScoreRecord`. It is kept as it is, as a point of its session."""

    visitor_id: str
    session_id: str
    event_time: int
    event_type: EventType
    events: int
    score: float
    band: Band
    cold: bool
    late: bool
    scored_at: int
    reasons: Reasons | None = None


class Closed(msgspec.Struct, gc=False):
    """Of `records.ClosedSession`."""

    session_id: str


class Told(msgspec.Struct, gc=False):
    """Of `records.Example`: one of those by which a checkout was told."""

    visitor_id: str
    session_id: str
    label: int
    label_source: str
    label_time: int
    left: int
    previous: int


#: What every example of a label's checkout has in it: it is looked for before anything is decoded.
TOLD_BY_LABEL: Final = b'"label_source":"label"'

read_score: Final = msgspec.json.Decoder(Score).decode
read_closed: Final = msgspec.json.Decoder(Closed).decode
read_told: Final = msgspec.json.Decoder(Told).decode
