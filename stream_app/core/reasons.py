"""Reasons of a score: what a model makes of its inputs, gathered into what a shop has words for.

A reason is a group of inputs that tell of one thing, such as the cart. Its contribution is the sum of theirs to the
logit, so reasons add up wherever the inputs' contributions do (`zoo/contributions.py`), and e to its power is the
factor by which it moves the odds of a purchase. Inputs of a group repeat one another, and a model shares its weight out
among them as it happens to; their sum is what it says of the thing.

A reason says what speaks for or against in the eyes of the model. It is not a cause: a visitor who is led to put
something into a cart does not become one who would have done so alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.model import INPUT_NAMES, IntentModel
from stream_app.core.records import Keys, Reasons
from stream_app.core.zoo.contributions import additive, occluded

Matrix = npt.NDArray[np.float64]

#: Reasons in a score record: more would not be read.
REASONS_MAX: Final = 3

#: Digits of a contribution in a score record: a thousandth is a thousandth of the odds.
_DIGITS: Final = 3


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

#: The features among a model's inputs; the priors come behind them.

REASON_IDS: Final = tuple(reason.id for reason in REASONS)

#: The columns of each reason; all one behind the other, and where each begins there.
_COLUMNS: Final = [[INPUT_NAMES.index(name) for name in reason.inputs] for reason in REASONS]
_ORDER: Final = np.array([column for columns in _COLUMNS for column in columns])
_STARTS: Final = np.cumsum([0, *map(len, _COLUMNS[:-1])])


class Explanation(NamedTuple):
    """Of N scores: `base`, the logit of an all-usual row; each row's logit; what the reasons contribute, (N, R).

    Where `exact`, base and a row's contributions are its logit, and `inputs` has those of each input, (N, W). Elsewhere
    something is left over, and there are none by input.
    """

    base: float
    logits: Matrix
    reasons: Matrix
    inputs: Matrix | None

    @property
    def exact(self) -> bool:
        """Whether the contributions add up."""
        return self.inputs is not None


def explain(model: IntentModel, x: Matrix, keys: Sequence[Keys]) -> Explanation:
    """What a model's scores of features of shape (N, len(FEATURES)) and N keys come from.

    Logits are those behind the served score, the calibrator's line included. A row's numbers do not depend on the
    other rows.
    """
    inputs = model.priors.matrix(x, keys)
    calibrator = model.calibrator
    slope, offset = (calibrator.slope, calibrator.offset) if calibrator.serving else (1.0, 0.0)
    found = additive(model.classifier, inputs)
    if found is None:
        base, logits, reasons = occluded(model.classifier, inputs, _COLUMNS)
        return Explanation(slope * base + offset, slope * logits + offset, slope * reasons, None)
    base, each = slope * found[0] + offset, slope * found[1]
    # Sums along contiguous rows: the same for one row and for many.
    reasons = np.add.reduceat(np.ascontiguousarray(each[:, _ORDER]), _STARTS, axis=1)
    return Explanation(base, base + reasons.sum(axis=1), reasons, each)


def strongest(reasons: Matrix) -> list[Reasons]:
    """Of each row the ids and contributions of the strongest, rounded; what rounds to nothing is none."""
    order = np.argsort(-np.abs(reasons), axis=1, kind="stable")[:, :REASONS_MAX]
    values = np.round(np.take_along_axis(reasons, order, axis=1), _DIGITS).tolist()
    return [
        [(REASON_IDS[place], value) for place, value in zip(places, row, strict=True) if value]
        for places, row in zip(order.tolist(), values, strict=True)
    ]


def documentation() -> str:
    """The table of docs/reasons.md."""
    lines = ["| id | reason | for | against | inputs |", "| --- | --- | --- | --- | --- |"]
    for reason in REASONS:
        inputs = ", ".join(f"`{name}`" for name in reason.inputs)
        lines.append(f"| `{reason.id}` | {reason.title} | {reason.up} | {reason.down} | {inputs} |")
    return "\n".join(lines)
