"""Reasons in words: what is known of a visitor, told for each reason from the features behind a score.

Features are what the model sees, mostly ln(1 + x) of a number (`stream-app features` has the units); words turn them
back. Counts come back exactly, times and money to about one part in ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from stream_app.core.reason_catalogue import REASONS, Reason
from stream_app.core.records import Keys

#: Characters of a shop's own name of something: enough to recognise it, and a line stays one.
_NAME_CHARS_MAX: Final = 40

#: Price differences below this share are not worth a word.
_SAME_PRICE: Final = 0.005

#: A contribution below this, 5 % of the odds, is told as none: its sign would be read as a reason.
_HARDLY: Final = 0.05

Values = Mapping[str, float]


def facts(values: Values, keys: Keys) -> dict[str, str]:
    """By reason id, what is known: `values` are the features behind a score by name, `keys` the names behind it."""
    return {reason.id: _FACTS[reason.id](values, keys) for reason in REASONS}


def sentence(reason: Reason, fact: str, contribution: float) -> str:
    """What is known, and what the model makes of it."""
    if abs(contribution) < _HARDLY:
        return f"{fact}: hardly matters"
    return f"{fact}: {reason.up if contribution > 0 else reason.down}"


def odds_factor(contribution: float) -> str:
    """By what a contribution multiplies the odds, such as `×1.8`; a hundred times and more is not told finer."""
    factor = math.exp(max(-50.0, min(50.0, contribution)))
    if factor >= 99.5:
        return "×100 or more"
    if factor < 0.0095:
        return "×0.01 or less"
    return f"×{factor:.0f}" if factor >= 9.95 else f"×{factor:.1f}" if factor >= 0.95 else f"×{factor:.2f}"


# ---- one function for each reason -----------------------------------------------------------------------------------


def _depth(values: Values, keys: Keys) -> str:
    steps, since = _count(values, "events"), _count(values, "episode_events")
    said = _many(steps, "step", "steps")
    if since < steps and _count(values, "purchases"):
        said += f", {since} of them since the last purchase"
    looked = _count(values, "n_item")
    return f"{said}, an item was looked at {_times(looked)}" if looked else f"{said}, no item looked at yet"


def _choice(values: Values, keys: Keys) -> str:
    counted = [
        _many(count, one, many)
        for name, one, many in (
            ("items", "item", "items"),
            ("categories", "category", "categories"),
            ("brands", "brand", "brands"),
        )
        if (count := _count(values, name))
    ]
    return f"{_listed(counted)} seen" if counted else "no item seen yet"


def _favourite(values: Values, keys: Keys) -> str:
    repeats = _count(values, "item_repeats")
    if repeats < 2:
        return "no item seen twice"
    said = f"one item came up {_times(repeats)}"
    return f"{said}, first {_span(values, 'item_dwell')} ago" if values["item_seen"] else said


def _pace(values: Values, keys: Keys) -> str:
    if _count(values, "events") < 2:
        return "the visit begins"
    return f"{_span(values, 'age')} in the shop, {_span(values, 'gap')} since the step before"


def _browsing(values: Values, keys: Keys) -> str:
    searches, lists = _count(values, "n_search"), _count(values, "n_list")
    counted = [_many(searches, "search", "searches")] if searches else []
    counted += [_many(lists, "list of items", "lists of items")] if lists else []
    return _listed(counted) if counted else "no search, no list of items"


def _interest(values: Values, keys: Keys) -> str:
    marked = _count(values, "n_interest")
    return f"{_many(marked, 'item', 'items')} liked, shared or wished for" if marked else "nothing liked or wished for"


def _cart(values: Values, keys: Keys) -> str:
    if not values["has_cart"]:
        return "the cart was emptied again" if _count(values, "n_uncart") else "nothing in the cart"
    said = f"something was put into the cart {_times(_count(values, 'n_cart'))}"
    if values["cart_value"] > 0.0:
        said += f", worth {_money(values, 'cart_value')}"
    return f"{said}, untouched for {_span(values, 'since_cart')}" if values["since_cart"] > 0.0 else f"{said}, just now"


def _checkout(values: Values, keys: Keys) -> str:
    steps = _count(values, "n_checkout")
    return f"{_many(steps, 'step', 'steps')} at the checkout" if steps else "not at the checkout yet"


def _bought(values: Values, keys: Keys) -> str:
    made, refunds = _count(values, "purchases"), _count(values, "n_refund")
    counted = [_many(made, "purchase", "purchases")] if made else []
    counted += [_many(refunds, "refund", "refunds")] if refunds else []
    return f"{_listed(counted)} in this visit" if counted else "nothing bought yet in this visit"


def _items(values: Values, keys: Keys) -> str:
    named = [
        f"{kind} {_name(name)}"
        for kind, name in (("item", keys.item), ("category", keys.category), ("brand", keys.brand))
        if name
    ]
    if named:
        return ", ".join(named)
    return _choice(values, keys)


def _path(values: Values, keys: Keys) -> str:
    last = next((said for name, said in _LAST.items() if values[name]), "a step")
    return f"the order of the steps, the newest {last}"


def _visitor(values: Values, keys: Keys) -> str:
    if not values["returning"]:
        return "no earlier visit known"
    bought = _count(values, "earlier_purchases")
    said = _many(_count(values, "earlier_sessions"), "earlier visit", "earlier visits")
    said += f" with {_many(bought, 'purchase', 'purchases')}" if bought else " without a purchase"
    return f"{said}, the last {_span(values, 'since_last_session')} ago"


def _price(values: Values, keys: Keys) -> str:
    if values["price"] <= 0.0:
        return "no price at hand"
    said = f"a price of {_money(values, 'price')}"
    share = math.exp(max(-20.0, min(20.0, values["price_relative"]))) - 1.0
    if abs(share) < _SAME_PRICE:
        return said
    return f"{said}, {abs(share):.0%} {'above' if share > 0 else 'below'} the mean of what was seen"


def _origin(values: Values, keys: Keys) -> str:
    named = [f"source {_name(keys.source)}"] if keys.source else []
    named += [f"country {_name(keys.country)}"] if keys.country else []
    return _listed([*named, "on a phone or tablet" if values["mobile"] else "not on a phone or tablet"])


_FACTS: Final[dict[str, Callable[[Values, Keys], str]]] = {
    "depth": _depth,
    "choice": _choice,
    "favourite": _favourite,
    "pace": _pace,
    "browsing": _browsing,
    "interest": _interest,
    "cart": _cart,
    "checkout": _checkout,
    "bought": _bought,
    "items": _items,
    "path": _path,
    "visitor": _visitor,
    "price": _price,
    "origin": _origin,
}

_LAST: Final = {
    "last_page": "a page",
    "last_search": "a search",
    "last_list": "a list of items",
    "last_item": "an item",
    "last_interest": "a like or wish",
    "last_cart": "into the cart",
    "last_uncart": "out of the cart",
    "last_view_cart": "the cart",
    "last_checkout": "the checkout",
    "last_purchase": "a purchase",
    "last_refund": "a refund",
}


# ---- numbers and names ----------------------------------------------------------------------------------------------


def _plain(values: Values, name: str) -> float:
    """The number behind a feature that is ln(1 + x)."""
    return max(0.0, math.expm1(min(values[name], 40.0)))


def _count(values: Values, name: str) -> int:
    return round(_plain(values, name))


def _money(values: Values, name: str) -> str:
    amount = _plain(values, name)
    return f"{amount:,.0f}" if amount >= 1_000 else f"{amount:.2f}"


def _span(values: Values, name: str) -> str:
    seconds = round(_plain(values, name))
    for unit, one, many, until in (
        (1, "second", "seconds", 100),
        (60, "minute", "minutes", 100 * 60),
        (3600, "hour", "hours", 48 * 3600),
    ):
        if seconds < until:
            return _many(round(seconds / unit), one, many)
    return _many(round(seconds / 86_400), "day", "days")


def _many(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _name(name: str | None) -> str:
    """A shop's own name of something, as it may be shown: names come from outside."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name or "")
    return shown if len(shown) <= _NAME_CHARS_MAX else f"{shown[: _NAME_CHARS_MAX - 1]}…"
