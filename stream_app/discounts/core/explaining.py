"""A policy in words: what it does, what each condition means, and what about it is probably not what was meant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from stream_app.discounts.core.criteria import Criterion, leaves, words
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.situation import NUMBERS, TEXTS, Named

#: Below this share of visitors held out, an effect takes months to show: of 10,000 visitors exposed a hundred, of whom
#: three buy.
_HOLDOUT_MIN: Final = 0.01
#: Above it most of what an offer could earn is given up.
_HOLDOUT_MAX: Final = 0.5


class Explanation(NamedTuple):
    """Lines to print: what the policy does, and what to look at twice; no warnings is good."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def explain(policy: Policy) -> Explanation:
    """Tell what a policy does. Pure; the policy has been checked by `policy_file.read_policy`."""
    return Explanation(tuple(_lines(policy)), tuple(_warnings(policy)))


def _lines(policy: Policy) -> Iterator[str]:
    experiment, score, offer = policy.experiment, policy.score, policy.offer
    yield f"policy {policy.version}: {'in force' if policy.enabled else 'switched off, nobody is offered anything'}"
    yield (
        f"experiment {experiment.id}: {experiment.holdout:.1%} of the visitors are held out and never offered anything"
        "; another id, salt or share is another experiment"
    )
    yield f"sequential intervals are narrowest at {experiment.planned:,} visitors exposed"
    yield (
        f"looks at a session when a moment of kind {_listed(policy.moments.kinds)} comes, "
        f"once a session, and at a visitor again after {_span(offer.cool_down_s)}"
    )
    yield f"on the fence: scores from {score.fence_min:g} to below {score.fence_max:g}"
    if score.suppress_from < 1.0:
        yield f"likely buyers, from a score of {score.suppress_from:g} on, are left alone"
    yield _timing(policy)
    yield f"eligible: {words(policy.eligible)}"
    for path, leaf in leaves(policy.eligible, "eligible"):
        yield f"  {path}: {_meaning(leaf)}"
    yield from _money_lines(policy)
    yield from _stock_lines(policy)


def _timing(policy: Policy) -> str:
    moments = policy.moments
    since = "newest" if moments.clock == "quiet" else "first"
    early = "what is learned of the category" if moments.earliest == "learned" else _span(float(moments.earliest))
    late = "what is learned of the category" if moments.latest == "learned" else _span(float(moments.latest))
    said = f"not earlier than {early} and not later than {late} after the session's {since} event"
    if "learned" in (moments.earliest, moments.latest):
        until = "nobody is offered anything" if moments.until_learned == "wait" else "there is no such bound"
        said += f"; until enough purchases were seen {until}"
    return said


def _money_lines(policy: Policy) -> Iterator[str]:
    levels, money, budget = policy.levels, policy.money, policy.budget
    if levels.rule == "fixed":
        yield f"offers {levels.fixed:g} % off"
    elif levels.rule == "by_score":
        rows = ", ".join(f"{row.percent:g} % below {row.below:g}" for row in levels.by_score)
        yield f"offers by score: {rows}; nothing above"
    else:
        share = levels.explore / (1 + len(levels.percents))
        yield (
            f"offers what earned most, learned for each {' and '.join(levels.context) or 'session alike'}; "
            f"nothing and each of {_percents(levels.percents)} with a chance of at least {share:.1%}"
        )
    yield f"valid for {_span(policy.offer.valid_s)}, to the end of the session at most"
    apart = _count(len(money.margin_by_category), "category", "categories")
    yield f"margin {money.margin:.1%} of the list price, {apart} apart"
    yield (
        f"budget {budget.per_hour:,.2f} {money.currency} an hour, {budget.per_day:,.2f} a day, of expected cost: "
        f"percent × order × chance of a purchase with its odds times {budget.lift:g}"
    )


def _stock_lines(policy: Policy) -> Iterator[str]:
    stock = policy.stock
    for level in ("low", "normal", "overstock"):
        rule = policy.stock_rule(level)
        told = sum(policy.stock_level(name) == level for name in stock.categories)
        what = f"levels {_percents(rule.percents)}" if rule.percents else "the usual levels"
        if rule.fixed is not None and policy.levels.rule == "fixed":
            what = f"{rule.fixed:g} %"
        said = what if rule.offers else "no offers"
        if said != "the usual levels":
            yield f"stock {level}: {said} ({_count(told, 'category', 'categories')} by the table)"


def _meaning(leaf: Criterion) -> str:
    if leaf.number is not None:
        named: Named = NUMBERS[leaf.number]
        said = f"{words(leaf)} — {named.meaning}, in {named.unit}"
        if named.unit.startswith("ln(1 +"):
            bounds = [
                f"{name} {math.expm1(bound):.4g}" for name, bound in (("min", leaf.min), ("max", leaf.max)) if bound
            ]
            said += f" ({' and '.join(bounds)} before the logarithm)" if bounds else ""
        return said
    assert leaf.text is not None
    return f"{words(leaf)} — {TEXTS[leaf.text].meaning}"


def _warnings(policy: Policy) -> Iterator[str]:
    yield from _nobody(policy)
    yield from _experiment(policy)
    yield from _money(policy)


def _nobody(policy: Policy) -> Iterator[str]:
    """What makes the policy act on nobody, or on fewer than it says."""
    score, moments = policy.score, policy.moments
    if score.fence_min == score.fence_max:
        yield f"score: the band from {score.fence_min:g} to below {score.fence_max:g} is empty: nobody is ever eligible"
    elif score.suppress_from <= score.fence_min:
        yield f"score: suppress_from {score.suppress_from:g} leaves nothing of the band from {score.fence_min:g} on"
    elif score.suppress_from < score.fence_max:
        yield f"score: suppress_from {score.suppress_from:g} cuts the band, which ends at {score.fence_max:g}"
    if moments.earliest != "learned" and moments.latest != "learned" and moments.earliest > moments.latest:
        yield f"moments: earliest {moments.earliest:g} s is after latest {moments.latest:g} s: nobody is ever eligible"
    if (
        moments.clock == "quiet"
        and moments.earliest not in (0.0, "learned")
        and not {"quiet", "hesitates"} & {*moments.kinds}
    ):
        yield "moments: nobody is quiet at an event: with this clock and earliest only quiet or hesitates can act"
    for path, leaf in leaves(policy.eligible, "eligible"):
        if leaf.number == "score" and _apart(leaf, score.fence_min, min(score.fence_max, score.suppress_from)):
            yield f"{path}: {words(leaf)} and the band on the fence have nothing in common"
        if leaf.text == "kind" and leaf.among is not None and not {*leaf.among} & {*moments.kinds}:
            yield f"{path}: {words(leaf)}, but moments.kinds are {_listed(moments.kinds)}"


def _experiment(policy: Policy) -> Iterator[str]:
    share = policy.experiment.holdout
    if share < _HOLDOUT_MIN:
        yield f"experiment: a holdout of {share:.1%} is below {_HOLDOUT_MIN:.0%}: what offers earn can hardly be known"
    if share > _HOLDOUT_MAX:
        yield f"experiment: a holdout of {share:.1%}: most visitors who could be won are not asked"
    if policy.experiment.salt == "change me":
        yield "experiment: the salt is the default policy's: choose your own, so that nobody can tell who is held out"


def _money(policy: Policy) -> Iterator[str]:
    budget, money = policy.budget, policy.money
    if policy.levels.rule == "fixed" and policy.levels.fixed is not None:
        rules = (policy.stock.low, policy.stock.normal, policy.stock.overstock)
        used = tuple(sorted({policy.levels.fixed, *(r.fixed for r in rules if r.offers and r.fixed is not None)}))
    elif policy.levels.rule == "by_score":
        used = tuple(sorted({row.percent for row in policy.levels.by_score if row.percent}))
    else:
        used = policy.levels.percents
    for name, margin in (
        ("margin", money.margin),
        *((f"margin of {n}", m) for n, m in money.margin_by_category.items()),
    ):
        over = [percent for percent in used if percent / 100.0 >= margin]
        if over:
            yield f"levels: {_percents(over)} eat up the {name} of {margin:.1%} and are never offered there"
    if used:
        # The dearest offer of the lowest level that can come: at the top of the band.
        score = min(policy.score.fence_max, policy.score.suppress_from)
        cost = policy.cost(min(used), score=score, cart_value=0.0)
        for name, left in (("per_hour", budget.per_hour), ("per_day", budget.per_day)):
            if left < cost:
                yield (
                    f"budget: {name} {left:g} is smaller than one offer of {min(used):g} % on an order of "
                    f"{money.order_value:g}, which is reckoned at up to {cost:.2f}"
                )
    if budget.per_day < budget.per_hour:
        yield f"budget: per_day {budget.per_day:g} is below per_hour {budget.per_hour:g}, which is never reached"


def _apart(leaf: Criterion, low: float, high: float) -> bool:
    return (leaf.min is not None and leaf.min >= high) or (leaf.max is not None and leaf.max < low)


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _percents(percents: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{percent:g} %" for percent in percents)


def _count(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"


def _span(seconds: float) -> str:
    """A time in the unit that people would use."""
    for size, unit in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:g} s"
