"""What is known of a visitor, as plain values: the state in Redis made readable. Pure."""

from __future__ import annotations

from typing import Any

from stream_app.core.features import FEATURE_NAMES, unpack
from stream_app.core.pages import GROUPS
from stream_app.core.state import LastScore, Session, Visitor


def visitor_facts(visitor: Visitor, *, watermark_ms: int | None, gap_ms: int) -> dict[str, Any]:
    """The visitor's history, open sessions, last score and the features behind it.

    Parameters
    ----------
    visitor
        As decoded from its blob.
    watermark_ms
        Event time that the visitor's partition has come to; None if not known.
    gap_ms
        Inactivity that ends a session.

    Times are ms since the epoch and durations ms; `features` are those of the last score, empty without one.
    """
    history = visitor.history
    return {
        "watermark_time": watermark_ms,
        "history": {
            "sessions": history.sessions,
            "purchases": history.purchases,
            "spend": history.spend,
            "last_seen": history.last_seen or None,
        },
        "sessions": [_session(session, gap_ms) for session in visitor.sessions],
        "last_score": _score(visitor.last_score),
        "features": _features(visitor.last_score),
        "early_labels": [
            {"order_id": mark.order_id, "checkout_time": mark.time, "session_id": mark.session_id}
            for mark in visitor.marks
        ],
        "applied": {"events_offset": visitor.events_offset, "labels_offset": visitor.labels_offset},
    }


def _session(session: Session, gap_ms: int) -> dict[str, Any]:
    by_kind = {name: count for name, count in zip(GROUPS, session.group_counts, strict=True) if count}
    return {
        "session_id": session.session_id,
        "start": session.start,
        "last_event": session.last,
        "age_ms": session.last - session.start,
        "ends_at": session.last + gap_ms,
        "events": session.events,
        "purchases": session.purchases,
        "spend": session.spend,
        "source": session.source,
        "country": session.country,
        "mobile": session.mobile,
        "bot": session.bot,
        # What follows is of the episode since the last checkout.
        "episode": session.episode,
        "episode_events": session.episode_events,
        "by_kind": by_kind,
        "items": {item: seen[0] for item, seen in session.items.items()},
        "categories": dict(session.categories),
        "brands": dict(session.brands),
        "cart": {"items": session.cart_count, "value": session.cart_value},
        "pending_examples": len(session.samples),
        "scored_events_they_stand_for": session.population,
    }


def _score(last: LastScore | None) -> dict[str, Any] | None:
    if last is None:
        return None
    return {
        "score": last.score,
        "band": last.band,
        "event_id": last.event_id,
        "event_time": last.event_time,
        "model_version": last.model_version,
        "cold": last.cold,
    }


def _features(last: LastScore | None) -> dict[str, float]:
    return {} if last is None else dict(zip(FEATURE_NAMES, unpack(last.x), strict=True))
