"""Closed sessions and journeys as rows of `stream_app.analytics`, from the records that tell of them.

A closed session's record tells how long it was and whether it bought; of its steps only how many there were. An
example's record has the features of its event, which count the episode's steps by kind: that of an outcome's last
example is a **journey**, from an episode's first step to the purchase or the end of the session. What no record tells
(items, prices of single events) is left out of the rows: 0, "" or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from stream_app.analytics.episodes import EpisodeRows
from stream_app.analytics.sessions import ACTIONS, EARLY, PATH_STEPS, SessionRows
from stream_app.analytics.stretches import CLOSED_BY, NEVER
from stream_app.analytics.table import Floats, Hashes, Integers, Texts
from stream_app.core.features import FeatureValues
from stream_app.core.pages import ENTRY, GROUPS
from stream_app.core.records import Keys

_TIME_OUT: Final = CLOSED_BY.index("time-out")

#: Kinds of step that a feature counts: all but the purchase, which is the outcome.
_COUNTED: Final = tuple((code, f"n_{name}") for code, name in enumerate(GROUPS) if name != "purchase")


class ClosedTold(msgspec.Struct, gc=False):
    """What is looked at of a record of `sessions.closed.v1`; times in ms UTC."""

    start: int
    end: int
    events: int
    purchases: int
    labelled_checkouts: int = 0
    source: str | None = None
    country: str | None = None
    category: str | None = None

    @property
    def bought(self) -> bool:
        """Whether anybody told of a checkout."""
        return self.purchases + self.labelled_checkouts > 0


class JourneyTold(msgspec.Struct, gc=False):
    """What is looked at of a record of `training.examples.v1`: an event, and how the episode it was in came out.

    `features` is a `FeatureValues`.
    """

    event_time: int
    features: Any
    keys: Keys
    label: int = 0
    left: int = 0
    previous: int = -1


#: What the last example of every outcome has in it: it is looked for before anything is decoded.
LAST_OF_OUTCOME: Final = b'"left":0,'


class _TypedJourney(JourneyTold, gc=False):
    features: FeatureValues  # type: ignore[valid-type]


read_closed: Final = msgspec.json.Decoder(ClosedTold).decode
read_journey: Final[Callable[[bytes], JourneyTold]] = msgspec.json.Decoder(_TypedJourney).decode


def is_journey(told: JourneyTold) -> bool:
    """Whether it tells of an outcome for the first time, as its last example: a correction repeats a journey."""
    return told.left == 0 and told.previous == -1


def closed_rows(told: Sequence[ClosedTold]) -> SessionRows:
    """Closed sessions; `steps` is the number of all their events, `kinds` is not known."""
    events = np.array([one.events for one in told], np.int64)
    return _session_rows(
        first_ms=np.array([one.start for one in told], np.int64),
        active_ms=np.array([one.end for one in told], np.int64),
        steps=events,
        kinds=np.zeros((len(told), len(GROUPS)), np.int64),
        path=np.zeros(len(told), np.uint64),
        bought=np.array([one.bought for one in told], np.int64),
        source=_texts([one.source for one in told]),
        country=_texts([one.country for one in told]),
        device=_texts([None] * len(told)),
        category=_texts([one.category for one in told]),
    )


def closed_episodes(told: Sequence[ClosedTold]) -> EpisodeRows:
    """Closed sessions as episodes that begin with their first event.

    The end of one that bought is taken for its purchase, which is its last event but a page or two. All are of one
    category: none.
    """
    count = len(told)
    first = np.array([one.start for one in told], np.int64)
    end = np.array([one.end for one in told], np.int64)
    bought = np.array([one.bought for one in told], bool)
    nothing, zeros, unknown = _texts([None] * count), np.zeros(count, np.int64), np.full(count, np.nan)
    return EpisodeRows(
        key=np.zeros(count, np.uint64),
        first_ms=first,
        active_ms=end,
        closed_by=np.full(count, _TIME_OUT, np.int8),
        visitor=nothing,
        item=nothing,
        category=nothing,
        brand=nothing,
        source=nothing,
        viewed_ms=first,
        bought_ms=np.where(bought, end, NEVER),
        events=np.array([one.events for one in told], np.int64),
        views=zeros,
        carts=zeros,
        interest=zeros,
        lines=bought.astype(np.int64),
        value=np.zeros(count),
        price=unknown,
        order=np.zeros(count, np.uint64),
    )


def journey_rows(told: Sequence[JourneyTold]) -> SessionRows:
    """Journeys: steps by kind, the first and the last step, length and names. No price is known of them."""
    count = len(told)
    kinds = np.zeros((count, len(GROUPS)), np.int64)
    for code, name in _COUNTED:
        kinds[:, code] = [_count(getattr(one.features, name)) for one in told]
    steps = kinds.sum(axis=1)
    last = np.array([one.event_time for one in told], np.int64)
    first_ms = last - np.array([round(1000.0 * math.expm1(one.features.age)) for one in told], np.int64)
    return _session_rows(
        first_ms=first_ms,
        active_ms=last,
        steps=steps,
        kinds=kinds,
        path=np.array([_ends(one.keys, int(n)) for one, n in zip(told, steps, strict=True)], np.uint64),
        bought=np.array([one.label for one in told], np.int64),
        source=_texts([one.keys.source for one in told]),
        country=_texts([one.keys.country for one in told]),
        device=_texts(["mobile" if one.features.mobile else None for one in told]),
        category=_texts([one.keys.category for one in told]),
    )


def _count(feature: float) -> int:
    """Of ln(1 + events), which is rounded to 10⁻⁴: exact for the counts that there are."""
    return round(math.expm1(feature))


def _ends(keys: Keys, steps: int) -> int:
    """A path of which only the first and the last step are told, as `analytics.sessions` packs it."""
    width = len(GROUPS)
    entries = [code % width for code in keys.transitions[::2] if code // width == ENTRY]
    last = keys.step // 2 + 1 if keys.step >= 0 else 0
    place = min(max(steps, 1), PATH_STEPS) - 1
    if place == 0:
        return last
    return (entries[0] + 1 if entries else 0) | last << 4 * place


def _texts(values: Sequence[str | None]) -> Texts:
    column = np.empty(len(values), dtype=object)
    column[:] = [value or "" for value in values]
    return column


def _session_rows(
    *,
    first_ms: Integers,
    active_ms: Integers,
    steps: Integers,
    kinds: Integers,
    path: Hashes,
    bought: Integers,
    source: Texts,
    country: Texts,
    device: Texts,
    category: Texts,
) -> SessionRows:
    count = len(first_ms)
    zeros, none = np.zeros(count, np.int64), np.zeros(count, np.uint64)
    unknown: Floats = np.full((count, EARLY), np.nan)
    return SessionRows(
        key=none,
        first_ms=first_ms,
        active_ms=active_ms,
        closed_by=np.full(count, _TIME_OUT, np.int8),
        visitor=_texts([None] * count),
        source=source,
        country=country,
        device=device,
        category=category,
        events=steps,
        actions=np.zeros((count, len(ACTIONS)), np.int64),
        checkouts=bought,
        spend=np.zeros(count),
        bought_ms=np.where(bought > 0, active_ms, NEVER),
        last_kind=np.zeros(count, np.uint8),
        order=none,
        steps=steps,
        step_ms=active_ms,
        kinds=kinds,
        path=path,
        price_sum=np.zeros(count),
        priced=zeros,
        early_ms=np.zeros((count, EARLY), np.int64),
        early_price=unknown,
        early_item=np.zeros((count, EARLY), np.uint64),
    )
