"""A regime: how visitors behave for a time. Between the usual and the changed behaviour, inside or outside a sale.

A visit lives to its end under the regime in force when it began, so a visit's events follow one set of tables, and
what the shop draws and what the truth reckons with come from the same place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.behaviour import (
    CHANGED,
    ENTRY,
    INTENT_NAMES,
    ROWS,
    SALE_BUYERS,
    SALE_PRICE,
    USUAL,
    VISITOR_TYPES,
    Intent,
)
from producers.synthetic.chain import BOUGHT, Chain, Weights

#: Steps from the usual behaviour (0) to the changed one: a drift moves by a thirty-second at a time, which no model can
#: tell from a smooth one, and the tables of each step are made once.
SHIFT_STEPS: Final = 32


class RegimeKey(NamedTuple):
    """Which regime: how far behaviour has moved, in `SHIFT_STEPS`, and whether there is a sale."""

    shift: int = 0
    sale: bool = False


class Regime:
    """Compiled behaviour.

    Attributes
    ----------
    shift
        How far behaviour has moved, from 0 to 1.
    price
        What is asked, as a share of the list price.
    intents, chains
        In the order of `INTENT_NAMES`.
    mix
        Shape (visitor types, intents): what each type of visitor comes for; rows sum to 1.
    """

    def __init__(self, key: RegimeKey) -> None:
        self.shift = key.shift / SHIFT_STEPS
        self.price = SALE_PRICE if key.sale else 1.0
        self.intents = tuple(_between(*both, self.shift) for both in zip(USUAL, CHANGED, strict=True))
        self.chains = tuple(_chain(intent) for intent in self.intents)
        self.mix = _mix(SALE_BUYERS if key.sale else 1.0)


def _between(usual: Intent, changed: Intent, shift: float) -> Intent:
    def linear(a: float, b: float) -> float:
        return a + shift * (b - a)

    def shares(a: Weights, b: Weights) -> Weights:
        return {name: linear(a[name], b[name]) for name in a}

    def factors(a: Weights, b: Weights) -> Weights:
        names = [*a, *(name for name in b if name not in a)]
        return {name: _geometric(a.get(name, 1.0), b.get(name, 1.0), shift) for name in names}

    return usual._replace(
        entry=factors(usual.entry, changed.entry),
        bend=factors(usual.bend, changed.bend),
        gap_median_s=_geometric(usual.gap_median_s, changed.gap_median_s, shift),
        gap_sigma=linear(usual.gap_sigma, changed.gap_sigma),
        revisit=linear(usual.revisit, changed.revisit),
        stay=linear(usual.stay, changed.stay),
        tilt=linear(usual.tilt, changed.tilt),
        sources=shares(usual.sources, changed.sources),
        devices=shares(usual.devices, changed.devices),
    )


def _geometric(a: float, b: float, shift: float) -> float:
    return float(a ** (1.0 - shift) * b**shift)


def _chain(intent: Intent) -> Chain:
    """Multiply the usual weights of each next event by the intent's factors; after a purchase all behave alike."""
    entry = {name: weight * intent.entry.get(name, 1.0) for name, weight in ENTRY.items()}
    rows = {
        mode: {
            name: {to: weight * (1.0 if mode == BOUGHT else intent.bend.get(to, 1.0)) for to, weight in row.items()}
            for name, row in table.items()
        }
        for mode, table in ROWS.items()
    }
    return Chain(entry, rows)


def _mix(buyers: float) -> NDArray[np.float64]:
    factors = np.array([buyers if name == "buy" else 1.0 for name in INTENT_NAMES])
    mix = factors * np.array([[kind.intents.get(name, 0.0) for name in INTENT_NAMES] for kind in VISITOR_TYPES])
    shares: NDArray[np.float64] = mix / mix.sum(axis=1, keepdims=True)
    return shares
