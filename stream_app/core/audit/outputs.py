"""What one partition's outputs hold, remembered as rows; at the same time the evidence for the reference fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream_app.core import records
from stream_app.core.audit.rows import Rows, hashed
from stream_app.core.batch import BY_CLOCK, BY_EVENT, BY_LABEL
from stream_app.core.events import Event
from stream_app.core.example_decoding import TypedExample
from stream_app.core.records import ClosedSession, Example, ScoreRecord


class _FeatureId(msgspec.Struct, gc=False):
    """What tells whose feature record it is."""

    event_id: str
    visitor_id: str
    event_time: int
    event_type: str


_FEATURE_DECODER: Final = msgspec.json.Decoder(_FeatureId)
_SCORE_DECODER: Final = msgspec.json.Decoder(ScoreRecord)
_CLOSED_DECODER: Final = msgspec.json.Decoder(ClosedSession)
_EXAMPLE_DECODER: Final = msgspec.json.Decoder(TypedExample)
_UNREADABLE: Final = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)

#: Bytes of a dead letter that are compared: what comes in longer than a broker takes again is cut when it is written.
_LETTER_COMPARED: Final = 900_000

#: Columns of the rows of scores, examples and closed sessions.
SCORE_WATERMARK, SCORE_SERVED = 0, 1
EXAMPLE_SERVED = 0
CLOSED_KIND, CLOSED_PLACE, CLOSED_NEXT, CLOSED_LABELS, CLOSED_EVENTS, CLOSED_DEADLINE = range(6)


def event_key(visitor_id: str, event_id: str, event_type: str, event_time: int) -> int:
    """Of an event's feature and score records. Careless senders repeat ids: several events may have one."""
    return hashed(visitor_id, event_id, event_type, event_time)


def served(score: float, model_version: int, cold: bool) -> int:
    """What the model said, as a column."""
    return hashed(repr(score), model_version, cold) >> 1


def score_digest(record: ScoreRecord, key: bytes | None) -> int:
    """What a score record says but for the model's part and the clock."""
    r = record
    return hashed(
        key or b"", r.event_id, r.visitor_id, r.session_id, r.event_time, r.event_type, r.events, r.late, r.watermark,
        r.bot is True,
    )  # fmt: skip


def example_key(example: Example) -> int:
    """Of all examples of one event; there must be one, and one more for each time that it is corrected."""
    return hashed(example.visitor_id, example.session_id, example.event_id, example.events, example.event_time)


def example_digest(example: Example, key: bytes | None) -> int:
    """What an example says but for what was served."""
    plain = msgspec.structs.replace(example, score=0.5, model_version=0, cold=False)
    return hashed(key or b"", records.encode(plain))


def closed_key(closed: ClosedSession) -> int:
    """Of a session; an id may come back after its visitor's part numbers were forgotten."""
    return hashed(closed.visitor_id, closed.session_id)


def _events_say(closed: ClosedSession) -> int:
    """What the events alone decide of a session, as a column."""
    plain = msgspec.structs.replace(closed, labelled_checkouts=0, position=(-1, -1), next_offset=-1, labels_offset=-1)
    return hashed(records.encode(plain)) >> 1


def closed_digest(closed: ClosedSession, key: bytes | None) -> int:
    """All that a closed session says."""
    return hashed(key or b"", records.encode(closed))


def letter_key(topic: str, offset: int) -> int:
    """Of a dead letter, by where the record came from."""
    return hashed(topic, offset)


def letter_digest(reason: str, key: bytes | None, value: bytes | None) -> int:
    """A dead letter's reason and bytes. None and empty are not told apart: the client cannot write both as None."""
    return hashed(reason, ((key or b"") + (value or b""))[:_LETTER_COMPARED])


class Outputs:
    """Feed every record of the partition, in offset order; False for one that cannot be read. Then ask."""

    def __init__(self, *, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self.features = Rows()
        self.scores = Rows(2)
        self.examples = Rows(1)
        self.closed = Rows(6)
        self.letters = Rows()
        self._taught: dict[int, int] = {}
        self._clock: list[tuple[int, int]] | None = None
        self._passed: dict[int, int] | None = None

    # ---- in ---------------------------------------------------------------------------------------------------------

    def feature(self, offset: int, key: bytes | None, value: bytes | None) -> bool:
        """One record of the features topic."""
        try:
            r = _FEATURE_DECODER.decode(value or b"")
        except _UNREADABLE:
            return False
        self.features.add(
            event_key(r.visitor_id, r.event_id, r.event_type, r.event_time), hashed(key or b"", value or b""), offset
        )
        return True

    def score(self, offset: int, key: bytes | None, value: bytes | None) -> bool:
        """One record of the scores topic."""
        try:
            r = _SCORE_DECODER.decode(value or b"")
        except _UNREADABLE:
            return False
        self.scores.add(
            event_key(r.visitor_id, r.event_id, r.event_type, r.event_time),
            score_digest(r, key),
            offset,
            r.watermark,
            served(r.score, r.model_version, r.cold),
        )
        return True

    def example(self, offset: int, key: bytes | None, value: bytes | None) -> bool:
        """One record of the examples topic."""
        try:
            r = _EXAMPLE_DECODER.decode(value or b"")
        except _UNREADABLE:
            return False
        kind, place, _ = r.position
        if kind == BY_LABEL:
            self._taught.setdefault(place, r.events_offset)
        self.examples.add(example_key(r), example_digest(r, key), offset, served(r.score, r.model_version, r.cold))
        return True

    def closed_session(self, offset: int, key: bytes | None, value: bytes | None) -> bool:
        """One record of the closed sessions."""
        try:
            r = _CLOSED_DECODER.decode(value or b"")
        except _UNREADABLE:
            return False
        self.closed.add(
            closed_key(r), closed_digest(r, key), offset, *r.position, r.next_offset, r.labels_offset, _events_say(r),
            r.end + self._gap_ms if r.reason == "gap" else -1,
        )  # fmt: skip
        self._clock = self._passed = None
        return True

    def dead_letter(self, offset: int, *, source: tuple[str, int], digest: int) -> None:
        """One dead letter of this partition, by the topic and offset in its headers."""
        self.letters.add(letter_key(*source), digest, offset)

    # ---- evidence ---------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> Sequence[tuple[int, int]]:
        """See `expected.Evidence`."""
        if self._clock is None:
            kind, place, following = (self.closed.columns[n] for n in (CLOSED_KIND, CLOSED_PLACE, CLOSED_NEXT))
            ended = {(following[row], place[row]) for row in range(len(self.closed)) if kind[row] == BY_CLOCK}
            self._clock = sorted(ended)
        return self._clock

    def watermarks_after(self, event: Event) -> Sequence[int]:
        """See `expected.Evidence`."""
        assert isinstance(event.event_time, int)
        key = event_key(event.visitor_id, event.event_id, event.event_type, event.event_time)
        column = self.scores.columns[SCORE_WATERMARK]
        # A repetition says the same; the scores of different events differ at least in `events`.
        return list({self.scores.digest(row): column[row] for row in self.scores.find(key)}.values())

    def passed_by(self, offset: int) -> int:
        """See `expected.Evidence`."""
        if self._passed is None:
            self._passed = {}
            kind, place, deadline = (self.closed.columns[n] for n in (CLOSED_KIND, CLOSED_PLACE, CLOSED_DEADLINE))
            for row in range(len(self.closed)):
                if kind[row] == BY_EVENT:
                    self._passed[place[row]] = max(self._passed.get(place[row], -1), deadline[row])
        return self._passed.get(offset, -1)

    def taught_at(self, label_offset: int) -> int | None:
        """See `expected.Evidence`. The first record counts; the others must say the same."""
        return self._taught.get(label_offset)

    def ending_of(self, closed: ClosedSession) -> ClosedSession | None:
        """See `expected.Evidence`. The first record counts; repetitions must say the same."""
        rows, columns = self.closed.find(closed_key(closed)), self.closed.columns
        if not rows:
            return None
        events_say = _events_say(closed)
        # A record that says something wrong of the session is still the best evidence of where it ended.
        row = next((row for row in rows if columns[CLOSED_EVENTS][row] == events_say), rows[0])
        return msgspec.structs.replace(
            closed,
            position=(columns[CLOSED_KIND][row], columns[CLOSED_PLACE][row]),
            next_offset=columns[CLOSED_NEXT][row],
            labels_offset=columns[CLOSED_LABELS][row],
        )
