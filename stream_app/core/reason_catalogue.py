"""The reasons that a score may have: what a shop has words for, and which of a model's inputs each gathers."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Reasons in a score record: more would not be read.
REASONS_MAX: Final = 3


class Reason(NamedTuple):
    """`up` and `down` go on after what is known of the visitor: the former speaks for a purchase."""

    id: str
    title: str
    up: str
    down: str
    inputs: tuple[str, ...]


REASONS: Final[tuple[Reason, ...]] = (
    Reason(
        "depth",
        "how far the visit has come",
        "visits at this point are bought in more often",
        "visits at this point are bought in less often",
        ("events", "episode_events", "n_page", "n_item", "last_page", "last_item"),
    ),
    Reason(
        "choice",
        "how wide the choice is",
        "such a choice leads to a purchase more often",
        "such a choice leads to a purchase less often",
        ("items", "categories", "brands", "top_category_share", "same_category"),
    ),
    Reason(
        "favourite",
        "coming back to an item",
        "those who look like that buy more often",
        "those who look like that buy less often",
        ("item_repeats", "revisit_ratio", "same_item", "item_seen", "item_dwell"),
    ),
    Reason(
        "pace",
        "the pace",
        "visitors at this pace buy more often",
        "visitors at this pace buy less often",
        ("age", "gap", "gap_mean", "gap_max", "gap_decayed", "rate"),
    ),
    Reason(
        "browsing",
        "searches and lists",
        "those who look around like that buy more often",
        "those who look around like that buy less often",
        ("n_search", "n_list", "last_search", "last_list"),
    ),
    Reason(
        "interest",
        "wish list, likes and shares",
        "this goes with buying more often",
        "this goes with buying less often",
        ("n_interest", "last_interest"),
    ),
    Reason(
        "cart",
        "the cart",
        "this speaks for a purchase",
        "this speaks against a purchase",
        (
            "has_cart", "n_cart", "n_uncart", "n_view_cart", "since_cart", "cart_value", "last_cart", "last_uncart",
            "last_view_cart",
        ),
    ),
    Reason(
        "checkout",
        "checkout pages",
        "this speaks for a purchase",
        "this speaks against a purchase",
        ("n_checkout", "last_checkout"),
    ),
    Reason(
        "bought",
        "purchases in this visit",
        "after that another purchase is more likely",
        "after that another purchase is less likely",
        ("purchases", "n_refund", "last_purchase", "last_refund"),
    ),
    Reason(
        "items",
        "the record of these items",
        "things like these are bought more often than most here",
        "things like these are bought less often than most here",
        (
            "prior_item", "prior_item_mean", "prior_item_max", "item_popularity", "cart_item", "cart_item_mean",
            "cart_item_max", "prior_category", "prior_category_mean", "prior_category_max", "cart_category",
            "cart_category_mean", "cart_category_max", "prior_brand", "cart_brand",
        ),
    ),
    Reason(
        "path",
        "the way so far",
        "buyers go such ways more often than others",
        "buyers go such ways less often than others",
        ("prior_step", "markov_step", "markov_sum", "markov_mean"),
    ),
    Reason(
        "visitor",
        "what is known of the visitor",
        "such visitors buy more often",
        "such visitors buy less often",
        (
            "returning", "earlier_sessions", "earlier_purchases", "earlier_spend", "since_last_session",
            "purchase_rate",
        ),
    ),
    Reason(
        "price",
        "the price",
        "this goes with buying more often",
        "this goes with buying less often",
        ("price", "price_relative", "price_range"),
    ),
    Reason(
        "origin",
        "how the visitor came",
        "visitors who come like that buy more often",
        "visitors who come like that buy less often",
        ("prior_source", "prior_country", "mobile"),
    ),
)  # fmt: skip

REASON_IDS: Final = tuple(reason.id for reason in REASONS)


def documentation() -> str:
    """The table of docs/reasons.md."""
    lines = ["| id | reason | for | against | inputs |", "| --- | --- | --- | --- | --- |"]
    for reason in REASONS:
        inputs = ", ".join(f"`{name}`" for name in reason.inputs)
        lines.append(f"| `{reason.id}` | {reason.title} | {reason.up} | {reason.down} | {inputs} |")
    return "\n".join(lines)
