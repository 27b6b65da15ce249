"""Batches as a worker tells them, made by hand: score records, closed sessions and examples, as JSON on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_app.core import records
from stream_app.core.effects import Effects, Keyed, Position
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.live.names import VisitorNames
from stream_app.live.shop import LiveShop

#: Of events made here: one a minute.
T0 = 1_735_689_600_000
MINUTE = 60_000


def shop(*, show_ids: bool = True) -> LiveShop:
    return LiveShop(VisitorNames(b"a key of these tests", show_ids=show_ids))


def band_of(score: float) -> Any:
    return "unlikely" if score < 0.1 else "on_the_fence" if score < 0.4 else "likely"


def score(visitor: str, events: int, value: float, event_type: str = "view_item", **more: Any) -> Keyed:
    fields: dict[str, Any] = {
        "session_id": f"{visitor}/1",
        "event_time": T0 + events * MINUTE,
        "model": "newton",
        "model_version": 7,
        "model_updates": 900,
        "cold": False,
        "late": False,
        "scored_at": T0 + events * MINUTE + 5,
        "watermark": -1,
        **more,
    }
    record = records.ScoreRecord(
        event_id=f"{visitor}-{events}",
        visitor_id=visitor,
        event_type=event_type,
        events=events,
        score=value,
        band=band_of(value),
        **fields,
    )
    return visitor.encode(), records.encode(record)


def closed(visitor: str) -> Keyed:
    record = records.ClosedSession(visitor, f"{visitor}/1", T0, T0 + MINUTE, MINUTE, 2, 0, 0, 0.0, None, None, "gap")
    return visitor.encode(), records.encode(record)


def example(visitor: str, events: int, *, label: int, source: Any, label_time: int, left: int = 0) -> Keyed:
    record = records.Example(
        event_id=f"{visitor}-{events}",
        visitor_id=visitor,
        session_id=f"{visitor}/1",
        event_time=T0 + events * MINUTE,
        event_type="view_item",
        events=events,
        features=FeatureValues(*[0.0] * len(FEATURE_NAMES)),
        keys=records.Keys(),
        score=0.2,
        model_version=7,
        cold=False,
        label=label,
        weight=1.0,
        label_source=source,
        label_time=label_time,
        position=(0, 1, 0),
        left=left,
    )
    return visitor.encode(), records.encode(record)


def batch(scores: list[Keyed], **more: Any) -> Effects:
    """Effects of scores, counted as a worker counts them."""
    effects = Effects(Position(partitions=4, open_visitors=more.pop("open_visitors", -1)), scores=scores, **more)
    for _, value in scores:
        found = msgspec.json.decode(value)
        effects.bands[found["band"]] += 1
        effects.events[found["event_type"], "scored"] += 1
    return effects
