"""The best anyone could know: the probability that a visit still ends in a purchase, given all that can be seen.

An exact Bayes filter over what `shop.py` hides. For each visit it keeps the likelihood of what was seen under each
intent (source, device, chain, gaps, categories, items); for each visitor, the posterior over types from the visits
before, the end of each visit and the return included. A score cannot have a lower expected log-loss than this.

Exact up to the grid of the gap quantiles, and to visitors' first day: a shop starts without regulars. Give it every
event once, in the shop's order, with session ids and without checkouts told apart (`label_share` 0).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.behaviour import INTENT_NAMES, INTENTS, VISITOR_TYPES
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.chain import EMPTY, EXIT, TYPES, Weights, state_of
from stream_app.core.events import Event

#: Shape (intents,): one factor of the likelihood under each intent.
Factor = NDArray[np.float64]

_TURNS_TO_CATEGORY: Final = ("search", "view_item_list")


class _Visitor:
    __slots__ = ("types", "visit")

    def __init__(self, types: NDArray[np.float64]) -> None:
        self.types = types
        self.visit: _Visit | None = None


class _Visit:
    __slots__ = ("category", "item", "likelihood", "seen", "selected", "session_id", "state", "time")

    def __init__(self, session_id: str, likelihood: Factor) -> None:
        self.session_id = session_id
        self.likelihood = likelihood
        self.state = -1
        self.time = 0
        self.category = -1  # none yet
        self.item: str | None = None
        self.selected = False
        self.seen: set[str] = set()


class Truth:
    """Follows a shop's events. About 30 µs an event; memory grows with the number of visitors, 1 kB each.

    Parameters
    ----------
    catalogue
        Of the very shop whose events are followed.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._visitors: dict[str, _Visitor] = {}
        self._category_of = {name: number for number, name in enumerate(catalogue.categories)}
        self._categories = _by_intent([catalogue.category_probabilities(intent.tilt) for intent in INTENTS])
        self._item_of: dict[str, tuple[int, Factor]] = {}
        for category, items in enumerate(catalogue.items):
            chances = _by_intent([catalogue.item_probabilities(category, intent.tilt) for intent in INTENTS])
            self._item_of.update({item.item_id: (category, chances[n]) for n, item in enumerate(items)})
        self._entry = _by_intent([intent.chain.entry for intent in INTENTS])
        self._next = np.stack([intent.chain.transition for intent in INTENTS], axis=2)  # from, to, intent
        self._buys = _by_intent([intent.chain.buys for intent in INTENTS])
        self._sources = _weights_by_intent([intent.sources for intent in INTENTS])
        self._devices = _weights_by_intent([intent.devices for intent in INTENTS])
        self._revisit = np.array([intent.revisit for intent in INTENTS])
        self._stay = np.array([intent.stay for intent in INTENTS])
        self._gap_log_median = np.log([intent.gap_median_s * 1000 for intent in INTENTS])
        self._gap_sigma = np.array([intent.gap_sigma for intent in INTENTS])
        shares = np.array([kind.share for kind in VISITOR_TYPES])
        self._prior = shares / shares.sum()
        self._returns = np.array([kind.returns for kind in VISITOR_TYPES])
        mix = np.array([[kind.intents.get(name, 0.0) for name in INTENT_NAMES] for kind in VISITOR_TYPES])
        self._mix = mix / mix.sum(axis=1, keepdims=True)  # types, intents

    def after(self, event: Event) -> float:
        """Take the event in and return the probability that the visit's purchase is still to come; 0 after it."""
        visitor = self._visitors.get(event.visitor_id)
        if visitor is None:
            visitor = self._visitors[event.visitor_id] = _Visitor(self._prior)
        visit = visitor.visit
        assert event.session_id is not None
        assert isinstance(event.event_time, int)
        if visit is None or visit.session_id != event.session_id:
            if visit is not None:
                self._end(visitor, visit)
            visit = visitor.visit = _Visit(event.session_id, self._context(event))
            state = state_of(EMPTY, event.event_type)
            visit.likelihood = visit.likelihood * self._entry[state]
        else:
            state = state_of(visit.state // len(TYPES), event.event_type)
            visit.likelihood = (
                visit.likelihood * self._next[visit.state, state] * self._gap(event.event_time - visit.time)
            )
        visit.likelihood = visit.likelihood * self._look(visit, event)
        visit.likelihood /= visit.likelihood.sum()
        visit.state, visit.time = state, event.event_time
        posterior = (visitor.types @ self._mix) * visit.likelihood
        return float(posterior @ self._buys[state] / posterior.sum())

    def _end(self, visitor: _Visitor, visit: _Visit) -> None:
        """Learn about the visitor's type from a whole visit, its end and the return after it."""
        likelihood = visit.likelihood * self._next[visit.state, EXIT]
        types = visitor.types * (self._mix @ likelihood) * self._returns
        visitor.types = types / types.sum()

    def _context(self, event: Event) -> Factor:
        assert event.source is not None
        assert event.device is not None
        return self._sources[event.source] * self._devices[event.device]

    def _gap(self, gap_ms: int) -> Factor:
        z = (math.log(gap_ms) - self._gap_log_median) / self._gap_sigma
        density: Factor = np.exp(-0.5 * z * z) / self._gap_sigma
        return density

    def _look(self, visit: _Visit, event: Event) -> Factor | float:
        """How likely each intent is to look there; keeps the same memory as the shop's own visit."""
        kind, selected = event.event_type, visit.selected
        visit.selected = kind == "select_item"
        if kind in _TURNS_TO_CATEGORY:
            return self._turn_to_category(visit, self._category_of[str(event.category)])
        if kind == "view_item" and selected:
            return 1.0
        if kind in ("select_item", "view_item") or (kind == "add_to_cart" and visit.item is None):
            return self._turn_to_item(visit, str(event.item_id))
        return 1.0

    def _turn_to_item(self, visit: _Visit, item_id: str) -> Factor:
        category, chances = self._item_of[item_id]
        factor: Factor = self._turn_to_category(visit, category) * chances
        if visit.seen:
            again = self._revisit / len(visit.seen) if item_id in visit.seen else 0.0
            factor = again + (1.0 - self._revisit) * factor
        visit.item = item_id
        visit.seen.add(item_id)
        return factor

    def _turn_to_category(self, visit: _Visit, category: int) -> Factor:
        chances: Factor = self._categories[category]
        if visit.category >= 0:
            chances = self._stay * (category == visit.category) + (1.0 - self._stay) * chances
        visit.category = category
        return chances


def _by_intent(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(arrays, axis=1)


def _weights_by_intent(weights: list[Weights]) -> dict[str, Factor]:
    totals = [sum(each.values()) for each in weights]
    return {
        name: np.array([each.get(name, 0.0) / total for each, total in zip(weights, totals, strict=True)])
        for name in weights[0]
    }
