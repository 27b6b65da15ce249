"""The best anyone could know: the probability that a visit still ends in a purchase, given all that has been told.

An exact Bayes filter over what `shop.py` hides. For each visit it keeps the likelihood of what was seen under each
intent (source, device, chain, gaps, categories, items); for each visitor, the posterior over types from the visits
before, the end of each visit and the return included. A score cannot have a lower expected log-loss than this.

**What it conditions on.** The shop's tables and calendar (it knows of a drift, a change, a sale and how many crawlers
there are); the visitor's events up to this one, in the order in which they happened; and of the visitor's earlier
visits the labels told before this visit began. Not on a label of the visit itself: a label never changes a score.
Noise (`noise.py`) comes after it: the truth is of what happened, however late or often the network delivers it.

**Purchases that nobody sees.** Where a purchase may be told by a label alone, or not at all, a visit may have bought in
silence between two events. The filter then carries a second likelihood, of having bought: the visit's pace and pages
tell a little. The probability is of a purchase *after* the event, seen or not. When the label has come by the
visitor's next visit, that visit is reckoned anew with the purchase in its place; when none has come and all have been
told, there was none.

Exact, but for gaps cut to the shortest or longest inside a pair of them (`Likelihood.two_gaps`), which matters only
beside unseen purchases: fewer than two gaps in a thousand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from producers.synthetic.behaviour import RETURN_MS_MIN, VISITOR_TYPES
from producers.synthetic.calendar import LABEL_DELAY_MS, Calendar
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.chain import EMPTY, TYPES, state_of
from producers.synthetic.likelihood import PURCHASE_STATE, Factor, Likelihood, bought, item_numbers
from producers.synthetic.looking import Looking
from producers.synthetic.regime import Regime, RegimeKey
from stream_app.core.events import CheckoutLabel, Event


class ImpossibleError(ValueError):
    """The events cannot be this shop's, or are not all there."""


class _Step(NamedTuple):
    """One event of a visit, kept while a label may still say that a purchase came after it."""

    time_ms: int
    state: int
    open: Factor
    look: Factor | float


class _Visit:
    """`open` and `silent`: likelihoods that it has not bought unseen, and that it has; each under each intent."""

    __slots__ = (
        "began_ms", "bought_ms", "likelihood", "looking", "open", "silence", "silent", "state", "steps", "time_ms",
    )  # fmt: skip

    def __init__(self, likelihood: Likelihood, *, began_ms: int, silence: float) -> None:
        self.likelihood = likelihood
        self.began_ms = began_ms
        self.silence = silence
        self.looking = Looking()
        self.state = -1
        self.time_ms = began_ms
        self.open: Factor = np.ones(len(likelihood.revisit))
        self.silent: Factor = np.zeros(len(likelihood.revisit))
        self.steps: list[_Step] = []
        #: when a label says it bought
        self.bought_ms: int | None = None


class _Visitor:
    """`types`: posterior over types by the visits that are settled; `ended`: those whose labels may still come."""

    __slots__ = ("belief", "ended", "types", "visit")

    def __init__(self, types: Factor) -> None:
        self.types = types
        self.belief = types
        self.ended: list[_Visit] = []
        self.visit: _Visit | None = None


class Truth:
    """Follows a shop's facts. About 40 µs an event; memory grows with the visitors that are not forgotten, 1 kB each.

    Parameters
    ----------
    catalogue, calendar
        Of the very shop whose facts are followed.
    """

    def __init__(self, catalogue: Catalogue, calendar: Calendar) -> None:
        self._catalogue = catalogue
        self._calendar = calendar
        self._visitors: dict[str, _Visitor] = {}
        self._likelihoods: dict[RegimeKey, Likelihood] = {}
        self._category_of = {name: number for number, name in enumerate(catalogue.categories)}
        self._item_of = item_numbers(catalogue)
        self._prior = np.array(calendar.type_shares())
        self._returns = np.array([kind.returns for kind in VISITOR_TYPES])

    def __len__(self) -> int:
        """Visitors remembered."""
        return len(self._visitors)

    def after(self, event: Event) -> float:
        """Take the event in and return the probability that the visit's purchase is still to come; 0 after it.

        Raises
        ------
        ImpossibleError
            If no visit of this shop can have done that.
        """
        assert isinstance(event.event_time, int)
        visitor = self._visitors.get(event.visitor_id)
        if visitor is None:
            visitor = self._visitors[event.visitor_id] = _Visitor(self._prior)
        visit = visitor.visit
        # Two gaps with something unseen between them are shorter than any absence: no session id is needed.
        if visit is None or event.event_time - visit.time_ms >= RETURN_MS_MIN:
            visit = visitor.visit = self._begin(visitor, event, event.event_time)
        else:
            self._go_on(visit, event, event.event_time)
        weights = visitor.belief @ visit.likelihood.mix
        still_open = weights * visit.open
        return float(still_open @ visit.likelihood.buys[visit.state] / (still_open + weights * visit.silent).sum())

    def told(self, label: CheckoutLabel) -> None:
        """Note what a label says of a visit; heeded when the visitor comes again."""
        assert isinstance(label.checkout_time, int)
        visitor = self._visitors.get(label.visitor_id)
        if visitor is None:
            return
        for visit in (*visitor.ended, visitor.visit):
            if visit is not None and visit.began_ms <= label.checkout_time < visit.time_ms + RETURN_MS_MIN:
                visit.bought_ms = label.checkout_time

    def forget(self, visitor_id: str) -> None:
        """Drop a visitor who will not come again."""
        self._visitors.pop(visitor_id, None)

    def _begin(self, visitor: _Visitor, event: Event, now: int) -> _Visit:
        if visitor.visit is not None:
            visitor.ended.append(visitor.visit)
            self._learn_type(visitor, now)
        likelihood = self.likelihood(self._calendar.regime(now))
        visit = _Visit(likelihood, began_ms=now, silence=self._calendar.silence(now))
        assert event.source is not None
        assert event.device is not None
        visit.state = state_of(EMPTY, event.event_type)
        context = likelihood.sources[event.source] * likelihood.devices[event.device] * likelihood.entry[visit.state]
        self._keep(visit, now, context, visit.silent, self._look(visit, event))
        return visit

    def _go_on(self, visit: _Visit, event: Event, now: int) -> None:
        likelihood, before = visit.likelihood, visit.state
        visit.state = state_of(before // len(TYPES), event.event_type)
        gap = likelihood.gap(now - visit.time_ms)
        unseen, silent = visit.open * likelihood.next[before, visit.state] * gap, visit.silent
        if visit.silence:
            # It had bought before, or it bought in this pause and somebody else was told.
            silent = silent * likelihood.next[bought(before), bought(visit.state)] * gap
            silent = silent + visit.open * visit.silence * likelihood.unseen_purchase(before) * likelihood.next[
                PURCHASE_STATE, bought(visit.state)
            ] * likelihood.two_gaps(now - visit.time_ms)
        self._keep(visit, now, unseen, silent, self._look(visit, event))

    def _keep(self, visit: _Visit, now: int, unseen: Factor, silent: Factor, look: Factor | float) -> None:
        unseen, silent = unseen * look, silent * look
        total = _possible(float(unseen.sum() + silent.sum()))
        visit.open, visit.silent, visit.time_ms = unseen / total, silent / total, now
        if visit.silence:
            visit.steps.append(_Step(now, visit.state, visit.open, look))

    def _learn_type(self, visitor: _Visitor, now: int) -> None:
        """What the ended visits, their ends and the returns after them say about the visitor's type."""
        unsettled = []
        belief = np.ones(len(self._prior))
        for visit in visitor.ended:
            settled = self._calendar.settled_ms(visit.began_ms) + LABEL_DELAY_MS[1]
            if visit.bought_ms is not None:
                seen = _bought_at(visit, visit.bought_ms)
            elif not visit.silence or now >= settled:
                seen = visit.open * visit.likelihood.exit(visit.state)
            else:
                seen = _untold(visit)
                if settled != float("inf"):
                    unsettled.append(visit)
                    belief = belief * self._by_type(visit, seen)
                    continue
            visitor.types = _normalised(visitor.types * self._by_type(visit, seen))
        visitor.ended = unsettled
        visitor.belief = _normalised(visitor.types * belief)

    def _by_type(self, visit: _Visit, seen: Factor) -> Factor:
        factor: Factor = (visit.likelihood.mix @ seen) * self._returns
        return factor

    def likelihood(self, key: RegimeKey) -> Likelihood:
        """A regime's tables."""
        likelihood = self._likelihoods.get(key)
        if likelihood is None:
            likelihood = self._likelihoods[key] = Likelihood(Regime(key), self._catalogue)
        return likelihood

    def _look(self, visit: _Visit, event: Event) -> Factor | float:
        category = -1 if event.category is None else self._category_of[event.category]
        item = self._item_of[event.item_id][1] if event.item_id is not None else -1
        return visit.looking.at(visit.likelihood, event.event_type, category=category, item=item)


def _untold(visit: _Visit) -> Factor:
    """The likelihood of a whole visit that may have bought unseen: before, or as the last thing it did, or not."""
    likelihood, state = visit.likelihood, visit.state
    last: Factor = visit.silence * likelihood.unseen_purchase(state) * likelihood.exit(PURCHASE_STATE)
    whole: Factor = visit.open * (likelihood.exit(state) + last) + visit.silent * likelihood.exit(bought(state))
    return whole


def _bought_at(visit: _Visit, time_ms: int) -> Factor:
    """The likelihood of a whole visit with the purchase in its place."""
    likelihood = visit.likelihood
    place = max(n for n, step in enumerate(visit.steps) if step.time_ms <= time_ms)
    before = visit.steps[place]
    factor = before.open * likelihood.unseen_purchase(before.state) * likelihood.gap(time_ms - before.time_ms)
    state, reached = PURCHASE_STATE, time_ms
    for step in visit.steps[place + 1 :]:
        gap = likelihood.gap(step.time_ms - reached)
        factor = _normalised(factor * likelihood.next[state, bought(step.state)] * gap * step.look)
        state, reached = bought(step.state), step.time_ms
    whole: Factor = factor * likelihood.exit(state)
    return whole


def _normalised(factor: Factor) -> Factor:
    normal: Factor = factor / _possible(float(factor.sum()))
    return normal


def _possible(chance: float) -> float:
    if chance > 0.0:
        return chance
    raise ImpossibleError(
        "no visit of this shop shows that: is it another shop's, or was an event or a label left out?"
    )
