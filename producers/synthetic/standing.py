"""Where a visit stands at a time, with all that is hidden about it: what an offer would do to it, exactly."""

from __future__ import annotations

from typing import NamedTuple

from producers.synthetic.chain import Chain
from producers.synthetic.offers import Effect, Shopper, odds_factor
from producers.synthetic.regime import RegimeKey
from stream_app.core.odds import lifted


class Standing(NamedTuple):
    """A visit between two events.

    Parameters
    ----------
    regime, intent, shopper
        What is hidden for good: the behaviour in force, the index of the visit's intent, the shopper's type.
    chain, state, events, quiet_ms
        The intent's chain, the state of its newest event, how many there were, and how long ago that one was.
    here
        Whether the visitor is still there: has a next event before them, or is about to leave without one. Nobody sees
        that either.
    """

    regime: RegimeKey
    intent: int
    shopper: Shopper
    chain: Chain
    state: int
    events: int
    quiet_ms: int
    here: bool

    @property
    def buys(self) -> float:
        """The chance that a purchase is still to come, without an offer."""
        return float(self.chain.buys[self.state]) if self.here else 0.0

    def effect(self, percent: float) -> Effect:
        """What an offer of so many percent does now."""
        p = self.buys
        if not self.here:
            return Effect(percent, p, p, 1.0)
        factor = odds_factor(self.shopper, percent, self.state, events=self.events, quiet_ms=self.quiet_ms)
        return Effect(percent, p, lifted(p, factor), factor)
