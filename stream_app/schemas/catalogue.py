"""The public records: which type says what is on which topic, and who writes it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from stream_app import topics
from stream_app.core.events import CheckoutLabel, Event
from stream_app.core.records import ClosedSession, Example, FeatureRecord, Moment, ScoreRecord
from stream_app.discounts.core.records import Exposure, Offer, Outcome
from stream_app.schemas.headers import DeadLetterHeaders, TraceHeaders

#: `in`: shops write it and we read it. `out`: we write it and subscribers read it. What may change differs
#: (docs/records.md).
Direction = Literal["in", "out"]


class PublicRecord(NamedTuple):
    """A record that others write or read.

    `value` is the type of its JSON; None for bytes that are not ours to describe. `key` says what Kafka's key is.
    """

    topic: str
    direction: Direction
    value: type[msgspec.Struct] | None
    key: str
    headers: type[msgspec.Struct] | None = None


_VISITOR: Final = "the visitor_id in UTF-8"

#: In the order in which an event meets them.
RECORDS: Final[tuple[PublicRecord, ...]] = (
    PublicRecord(topics.EVENTS, "in", Event, _VISITOR, TraceHeaders),
    PublicRecord(topics.LABELS, "in", CheckoutLabel, _VISITOR),
    PublicRecord(topics.SCORES, "out", ScoreRecord, _VISITOR, TraceHeaders),
    PublicRecord(topics.FEATURES, "out", FeatureRecord, _VISITOR),
    PublicRecord(topics.MOMENTS, "out", Moment, _VISITOR),
    PublicRecord(topics.CLOSED, "out", ClosedSession, _VISITOR),
    PublicRecord(topics.EXAMPLES, "out", Example, _VISITOR),
    PublicRecord(topics.OFFERS, "out", Offer, _VISITOR),
    PublicRecord(topics.EXPOSURES, "out", Exposure, _VISITOR),
    PublicRecord(topics.OUTCOMES, "out", Outcome, _VISITOR),
    PublicRecord(topics.DEAD_LETTERS, "out", None, "the refused record's own", DeadLetterHeaders),
)
