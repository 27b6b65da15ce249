"""What an offer does to whom, and when: shopper types, and by what it multiplies the odds of a purchase.

A visitor has a hidden disposition, a number from 0 to 1 by a hash of its id; what a visit is for decides how that shows
(`SHARES`): of those who come to buy a third needs nothing, of those who compare half hesitate. So a visitor is of the
same shopper type whenever it comes for the same thing, and visits of one intent behave alike without an offer, whatever
their type: nothing that can be seen tells the types of one intent apart but what they do about an offer.

    odds with the offer = odds without × factor,   ln factor = pull(type, percent) × reception(moment)

* `sure`: buys or does not, whatever is offered: an offer only costs.
* `hesitant`: a little is nearly as good as a lot.
* `bargain_hunter`: 5 % is not worth a thought, 15 % is what they came for.
* `browser`: is not here to buy, and hardly to be tempted.

Reception is little at the first event, when nobody knows yet what is wanted; grows while the visitor looks around; is
most with something in the cart and hands off it, and grows with the pause; is little again in the checkout, where the
decision has been made; and there is none once the visitor has bought or gone. The figures are chosen, not measured:
chosen so that who asks everybody at once loses money, and that it pays to know when and whom (docs/synthetic.md).
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from producers.synthetic.behaviour import INTENT_NAMES
from producers.synthetic.chain import BOUGHT, CARTED, CODE, TYPES

Shopper = Literal["sure", "hesitant", "bargain_hunter", "browser"]
SHOPPERS: Final[tuple[Shopper, ...]] = ("sure", "hesitant", "bargain_hunter", "browser")

#: Intent → shares of the shopper types, in the order of `SHOPPERS`; each sums to 1.
SHARES: Final[Mapping[str, tuple[float, ...]]] = {
    "glance": (0.05, 0.10, 0.05, 0.80),
    "browse": (0.05, 0.15, 0.10, 0.70),
    "compare": (0.10, 0.55, 0.25, 0.10),
    "buy": (0.35, 0.40, 0.25, 0.00),
    "crawl": (0.00, 0.00, 0.00, 1.00),
}

#: Of the pull at any percent: ln of the highest factor.
_PULL_MAX: Final = {"sure": 0.0, "hesitant": math.log(20.0), "bargain_hunter": math.log(30.0), "browser": math.log(1.5)}
#: A percent at which a hesitant one, and a browser, feels two thirds of it; where a bargain hunter feels half, how
#: sharply.
_HESITANT_PERCENT: Final = 3.0
_BROWSER_PERCENT: Final = 10.0
_BARGAIN_PERCENT: Final = 9.0
_BARGAIN_WIDTH: Final = 1.5

#: Reception at a visit's first event, as a share of what it grows to, the events in which it grows by two thirds of the
#: rest, and after how many it grows no more.
_FIRST_EVENT: Final = 0.15
_GROWS_EVENTS: Final = 3.0
GROWN_EVENTS: Final = 12

#: Reception by where the visit stands: looking around with an empty cart, with something in it, in the checkout.
_LOOKING: Final = 0.6
_CARTED: Final = 1.0
_CHECKOUT: Final = 0.25
_CHECKOUT_CODES: Final = frozenset(CODE[name] for name in ("begin_checkout", "add_shipping_info", "add_payment_info"))

#: Reception just at an event, as a share of what it grows to in a pause, and the pause in which by two thirds, in ms.
_AT_ONCE: Final = 0.7
_PAUSE_MS: Final = 30_000.0


#: The shop's margin, a share of the list price, by which it is reckoned what pays.
MARGIN: Final = 0.4


class Effect(NamedTuple):
    """The truth about one offer: the chance of a purchase without it and with it, and the factor between their odds."""

    percent: float
    without: float
    with_offer: float
    factor: float


def shopper_of(seed: int, visitor_id: str, intent: int) -> Shopper:
    """The type of a visitor who came for this: `intent` indexes `INTENT_NAMES`."""
    digest = blake2b(f"{seed}:{visitor_id}".encode(), digest_size=8, person=b"disposition").digest()
    disposition = int.from_bytes(digest, "big") / 2.0**64
    return SHOPPERS[bisect(_BOUNDS[intent], disposition)]


def pull(shopper: Shopper, percent: float) -> float:
    """How much a percent draws a type at the most, as a logarithm of odds; 0 for no offer."""
    if percent <= 0.0:
        return 0.0
    if shopper == "bargain_hunter":
        share = 1.0 / (1.0 + math.exp(-(percent - _BARGAIN_PERCENT) / _BARGAIN_WIDTH))
    else:
        share = 1.0 - math.exp(-percent / (_HESITANT_PERCENT if shopper == "hesitant" else _BROWSER_PERCENT))
    return _PULL_MAX[shopper] * share


def reception(state: int, *, events: int, quiet_ms: float) -> float:
    """How open somebody is to an offer, from 0 to 1.

    `state` is that of the visit's newest event, the `events`-th, which was `quiet_ms` ago.
    """
    mode, code = divmod(state, len(TYPES))
    if mode == BOUGHT or state >= (BOUGHT + 1) * len(TYPES):
        return 0.0
    place = _CHECKOUT if code in _CHECKOUT_CODES else _CARTED if mode == CARTED else _LOOKING
    grown = 1.0 - (1.0 - _FIRST_EVENT) * math.exp(-(min(events, GROWN_EVENTS) - 1) / _GROWS_EVENTS)
    pausing = 1.0 - (1.0 - _AT_ONCE) * math.exp(-quiet_ms / _PAUSE_MS)
    return place * grown * pausing


def odds_factor(shopper: Shopper, percent: float, state: int, *, events: int, quiet_ms: float) -> float:
    """By what an offer multiplies the odds of a purchase; 1 where it changes nothing."""
    return math.exp(pull(shopper, percent) * reception(state, events=events, quiet_ms=quiet_ms))


_BOUNDS: Final = [list(accumulate(SHARES[name][:-1])) for name in INTENT_NAMES]
