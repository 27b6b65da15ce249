"""Why the sessions that are shown have the scores they have, and their kind of journey: from their states in Redis.

Both are computed for those few. Records carry reasons for some scores only (the setting `reasons`), and never words:
those need the features behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

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


class _Known(NamedTuple):
    """Of a session: its events when it was looked at, what was found, and whether there were kinds of journeys then."""

    events: int
    reasons: list[dict[str, Any]] | None
    kind: int | None
    kinds_begun: bool


#: No session has fewer than one event.
_UNKNOWN: Final = _Known(-1, None, None, False)


class ReasonsNow:
    """The reasons of the newest score of sessions, by session id; `kind_of` tells the kind of a visitor's journey,
    once `kinds_begun`.
    """

    def __init__(
        self, reading: VisitorReading, *, kind_of: Callable[[Visitor], int | None], kinds_begun: Callable[[], bool]
    ) -> None:
        self._reading, self._kind_of, self._kinds_begun = reading, kind_of, kinds_begun
        self._known: dict[str, _Known] = {}

    def of(self, session: LiveSession) -> list[dict[str, Any]] | None:
        """What is known of the session's newest score; None if that is not yet."""
        known = self._known.get(session.session_id, _UNKNOWN)
        return known.reasons if known.events == session.last.events else None

    def kind(self, session: LiveSession) -> int | None:
        """The kind of the session's journey when it was last looked at; None if that is not known."""
        return self._known.get(session.session_id, _UNKNOWN).kind

    async def refresh(self, sessions: Iterable[LiveSession], model: ServingModel) -> None:
        """Find out what is not known; what Redis has not heard of yet stays for the next time."""
        if model.cold:
            return
        unknown = [s for s in sessions if not s.last.cold and self._is_unknown(s)][:_AT_ONCE_MAX]
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

    def _is_unknown(self, session: LiveSession) -> bool:
        """Also if kinds of journeys were found since: a visitor who does nothing any more has one, too."""
        begun = self._known.get(session.session_id, _UNKNOWN).kinds_begun
        return self.of(session) is None or (self._kinds_begun() and not begun)

    def _take(self, session: LiveSession, visitor: Visitor, model: ServingModel) -> None:
        last, point = visitor.last_score, session.last
        if last is None or (last.event_time, last.score) != (point.event_time, point.score):
            return
        found = explained(visitor, last, model)
        self._known.pop(session.session_id, None)
        reasons = [shown(reason) for reason in found["reasons"][:REASONS_SHOWN]]
        self._known[session.session_id] = _Known(point.events, reasons, self._kind_of(visitor), self._kinds_begun())
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
