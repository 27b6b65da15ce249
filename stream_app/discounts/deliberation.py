"""What a batch of one partition's moments comes to, before any of it is written.

Each moment is decided twice. At first as if money were no question, which takes no I/O: nearly all are refused there.
Who passes is decided again with what is left of the budget, and its cost is booked. Booking keeps the decision, so that
a repetition after a crash comes to the same one and takes nothing twice; what was kept counts, not what was worked out
again.

Nothing is changed here: what follows from a batch (`Deliberation`) is taken over when it has been written.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple, Protocol

import msgspec

from stream_app.discounts.budget import Booked, Budget, Limits, Spent
from stream_app.discounts.core.deciding import Chooser, Decision, Known, decide, not_funded
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Exposure, Moment, Offer, exposure_id
from stream_app.discounts.core.situation import situation
from stream_app.discounts.core.timing import Window
from stream_app.discounts.policy_watch import InForce
from stream_app.discounts.remembered import Remembered
from stream_app.discounts.writing import Decided


class Windows(Protocol):
    """What was learned of the time of purchases."""

    def window(self, policy: Policy, category: str | None) -> Window | None:
        """The earliest and the latest moment on the policy's clock; None while too little is known."""


class _Kept(msgspec.Struct):
    """A decision as it is kept with its booking."""

    exposure: Exposure
    offer: Offer | None = None


_KEPT: Final = msgspec.json.Decoder(_Kept)


class Waiting(NamedTuple):
    """A session to look at again at `due_ms`; None: not any more."""

    moment: Moment
    due_ms: int | None


class Deliberation:
    """One batch. `account` is the budget's; `chooser` the bandit's, None while there is none.

    Its methods raise what `Budget` raises; the batch is then dropped as a whole.
    """

    def __init__(
        self,
        in_force: InForce,
        remembered: Remembered,
        *,
        budget: Budget,
        account: int,
        gap_ms: int,
        windows: Windows,
        chooser: Chooser | None,
    ) -> None:
        self._policy, self._assignment = in_force.policy, in_force.assignment
        self._remembered, self._budget, self._account = remembered, budget, account
        self._gap_ms, self._windows, self._chooser = gap_ms, windows, chooser
        self._spent: tuple[int, Spent] | None = None
        self.decided: list[Decided] = []
        #: the moment that each of `decided` came from
        self.causes: list[Moment] = []
        #: session → time, of those that are over
        self.ended: dict[tuple[str, str], int] = {}
        self.waiting: dict[tuple[str, str], Waiting] = {}
        self.outcomes: Counter[str] = Counter()
        self._sessions: set[tuple[str, str]] = set()
        self._visitors: dict[str, int] = {}

    def end(self, visitor_id: str, session_id: str, now_ms: int) -> None:
        """A session is closed."""
        self.ended[visitor_id, session_id] = now_ms

    async def moment(self, moment: Moment, now_ms: int) -> str:
        """Take a moment; what became of it, one of `REASONS` or of the observer's `OUTCOMES`."""
        outcome = await self._taken(moment, now_ms)
        self.outcomes[outcome] += 1
        return outcome

    def again(self, moment: Moment, now_ms: int) -> int | None:
        """When to look at a session again whose newest moment came at `now_ms`; None: never."""
        if moment.kind == "bought" or "hesitates" not in self._policy.moments.kinds:
            return None
        if self._policy.levels.rule == "bandit" and self._chooser is None:
            return None
        return self._decide(moment, now_ms, Spent(-math.inf, -math.inf)).again_ms

    async def _taken(self, moment: Moment, now_ms: int) -> str:
        session = (moment.visitor_id, moment.session_id)
        self.waiting[session] = Waiting(moment, None)
        if moment.kind == "bought":
            self.ended[session] = now_ms
            return "bought"
        policy = self._policy
        if policy.levels.rule == "bandit" and self._chooser is None:
            return "not_ready"
        decision = self._decide(moment, now_ms, Spent(-math.inf, -math.inf))
        if decision.again_ms is not None and "hesitates" in policy.moments.kinds:
            self.waiting[session] = Waiting(moment, decision.again_ms)
        if decision.reason == "eligible":
            decision = await self._funded(moment, now_ms)
        if decision.exposure is None:
            return decision.reason
        self._sessions.add(session)
        self._visitors[moment.visitor_id] = decision.exposure.decided_at
        self.decided.append(Decided(decision.exposure, decision.offer))
        self.causes.append(moment)
        return decision.reason

    def _decide(self, moment: Moment, now_ms: int, spent: Spent) -> Decision:
        policy, remembered = self._policy, self._remembered
        session = (moment.visitor_id, moment.session_id)
        exposed_at = self._visitors.get(moment.visitor_id, remembered.exposed_at(moment.visitor_id))
        name = exposure_id(policy.experiment.id, moment.visitor_id, moment.session_id)
        known = Known(
            arm=self._assignment.arm(moment.visitor_id),
            draw=self._assignment.level_draw(name),
            hour_left=policy.budget.per_hour - spent.hour,
            day_left=policy.budget.per_day - spent.day,
            # Without an event for a session's gap it is over, whether that was told or not.
            over=session in self.ended or remembered.over(moment) or now_ms - moment.event_time >= self._gap_ms,
            decided=session in self._sessions or remembered.decided(moment),
            cool_down_until=0 if exposed_at is None else exposed_at + round(1000 * policy.offer.cool_down_s),
            window=self._windows.window(policy, moment.category),
        )
        stock = policy.stock_level(moment.category)
        return decide(policy, situation(moment, now_ms=now_ms, stock=stock), known, self._chooser)

    async def _funded(self, moment: Moment, now_ms: int) -> Decision:
        """Decide with what is left, and book it."""
        if self._spent is None or self._spent[0] != now_ms:
            self._spent = now_ms, await self._budget.spent(self._account, now_ms)
        decision = self._decide(moment, now_ms, self._spent[1])
        exposure = decision.exposure
        if exposure is None:
            return decision
        booked = await self._book(exposure, decision, now_ms)
        self._spent = now_ms, booked.spent
        if booked.decision is None:
            return not_funded(decision)
        kept = _KEPT.decode(booked.decision)
        numbered = msgspec.structs.replace(kept.exposure, budget=self._account, booking=booked.booking)
        return decision._replace(exposure=numbered, offer=kept.offer)

    async def _book(self, exposure: Exposure, decision: Decision, now_ms: int) -> Booked:
        budget = self._policy.budget
        return await self._budget.book(
            self._account,
            exposure.exposure_id,
            msgspec.json.encode(_Kept(exposure, decision.offer)),
            needs=decision.needs,
            cost=decision.cost,
            limits=Limits(now_ms, budget.per_hour, budget.per_day),
        )
