"""A small grid: the chosen models on fewer features, and with other settings, all in the same pass.

`features`: nested sets, so that each row of the table says what a group adds to those before it. A feature that is left
out is 0 for every event, which tells a classifier nothing.

`settings`: of online models what the settings offer (`base_rate`, `label_hold_ms`), and no calibrator; of batch models
each candidate that is otherwise chosen from. What changes the rows themselves (`--reservoir-size`, `--session-gap-ms`)
is a run of its own.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, get_args

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import INPUT_NAMES
from stream_app.core.priors import PRIOR_NAMES

Grid = Literal["features", "settings"]
GRIDS: Final[tuple[Grid, ...]] = get_args(Grid)

#: Features by group, as the features were designed; every other is one of counts.
_TIMING: Final = frozenset(
    {"age", "gap", "gap_mean", "gap_max", "gap_decayed", "since_cart", "item_dwell", "rate", "has_cart"}
)
_SEQUENCE: Final = frozenset({"same_item", "same_category", "item_seen"})
_VISITOR: Final = frozenset(
    {"earlier_sessions", "earlier_purchases", "earlier_spend", "since_last_session", "returning", "purchase_rate"}
)
_CONTEXT: Final = frozenset({"price", "price_relative", "price_range", "cart_value", "mobile"})

#: The nested sets, each with all before it; `None` is everything, context and price included.
FEATURE_SETS: Final = ("counts", "timing", "sequence", "priors", "visitor")

#: Positives held back until they are as old as a session's gap: the other common choice.
_HOLD_MS: Final = 30 * 60 * 1000


class Variant(NamedTuple):
    """A contender: what it is called, which model it is, and in what it differs from the model as it is.

    `features` is the last of the nested sets that it sees (None: all); of an online model `base_rate` and `hold_ms`
    may be set (None: as for all) and `calibrate` switched off, of a batch model the `settings` given (None: chosen).
    """

    name: str
    model: str
    features: str | None = None
    base_rate: float | None = None
    hold_ms: int | None = None
    calibrate: bool = True
    settings: dict[str, Any] | None = None


def group_of(name: str) -> str:
    """The group of an input: one of `FEATURE_SETS`, or `context`."""
    if name in PRIOR_NAMES:
        return "priors"
    if name in _SEQUENCE or name.startswith("last_"):
        return "sequence"
    for group, names in (("timing", _TIMING), ("visitor", _VISITOR), ("context", _CONTEXT)):
        if name in names:
            return group
    return "counts"


def seen(features: str | None) -> frozenset[str]:
    """The names that a variant sees, of features and priors."""
    names = {*FEATURE_NAMES, *INPUT_NAMES}
    if features is None:
        return frozenset(names)
    groups = FEATURE_SETS[: FEATURE_SETS.index(features) + 1]
    return frozenset(name for name in names if group_of(name) in groups)


def online_variants(model: str, grids: tuple[Grid, ...], *, base_rate: float) -> list[Variant]:
    """The model as it is, then the grid's variants of it."""
    variants = [Variant(model, model)]
    if "features" in grids:
        variants += [Variant(f"{model}[{set_name(last)}]", model, features=last) for last in FEATURE_SETS]
    if "settings" in grids:
        variants += [
            Variant(f"{model}[base_rate={rate:.3g}]", model, base_rate=rate)
            for rate in (base_rate / 3, min(3 * base_rate, 0.9))
        ]
        variants.append(Variant(f"{model}[hold=30min]", model, hold_ms=_HOLD_MS))
        variants.append(Variant(f"{model}[calibrator=off]", model, calibrate=False))
    return variants


def batch_variants(model: str, candidates: tuple[dict[str, Any], ...], grids: tuple[Grid, ...]) -> list[Variant]:
    """The model with chosen settings, then the grid's variants of it."""
    variants = [Variant(model, model)]
    if "features" in grids:
        variants += [Variant(f"{model}[{set_name(last)}]", model, features=last) for last in FEATURE_SETS]
    if "settings" in grids and len(candidates) > 1:
        for settings in candidates:
            text = ",".join(f"{name}={value}" for name, value in settings.items())
            variants.append(Variant(f"{model}[{text}]", model, settings=settings))
    return variants


def set_name(last: str) -> str:
    """How a nested set is called: `counts`, `+timing`, …"""
    return last if last == FEATURE_SETS[0] else f"+{last}"
