"""One visitor's page: the session's events as they were scored, and what Redis knows of the visitor now."""

from __future__ import annotations

from typing import Any

from stream_app.backends.ports import ViewError
from stream_app.live.sessions import LiveSession
from stream_app.live.views import session_events
from stream_app.settings import Settings
from stream_app.visitor_explained import explained
from stream_app.visitor_facts import visitor_facts
from stream_app.web.answers import ProblemError
from stream_app.web.live_feed import LiveFeed
from stream_app.web.visitor_reading import Known


async def visitor_page(feed: LiveFeed, settings: Settings, name: str) -> dict[str, Any]:
    """`/api/sessions/{visitor}`. Raises ProblemError for a name that is none, or of nobody who is known here."""
    names = feed.shop.names
    if not names.is_name(name) or len(name) > 256:
        raise ProblemError(
            400,
            got=f"visitor {name[:40]!r}",
            expected="a visitor's id" if names.show_ids else "ten hexadecimal digits, as the page shows visitors",
            do="take it from the list; with the setting web_show_visitors visitors are shown by their ids",
        )
    session = feed.shop.find(name)
    visitor_id = name if names.show_ids else session.visitor_id if session is not None else None
    known, problem = None, None
    if visitor_id is not None:
        partitions = [session.partition] if session is not None else feed.partitions()
        try:
            known = await feed.reading.find(visitor_id, partitions)
        except (ViewError, ValueError) as error:
            problem = f"the state cannot be read from Redis: {error}"
    if session is None and known is None:
        if problem is not None:
            raise ProblemError(503, got=problem, expected="an answer of Redis", do="look at /readyz, and try again")
        raise ProblemError(
            404,
            got=f"visitor {name[:40]}",
            expected="a visitor with an event since this page was opened, on a partition of this worker",
            do="wait for the visitor's next event, look at another worker's page, or ask `stream-app session`",
        )
    return {
        "visitor": name,
        "session": _session(feed, session),
        "state": None if known is None else _state(known, settings, show_ids=names.show_ids),
        "journey": None if known is None else feed.journey(known.visitor),
        "explanation": _explanation(feed, known, show_ids=names.show_ids),
        "problem": problem,
    }


def _session(feed: LiveFeed, session: LiveSession | None) -> dict[str, Any] | None:
    if session is None:
        return None
    return {**feed.row(session), "open": feed.shop.sessions.is_open(session), **session_events(session)}


def _state(known: Known, settings: Settings, *, show_ids: bool) -> dict[str, Any]:
    """What Redis knows, without ids unless they may be shown: a session's is often made of its visitor's."""
    watermark = known.watermark_ms if known.watermark_ms >= 0 else None
    facts = visitor_facts(known.visitor, watermark_ms=watermark, gap_ms=settings.session_gap_ms)
    del facts["features"]
    if not show_ids:
        for session in facts["sessions"]:
            del session["session_id"]
        for label in facts["early_labels"]:
            del label["order_id"], label["session_id"]
        if facts["last_score"] is not None:
            del facts["last_score"]["event_id"]
    return {"partition": known.partition, **facts}


def _explanation(feed: LiveFeed, known: Known | None, *, show_ids: bool) -> dict[str, Any] | None:
    model = feed.serving_model
    if known is None or known.visitor.last_score is None or model is None or model.cold:
        return None
    found = explained(known.visitor, known.visitor.last_score, model)
    if not show_ids:
        del found["served"]["event_id"]
    return found
