"""The records we write: their fields, types and JSON. Subscribers code against these; fields are added, never changed.

JSON Schema for each comes from these types. Times are integers of milliseconds UTC.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from stream_app.core.features import FEATURE_SCHEMA

LabelSource = Literal["purchase", "label", "session_end"]

#: (reason id of `reasons.REASONS`, contribution to the logit), the strongest first.
Reasons = list[tuple[str, float]]


class Keys(msgspec.Struct, gc=False, omit_defaults=True):
    """The names behind a scored event that a model may hold priors for; None or missing means not known.

    `step` is twice the code of the kind of step (`pages.GROUPS`), plus one when it is on the same item as before.
    `items`, `categories`, `brands` are the distinct ones of the episode so far, in order of appearance, at most 64.
    `transition` is the code (`pages.transition_code`) of the step from the event before to this one; `transitions` are
    the episode's so far, as code, times, code, times, … with at most 8 times each.
    """

    item: str | None = None
    category: str | None = None
    brand: str | None = None
    source: str | None = None
    country: str | None = None
    step: int = -1
    items: list[str] = []
    categories: list[str] = []
    brands: list[str] = []
    transition: int = -1
    transitions: list[int] = []


class Touched(msgspec.Struct, gc=False, omit_defaults=True):
    """The names an episode touched, told once, with its last example: each counts one session for the priors.

    `carted` says whether something was put into the cart; `transitions` are as in `Keys`. In a correction `carted` is
    that of the outcome corrected, and `parted` says that a later part of that outcome stays as it was: the session then
    has two, one corrected.
    """

    items: list[str] = []
    categories: list[str] = []
    brands: list[str] = []
    steps: list[int] = []
    source: str | None = None
    country: str | None = None
    carted: bool = False
    transitions: list[int] = []
    parted: bool = False


class FeatureRecord(msgspec.Struct, gc=False):
    """`session.features.v1`: the features after an event. `features` holds one number for each registered name."""

    event_id: str
    visitor_id: str
    session_id: str
    event_time: int
    event_type: str
    events: int
    features: Any
    keys: Keys
    schema: int = FEATURE_SCHEMA


class ScoreRecord(msgspec.Struct, gc=False):
    """`intent.scores.v1`: the probability that the session's current episode ends in a checkout.

    `events` counts the session's events from 1. `cold` is true while the score is only the base rate. `late` says that
    the event arrived after its session should have been over. `watermark` is the event time (ms) up to which sessions
    are over after this event, −1 unknown: with it a replay knows where the wall clock has moved an idle partition on.
    `reasons` are the strongest three with their contributions to the logit (docs/reasons.md), left out where none were
    asked for (the setting `reasons`) or the score is cold. `bot` is there, and true, where the session was known to be
    no person's by then: nothing is learned from the event, and no moment told.
    """

    event_id: str
    visitor_id: str
    session_id: str
    event_time: int
    event_type: str
    events: int
    score: float
    band: str
    model: str
    model_version: int
    model_updates: int
    cold: bool
    late: bool
    scored_at: int
    watermark: int
    reasons: Reasons | msgspec.UnsetType = msgspec.UNSET
    bot: bool | msgspec.UnsetType = msgspec.UNSET


class Example(msgspec.Struct, gc=False):
    """`training.examples.v1`: a scored event whose outcome is known. Features and score are as served.

    `position` is what triggered it in its partition: `[0, label offset, n]` when a label taught at once, `[1, event
    offset, n]`, or when a session ended by the clock alone `[2, its deadline in ms, n]`. Within each kind positions
    only grow, so a reader recognises a repetition; `n` depends on the visitor alone, not on who else was due. `weight`
    is the number of scored events the example stands for (reservoir sampling). `touched` comes with the last example of
    an episode. `events_offset` is the offset of the visitor's newest event by then: it says where a label that taught
    at once came between the events, so that a replay can apply it at the same place. `left` is the number of examples
    of the same outcome that follow: an episode's examples lie together, and are predicted before any is learned.

    An example with `previous` 0 or 1 is a *correction*: the event was told before with that label, and the time
    `previous_time` for a label time; a label that came after its session's end, or an order taken back, says otherwise.
    Features, score and weight are the same as before. −1 in all other examples.
    """

    event_id: str
    visitor_id: str
    session_id: str
    event_time: int
    event_type: str
    events: int
    features: Any
    keys: Keys
    score: float
    model_version: int
    cold: bool
    label: int
    weight: float
    label_source: LabelSource
    label_time: int
    position: tuple[int, int, int]
    touched: Touched | None = None
    events_offset: int = -1
    schema: int = FEATURE_SCHEMA
    left: int = 0
    previous: int = -1
    previous_time: int = -1


class ClosedSession(msgspec.Struct, gc=False):
    """`sessions.closed.v1`: one summary per finished session. `spend` in the shop's currency, `duration_ms` ≥ 0.

    `position`, `next_offset` and `labels_offset` say where in the stream it ended, so that a replay can end it at the
    same place. `position` is that of its examples without their ordinal: `[1, event offset]`, or `[2, its deadline in
    ms]` by the clock alone. `next_offset` is the offset after the last event read by then, `labels_offset` that of the
    visitor's last label told by then, −1 without one. `category` is the one last touched, None without one. `bot` says
    that it was no person's.
    """

    visitor_id: str
    session_id: str
    start: int
    end: int
    duration_ms: int
    events: int
    purchases: int
    labelled_checkouts: int
    spend: float
    source: str | None
    country: str | None
    reason: Literal["gap", "bound"]
    position: tuple[int, int] = (-1, -1)
    next_offset: int = -1
    labels_offset: int = -1
    category: str | None = None
    bot: bool = False


class Moment(msgspec.Struct, gc=False, omit_defaults=True):
    """`intent.moments.v1`: a session in which one may want to act now, with all that a policy looks at.

    `band`: the score is in another band than the session's score before it (`previous_band`; left out for the first
    score, which counts unless its band is the lowest). `trend`: the score's trend has turned. `quiet`: something is in
    the cart, and nothing has come for a while. `bought`: a checkout was seen, as an event or by a label: stop.

    `event_id`, `event_time` and `events` are of the session's newest event, and so are the score and what belongs to
    it. `trend` is the logit of the score less the decayed mean of the episode's logits before. `features` holds one
    number for each registered name. `purchases` counts the checkouts that events have told in this session; `item_id`,
    `category` and `brand` are those last touched in the episode; `device` is `mobile` or left out. `scored_at` is the
    wall clock when the moment was told. What is not known is left out.

    `moment_id` is unique within its session, and a repetition has the same: the event's id, or of a `bought` that a
    label has told the order's, a colon, and the kind.
    """

    moment_id: str
    kind: str
    visitor_id: str
    session_id: str
    event_id: str
    event_time: int
    events: int
    score: float
    band: str
    trend: float
    cart_value: float
    purchases: int
    features: Any
    model_version: int
    cold: bool
    scored_at: int
    previous_band: str | None = None
    item_id: str | None = None
    category: str | None = None
    brand: str | None = None
    source: str | None = None
    country: str | None = None
    device: str | None = None


#: Bands of the score, from the settings' thresholds.
BANDS: Final = ("unlikely", "on_the_fence", "likely")

_ENCODER: Final = msgspec.json.Encoder()


def encode(record: FeatureRecord | ScoreRecord | Example | ClosedSession | Moment) -> bytes:
    """The record's JSON."""
    return _ENCODER.encode(record)


def encode_reasons(reasons: Reasons) -> bytes:
    """Their JSON alone, as it is within a score record's."""
    return _ENCODER.encode(reasons)
