"""The sessions that are open, as far as their events were seen: how each one's score went.

Bounded by sessions and by the points of all of them together; the ones without an event for the longest go first. A few
that have ended stay, so that a link to one still leads somewhere.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from stream_app.live.reading import Score

#: Open sessions followed, about 400 bytes each without their points: a shop with more has the newest ones shown.
SESSIONS_MAX: Final = 20_000

#: Points of all sessions together, 200 bytes each, twice that with reasons: an average visit has five.
POINTS_MAX: Final = 200_000

#: Points of one session; of a longer one the newest are kept, and it is said how many are not.
SESSION_POINTS_MAX: Final = 120
#: As many go at once, so that a crawler's session is not shifted at every event.
_POINTS_DROPPED: Final = 40

#: Ended sessions kept: an hour of a small shop's.
ENDED_MAX: Final = 500

#: Upper bounds of the histogram's bins (probability), the last one open. Most scores are close to the base rate, a few
#: per cent: bins are narrow there.
BOUNDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)

#: Events over which a score's rise is taken.
_RISE_EVENTS: Final = 5


class LiveSession:
    """A session and its points, the newest last; never empty. `omitted` are those dropped, `name` its visitor's."""

    __slots__ = ("bin", "name", "omitted", "partition", "points", "session_id", "visitor_id")

    def __init__(self, name: str, visitor_id: str, session_id: str, partition: int) -> None:
        self.name, self.visitor_id, self.session_id, self.partition = name, visitor_id, session_id, partition
        self.points: list[Score] = []
        self.omitted = self.bin = 0

    @property
    def last(self) -> Score:
        """The newest."""
        return self.points[-1]

    @property
    def rise(self) -> float:
        """By how much the score rose over the last events, as a difference of probabilities."""
        return self.last.score - self.points[max(0, len(self.points) - 1 - _RISE_EVENTS)].score


#: What a list may be ordered by: higher comes first.
ORDERS: Final[dict[str, Callable[[LiveSession], float]]] = {
    "score": lambda session: session.last.score,
    "rise": lambda session: session.rise,
    "events": lambda session: session.last.events,
    "recent": lambda session: session.last.scored_at,
}


class LiveSessions:
    """All of them; `histogram` counts the newest scores of the open ones by the bins of BOUNDS."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        #: by session id, the one with the newest event last
        self._open: dict[str, LiveSession] = {}
        self._ended: dict[str, LiveSession] = {}
        #: visitor's name → its session with the newest event
        self._by_name: dict[str, LiveSession] = {}
        self._points = 0
        self.histogram = [0] * (len(BOUNDS) + 1)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(self._open.values())

    def get(self, session_id: str) -> LiveSession | None:
        """An open session, or one that ended lately."""
        return self._open.get(session_id) or self._ended.get(session_id)

    def of_visitor(self, name: str) -> LiveSession | None:
        """The visitor's session with the newest event, open or ended."""
        return self._by_name.get(name)

    def is_open(self, session: LiveSession) -> bool:
        """Whether it is among the open ones."""
        return self._open.get(session.session_id) is session

    def add(self, score: Score, partition: int) -> LiveSession | None:
        """Take a score; None if it is known: a batch that is carried out again comes twice."""
        session_id = score.session_id
        session = self._open.pop(session_id, None)
        if session is None:
            session = LiveSession(self._name(score.visitor_id), score.visitor_id, session_id, partition)
        else:
            if score.events <= session.points[-1].events:
                self._open[session_id] = session
                return None
            self.histogram[session.bin] -= 1
        self._open[session_id] = self._by_name[session.name] = session
        # One of each text for all points of a session: they are most of what a point takes.
        score.visitor_id, score.session_id = session.visitor_id, session.session_id
        session.points.append(score)
        session.bin = found = bisect_right(BOUNDS, score.score)
        self.histogram[found] += 1
        self._points += 1
        if len(session.points) > SESSION_POINTS_MAX:
            del session.points[:_POINTS_DROPPED]
            session.omitted += _POINTS_DROPPED
            self._points -= _POINTS_DROPPED
        while len(self._open) > SESSIONS_MAX or self._points > POINTS_MAX:
            self._drop(next(iter(self._open)))
        return session

    def end(self, session_id: str) -> None:
        """A session is over."""
        session = self._drop(session_id)
        if session is None:
            return
        self._ended[session_id] = session
        self._by_name.setdefault(session.name, session)
        if len(self._ended) > ENDED_MAX:
            self._unname(self._ended.pop(next(iter(self._ended))))

    def keep(self, wanted: Callable[[LiveSession], bool]) -> None:
        """Forget those that are not wanted: of partitions that were given back, or not among the sampled visitors."""
        for session in [session for session in self._open.values() if not wanted(session)]:
            self._drop(session.session_id)

    def clear(self) -> None:
        """Forget all."""
        for kept in (self._open, self._ended, self._by_name):
            kept.clear()
        self._points = 0
        self.histogram = [0] * (len(BOUNDS) + 1)

    def top(self, order: str, *, band: str | None, limit: int) -> list[LiveSession]:
        """The first by an order of ORDERS, the ones with the newest event first among equals."""
        key = ORDERS[order]
        among = (s for s in self._open.values() if band is None or s.last.band == band)
        return heapq.nlargest(limit, among, key=lambda session: (key(session), session.last.scored_at))

    def _drop(self, session_id: str) -> LiveSession | None:
        session = self._open.pop(session_id, None)
        if session is not None:
            self.histogram[session.bin] -= 1
            self._points -= len(session.points)
            self._unname(session)
        return session

    def _unname(self, session: LiveSession) -> None:
        if self._by_name.get(session.name) is session:
            del self._by_name[session.name]
