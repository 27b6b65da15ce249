"""The latest checkouts, and what had been said of each visitor before: the score's promise beside what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from stream_app.live.reading import Score, Told
from stream_app.live.sessions import LiveSession, LiveSessions

#: More are not looked at; the topics have all.
CHECKOUTS_MAX: Final = 50

#: Points of the way to a checkout that are shown.
WAY_MAX: Final = 24


class Checkout(NamedTuple):
    """A checkout at `time` (ms): seen as an event, or told by the order system. `way` is of the episode it ended."""

    name: str
    time: int
    source: Literal["purchase", "label"]
    #: the newest score before it, None where that was before we looked
    before: Score | None
    way: list[float]


class Checkouts:
    """The newest first."""

    def __init__(self) -> None:
        self._kept: deque[Checkout] = deque(maxlen=CHECKOUTS_MAX)
        #: sessions of the last ones told by labels, by id and time: an outcome has an example for each sampled event
        self._told: deque[tuple[str, int]] = deque(maxlen=CHECKOUTS_MAX)
        self.seen = 0

    def newest(self, limit: int) -> list[Checkout]:
        """The newest so many."""
        return list(self._kept)[: -limit - 1 : -1]

    def bought(self, session: LiveSession) -> None:
        """The session's newest event is a purchase. Rows of one order come as several: the first one counts."""
        point = session.last
        before = [p for p in session.points[:-1] if p.events < point.events]
        if before and before[-1].events == point.events - 1 and before[-1].event_type == "purchase":
            return
        self._add(session, point.event_time, "purchase", before)

    def told(self, told: Told, sessions: LiveSessions) -> None:
        """An example says that a label told a checkout: the first such that is new, of a session that we follow."""
        if told.label != 1 or told.left or told.previous >= 0:
            return
        place = (told.session_id, told.label_time)
        session = sessions.get(told.session_id)
        if session is None or place in self._told:
            return
        self._told.append(place)
        self._add(session, told.label_time, "label", [p for p in session.points if p.event_time <= told.label_time])

    def _add(
        self, session: LiveSession, time: int, source: Literal["purchase", "label"], before: Sequence[Score]
    ) -> None:
        if any((known.name, known.time) == (session.name, time) for known in self._kept):
            return  # told by both, in whichever order: by the shop's event, and by the order system's label of it
        self.seen += 1
        start = max((n + 1 for n, p in enumerate(before) if p.event_type == "purchase"), default=0)
        way = [p.score for p in before[start:]][-WAY_MAX:]
        self._kept.append(Checkout(session.name, time, source, before[-1] if way else None, way))
