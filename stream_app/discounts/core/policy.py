"""The policy file: who may be offered how much, and when. TOML, checked as a whole before it is used.

What lives here: the file's tables as types, with their bounds, and what follows from a policy alone. `policy_file.py`
reads it, `deciding.py` applies it, `explaining.py` tells what it means. A policy's `version` is a hash of what it says,
so that every offer and exposure names exactly the rules that it came from, whatever the file is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Final, Literal

import msgspec

from stream_app.core.odds import lifted
from stream_app.discounts.core.confidence import PLANNED_MAX, PLANNED_MIN, PLANNED_UNITS
from stream_app.discounts.core.criteria import Criterion
from stream_app.discounts.core.records import LEVELS_MAX

#: Numbers of a policy file that a person could mean; sums of them stay finite.
_MONEY_MAX: Final = 1e9
#: Levels above 0: the level 0, no offer, comes on top.
_PERCENTS_MAX: Final = LEVELS_MAX - 1

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=366 * 86_400.0)]
Money = Annotated[float, msgspec.Meta(ge=0.0, le=_MONEY_MAX)]
#: Percent off; 90 bounds what a slip of the keyboard can cost.
Level = Annotated[float, msgspec.Meta(gt=0.0, le=90.0)]
Percents = Annotated[tuple[Level, ...], msgspec.Meta(min_length=1, max_length=_PERCENTS_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
#: A bound on a moment's time: seconds, or what `timing.py` has learned of the category.
Bound = Seconds | Literal["learned"]
StockLevel = Literal["low", "normal", "overstock"]
KindName = Literal["band", "trend", "quiet", "hesitates"]
ContextName = Literal["band", "kind", "category", "source", "country", "device", "stock"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Experiment(_Section, frozen=True, kw_only=True):
    """Who is held out: the share `holdout` of visitors, by a hash of their id with `id` and `salt`.

    `planned`: at how many visitors, of both arms, the sequential intervals shall be narrowest: as many as are expected
    by the end. They hold whatever it is, if it was chosen before anybody looked: what an experiment's first exposure
    says counts.
    """

    id: Name
    salt: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    holdout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.2
    planned: Annotated[int, msgspec.Meta(ge=PLANNED_MIN, le=PLANNED_MAX)] = PLANNED_UNITS


class Score(_Section, frozen=True, kw_only=True):
    """On the fence is `fence_min` ≤ score < `fence_max`; from `suppress_from` on somebody buys without being asked."""

    fence_min: Share = 0.0
    fence_max: Share = 1.0
    suppress_from: Share = 1.0

    def __post_init__(self) -> None:
        if self.fence_min > self.fence_max:
            raise ValueError(f"got fence_min {self.fence_min:g} above fence_max {self.fence_max:g}, expected <=")


class Moments(_Section, frozen=True, kw_only=True):
    """Which moments count, and how early and late on `clock`: the session's `age`, or how long it has been `quiet`.

    Bounds are seconds; `earliest` ≤ time ≤ `latest`. Until enough was learned for a bound that is `learned`, sessions
    `wait` (no offer), or are offered something as if there were no such bound (`offer`).
    """

    kinds: Annotated[tuple[KindName, ...], msgspec.Meta(min_length=1)] = ("band", "trend", "quiet", "hesitates")
    clock: Literal["age", "quiet"] = "age"
    earliest: Bound = 0.0
    latest: Bound = 3600.0
    until_learned: Literal["wait", "offer"] = "wait"


class Row(_Section, frozen=True, kw_only=True):
    """A row of the score table: `percent` for scores below `below`; 0 is no offer."""

    below: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
    percent: Annotated[float, msgspec.Meta(ge=0.0, le=90.0)]


class Levels(_Section, frozen=True, kw_only=True):
    """The percents that may be offered, and by which `rule` one is chosen.

    `fixed`: always the percent `fixed`. `by_score`: that of the first row whose `below` is above the score, none past
    the last. `bandit`: learned from profit, each level (no offer included) with at least its part of the share
    `explore`, separately for each combination of the texts in `context`.
    """

    percents: Percents
    rule: Literal["fixed", "by_score", "bandit"] = "fixed"
    fixed: Level | None = None
    by_score: Annotated[tuple[Row, ...], msgspec.Meta(max_length=50)] = ()
    explore: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.1
    context: Annotated[tuple[ContextName, ...], msgspec.Meta(max_length=3)] = ("band", "kind")

    def __post_init__(self) -> None:
        if sorted(set(self.percents)) != list(self.percents):
            raise ValueError(f"got percents {_listed(self.percents)}, expected them in rising order, each once")
        if self.rule == "fixed":
            if self.fixed is None:
                raise ValueError("got rule 'fixed' without `fixed`, expected the percent to offer")
            if self.fixed not in self.percents:
                raise ValueError(f"got fixed {self.fixed:g}, expected one of percents {_listed(self.percents)}")
        if self.rule == "by_score":
            bounds = [row.below for row in self.by_score]
            if not bounds or sorted(set(bounds)) != bounds:
                raise ValueError(f"got rows below {_listed(bounds)}, expected at least one, in rising order of `below`")
            unknown = [row.percent for row in self.by_score if row.percent and row.percent not in self.percents]
            if unknown:
                raise ValueError(
                    f"got by_score percents {_listed(unknown)}, expected 0 or one of percents {_listed(self.percents)}"
                )


class Worth(_Section, frozen=True, kw_only=True):
    """In the shop's currency. `margin`: the share of an order's list price that is profit without a discount."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    margin: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
    margin_by_category: dict[Name, Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]] = {}
    #: What an order is taken to be worth while the cart is empty.
    order_value: Annotated[float, msgspec.Meta(gt=0.0, le=_MONEY_MAX)]


class OfferTerms(_Section, frozen=True, kw_only=True):
    """`valid_s`: how long an offer holds. `cool_down_s`: no visitor is looked at again sooner, held out or not."""

    valid_s: Annotated[float, msgspec.Meta(ge=1.0, le=30 * 86_400.0)] = 1800.0
    cool_down_s: Seconds = 7 * 86_400.0


class Budget(_Section, frozen=True, kw_only=True):
    """What offers may cost, as expected when they are made, in each hour and day (UTC).

    The expected cost of an offer is its percent of the order's value times the chance that it is redeemed: the score
    with its odds multiplied by `lift`, since offers are made to be taken.
    """

    per_hour: Money
    per_day: Money
    lift: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)] = 2.0


class StockRule(_Section, frozen=True, kw_only=True):
    """What a stock level changes: whether there are `offers` at all, and which `percents` instead of the usual ones.

    `fixed` is what the rule `fixed` offers then; other rules choose among the percents.
    """

    offers: bool = True
    percents: Percents | None = None
    fixed: Level | None = None

    def __post_init__(self) -> None:
        if self.percents is not None and sorted(set(self.percents)) != list(self.percents):
            raise ValueError(f"got percents {_listed(self.percents)}, expected them in rising order, each once")


class Stock(_Section, frozen=True, kw_only=True):
    """Categories by stock, `normal` where not listed: a level's name, or how many pieces there are.

    Pieces are `low` below `low_below`, and `overstock` from `overstock_from` on.
    """

    categories: dict[Name, StockLevel | Annotated[int, msgspec.Meta(ge=0)]] = {}
    low_below: Annotated[int, msgspec.Meta(ge=0)] = 5
    overstock_from: Annotated[int, msgspec.Meta(ge=0)] = 500
    low: StockRule = StockRule(offers=False)
    normal: StockRule = StockRule()
    overstock: StockRule = StockRule()

    def __post_init__(self) -> None:
        if self.low_below > self.overstock_from:
            raise ValueError(
                f"got low_below {self.low_below} above overstock_from {self.overstock_from}, expected <= it"
            )


class Policy(_Section, frozen=True, kw_only=True):
    """A whole policy. `enabled = false` is the kill switch: no offers, and nobody is counted as exposed."""

    #: Of the file's format; others are refused.
    format: Literal[1]
    enabled: bool = True
    experiment: Experiment
    eligible: Criterion = Criterion(all=())
    score: Score = Score()
    moments: Moments = Moments()
    levels: Levels
    money: Worth
    offer: OfferTerms = OfferTerms()
    budget: Budget
    stock: Stock = Stock()

    def __post_init__(self) -> None:
        for name in ("low", "normal", "overstock"):
            rule: StockRule = getattr(self.stock, name)
            percents = rule.percents or self.levels.percents
            if rule.fixed is not None and rule.fixed not in percents:
                raise ValueError(f"got stock.{name}.fixed {rule.fixed:g}, expected one of percents {_listed(percents)}")

    @property
    def version(self) -> str:
        """12 hex digits of what the policy says: comments, order and spelled-out defaults do not change it."""
        return blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=6, person=b"policy").hexdigest()

    def margin(self, category: str | None) -> float:
        """The share of a list price in the category that is profit."""
        return self.money.margin_by_category.get(category or "", self.money.margin)

    def stock_level(self, category: str | None) -> StockLevel:
        """How much there is of a category."""
        told = self.stock.categories.get(category or "", "normal")
        if isinstance(told, str):
            return told
        return "low" if told < self.stock.low_below else "normal" if told < self.stock.overstock_from else "overstock"

    def stock_rule(self, level: StockLevel) -> StockRule:
        """What holds at a stock level."""
        return {"low": self.stock.low, "normal": self.stock.normal, "overstock": self.stock.overstock}[level]

    def percents(self, category: str | None) -> list[float]:
        """The levels that may be offered in a category: of its stock, below its margin."""
        allowed = self.stock_rule(self.stock_level(category)).percents or self.levels.percents
        return [percent for percent in allowed if percent / 100.0 < self.margin(category)]

    def order_value(self, cart_value: float) -> float:
        """What the order is taken to be worth, in money."""
        return cart_value if cart_value > 0.0 else self.money.order_value

    def cost(self, percent: float, *, score: float, cart_value: float) -> float:
        """The expected cost of an offer in money: see `Budget`."""
        return percent / 100.0 * self.order_value(cart_value) * lifted(score, self.budget.lift)


def _listed(numbers: Iterable[float]) -> str:
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"
