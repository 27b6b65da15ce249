"""What a policy may look at when a moment comes: numbers and texts, each by a name that a policy file may use.

Two kinds of numbers: the plain ones below, in units that people think in, and the session's features as the model saw
them, in the units of `stream-app features` (most are ln(1 + x)). Where both have a name, such as `events` and
`cart_value`, it is the plain one's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from stream_app.core.features import FEATURES
from stream_app.discounts.core.records import Moment


class Named(NamedTuple):
    """Something that a policy may name: its unit, and what it says."""

    unit: str
    meaning: str


_PLAIN: Final[Mapping[str, Named]] = {
    "score": Named("probability", "that the session still ends in a checkout"),
    "trend": Named("logit", "of the score, above its recent mean in this session"),
    "cart_value": Named("money", "in the cart"),
    "age_s": Named("s", "since the session's first event"),
    "quiet_s": Named("s", "since the session's newest event"),
    "events": Named("events", "of the session so far"),
    "purchases": Named("checkouts", "made in this session"),
    "cold": Named("0 or 1", "the model has learned too little: the score is only the base rate"),
}

#: Every number that a policy may name.
NUMBERS: Final[Mapping[str, Named]] = {
    **{feature.name: Named(feature.unit, feature.meaning) for feature in FEATURES},
    **_PLAIN,
}

#: Every text that a policy may name.
TEXTS: Final[Mapping[str, Named]] = {
    "band": Named("text", "of the score: unlikely, on_the_fence or likely"),
    "kind": Named("text", "of the moment: band, trend, quiet or hesitates"),
    "category": Named("text", "last touched"),
    "item": Named("text", "id of the item last touched"),
    "brand": Named("text", "last touched"),
    "source": Named("text", "where the visitor came from"),
    "country": Named("text", "of the visitor"),
    "device": Named("text", "of the session"),
    "stock": Named("text", "of the category, by the policy's own table: low, normal or overstock"),
}


class Situation(NamedTuple):
    """A moment, seen at a time. `numbers`, `texts`: what is known of `NUMBERS` and `TEXTS`; the rest is absent."""

    moment: Moment
    now_ms: int
    numbers: Mapping[str, float]
    texts: Mapping[str, str]


def situation(moment: Moment, *, now_ms: int, stock: str = "normal") -> Situation:
    """See a moment at `now_ms`, a time on the clock of its `event_time`; `stock` is that of the moment's category."""
    quiet_s = max(0, now_ms - moment.event_time) / 1000.0
    numbers = {name: value for name, value in moment.features.items() if name in NUMBERS}
    age = moment.features.get("age")
    numbers |= {
        "score": moment.score,
        "trend": moment.trend,
        "cart_value": moment.cart_value,
        "quiet_s": quiet_s,
        "events": float(moment.events),
        "purchases": float(moment.purchases),
        "cold": float(moment.cold),
    }
    if age is not None:
        # The feature is ln(1 + s) at the newest event, and time has passed since.
        numbers["age_s"] = math.expm1(age) + quiet_s
    texts = {
        "band": moment.band,
        "kind": moment.kind,
        "category": moment.category,
        "item": moment.item_id,
        "brand": moment.brand,
        "source": moment.source,
        "country": moment.country,
        "device": moment.device,
        "stock": stock,
    }
    return Situation(moment, now_ms, numbers, {name: text for name, text in texts.items() if text is not None})
