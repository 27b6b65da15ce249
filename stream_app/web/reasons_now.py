"""Why the sessions that are shown have the scores they have: computed for those few, from their states in Redis.

Records carry reasons for some scores only (the setting `reasons`), and never words: those need the features behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from stream_app.backends.ports import ViewError
from stream_app.core.reason_words import odds_factor
from stream_app.core.serving import ServingModel
from stream_app.core.state import Visitor
from stream_app.live.sessions import LiveSession
from stream_app.visitor_explained import explained
from stream_app.web.visitor_reading import VisitorReading

#: Reasons of a session in a list.
REASONS_SHOWN: Final = 3

#: Sessions remembered: a few lists' worth.
_KNOWN_MAX: Final = 500

#: Sessions explained in one go, some 0.4 ms each: a list of them.
_AT_ONCE_MAX: Final = 40


class ReasonsNow:
    """The reasons of the newest score of sessions, by session id."""

    def __init__(self, reading: VisitorReading) -> None:
        self._reading = reading
        #: session id → (its events, reasons)
        self._known: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    def of(self, session: LiveSession) -> list[dict[str, Any]] | None:
        """What is known of the session's newest score; None if that is not yet."""
        events, reasons = self._known.get(session.session_id, (-1, None))
        return reasons if events == session.last.events else None

    async def refresh(self, sessions: Iterable[LiveSession], model: ServingModel) -> None:
        """Find out what is not known; what Redis has not heard of yet stays for the next time."""
        if model.cold:
            return
        unknown = [s for s in sessions if not s.last.cold and self.of(s) is None][:_AT_ONCE_MAX]
        by_partition: dict[int, list[LiveSession]] = defaultdict(list)
        for session in unknown:
            by_partition[session.partition].append(session)
        for partition, among in by_partition.items():
            try:
                found = await self._reading.many(partition, [session.visitor_id for session in among])
            except (ViewError, ValueError):
                return  # readiness says what is wrong with Redis; the list goes without
            for session in among:
                visitor = found.get(session.visitor_id)
                if visitor is not None:
                    self._take(session, visitor, model)

    def _take(self, session: LiveSession, visitor: Visitor, model: ServingModel) -> None:
        last, point = visitor.last_score, session.last
        if last is None or (last.event_time, last.score) != (point.event_time, point.score):
            return
        found = explained(visitor, last, model)
        self._known.pop(session.session_id, None)
        self._known[session.session_id] = (point.events, [shown(r) for r in found["reasons"][:REASONS_SHOWN]])
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]


def shown(reason: dict[str, Any]) -> dict[str, Any]:
    """A reason of `visitor_explained.explained` as a list has it."""
    return {
        "id": reason["id"],
        "title": reason["title"],
        "contribution": reason["contribution"],
        "odds": odds_factor(reason["contribution"]),
        "words": reason["words"],
    }
