"""What a policy would have decided about logged exposures, as far as they tell what it looks at.

An exposure tells score, band, kind, cart value, category, item and when it was decided. The policy is asked by the same
`decide` as a live one, for a moment made of these. What a policy may look at besides (the session's features, source,
country, …) is not in the log: conditions on it are taken as fulfilled. That is right where the logged policy had the
same conditions, for then everybody in the log fulfils them; whoever replays is told which they are. Nor does the log
tell what the budget would have allowed, and what was learned for bounds of time: there is enough of the one, and the
others are taken as kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from stream_app.discounts.core.criteria import Criterion, leaves
from stream_app.discounts.core.deciding import Known, decide
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Exposure, Moment
from stream_app.discounts.core.situation import situation

#: What an exposure tells of its situation.
_TOLD: Final = frozenset({"score", "cart_value", "quiet_s", "band", "kind", "category", "item", "stock"})

#: Any time will do on a clock that is not in the log.
_ALWAYS_S: Final = 366 * 86_400.0

_KNOWN: Final = Known(arm="treatment", draw=0.0, hour_left=math.inf, day_left=math.inf)


class NotReplayableError(ValueError):
    """The policy's choices do not follow from the log at all; the text says why, and what to do."""


class Replayed:
    """A policy as `off_policy.evaluate` asks it. `unseen` lists what it looks at and the log does not tell, in words.

    Raises NotReplayableError if its levels are a bandit's.
    """

    def __init__(self, policy: Policy) -> None:
        if policy.levels.rule == "bandit":
            raise NotReplayableError(
                "got rule 'bandit': what it would have chosen depends on what it would have learned by then; replay "
                "its levels one by one, with rule 'fixed'"
            )
        told = _seen(policy.eligible)
        self.unseen = [
            name
            for name in dict.fromkeys(str(leaf.number or leaf.text) for _, leaf in leaves(policy.eligible, "eligible"))
            if name not in _TOLD
        ]
        moments = policy.moments
        earliest, latest = moments.earliest, moments.latest
        if moments.clock == "age":
            self.unseen.append("age_s")
            earliest, latest = 0.0, _ALWAYS_S
        if "learned" in (earliest, latest):
            self.unseen.append("learned bounds")
            earliest = 0.0 if earliest == "learned" else earliest
            latest = _ALWAYS_S if latest == "learned" else latest
        self._policy = msgspec.structs.replace(
            policy,
            enabled=True,
            eligible=told or Criterion(all=()),
            # Of the two clocks the log tells this one.
            moments=msgspec.structs.replace(moments, clock="quiet", earliest=earliest, latest=latest),
        )

    def __call__(self, exposure: Exposure) -> Mapping[float, float]:
        """The level that the policy would have taken, with probability 1; 0 where it would not have offered any."""
        moment = Moment(
            moment_id="replayed",
            kind=exposure.kind,
            visitor_id=exposure.visitor_id,
            session_id=exposure.session_id,
            event_id="replayed",
            event_time=exposure.event_time,
            events=1,
            score=exposure.score,
            band=exposure.band,
            trend=0.0,
            cart_value=exposure.cart_value,
            purchases=0,
            features={},
            model_version=0,
            cold=False,
            scored_at=exposure.event_time,
            category=exposure.category,
            item_id=exposure.item_id,
        )
        now_ms = max(exposure.decided_at, exposure.event_time)
        seen = situation(moment, now_ms=now_ms, stock=self._policy.stock_level(exposure.category))
        decision = decide(self._policy, seen, _KNOWN)
        return {decision.exposure.percent if decision.exposure is not None else 0.0: 1.0}


def _seen(node: Criterion) -> Criterion | None:
    """The tree without what the log does not tell; None where that leaves nothing that could fail."""
    for form, group in node.groups:
        kept = [_seen(each) for each in group]
        told = tuple(each for each in kept if each is not None)
        # One of several is enough: it may be the one that is not told.
        if not told or (form == "any" and len(told) < len(kept)):
            return None
        return msgspec.convert({form: told}, Criterion)
    return node if (node.number or node.text) in _TOLD else None
