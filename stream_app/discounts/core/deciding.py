"""The decision: whether a session is eligible at a moment, its arm, its level, and the offer.

The checks, in this order; the first that fails is the reason, and nothing is logged but a count:

1. `off`: the policy is switched off.
2. `over`: the session has bought or is closed.
3. `decided`: the session has had its one decision.
4. `kind`: the policy does not act on moments of this kind.
5. `likely`: who buys so probably needs no offer (suppression).
6. `fence`: the score is outside the band "on the fence".
7. `not_learned`, `early`, `late`: the time on the policy's clock.
8. `stock`: the category has none to spare.
9. `criteria`: the tree `eligible`, with the condition that failed.
10. `cool_down`: the visitor was exposed not long ago, offered something or held out.
11. `margin`: no level is below the category's margin.
12. `budget`: no level fits what is left of the hour's and the day's budget.

Then a level is chosen among those that fit, and only then the arm counts: **eligibility, level and budget are the same
for both arms**, so the held-out are the people who would have been offered just that. Whatever were checked after the
arm would make two different crowds of them, and their difference would not be the offer's effect.

For the same reason the budget is asked for both arms when it is reserved: `needs` must be there for the exposure to
count, and only an offer takes it (`cost`). Where it is not there any more (others were quicker), nothing is exposed,
whatever the arm: `not_funded`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from stream_app.discounts.core.criteria import judge
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Arm, Exposure, Levels, Offer, exposure_id
from stream_app.discounts.core.situation import Situation
from stream_app.discounts.core.timing import Window

#: Why a session was not exposed, in the order of the checks, and `eligible` if it was.
REASONS: Final = (
    "off",
    "over",
    "decided",
    "kind",
    "likely",
    "fence",
    "not_learned",
    "early",
    "late",
    "stock",
    "criteria",
    "cool_down",
    "margin",
    "budget",
    "eligible",
)


class Chosen(Protocol):
    """A level, its probability, and the probabilities of all that could have been chosen."""

    @property
    def percent(self) -> float:
        """Off the list price, 0 for no offer."""

    @property
    def propensity(self) -> float:
        """The probability of just this level."""

    @property
    def levels(self) -> Levels:
        """Each level with its probability."""


#: (context, percents with 0 among them, draw) → the level: a bandit's `choose`. The same arguments must give the same
#: answer until the decision is logged.
Chooser: TypeAlias = Callable[[str, Sequence[float], float], Chosen]

#: Money is told to a hundredth of a cent.
_MONEY_DIGITS: Final = 4


class Known(NamedTuple):
    """What is known beside the moment.

    Parameters
    ----------
    arm
        The visitor's, from the experiment's hash.
    draw
        A number ≥ 0 and < 1 by which the level is drawn, from the hash of the exposure's id.
    hour_left, day_left
        What is left of the budgets, in money.
    over, decided
        Whether the session has ended or bought, and whether it has had its decision.
    cool_down_until
        Time from which the visitor may be looked at again, in ms; 0 is always.
    window
        What was learned of the category about the policy's clock; None is not enough.
    """

    arm: Arm
    draw: float
    hour_left: float
    day_left: float
    over: bool = False
    decided: bool = False
    cool_down_until: int = 0
    window: Window | None = None


class Decision(NamedTuple):
    """What to do. `reason` is one of `REASONS`, `words` say more; without an exposure there is nothing to do.

    `needs` is what the budget must hold for the exposure to count, `cost` what it gives: the same for an offer, 0
    without one. In money, a multiple of 10⁻⁴. `again_ms` comes with the reason `early`: the time from which on it no
    longer is, if nothing happens until then; whoever keeps timers asks again then, with the kind `hesitates`.
    """

    reason: str
    words: str
    exposure: Exposure | None = None
    offer: Offer | None = None
    needs: float = 0.0
    cost: float = 0.0
    again_ms: int | None = None


def decide(policy: Policy, situation: Situation, known: Known, chooser: Chooser | None = None) -> Decision:
    """Decide about a session at a moment. Pure: the same arguments give the same decision, ids included.

    `chooser` is the bandit's, needed where the policy's rule is `bandit`. Raises ValueError without it then, and if its
    probabilities are none.
    """
    refused = _refused(policy, situation, known)
    if refused is not None:
        return refused
    moment = situation.moment
    costs = {percent: _cost(policy, situation, percent) for percent in policy.percents(moment.category)}
    left = min(known.hour_left, known.day_left)
    fitting = [percent for percent, cost in costs.items() if cost <= left]
    if not costs:
        margin = policy.margin(moment.category)
        return Decision("margin", f"no level is below the margin of {margin:.1%} in {moment.category or 'no category'}")
    if not fitting:
        return Decision("budget", f"{left:.2f} is left, the lowest level costs {min(costs.values()):.2f}")
    name = exposure_id(policy.experiment.id, moment.visitor_id, moment.session_id)
    context = _context(policy, situation)
    if policy.levels.rule == "bandit":
        percent, propensity, levels = _learned(chooser, context, [0.0, *fitting], known.draw)
    else:
        percent, propensity = _ruled(policy, situation, fitting), 1.0
        levels = [(percent, propensity)]
    treated = known.arm == "treatment"
    needs = costs.get(percent, 0.0)
    exposure = Exposure(
        exposure_id=name,
        visitor_id=moment.visitor_id,
        session_id=moment.session_id,
        experiment=policy.experiment.id,
        policy=policy.version,
        arm=known.arm,
        percent=percent if treated else 0.0,
        propensity=propensity if treated else 1.0,
        levels=levels,
        holdout_share=policy.experiment.holdout,
        context=context,
        score=moment.score,
        band=moment.band,
        kind=moment.kind,
        cart_value=moment.cart_value,
        decided_at=situation.now_ms,
        event_time=moment.event_time,
        item_id=moment.item_id,
        category=moment.category,
        cost=needs if treated else 0.0,
        planned=policy.experiment.planned,
    )
    offer = _offer(policy, situation, exposure) if treated and percent > 0.0 else None
    words = f"{known.arm}: {percent:g} % {'offered' if offer else 'chosen, nothing offered'}"
    return Decision("eligible", words, exposure, offer, needs, exposure.cost)


def not_funded(decision: Decision) -> Decision:
    """What a decision becomes when the budget it needs was gone by the time it was asked for: nothing, in any arm."""
    return Decision("budget", f"{decision.needs:.2f} was needed and is not left any more")


def _refused(policy: Policy, situation: Situation, known: Known) -> Decision | None:
    """The first of the checks 1 to 10 that fails."""
    moment, score = situation.moment, policy.score
    if not policy.enabled:
        return Decision("off", "the policy is switched off")
    if known.over or moment.purchases > 0:
        return Decision("over", "the session has bought or is closed")
    if known.decided:
        return Decision("decided", "the session has had its decision")
    if moment.kind not in policy.moments.kinds:
        return Decision("kind", f"moments of kind {moment.kind} are not acted on")
    if moment.score >= score.suppress_from:
        return Decision("likely", f"score {moment.score:.4f} is at or above {score.suppress_from:g}")
    if not score.fence_min <= moment.score < score.fence_max:
        return Decision(
            "fence", f"score {moment.score:.4f} is not from {score.fence_min:g} to below {score.fence_max:g}"
        )
    untimely = _untimely(policy, situation, known.window)
    if untimely is not None:
        return untimely
    stock = policy.stock_level(moment.category)
    if not policy.stock_rule(stock).offers:
        return Decision("stock", f"stock of {moment.category or 'no category'} is {stock}")
    miss = judge(policy.eligible, situation, "eligible")
    if miss is not None:
        return Decision("criteria", f"{miss.path}: {miss.words}")
    if situation.now_ms < known.cool_down_until:
        wait_s = (known.cool_down_until - situation.now_ms) / 1000.0
        return Decision("cool_down", f"the visitor was exposed lately: for {wait_s:.0f} s more")
    return None


def _untimely(policy: Policy, situation: Situation, window: Window | None) -> Decision | None:
    moments = policy.moments
    time = situation.numbers.get(f"{moments.clock}_s")
    if time is None:
        return Decision("not_learned", f"{moments.clock}_s is not known")
    for bound, learned, beyond, word in (
        (moments.earliest, window and window.earliest_s, "early", "before"),
        (moments.latest, window and window.latest_s, "late", "after"),
    ):
        if bound == "learned":
            if learned is None:
                if moments.until_learned == "wait":
                    return Decision("not_learned", f"too few purchases were seen to know what is too {beyond}")
                continue
            bound = learned
        if time < bound if beyond == "early" else time > bound:
            again_ms = situation.now_ms + math.ceil(1000.0 * (bound - time)) if beyond == "early" else None
            return Decision(beyond, f"{moments.clock} {time:.1f} s is {word} {bound:.1f} s", again_ms=again_ms)
    return None


def _learned(chooser: Chooser | None, context: str, percents: list[float], draw: float) -> tuple[float, float, Levels]:
    if chooser is None:
        raise ValueError("got rule 'bandit' without a chooser, expected one")
    chosen = chooser(context, percents, draw)
    levels = list(chosen.levels)
    if {percent for percent, _ in levels} != {*percents} or (chosen.percent, chosen.propensity) not in levels:
        raise ValueError(f"got {chosen} of the levels {percents}, expected one of them, and the chances of just these")
    return chosen.percent, chosen.propensity, levels


def _ruled(policy: Policy, situation: Situation, fitting: list[float]) -> float:
    """The level that the rule wants, or the highest below it that is allowed and paid for; 0 is no offer."""
    if policy.levels.rule == "fixed":
        stock = policy.stock_rule(policy.stock_level(situation.moment.category))
        wanted = stock.fixed or policy.levels.fixed or 0.0
    else:
        score = situation.moment.score
        wanted = next((row.percent for row in policy.levels.by_score if score < row.below), 0.0)
    return max((percent for percent in fitting if percent <= wanted), default=0.0)


def _context(policy: Policy, situation: Situation) -> str:
    """The bandit's key: the texts that the policy names, cut so that it stays one."""
    return "|".join(situation.texts.get(name, "-")[:60] for name in policy.levels.context)


def _cost(policy: Policy, situation: Situation, percent: float) -> float:
    moment = situation.moment
    return round(policy.cost(percent, score=moment.score, cart_value=moment.cart_value), _MONEY_DIGITS)


def _offer(policy: Policy, situation: Situation, exposure: Exposure) -> Offer:
    moment = situation.moment
    return Offer(
        offer_id=exposure.exposure_id,
        visitor_id=moment.visitor_id,
        session_id=moment.session_id,
        percent=exposure.percent,
        reason=moment.kind,
        score=moment.score,
        arm=exposure.arm,
        issued_at=situation.now_ms,
        expires_at=situation.now_ms + round(policy.offer.valid_s * 1000.0),
        experiment=policy.experiment.id,
        policy=exposure.policy,
        item_id=moment.item_id,
    )
