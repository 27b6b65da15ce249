"""A Markov chain over event types with an exit, compiled for quick drawing and for exact probabilities.

A state is (mode, event type): the mode says whether the session has something in its cart (`EMPTY`, `CARTED`) or has
bought (`BOUGHT`). The mode follows from the events seen, so the state is no secret; which chain a session runs on is.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Event types of the shop, in the order of a state's index.
TYPES: Final = (
    "page_view",
    "search",
    "view_item_list",
    "select_item",
    "view_item",
    "add_to_wishlist",
    "add_to_cart",
    "remove_from_cart",
    "view_cart",
    "begin_checkout",
    "add_shipping_info",
    "add_payment_info",
    "purchase",
    "like",
    "share",
)
CODE: Final = {name: code for code, name in enumerate(TYPES)}
EMPTY, CARTED, BOUGHT = range(3)
STATES: Final = 3 * len(TYPES)
#: The state after the last event.
EXIT: Final = STATES

_PURCHASE: Final = CODE["purchase"]

#: Event type → weight of what follows; `exit` ends the session. Weights need not sum to 1.
Weights = Mapping[str, float]


def state_of(mode: int, name: str) -> int:
    """Index of a state from the mode before the event and the event's type."""
    if name == "exit":
        return EXIT
    if name == "purchase":
        mode = BOUGHT
    elif name == "add_to_cart" and mode == EMPTY:
        mode = CARTED
    elif name == "remove_from_cart" and mode == CARTED:
        mode = EMPTY
    return mode * len(TYPES) + CODE[name]


class Chain:
    """One intent's behaviour.

    Parameters
    ----------
    entry
        Weights of a session's first event.
    rows
        For each mode, event type → weights of the next one. A type that a mode cannot be in may be left out.

    Attributes
    ----------
    entry, transition
        Probabilities: shape (STATES,) and (STATES, STATES + 1), the last column being the exit.
    follows
        For each state what may follow it, and with which probability.
    buys
        Shape (STATES + 1,): the probability that a purchase is still to come, 0 once bought and at the exit.
    """

    def __init__(self, entry: Weights, rows: Mapping[int, Mapping[str, Weights]]) -> None:
        self.entry: NDArray[np.float64] = _probabilities(EMPTY, entry)[:STATES]
        self.transition: NDArray[np.float64] = np.zeros((STATES, STATES + 1))
        self.transition[:, EXIT] = 1.0
        for mode, table in rows.items():
            for name, weights in table.items():
                self.transition[mode * len(TYPES) + CODE[name]] = _probabilities(mode, weights)
        self.buys = _absorption(self.transition)
        self._entry = _cumulated(self.entry)
        self._next = [_cumulated(row) for row in self.transition]
        self.follows = [[(int(to), float(row[to])) for to in np.flatnonzero(row)] for row in self.transition]

    def first(self, uniform: float) -> int:
        """Draw the first state with a number from [0, 1)."""
        bounds, states = self._entry
        return states[bisect(bounds, uniform)]

    def after(self, state: int, uniform: float) -> int:
        """Draw the state after `state`, or EXIT, with a number from [0, 1)."""
        bounds, states = self._next[state]
        return states[bisect(bounds, uniform)]


def _probabilities(mode: int, weights: Weights) -> NDArray[np.float64]:
    row = np.zeros(STATES + 1)
    for name, weight in weights.items():
        row[state_of(mode, name)] += weight
    row /= row.sum()
    return row


def _cumulated(row: NDArray[np.float64]) -> tuple[list[float], list[int]]:
    """Inner bounds (the last one is left out, so that rounding cannot point past the end) and the states between."""
    states = [int(state) for state in np.flatnonzero(row)]
    return list(accumulate(float(row[state]) for state in states[:-1])), states


def _absorption(transition: NDArray[np.float64]) -> NDArray[np.float64]:
    # h = P h with h = 1 where the next step is a purchase: solve (I − Q) h = q, q the chance of buying at once.
    bought = BOUGHT * len(TYPES) + _PURCHASE
    inner = transition[: bought - _PURCHASE, : bought - _PURCHASE]  # the states before any purchase
    at_once = transition[: bought - _PURCHASE, bought]
    chances = np.zeros(STATES + 1)
    chances[: len(at_once)] = np.linalg.solve(np.eye(len(at_once)) - inner, at_once)
    return chances
