"""What discounting reads and writes: fields, types and JSON. Fields are added, never changed; unknown ones are ignored.

Times are integers of milliseconds UTC, money is in the shop's currency, percents are off the list price (10.0 is a
tenth off). JSON Schema for each comes from these types.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from stream_app.core.codec import RECORD_BYTES_MAX, Rejected
from stream_app.core.events import Amount, Identifier, ShortText

#: `treatment` may be offered something, `holdout` never is.
Arm = Literal["treatment", "holdout"]

#: The kinds of moment there are by now: the session entered a band, its score's trend turned, it went quiet with a
#: cart, it hesitates (told by the application's own timers), it bought. A reader passes over kinds it does not know.
MOMENT_KINDS: Final = ("band", "trend", "quiet", "hesitates", "bought")

#: An id that we have made: of a session without one its visitor's with a time, of a moment its event's with the kind.
#: It may be longer than those that come in.
MadeId = Annotated[str, msgspec.Meta(min_length=1)]

#: Nobody is paid to buy: at 100 percent off an order's list price could not be told from what was paid.
Percent = Annotated[float, msgspec.Meta(ge=0.0, lt=100.0)]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

#: Levels of one exposure.
LEVELS_MAX: Final = 32

#: A level and the probability with which it is taken.
Levels = Annotated[list[tuple[Percent, Probability]], msgspec.Meta(max_length=LEVELS_MAX)]


class Moment(msgspec.Struct, gc=False, omit_defaults=True, kw_only=True):
    """`intent.moments.v1`: a session in which one may want to act now.

    `event_id` is that of the session's newest event, `events` counts its events from 1, `purchases` those with a
    checkout. `trend` is the logit of the score less the decayed mean of the session's logits before. `features` holds
    numbers by name, as they were scored. `previous_band` is None where the score is the session's first.
    """

    moment_id: MadeId
    kind: ShortText
    visitor_id: Identifier
    session_id: MadeId
    event_id: Identifier
    event_time: int
    events: int
    score: Probability
    band: ShortText
    trend: float
    cart_value: float
    purchases: int
    features: dict[str, float]
    model_version: int
    cold: bool
    scored_at: int
    previous_band: ShortText | None = None
    item_id: ShortText | None = None
    category: ShortText | None = None
    brand: ShortText | None = None
    source: ShortText | None = None
    country: ShortText | None = None
    device: ShortText | None = None


class Offer(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, kw_only=True):
    """`discount.offers.v1`: show this visitor so many percent off until `expires_at`.

    `offer_id` is its exposure's id. `policy` is the policy's version.
    """

    offer_id: Identifier
    visitor_id: Identifier
    session_id: MadeId
    percent: Percent
    reason: ShortText
    score: Probability
    arm: Arm
    issued_at: int
    expires_at: int
    experiment: Identifier
    policy: ShortText
    item_id: ShortText | None = None


class Exposure(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, kw_only=True):
    """`discount.exposures.v1`: a session that was eligible, and what was decided: all measuring starts from this log.

    `levels` are the percents that could have been taken and their probabilities in the treatment arm, which add up to
    1; they are told for a held-out session, too. `propensity` is the probability of `percent` given the situation and
    the arm: that of `levels` in treatment, and 1 in the holdout, whose `percent` is 0. `holdout_share` is the
    probability of the holdout itself. `context` is the key under which a bandit learns. `kind` is the moment's.

    `cost` is what the offer was reckoned to cost when it was made, 0 without one: the sum of them over an hour or a day
    is what was taken of its budget. `budget` names the budget's account, by the time at which it was opened in ms, and
    `booking` counts the bookings of that account from 1 (docs/discounts.md); 0 is not known. `planned` is at how many
    visitors the experiment's sequential intervals are narrowest; 0 is not known, and counts as 20,000.
    """

    exposure_id: Identifier
    visitor_id: Identifier
    session_id: MadeId
    experiment: Identifier
    policy: ShortText
    arm: Arm
    percent: Percent
    propensity: Probability
    levels: Levels
    holdout_share: Probability
    context: ShortText
    score: Probability
    band: ShortText
    kind: ShortText
    cart_value: float
    decided_at: int
    event_time: int
    item_id: ShortText | None = None
    category: ShortText | None = None
    cost: float = 0.0
    budget: int = 0
    booking: int = 0
    planned: int = 0


class Outcome(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """`discount.outcomes.v1`: what became of a unit, the visitor, within `window_ms` after its first exposure.

    Told when it is certain. After a crash, or of two processes that settle, it may be told again: of the outcomes of an
    experiment's visitor the first in the log counts. `exposures` counts those of the window, the first included.
    `revenue` is what was paid, `discount` what the list prices of the orders were above that, `profit` the margin on
    the list prices less the discount. `matured_at` is the time from which it was certain.
    """

    exposure: Exposure
    exposures: int
    orders: int
    revenue: float
    discount: float
    profit: float
    window_ms: int
    matured_at: int

    @property
    def converted(self) -> int:
        """1 with an order, else 0."""
        return int(self.orders > 0)


class Checkout(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, kw_only=True):
    """An order, or one taken back, as a purchase event or a checkout label tells it. It never travels.

    `paid` is what was paid for the order as a whole, after an offer of `percent` was redeemed (0 without one); where
    only rows of it are told, one an event, `rows` has what was paid for each, by event id. Without an order id of its
    own it is not `named`, and its event's id is its `order_id`. An order `taken_back` (refund, cancel) counts as never
    made.
    """

    visitor_id: str
    order_id: str
    time: int
    paid: Amount = 0.0
    rows: dict[str, Amount] = {}
    percent: Percent = 0.0
    category: str | None = None
    named: bool = True
    taken_back: bool = False

    @property
    def value(self) -> float:
        """What was paid: the order system knows better than the rows of a page, one of which may be lost."""
        return self.paid or sum(self.rows.values())


_Record = TypeVar("_Record", Moment, Offer, Exposure, Outcome)

_ENCODER: Final = msgspec.json.Encoder()


def exposure_id(experiment: str, visitor_id: str, session_id: str) -> str:
    """The id of a session's one exposure, 32 hex digits: whoever decides again after a crash gives it the same.

    The visitor is part of it because many shops' session ids are unique within a visitor only (GA4's are start times).
    """
    parts = (experiment.encode(), visitor_id.encode(), session_id.encode())
    # With the lengths, or "ab" of "c" would be "a" of "bc".
    told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return blake2b(told, digest_size=16, person=b"exposure").hexdigest()


def encode(record: Moment | Offer | Exposure | Outcome) -> bytes:
    """The record's JSON."""
    return _ENCODER.encode(record)


def decode(kind: type[_Record], value: bytes | None) -> _Record | Rejected:
    """A record from its JSON, or why it is none; reasons as in `stream_app.core.codec`."""
    if not value:
        return Rejected("empty_value", "got a record without a value, expected a JSON object")
    if len(value) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got {len(value)} bytes, expected at most {RECORD_BYTES_MAX}")
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        return Rejected("invalid_value", str(error)[:500])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected("not_json", f"got bytes that are not JSON ({error}), expected a JSON object")
