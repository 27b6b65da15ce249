"""The canonical event and the checkout label: what a shop tells us.

What lives here: the two input facts as typed values, their bounds, and nothing else. Bytes become these values in
`codec.py`; other formats become them in `producers/adapters`. Field names follow GA4 e-commerce.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Final, Literal, get_args

import msgspec

EventType = Literal[
    "page_view",
    "search",
    "view_item_list",
    "select_item",
    "view_item",
    "add_to_wishlist",
    "add_to_cart",
    "remove_from_cart",
    "view_cart",
    "begin_checkout",
    "add_shipping_info",
    "add_payment_info",
    "purchase",
    "refund",
    "like",
    "share",
]

#: Every event type, in the order of its code. Stored states hold the codes: append, never reorder.
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)

#: Event type → code, the position in `EVENT_TYPES`.
EVENT_CODE: Final[dict[str, int]] = {name: code for code, name in enumerate(EVENT_TYPES)}

#: No shop's clickstream is older than the year 2000; smaller numbers are seconds mistaken for milliseconds.
EVENT_TIME_MS_MIN: Final = 946_684_800_000

#: How far an event may lie ahead of the broker's clock. A phone with a wrong time zone is off by up to 14 h; beyond
#: 24 h the time is noise, and letting it in would let one event close every open session (RELIABILITY §4).
EVENT_TIME_AHEAD_MS_MAX: Final = 24 * 3600 * 1000

#: Ids become Redis keys and Kafka keys; 256 bytes hold every id format we know (UUIDs, GA client ids, hashes).
ID_LENGTH_MAX: Final = 256

#: URLs and search terms; browsers and servers cut longer ones, too.
TEXT_LENGTH_MAX: Final = 4096

#: Money and pieces of one event; the bounds keep sums finite whatever a bot sends.
AMOUNT_MAX: Final = 1e9
QUANTITY_MAX: Final = 1e6

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]
ShortText = Annotated[str, msgspec.Meta(max_length=ID_LENGTH_MAX)]
#: Milliseconds since the Unix epoch, UTC; on the wire also RFC 3339 text with an offset.
TimeMs = int | Annotated[datetime.datetime, msgspec.Meta(tz=True)]
#: Money in the unit of `currency`.
Amount = Annotated[float, msgspec.Meta(ge=0.0, le=AMOUNT_MAX)]


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """One thing a visitor did, as a fact with its own time.

    `event_time` is an integer of milliseconds UTC once decoded, although the wire also allows RFC 3339. Without
    `session_id` the session is derived from the visitor's inactivity gap. `bot` says that no person did it: its session
    is scored from then on, and not learned from (docs/quality.md).
    """

    event_id: Identifier
    event_type: EventType
    event_time: TimeMs
    visitor_id: Identifier
    session_id: Identifier | None = None
    item_id: ShortText | None = None
    category: ShortText | None = None
    brand: ShortText | None = None
    price: Amount | None = None
    quantity: Annotated[float, msgspec.Meta(ge=0.0, le=QUANTITY_MAX)] | None = None
    currency: ShortText | None = None
    order_id: ShortText | None = None
    page_url: Text | None = None
    referrer: Text | None = None
    source: ShortText | None = None
    country: ShortText | None = None
    device: ShortText | None = None
    search_term: Text | None = None
    bot: bool | None = None


class CheckoutLabel(msgspec.Struct, gc=False, omit_defaults=True):
    """A checkout told by the order system, apart from the clickstream and perhaps late.

    It says what became of a session; by design it never changes a feature. `kind` `refund` and `cancel` take back
    the order of the same `order_id`. `discount_percent` is what a redeemed offer took off the list price, `value` what
    was paid after that: without it nobody can tell what an offer has cost.
    """

    visitor_id: Identifier
    order_id: Identifier
    checkout_time: TimeMs
    session_id: Identifier | None = None
    value: Amount | None = None
    currency: ShortText | None = None
    kind: Literal["checkout", "refund", "cancel"] = "checkout"
    discount_percent: Annotated[float, msgspec.Meta(ge=0.0, lt=100.0)] | None = None
