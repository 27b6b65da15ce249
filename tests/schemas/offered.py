"""Offers and exposures as the discounts' core decides about a run's moments, each of a session of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stream_app.discounts.core import records
from stream_app.discounts.core.deciding import Known, decide
from stream_app.discounts.core.policy_file import read_policy
from stream_app.discounts.core.records import Moment
from stream_app.discounts.core.situation import situation
from tests.discounts.core.policies import POLICY

#: Everybody, at once, whatever the score.
_GENEROUS = (
    ("min = 10.0", "min = 0.0"), ("fence_min = 0.05", "fence_min = 0.0"), ("fence_max = 0.40", "fence_max = 1.0"),
    ("suppress_from = 0.60", "suppress_from = 1.0"), ("earliest = 10.0", "earliest = 0.0"),
)  # fmt: skip


def offered(moments: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """(offers, exposures) in JSON; every third session is held out."""
    text = POLICY
    for old, new in _GENEROUS:
        text = text.replace(old, new)
    policy = read_policy(text, where="generous.toml")
    offers, exposures = [], []
    for number, value in enumerate(moments):
        moment = records.decode(Moment, value)
        assert isinstance(moment, Moment), moment
        known = Known("holdout" if number % 3 == 0 else "treatment", 0.5, math.inf, math.inf)
        decision = decide(policy, situation(moment, now_ms=moment.event_time + 20_000), known)
        if decision.exposure is not None:
            exposures.append(records.encode(decision.exposure))
        if decision.offer is not None:
            offers.append(records.encode(decision.offer))
    return offers, exposures
