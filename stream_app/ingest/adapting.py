"""Records of a raw topic → what is to be written for each, and several of these → one batch. Without I/O.

A record becomes events, or is ignored, or becomes one dead letter (and perhaps some events beside it). What it becomes
depends on its bytes, its headers and its timestamp alone, so that a record that is read again comes to the same events
with the same ids. Only the bound on times that lie ahead is that of the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from producers.adapters.result import Arrival, Ignored, Result, with_one_rejection
from producers.door import Door
from producers.findings import is_unknown_type
from producers.formats import Format
from stream_app.core.codec import Rejected, encode
from stream_app.core.effects import DeadLetter
from stream_app.core.events import Event

#: Of events made of one batch, as they are written: a body of 256 KiB may hold thousands of items, each an event of its
#: own with all that they have in common. The rest of the records is adapted in the next batch.
OUTPUT_BYTES_MAX: Final = 8_000_000

#: An event whose clock is ahead counts as old as the oldest of so many that come next.
_AHEAD_EVENTS: Final = 8

#: What a trace needs: it goes on from a raw record to its events (https://www.w3.org/TR/trace-context/). Whoever makes
#: longer ones than the 512 characters that have to be handed on makes no traces.
_CARRIED: Final = ("traceparent", "tracestate")
_CARRIED_BYTES_MAX: Final = 512

Headers: TypeAlias = Sequence[tuple[str, bytes]]

#: Key, value and headers of a record to write.
Outgoing: TypeAlias = tuple[bytes, bytes, Headers]


class RawRecord(Protocol):
    """What is read of a Kafka record. `timestamp` is in ms since the epoch, below 0 where there is none."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


class Adapted(NamedTuple):
    """What one record came to.

    Attributes
    ----------
    offset, received_ms
        The record's own; −1 where it has no timestamp.
    time_ms
        When it happened, for the order between partitions: the earliest time of its events, or else of its arrival.
    types
        Of its events, in their order.
    records
        The events as they are written.
    letter
        The dead letter, if it was rejected.
    ignored
        How many parts of it say nothing that a visit is made of.
    events, unknown_types
        What is looked at at the door: the events themselves, and how much of it was of no type of ours.
    """

    offset: int
    received_ms: int
    time_ms: int
    types: tuple[str, ...]
    records: tuple[Outgoing, ...]
    letter: DeadLetter | None
    ignored: int
    events: tuple[Event, ...] = ()
    unknown_types: int = 0


class Batch(NamedTuple):
    """What is written in one transaction.

    Attributes
    ----------
    next_offset
        Of the raw partition: the record to read after these.
    records
        How many raw records it was made of.
    events
        Partition of the events topic → its records, in order.
    letters
        Dead letters, in order.
    types
        Event type → events.
    outcomes
        What became of the raw records: `events`, `ignored`, `rejected` (also with events beside) → how many.
    ignored
        Parts of the raw records that say nothing a visit is made of.
    received_ms
        Timestamps of the raw records that came to events, where they have one.
    taken, unknown_types
        As `Adapted.events`, each with when its record came (None: nobody knows); and `Adapted.unknown_types`.
    """

    next_offset: int
    records: int
    events: dict[int, list[Outgoing]]
    letters: list[DeadLetter]
    types: Counter[str]
    outcomes: Counter[str]
    ignored: int
    received_ms: list[int]
    taken: list[tuple[Event, int | None]]
    unknown_types: int


def adapt(
    records: Sequence[RawRecord], format: Format, door: Door, *, now_ms: int, bytes_max: int = OUTPUT_BYTES_MAX
) -> list[Adapted]:
    """Convert the first of the records, at least one and as many as fit in `bytes_max` of output.

    Events pass the door: what is personal in them stays outside. `now_ms` is the clock that bounds how far ahead event
    times may lie: that of the records which are going to be written, so that whoever reads them judges as was judged
    here.
    """
    adapted: list[Adapted] = []
    size = 0
    for record in records:
        one = _adapted(record, format, door, now_ms)
        adapted.append(one)
        size += sum(len(value) for _, value, _ in one.records)
        if size >= bytes_max:
            break
    return adapted


def in_order(adapted: Sequence[Adapted]) -> list[int]:
    """By which times (ms) the records stand in line with those of other partitions, one for each.

    A single wrong clock, ahead of all others, must not hold up what comes behind it.
    """
    times = [one.time_ms for one in adapted]
    return [min(times[place : place + _AHEAD_EVENTS]) for place in range(len(times))]


def gather(adapted: Sequence[Adapted], *, partition_of: Callable[[bytes], int]) -> Batch:
    """Make one batch of these, at least one. `partition_of` a key is its partition of the events topic."""
    events: dict[int, list[Outgoing]] = {}
    batch = Batch(
        next_offset=adapted[-1].offset + 1,
        records=len(adapted),
        events=events,
        letters=[],
        types=Counter(),
        outcomes=Counter(),
        ignored=sum(one.ignored for one in adapted),
        received_ms=[],
        taken=[],
        unknown_types=sum(one.unknown_types for one in adapted),
    )
    for one in adapted:
        for record in one.records:
            events.setdefault(partition_of(record[0]), []).append(record)
        batch.types.update(one.types)
        batch.taken.extend((event, one.received_ms if one.received_ms >= 0 else None) for event in one.events)
        if one.letter is not None:
            batch.letters.append(one.letter)
        batch.outcomes["rejected" if one.letter is not None else "events" if one.records else "ignored"] += 1
        if one.records and one.received_ms >= 0:
            batch.received_ms.append(one.received_ms)
    return batch


def _adapted(record: RawRecord, format: Format, door: Door, now_ms: int) -> Adapted:
    headers = [(name, content or b"") for name, content in record.headers]
    results = _results(record, headers, format, now_ms)
    unknown_types = sum(isinstance(result, Ignored) or is_unknown_type(result) for result in results)
    if any(isinstance(result, Event) for result in results):
        results = with_one_rejection([door.admit(one) if isinstance(one, Event) else one for one in results])
    carried = [(name, told) for name, told in headers if name in _CARRIED and 0 < len(told) <= _CARRIED_BYTES_MAX]
    events = [result for result in results if isinstance(result, Event)]
    time_ms = min((_time_ms(event) for event in events), default=record.timestamp)
    rejected = next((result for result in results if isinstance(result, Rejected)), None)
    return Adapted(
        offset=record.offset,
        received_ms=record.timestamp,
        time_ms=min(time_ms, record.timestamp) if record.timestamp >= 0 else time_ms,
        types=tuple(event.event_type for event in events),
        records=tuple((event.visitor_id.encode(), encode(event), carried) for event in events),
        letter=_letter(record, rejected) if rejected is not None else None,
        ignored=sum(isinstance(result, Ignored) for result in results),
        events=tuple(events),
        unknown_types=unknown_types,
    )


def _results(record: RawRecord, headers: Headers, format: Format, now_ms: int) -> list[Result]:
    if not record.value:
        return [Rejected("empty_value", f"got a record without a value, expected one of format {format.name}")]
    arrival = Arrival(now_ms, received_ms=record.timestamp if record.timestamp >= 0 else None)
    return format.results(record.value, arrival, headers=headers)


def _time_ms(event: Event) -> int:
    assert isinstance(event.event_time, int)  # adapters have made it so
    return event.event_time


def _letter(record: RawRecord, rejected: Rejected) -> DeadLetter:
    return DeadLetter(
        record.key,
        record.value,
        rejected.reason,
        rejected.detail,
        record.topic,
        record.partition,
        record.offset,
    )
