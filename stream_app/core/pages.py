"""Which kind of step an event is: its type, or for a bare page view what its URL says.

Shops that only send page views still have journeys: `/search?q=`, `/c/shoes`, `/product/12`, `/cart`, `/checkout`.
Reading the kind from the path lets URL sequences count like typed events.
"""

from __future__ import annotations

import re
from typing import Final

from stream_app.core.events import EVENT_TYPES

#: The kinds of step, in the order of their code; stored states hold codes: append, never reorder.
GROUPS: Final = (
    "page",
    "search",
    "list",
    "item",
    "interest",
    "cart",
    "uncart",
    "view_cart",
    "checkout",
    "purchase",
    "refund",
)
GROUP_CODE: Final = {name: code for code, name in enumerate(GROUPS)}

_GROUP_OF_TYPE: Final = {
    "page_view": "page",
    "search": "search",
    "view_item_list": "list",
    "select_item": "list",
    "view_item": "item",
    "add_to_wishlist": "interest",
    "add_to_cart": "cart",
    "remove_from_cart": "uncart",
    "view_cart": "view_cart",
    "begin_checkout": "checkout",
    "add_shipping_info": "checkout",
    "add_payment_info": "checkout",
    "purchase": "purchase",
    "refund": "refund",
    "like": "interest",
    "share": "interest",
}

#: What a transition comes from when it is an episode's first step.
ENTRY: Final = len(GROUPS)

#: Transitions between two kinds of step, or from `ENTRY` to one.
TRANSITION_CODES: Final = (len(GROUPS) + 1) * len(GROUPS)

#: Event type → code of its kind.
GROUP_OF_TYPE: Final = {name: GROUP_CODE[_GROUP_OF_TYPE[name]] for name in EVENT_TYPES}

# Only the path is read, first match wins; the words are those of common shop systems (Shopify, Magento, WooCommerce…).
_PATH_RULES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), GROUP_CODE[group])
    for pattern, group in (
        (r"/(checkout|payment|shipping|order)s?\b", "checkout"),
        (r"/(cart|basket|bag)\b", "view_cart"),
        (r"/(search|find)\b", "search"),
        (r"/(products?|items?|p|dp|pd)/", "item"),
        (r"/(c|cat|category|categories|collections?|catalog|department|shop|browse)\b", "list"),
        (r"/(wishlist|favou?rites)\b", "interest"),
    )
)
_ORIGIN: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)


def step_group(event_type: str, page_url: str | None) -> int:
    """The code of the event's kind of step, one of `GROUPS`."""
    if event_type == "page_view" and page_url:
        return page_group(page_url)
    return GROUP_OF_TYPE[event_type]


def transition_code(before: int, group: int) -> int:
    """The code of the transition from one kind of step (or `ENTRY`) to another."""
    return before * len(GROUPS) + group


def page_group(url: str) -> int:
    """The code of the kind of page behind a URL; `page` if the path says nothing."""
    path = _ORIGIN.sub("", url, count=1).partition("?")[0].partition("#")[0]
    for pattern, group in _PATH_RULES:
        if pattern.search(path):
            return group
    return GROUP_CODE["page"]
