"""Whether the arms have as many units as they should: if not, something other than the hash decides who is counted.

A lost half of one arm's exposures, an offer that keeps its visitors from being logged, a bot in one arm: each bends
every figure, and each shows here first. Looked at all the time, a chi-squared test would cry wolf sooner or later; this
one's false alarms stay below the level over the experiment's whole life.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022): the Bayes factor of a Dirichlet
prior around the planned shares against those shares exactly is a martingale where they hold, so by Ville's inequality
it ever reaches 1/α with probability α at most. The sequential p-value is the reciprocal of its maximum so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from stream_app.discounts.core.records import Arm

#: Below it, look for the fault and believe no figure: the usual level of such checks.
ALARM: Final = 0.001

#: How sure the prior is that a mismatch is small, in units of a Dirichlet's sum: at 1,000 the alternative holds shares
#: within one or two percent of the plan. Of even arms, one that loses 2 % is told after 190,000 units (median), one
#: that loses 10 % after 6,900; at 10,000, the usual choice, after 179,000 and 10,800.
CONCENTRATION: Final = 1_000.0


class SampleRatio:
    """The test.

    `shares` are the planned ones, by arm. Raises ValueError unless there are two or more, each > 0, that add up to 1.
    """

    def __init__(self, shares: Mapping[Arm, float], *, concentration: float = CONCENTRATION) -> None:
        if len(shares) < 2 or min(shares.values()) <= 0.0 or abs(sum(shares.values()) - 1.0) > 1e-9:
            raise ValueError(f"shares: got {dict(shares)}, expected shares of two arms or more that add up to 1")
        #: the planned ones
        self.shares = dict(shares)
        self._concentration = concentration
        self.counts: dict[Arm, int] = dict.fromkeys(shares, 0)
        #: the sequential p-value: 1 at first, never rises
        self.p_value = 1.0
        #: log of the Bayes factor now
        self.log_odds = 0.0

    @property
    def odds(self) -> float:
        """The Bayes factor now, against the planned shares: whatever the order in which units were counted."""
        return math.exp(min(self.log_odds, 700.0))

    @property
    def mismatch(self) -> bool:
        """Whether the alarm was ever reached."""
        return self.p_value < ALARM

    def add(self, arm: Arm) -> None:
        """Count one unit. Raises KeyError for an arm that was not planned."""
        # The posterior predictive of this unit against its planned share.
        seen, total = self.counts[arm], sum(self.counts.values())
        share = self.shares[arm]
        self.log_odds += math.log((self._concentration * share + seen) / (self._concentration + total) / share)
        self.counts[arm] = seen + 1
        self.p_value = min(self.p_value, math.exp(-self.log_odds))

    def export(self) -> dict[str, Any]:
        """Plain values to continue from."""
        return {"counts": dict(self.counts), "p_value": self.p_value, "log_odds": self.log_odds}

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none of the same arms; nothing has changed then.
        """
        counts = {arm: int(values["counts"][arm]) for arm in self.shares}
        p_value, log_odds = float(values["p_value"]), float(values["log_odds"])
        if set(values["counts"]) != set(counts) or min(counts.values()) < 0 or not 0.0 <= p_value <= 1.0:
            raise ValueError(f"sample ratio: got {values}")
        self.counts, self.p_value, self.log_odds = counts, p_value, log_odds
