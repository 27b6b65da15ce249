"""What each field of a public record says, once: a name means the same in every record, or is told apart here.

The types say which values a field may have; what they leave open and the writers keep to is in `limits`. A field that
means something else in one record has an entry of its own, `Type.field`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from stream_app.core import moments, records
from stream_app.core.codec import REJECT_REASONS
from stream_app.core.events import EVENT_TIME_MS_MIN, EVENT_TYPES
from stream_app.core.pages import GROUPS, TRANSITION_CODES
from stream_app.core.reason_catalogue import REASONS, REASONS_MAX
from stream_app.discounts.core.records import MOMENT_KINDS


class Field(NamedTuple):
    """What a field says, its unit, and JSON Schema keywords that its type does not imply.

    `known` lists the values there are by now of a text that may get more: readers pass over those they do not know.
    """

    meaning: str
    unit: str = ""
    limits: Mapping[str, Any] = MappingProxyType({})
    known: tuple[str, ...] = ()


_MS: Final = "ms since 1970, UTC"
_TIME: Final = {"minimum": 0}
_COUNT: Final = {"minimum": 0}
_FROM_1: Final = {"minimum": 1}
#: Where −1 says "not known" or "none".
_OR_NONE: Final = {"minimum": -1}
_PROBABILITY: Final = {"minimum": 0, "maximum": 1}
_OF_PROBABILITY: Final = "probability"
_MONEY: Final = "money of the shop"
_DIGITS: Final = {"pattern": "^[0-9]+$"}
_STEP: Final = {"minimum": -1, "maximum": 2 * len(GROUPS) - 1}

FIELDS: Final[Mapping[str, Field]] = {
    # ---- whose, when -------------------------------------------------------------------------------------------------
    "event_id": Field("names the event; whoever reads a record of one twice recognises it by this"),
    "visitor_id": Field("whoever the shop calls so; also the record's key"),
    "session_id": Field("the event's own, with `~2` when it returns after its end; or made of visitor and start"),
    "Event.session_id": Field("the shop's session; without one sessions are made of the visitor's pauses"),
    "CheckoutLabel.session_id": Field("the session that bought: with it the checkout is learned at once"),
    "event_time": Field("when it happened, by the event's own clock", _MS, _TIME),
    "Event.event_time": Field(
        "when it happened: a number, or RFC 3339 text with an offset; at most 24 h ahead of the broker's clock",
        _MS,
        {"minimum": EVENT_TIME_MS_MIN},
    ),
    "Exposure.event_time": Field("when the session's newest event happened", _MS, _TIME),
    "Moment.event_id": Field("the session's newest event"),
    "Moment.event_time": Field("when the session's newest event happened", _MS, _TIME),
    "event_type": Field("what was done, by GA4's names", known=EVENT_TYPES),
    "Event.event_type": Field("what was done, by GA4's names"),
    "events": Field("events of the session so far, this one included", "events", _FROM_1),
    "ClosedSession.events": Field("events of the session", "events", _FROM_1),
    # ---- what it was about -------------------------------------------------------------------------------------------
    "item_id": Field("the item last touched in the episode"),
    "Event.item_id": Field("the product; of a purchase with several items, one event for each"),
    "category": Field("the category of the item last touched in the episode"),
    "Event.category": Field("the product's category"),
    "brand": Field("the brand of the item last touched in the episode"),
    "Event.brand": Field("the product's brand"),
    "price": Field("of one piece, in the unit of `currency`", "money"),
    "quantity": Field("pieces; one if left out", "pieces"),
    "currency": Field("the currency of the amounts beside it, such as EUR; the shop has one"),
    "order_id": Field("the order: purchase events of one order are one checkout"),
    "CheckoutLabel.order_id": Field("the order; a purchase event of the same order is the same checkout"),
    "page_url": Field("the page; of a bare page view it tells the kind of step"),
    "referrer": Field("where the visitor came from"),
    "source": Field("the traffic source, such as google or newsletter"),
    "country": Field("the visitor's country"),
    "device": Field("`mobile`, or left out", known=("mobile",)),
    "Event.device": Field("mobile, phone, smartphone and tablet count as mobile, all else does not"),
    "search_term": Field("what was searched for"),
    "Event.bot": Field("true: no person did it; its session is scored from then on, and not learned from"),
    "checkout_time": Field(
        "when the order was made: a number, or RFC 3339 text with an offset", _MS, {"minimum": EVENT_TIME_MS_MIN}
    ),
    "value": Field("of the order, in the unit of `currency`", "money"),
    "discount_percent": Field("what a redeemed offer took off the list price; `value` is what was paid", "percent"),
    "CheckoutLabel.kind": Field("`refund` and `cancel` take back the order of the same `order_id`"),
    # ---- what a model looks at ---------------------------------------------------------------------------------------
    "features": Field("one number for each feature, by name; which there are is told by `schema`"),
    "Moment.features": Field("one number for each feature, by name, as scored"),
    "schema": Field("version of the list of features", limits=_FROM_1),
    "keys": Field("the names behind the event that a model may hold priors for"),
    "Keys.item": Field("the item of the event"),
    "Keys.category": Field("the category of the event"),
    "Keys.brand": Field("the brand of the event"),
    "step": Field("twice the code of the kind of step, plus one on the same item as before; −1 unknown", limits=_STEP),
    "items": Field("the distinct items of the episode, in order of appearance", limits={"maxItems": 64}),
    "categories": Field("its distinct categories, likewise", limits={"maxItems": 64}),
    "brands": Field("its distinct brands, likewise", limits={"maxItems": 64}),
    "transition": Field(
        "code of the step from the event before to this one; −1 unknown",
        limits={"minimum": -1, "maximum": TRANSITION_CODES - 1},
    ),
    "transitions": Field("those of the episode, as code, times, code, times, …"),
    "steps": Field("the distinct `step` of the episode"),
    "carted": Field("whether something was put into the cart"),
    "parted": Field("of a correction: a later part of the outcome stays as it was"),
    # ---- the score ---------------------------------------------------------------------------------------------------
    "bot": Field("there, and true, where the session was known by then to be no person's: nothing is learned from it"),
    "ClosedSession.bot": Field("it was no person's: nothing was learned from it"),
    "score": Field("that the session's current episode ends in a checkout", _OF_PROBABILITY, _PROBABILITY),
    "band": Field("where the score lies, by two thresholds", known=records.BANDS),
    "previous_band": Field("the band of the score before; left out for a session's first score", known=records.BANDS),
    "model": Field("the kind of model that made the score"),
    "model_version": Field("the model's snapshot; grows with each, 0 before the first", limits=_COUNT),
    "model_updates": Field("examples that it has learned from", "examples", _COUNT),
    "cold": Field("true while too little was learned: the score is the base rate"),
    "late": Field("the event came after its session should have been over"),
    "scored_at": Field("when it was scored, by the worker's clock", _MS, _TIME),
    "Moment.scored_at": Field("when the moment was told, by the worker's clock", _MS, _TIME),
    "watermark": Field("event time up to which sessions are over; −1 unknown", _MS, _OR_NONE),
    "reasons": Field(
        f"id and contribution to the logit of what moved the score most, the strongest first; ids by now: "
        f"{', '.join(reason.id for reason in REASONS)}",
        "logit",
        {"maxItems": REASONS_MAX},
    ),
    # ---- an outcome --------------------------------------------------------------------------------------------------
    "label": Field("whether the episode ended in a checkout: 1 or 0", limits={"enum": [0, 1]}),
    "weight": Field("scored events that the example stands for", "events", {"minimum": 1}),
    "label_source": Field("what told the outcome"),
    "label_time": Field("when the outcome came about, by its own clock", _MS, _TIME),
    "position": Field("what triggered it in its partition: kind, offset or deadline, ordinal; recognises a repetition"),
    "ClosedSession.position": Field("where it ended: kind, offset or deadline (ms)"),
    "touched": Field("the names the episode touched; with its last example only"),
    "events_offset": Field("offset of the visitor's newest event by then; −1 unknown", limits=_OR_NONE),
    "left": Field("examples of the same outcome that follow", "examples", _COUNT),
    "previous": Field("the label told before, of a correction; else −1", limits={"enum": [-1, 0, 1]}),
    "previous_time": Field("the `label_time` told before, of a correction; else −1", _MS, _OR_NONE),
    # ---- a session that is over --------------------------------------------------------------------------------------
    "start": Field("time of its first event", _MS, _TIME),
    "end": Field("time of its last event", _MS, _TIME),
    "duration_ms": Field("from its first event to its last", "ms", _COUNT),
    "purchases": Field("checkouts that its events told", "checkouts", _COUNT),
    "labelled_checkouts": Field("checkouts that the order system alone told", "checkouts", _COUNT),
    "spend": Field("what was bought in it", _MONEY, {"minimum": 0}),
    "ClosedSession.category": Field("the category last touched in the session; null without one"),
    "ClosedSession.source": Field("the traffic source of its first event that had one"),
    "ClosedSession.reason": Field("`gap`: nothing came for so long; `bound`: it had grown too large, a bot's perhaps"),
    "next_offset": Field("offset after the last event read by then; −1 unknown", limits=_OR_NONE),
    "labels_offset": Field("offset of the visitor's last label told by then; −1 without one", limits=_OR_NONE),
    # ---- a moment to act ---------------------------------------------------------------------------------------------
    "moment_id": Field("unique within its session; a repetition has the same"),
    "Moment.kind": Field("what happened, or did not", known=moments.KINDS),
    "trend": Field("the logit of the score less the decayed mean of the episode's before", "logit"),
    "cart_value": Field("what lies in the cart", _MONEY, {"minimum": 0}),
    # ---- an offer, and who could have had one ------------------------------------------------------------------------
    "offer_id": Field("the offer, and the id of its exposure"),
    "percent": Field("off the list price; 10 is a tenth", "percent"),
    "Exposure.percent": Field("off the list price; 0 for no offer, and for the held-out", "percent"),
    "Offer.reason": Field("the kind of moment that led to it", known=MOMENT_KINDS),
    "arm": Field("`treatment` may be offered something, `holdout` never is"),
    "issued_at": Field("when it was decided", _MS, _TIME),
    "expires_at": Field("show it no longer", _MS, _TIME),
    "experiment": Field("the experiment, from the policy"),
    "policy": Field("the policy's version"),
    "Offer.item_id": Field("the item last touched, if the offer is to name one"),
    "exposure_id": Field("the session's one exposure: 32 hex digits, the same whoever decides again"),
    "propensity": Field("of just this percent, given situation and arm", _OF_PROBABILITY),
    "levels": Field("each percent that could have been taken, and its probability in the treatment arm"),
    "holdout_share": Field("of being held out", _OF_PROBABILITY),
    "planned": Field("at how many visitors its sequential intervals are narrowest; 0 not known", "visitors", _COUNT),
    "context": Field("the key under which a bandit learns"),
    "Exposure.kind": Field("the kind of moment", known=MOMENT_KINDS),
    "decided_at": Field("when it was decided", _MS, _TIME),
    "cost": Field("what the offer was reckoned to cost when it was made; 0 without one", _MONEY, {"minimum": 0}),
    "budget": Field("the account of the budget, by when it was opened; 0 not known", _MS, _TIME),
    "booking": Field("the number of the booking in that account, from 1; 0 not known", limits=_COUNT),
    "exposure": Field("the visitor's first exposure, whole"),
    "exposures": Field("exposures of the window, the first included", "exposures", _FROM_1),
    "orders": Field("orders of the window that were not taken back", "orders", _COUNT),
    "revenue": Field("what was paid for them", _MONEY),
    "discount": Field("their list prices less what was paid", _MONEY),
    "profit": Field("the margin on their list prices less the discount", _MONEY),
    "window_ms": Field("how long after the first exposure orders count", "ms", _COUNT),
    "matured_at": Field("from when on it was certain", _MS, _TIME),
    # ---- headers -----------------------------------------------------------------------------------------------------
    "DeadLetterHeaders.reason": Field("why the record was refused", known=REJECT_REASONS),
    "detail": Field("what was got, what was expected, where; may quote the record"),
    "source_topic": Field("the topic that it came from"),
    "source_partition": Field("its partition there", limits=_DIGITS),
    "source_offset": Field("its offset there", limits=_DIGITS),
    "DeadLetterHeaders.source": Field("the file, or the path of the collector, that it came from"),
    "row": Field("its row there", limits=_DIGITS),
    "cut_from_bytes": Field("bytes of key and value before they were cut to what Kafka takes", "bytes", _DIGITS),
    "traceparent": Field("W3C Trace Context of the event's record, handed on"),
    "tracestate": Field("likewise"),
}


def described(type_name: str, field: str) -> Field | None:
    """What a field of a type says; None if the table has no line for it."""
    return FIELDS.get(f"{type_name}.{field}") or FIELDS.get(field)
