"""What the reference fold is told besides the input, and what it says: evidence in, expected records out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from stream_app.core import features, state
from stream_app.core.codec import Rejected
from stream_app.core.emission import example_record
from stream_app.core.events import Event
from stream_app.core.outcomes import Outcome
from stream_app.core.plan import Record
from stream_app.core.records import ClosedSession, Example, FeatureRecord, Keys

#: Beyond any offset.
_ALL_LABELS: Final = 1 << 62


class Evidence(Protocol):
    """What the outputs say of what the input does not."""

    @property
    def clock(self) -> Sequence[tuple[int, int]]:
        """(offset of the next event, deadline) of each session that the clock ended, ascending."""
        ...

    def watermarks_after(self, event: Event) -> Sequence[int]:
        """The watermarks that scores tell of this event, one of each event that a careless sender calls the same."""
        ...

    def passed_by(self, offset: int) -> int:
        """The latest deadline of a session that the event at this offset has ended, −1 without one."""
        ...

    def taught_at(self, label_offset: int) -> int | None:
        """The offset of the visitor's newest event when this label taught at once or corrected; None if it did not."""
        ...

    def ending_of(self, closed: ClosedSession) -> ClosedSession | None:
        """What was written of this session's end; `closed` lacks only where it ended and what labels told of it."""
        ...


class NoEvidence:
    """Of a partition that never idled, whose labels all came right before the sessions' ends."""

    @property
    def clock(self) -> Sequence[tuple[int, int]]:
        """It ended none."""
        return ()

    def watermarks_after(self, event: Event) -> Sequence[int]:
        """None known."""
        return ()

    def passed_by(self, offset: int) -> int:
        """None known."""
        return -1

    def taught_at(self, label_offset: int) -> int | None:
        """None did."""
        return None

    def ending_of(self, closed: ClosedSession) -> ClosedSession | None:
        """None known: every label counts."""
        return msgspec.structs.replace(closed, labels_offset=_ALL_LABELS)


class Scored(NamedTuple):
    """An event that must have one feature and one score record."""

    offset: int
    event: Event
    session_id: str
    events: int
    late: bool
    watermark: int
    keys: Keys
    sample: state.Sample
    raw: tuple[float, ...]
    bot: bool

    def feature_record(self) -> FeatureRecord:
        """The record, complete."""
        event = self.event
        assert isinstance(event.event_time, int)
        values = features.FeatureValues(*features.unpack(self.sample.x))
        return FeatureRecord(
            event.event_id, event.visitor_id, self.session_id, event.event_time, event.event_type, self.events, values,
            self.keys,
        )  # fmt: skip


class Duplicate(NamedTuple):
    """An event that was told before and must have no output."""

    offset: int
    event: Event


class Refused(NamedTuple):
    """A record of either input that must be a dead letter."""

    record: Record
    rejected: Rejected


class Learnable(NamedTuple):
    """An outcome that must be one example. Its score is that of the event's score record."""

    outcome: Outcome
    position: tuple[int, int, int]
    left: int

    def example(self) -> Example:
        """The record, but for score, model version and cold."""
        return example_record(self.outcome, self.position, self.left, features.unpack(self.outcome.sample.x))


#: What an input record comes to, in the order in which it does.
Expected = Scored | Duplicate | Refused | ClosedSession | Learnable
