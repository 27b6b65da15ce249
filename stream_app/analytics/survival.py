"""How long until it happens, from counts of what ended when: hazards, Kaplan–Meier, Aalen–Johansen.

In bucket k, of the n_k that reach it, d_k end in the event, c_k otherwise. With h_k = d_k / n_k (the hazard),

    survival S(k) = Π_{i ≤ k} (1 − h_i)          Kaplan & Meier (JASA 53, 1958), the others taken as censored
    variance of ln S(k) = Σ d_i / (n_i (n_i − d_i))    Greenwood (1926)
    incidence F(k) = Σ_{i ≤ k} T(i − 1) h_i,  T(i) = Π_{j ≤ i} (1 − (d_j + l_j) / n_j)

F is the share of all that has come to the event by then (Aalen & Johansen, 1978), where leaving, l of c, is an end of
its own: who has left does not buy any more, and is not merely out of sight, as the rest of c is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stream_app.analytics.intervals import Z, share, wilson
from stream_app.analytics.table import Floats


class Survival(NamedTuple):
    """At the end of each bucket, shape (K,) each; the hazard is that within it, NaN where nothing reaches it."""

    at_risk: Floats
    hazard: Floats
    hazard_low: Floats
    hazard_high: Floats
    survival: Floats
    survival_low: Floats
    survival_high: Floats
    incidence: Floats


def survival(events: Floats, left: Floats, unseen: Floats) -> Survival:
    """Work out the curves from counts per bucket, shape (K,): events, those who left, those out of sight from then on.

    Who ends in a bucket is at risk in the whole of it.
    """
    ended = events + left + unseen
    at_risk = ended[::-1].cumsum()[::-1]
    hazard = share(events, at_risk)
    low, high = wilson(events, at_risk)
    happens = hazard.copy()
    happens[at_risk == 0] = 0.0
    stays = np.cumprod(1.0 - happens, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # All at risk may come to the event in a last bucket: S is 0 from there on, and its interval too.
        variance = np.cumsum(np.where(events > 0, events / (at_risk * (at_risk - events)), 0.0))
        # On the scale of ln(−ln S), where the interval keeps within 0 and 1 (Kalbfleisch & Prentice).
        reach = Z * np.sqrt(variance) / np.abs(np.log(stays))
        bounds: list[Floats] = [
            np.where((stays > 0.0) & (stays < 1.0), stays ** np.exp(sign * reach), stays) for sign in (1.0, -1.0)
        ]
    goes_on = np.cumprod(1.0 - np.where(at_risk > 0, share(events + left, at_risk), 0.0))
    incidence = np.cumsum(np.append(1.0, goes_on[:-1]) * happens)
    return Survival(at_risk, hazard, low, high, stays, bounds[0], bounds[1], incidence)
