"""Sessions and checkouts as JSON values, as the page shows them; the fields are described in docs/live-page.md.

Nothing here has an id of a visitor, a session, an event or an order in it: a visitor has a name (`names.py`).
"""

from __future__ import annotations

import math
from typing import Any, Final

from stream_app.core.calibration import logit
from stream_app.core.reason_catalogue import REASONS
from stream_app.core.reason_words import odds_factor
from stream_app.core.records import Reasons
from stream_app.live.checkouts import Checkout
from stream_app.live.reading import Score
from stream_app.live.sessions import LiveSession

#: Points of the curve in a list.
CURVE_MAX: Final = 24

_TITLES: Final = {reason.id: reason.title for reason in REASONS}


def session_row(session: LiveSession) -> dict[str, Any]:
    """A session in a list. `reasons` are those of the newest event, None where its record has none."""
    last = session.last
    return {
        "visitor": session.name,
        "partition": session.partition,
        "score": last.score,
        "band": last.band,
        "cold": last.cold,
        "rise": session.rise,
        "stage": last.event_type,
        "events": last.events,
        "event_time": last.event_time,
        "scored_at": last.scored_at,
        "curve": [point.score for point in session.points[-CURVE_MAX:]],
        "reasons": reasons_shown(last.reasons),
    }


def session_events(session: LiveSession) -> dict[str, Any]:
    """A session's events, oldest first; `change` is the score's in probability, `odds_factor` the odds'."""
    events: list[dict[str, Any]] = []
    before: Score | None = None
    for point in session.points:
        known = before is not None and point.events == before.events + 1
        events.append(
            {
                "number": point.events,
                "event_time": point.event_time,
                "event_type": point.event_type,
                "score": point.score,
                "band": point.band,
                "cold": point.cold,
                "late": point.late,
                "change": point.score - before.score if known and before is not None else None,
                "odds_factor": odds_ratio(point.score, before.score) if known and before is not None else None,
                "reasons": reasons_shown(point.reasons),
            }
        )
        before = point
    return {"events_in_all": session.last.events, "not_shown": session.last.events - len(events), "events": events}


def checkout_row(checkout: Checkout) -> dict[str, Any]:
    """A checkout in a list; `before` is None where the score before it was not seen."""
    before = checkout.before
    return {
        "visitor": checkout.name,
        "time": checkout.time,
        "source": checkout.source,
        "before": None
        if before is None
        else {
            "score": before.score,
            "band": before.band,
            "cold": before.cold,
            "event_type": before.event_type,
            "events": before.events,
            "seconds_before": max(0.0, (checkout.time - before.event_time) / 1000),
        },
        "curve": checkout.way,
    }


def reasons_shown(reasons: Reasons | None) -> list[dict[str, Any]] | None:
    """Reasons of a record with their titles, and the factors by which they move the odds in words."""
    if reasons is None:
        return None
    return [
        {"id": name, "title": _TITLES.get(name, name), "contribution": value, "odds": odds_factor(value)}
        for name, value in reasons
    ]


def odds_ratio(p: float, q: float) -> float:
    """By what the odds of q are multiplied in p."""
    return math.exp(logit(p) - logit(q))
