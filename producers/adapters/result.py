"""What an adapter is given besides the record, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from stream_app.core.codec import DETAIL_LENGTH_MAX, Rejected
from stream_app.core.events import Event

#: A decoded record: a JSON object, or a row by column name.
Record: TypeAlias = Mapping[str, Any]


class Arrival(NamedTuple):
    """When a record reached us, in ms since the epoch, UTC.

    `now_ms` bounds how far ahead event times may lie. `received_ms` is the time of arrival itself, the event time of
    records that carry none; None where nobody has noted it, as of a file.
    """

    now_ms: int
    received_ms: int | None = None


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A whole and valid record that says nothing a session is made of, such as a heartbeat: counted, not rejected."""

    kind: str


Result: TypeAlias = Event | Rejected | Ignored


#: A record → what is in it, in its order: zero or more results, of which at most one is a rejection. Never raises.
Adapt: TypeAlias = Callable[[Record, Arrival], list[Result]]


#: Of one record, the most results. A record of 256 kB may name thousands of items, each of which is an event of its own
#: with all that they have in common: without a bound a few kB become a GB.
MADE_MAX: Final = 2_000


def bounded(parts: Iterable[list[Result]]) -> list[list[Result]] | Rejected:
    """The results of a record's parts; a rejection of all of it as soon as they are too many."""
    taken: list[list[Result]] = []
    made = 0
    for part in parts:
        made += len(part)
        if made > MADE_MAX:
            return Rejected(
                "too_large", f"got a record of more than {MADE_MAX} events, expected at most that: send it in parts"
            )
        taken.append(part)
    return taken


def placed(result: Result, where: str) -> Result:
    """Say in a rejection where in the record it is."""
    if not isinstance(result, Rejected):
        return result
    return Rejected(result.reason, f"{where}: {result.detail}", result.field)


def with_one_rejection(results: Sequence[Result]) -> list[Result]:
    """Make one rejection of several, at the place of the first: a record becomes one dead letter at most.

    It says how much of the record was accepted all the same, so that whoever mends it knows what is there already (to
    send that again is harmless: its event ids are the same).
    """
    rejected = [result for result in results if isinstance(result, Rejected)]
    if not rejected or len(results) == 1:
        return list(results)
    first = rejected[0]
    more = f" (and {len(rejected) - 1} more)" if len(rejected) > 1 else ""
    accepted = sum(isinstance(result, Event) for result in results)
    kept = "1 event of the record was accepted" if accepted == 1 else f"{accepted} events of the record were accepted"
    told = Rejected(first.reason, f"{first.detail}{more}; {kept}"[:DETAIL_LENGTH_MAX], first.field)
    place = results.index(first)
    rest: list[Result] = [result for result in results[place:] if not isinstance(result, Rejected)]
    return [*results[:place], told, *rest]
