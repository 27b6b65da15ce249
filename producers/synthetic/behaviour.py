"""What shoppers do: visitor types, session intents, and the numbers that make them differ. Tables only.

A visitor has a hidden type; each of its sessions has a hidden intent, drawn from the type's mix, independently of its
other sessions. Everything a session shows is drawn given the intent alone: its source and device, the Markov chain over
event types, the time between events, the categories and items looked at. Nobody sees type or intent.

`USUAL` is how intents look as a rule, `CHANGED` how the same intents look once behaviour has changed: a drift moves
between the two, a planted change jumps (`regime.py`). The numbers were tuned so that the shop is as hard as real ones:
`docs/synthetic.md` has what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from producers.synthetic.chain import BOUGHT, CARTED, EMPTY, Weights


class Intent(NamedTuple):
    """What a visit is for, unknown to the shop.

    `entry` and `bend`: factors on the usual weights of a first and of a next event. `gap_median_s`, `gap_sigma`:
    log-normal seconds between events. `revisit`: chance that an item looked at is one seen before in the session.
    `stay`: chance to stay in the category. `tilt`: how much an item's and a category's appeal (log-odds) draws this
    kind of visit. `sources` and `devices` sum to 1.
    """

    name: str
    entry: Weights
    bend: Weights
    gap_median_s: float
    gap_sigma: float
    revisit: float
    stay: float
    tilt: float
    sources: Weights
    devices: Weights


class VisitorType(NamedTuple):
    """Who comes: `share` of new visitors, intent name → weight, the chance to come back after a session."""

    name: str
    share: float
    intents: Weights
    returns: float


#: What usually follows what, before an intent bends it.
ENTRY: Final = {"page_view": 0.38, "search": 0.07, "view_item_list": 0.25, "view_item": 0.30}

_EMPTY_ROWS: Final[Mapping[str, Weights]] = {
    "page_view": {"page_view": 0.16, "search": 0.16, "view_item_list": 0.30, "view_item": 0.14, "exit": 0.24},
    "search": {"search": 0.14, "view_item_list": 0.42, "view_item": 0.26, "page_view": 0.04, "exit": 0.14},
    "view_item_list": {
        "select_item": 0.30, "view_item": 0.20, "view_item_list": 0.24, "search": 0.06, "page_view": 0.04,
        "add_to_cart": 0.010, "exit": 0.16,
    },
    "select_item": {"view_item": 0.94, "exit": 0.06},
    "view_item": {
        "view_item": 0.28, "view_item_list": 0.20, "search": 0.07, "page_view": 0.05, "add_to_wishlist": 0.015,
        "like": 0.008, "share": 0.004, "add_to_cart": 0.045, "begin_checkout": 0.006, "purchase": 0.006, "exit": 0.26,
    },
    "add_to_wishlist": {"view_item": 0.40, "view_item_list": 0.25, "add_to_cart": 0.05, "exit": 0.25},
    "like": {"view_item": 0.50, "view_item_list": 0.25, "exit": 0.25},
    "share": {"view_item": 0.40, "view_item_list": 0.20, "exit": 0.35},
    "remove_from_cart": {"view_item": 0.30, "view_item_list": 0.25, "search": 0.10, "exit": 0.35},
    "begin_checkout": {"add_shipping_info": 0.55, "purchase": 0.10, "view_item": 0.10, "exit": 0.25},
    "add_shipping_info": {"add_payment_info": 0.75, "view_item": 0.05, "exit": 0.20},
    "add_payment_info": {"purchase": 0.70, "view_item": 0.06, "exit": 0.24},
}  # fmt: skip

_CARTED_ROWS: Final[Mapping[str, Weights]] = {
    "page_view": {"page_view": 0.14, "view_item_list": 0.28, "view_item": 0.14, "view_cart": 0.14, "exit": 0.24},
    "search": {"view_item_list": 0.42, "view_item": 0.30, "view_cart": 0.06, "exit": 0.14},
    "view_item_list": {
        "select_item": 0.28, "view_item": 0.22, "view_item_list": 0.20, "view_cart": 0.07, "add_to_cart": 0.015,
        "exit": 0.16,
    },
    "select_item": {"view_item": 0.94, "exit": 0.06},
    "view_item": {
        "view_item": 0.26, "view_item_list": 0.18, "search": 0.05, "page_view": 0.04, "add_to_cart": 0.07,
        "view_cart": 0.12, "begin_checkout": 0.012, "exit": 0.22,
    },
    "add_to_wishlist": {"view_item": 0.40, "view_item_list": 0.25, "view_cart": 0.10, "exit": 0.20},
    "like": {"view_item": 0.50, "view_item_list": 0.25, "exit": 0.25},
    "share": {"view_item": 0.40, "view_item_list": 0.20, "exit": 0.35},
    "add_to_cart": {
        "view_item": 0.28, "view_item_list": 0.22, "view_cart": 0.22, "begin_checkout": 0.036, "purchase": 0.013,
        "exit": 0.20,
    },
    "view_cart": {
        "begin_checkout": 0.105, "purchase": 0.014, "remove_from_cart": 0.11, "view_item": 0.24,
        "view_item_list": 0.16, "exit": 0.30,
    },
    "begin_checkout": {"add_shipping_info": 0.55, "purchase": 0.10, "view_cart": 0.12, "exit": 0.22},
    "add_shipping_info": {"add_payment_info": 0.75, "view_cart": 0.05, "exit": 0.18},
    "add_payment_info": {"purchase": 0.70, "view_cart": 0.08, "exit": 0.22},
}  # fmt: skip

#: Nobody buys twice in a session; most leave, some look around.
_BOUGHT_ROWS: Final[Mapping[str, Weights]] = {
    "purchase": {"page_view": 0.30, "view_item_list": 0.06, "share": 0.02, "exit": 0.62},
    "page_view": {"page_view": 0.15, "view_item_list": 0.15, "exit": 0.70},
    "view_item_list": {"view_item": 0.35, "view_item_list": 0.10, "exit": 0.55},
    "view_item": {"view_item": 0.15, "view_item_list": 0.15, "exit": 0.70},
    "share": {"page_view": 0.20, "exit": 0.80},
}


#: For each mode, event type → weights of the next one, before an intent bends them.
ROWS: Final[Mapping[int, Mapping[str, Weights]]] = {EMPTY: _EMPTY_ROWS, CARTED: _CARTED_ROWS, BOUGHT: _BOUGHT_ROWS}

#: A crawler never acts: it reads.
_NEVER: Final = dict.fromkeys(
    ("add_to_cart", "add_to_wishlist", "like", "share", "view_cart", "begin_checkout", "purchase"), 0.0
)

USUAL: Final = (
    Intent(
        "glance", {}, {"exit": 2.1, "add_to_cart": 0.25, "begin_checkout": 0.3, "purchase": 0.25},
        gap_median_s=14.0, gap_sigma=1.2, revisit=0.10, stay=0.60, tilt=0.0,
        sources={"search": 0.40, "ad": 0.18, "social": 0.16, "direct": 0.16, "email": 0.06, "referral": 0.04},
        devices={"mobile": 0.70, "desktop": 0.25, "tablet": 0.05},
    ),
    Intent(
        "browse", {}, {"exit": 0.72, "add_to_cart": 0.28, "begin_checkout": 0.6, "purchase": 0.4},
        gap_median_s=22.0, gap_sigma=1.2, revisit=0.14, stay=0.60, tilt=0.25,
        sources={"search": 0.36, "ad": 0.14, "social": 0.16, "direct": 0.22, "email": 0.08, "referral": 0.04},
        devices={"mobile": 0.62, "desktop": 0.32, "tablet": 0.06},
    ),
    Intent(
        "compare", {"search": 1.3, "view_item": 1.1},
        {"exit": 0.65, "add_to_cart": 1.1, "begin_checkout": 1.5, "purchase": 1.5},
        gap_median_s=34.0, gap_sigma=1.1, revisit=0.28, stay=0.78, tilt=0.4,
        sources={"search": 0.38, "ad": 0.12, "social": 0.08, "direct": 0.28, "email": 0.10, "referral": 0.04},
        devices={"mobile": 0.50, "desktop": 0.44, "tablet": 0.06},
    ),
    Intent(
        "buy", {"view_item": 1.15, "search": 1.2, "page_view": 0.95},
        {"exit": 0.61, "add_to_cart": 3.0, "begin_checkout": 4.9, "purchase": 5.3, "remove_from_cart": 0.7},
        gap_median_s=27.0, gap_sigma=1.1, revisit=0.25, stay=0.74, tilt=0.62,
        sources={"search": 0.36, "ad": 0.13, "social": 0.10, "direct": 0.27, "email": 0.10, "referral": 0.04},
        devices={"mobile": 0.52, "desktop": 0.42, "tablet": 0.06},
    ),
    Intent(
        "crawl", {"page_view": 0.5, "view_item_list": 1.6}, {"exit": 0.06, **_NEVER},
        gap_median_s=3.0, gap_sigma=0.7, revisit=0.02, stay=0.85, tilt=0.0,
        sources={"search": 0.02, "ad": 0.01, "social": 0.01, "direct": 0.92, "email": 0.01, "referral": 0.03},
        devices={"mobile": 0.20, "desktop": 0.78, "tablet": 0.02},
    ),
)  # fmt: skip

#: The same intents after a change: the cart has become a list of wishes, purchases are made at once and on the phone,
#: visitors are fetched by other channels. What used to speak for a purchase speaks for little, and the reverse.
CHANGED: Final = (
    USUAL[0]._replace(
        bend={"exit": 2.0, "add_to_cart": 1.0, "begin_checkout": 0.3, "purchase": 0.25},
        sources={"search": 0.30, "ad": 0.10, "social": 0.08, "direct": 0.36, "email": 0.12, "referral": 0.04},
        devices={"mobile": 0.48, "desktop": 0.46, "tablet": 0.06},
    ),
    USUAL[1]._replace(
        bend={"exit": 0.75, "add_to_cart": 1.6, "begin_checkout": 0.4, "purchase": 0.2},
        gap_median_s=32.0, revisit=0.24, stay=0.74,
        sources={"search": 0.34, "ad": 0.12, "social": 0.10, "direct": 0.30, "email": 0.10, "referral": 0.04},
        devices={"mobile": 0.52, "desktop": 0.42, "tablet": 0.06},
    ),
    USUAL[2]._replace(
        bend={"exit": 0.65, "add_to_cart": 1.8, "purchase": 0.8},
        gap_median_s=40.0,
    ),
    USUAL[3]._replace(
        entry={"view_item": 0.8, "search": 0.8, "page_view": 1.2},
        bend={"exit": 0.70, "add_to_cart": 1.0, "begin_checkout": 5.0, "purchase": 9.0},
        gap_median_s=14.0, revisit=0.14, stay=0.62,
        sources={"search": 0.30, "ad": 0.24, "social": 0.26, "direct": 0.12, "email": 0.04, "referral": 0.04},
        devices={"mobile": 0.72, "desktop": 0.23, "tablet": 0.05},
    ),
    USUAL[4],
)  # fmt: skip

INTENT_NAMES: Final = tuple(intent.name for intent in USUAL)

#: The shares of the first three sum to 1; crawlers take theirs of all when they are asked for.
VISITOR_TYPES: Final = (
    VisitorType("passer_by", 0.66, {"glance": 0.66, "browse": 0.27, "compare": 0.05, "buy": 0.074}, returns=0.15),
    VisitorType("window_shopper", 0.22, {"glance": 0.40, "browse": 0.43, "compare": 0.13, "buy": 0.098}, returns=0.45),
    VisitorType("regular", 0.12, {"glance": 0.25, "browse": 0.25, "compare": 0.20, "buy": 0.29}, returns=0.60),
    # Comes back as often as the mean of the others, so that its share of the visits is its share of the visitors.
    VisitorType("crawler", 0.0, {"crawl": 1.0}, returns=0.32),
)

#: In a sale so many times more visits are meant to buy, and everything costs this share of its price.
SALE_BUYERS: Final = 1.8
SALE_PRICE: Final = 0.8

#: ISO country → weight; says nothing about intent, as most context says nothing.
COUNTRIES: Final = {"DE": 0.34, "FR": 0.16, "GB": 0.14, "US": 0.14, "NL": 0.08, "PL": 0.08, "AT": 0.06}

#: Share of a mean hour's visits, by hour of the day (UTC): quiet nights, a lunch bump, a long evening.
HOURS: Final = (
    0.45, 0.28, 0.20, 0.16, 0.18, 0.28, 0.50, 0.78, 0.98, 1.08, 1.15, 1.22,
    1.30, 1.22, 1.15, 1.12, 1.18, 1.30, 1.48, 1.65, 1.75, 1.65, 1.22, 0.72,
)  # fmt: skip

#: The same by weekday, from Monday.
WEEKDAYS: Final = (1.02, 0.98, 0.96, 0.97, 0.95, 1.00, 1.12)

#: A session's gaps stay above and below these, so that the usual 30 minutes of inactivity never cut one in two.
GAP_MS_MIN: Final = 200
GAP_MS_MAX: Final = 20 * 60 * 1000

#: A visitor comes back no sooner than this: past the inactivity gap, so that it is another session.
RETURN_MS_MIN: Final = 45 * 60 * 1000

#: Log-normal time until a visitor comes back: half do within this many hours.
RETURN_MEDIAN_H: Final = 16.0
RETURN_SIGMA: Final = 1.2
