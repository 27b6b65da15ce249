"""Sessions that may come to hesitate: the newest moment of each, and when it is to be looked at again."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from stream_app.discounts.core.records import Moment

#: Of one partition, some 3 kB each. Twenty seconds of the moments of 2,000 events a second are 5,000.
TIMERS_MAX: Final = 20_000


class Timer(NamedTuple):
    """`due_ms` on the partition's clock; `moment` as it was told."""

    due_ms: int
    moment: Moment


class Timers:
    """At most one for each session: a newer moment, a purchase or the session's end puts an end to it."""

    def __init__(self, most: int = TIMERS_MAX) -> None:
        self._most = most
        self._waiting: dict[tuple[str, str], Timer] = {}
        #: (due, session), with entries of timers that are gone or were set anew
        self._due: list[tuple[int, tuple[str, str]]] = []
        self._refused = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def set(self, moment: Moment, due_ms: int) -> None:
        """Look at the moment's session again then."""
        session = (moment.visitor_id, moment.session_id)
        if session not in self._waiting and len(self._waiting) >= self._most:
            self._refused += 1
            return
        self._waiting[session] = Timer(due_ms, moment)
        heappush(self._due, (due_ms, session))
        if len(self._due) > 2 * self._most:
            self._due = [(timer.due_ms, each) for each, timer in self._waiting.items()]
            heapify(self._due)

    def moment(self, visitor_id: str, session_id: str) -> Moment | None:
        """What a session's timer is about."""
        timer = self._waiting.get((visitor_id, session_id))
        return timer.moment if timer else None

    def cancel(self, visitor_id: str, session_id: str) -> None:
        """Do not look at a session again."""
        self._waiting.pop((visitor_id, session_id), None)

    def due(self, now_ms: int, most: int) -> list[Moment]:
        """The moments whose time has come, in order; they stay until they are set anew or cancelled."""
        found: dict[tuple[int, tuple[str, str]], Moment] = {}
        while self._due and self._due[0][0] <= now_ms and len(found) < most:
            due_ms, session = heappop(self._due)
            timer = self._waiting.get(session)
            if timer is not None and timer.due_ms == due_ms:
                found[due_ms, session] = timer.moment
        for entry in found:
            heappush(self._due, entry)
        return list(found.values())

    def take_refused(self) -> int:
        """How many were not set since this was asked last, because there were too many."""
        refused, self._refused = self._refused, 0
        return refused

    def next_ms(self) -> int | None:
        """When the first one is due at the earliest."""
        return self._due[0][0] if self._due else None
