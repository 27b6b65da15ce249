"""A policy, a moment and what is known beside it, that make somebody eligible; tests change one thing at a time."""

from __future__ import annotations

from typing import Any

from stream_app.discounts.core.deciding import Known
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import read_policy
from stream_app.discounts.core.records import Moment
from stream_app.discounts.core.situation import Situation, situation

NOW_MS = 1_735_689_600_000

POLICY = """
format = 1
[experiment]
id = "spring"
salt = "s"
holdout = 0.2
[eligible]
all = [{ number = "cart_value", min = 10.0 }]
[score]
fence_min = 0.05
fence_max = 0.40
suppress_from = 0.60
[moments]
clock = "quiet"
earliest = 10.0
latest = 600.0
[levels]
percents = [5.0, 10.0, 20.0]
rule = "fixed"
fixed = 10.0
[money]
currency = "EUR"
margin = 0.30
order_value = 50.0
[budget]
per_hour = 100.0
per_day = 1000.0
"""


def policy(*changes: tuple[str, str]) -> Policy:
    """`POLICY` with texts replaced; each must be there."""
    text = POLICY
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the policy"
        text = text.replace(old, new)
    return read_policy(text, where="policy.toml")


def moment(**changes: Any) -> Moment:
    told: dict[str, Any] = {
        "moment_id": "e1:quiet",
        "kind": "quiet",
        "visitor_id": "v1",
        "session_id": "s1",
        "event_id": "e1",
        "event_time": NOW_MS - 60_000,
        "events": 5,
        "score": 0.2,
        "band": "on_the_fence",
        "trend": -0.5,
        "cart_value": 80.0,
        "purchases": 0,
        "features": {"age": 5.0, "n_cart": 0.6931},
        "model_version": 3,
        "cold": False,
        "scored_at": NOW_MS - 59_990,
        "category": "garden.pro",
        "item_id": "i1",
        "source": "email",
    }
    return Moment(**(told | changes))


def seen(**changes: Any) -> Situation:
    return situation(moment(**changes), now_ms=NOW_MS)


def known(**changes: Any) -> Known:
    return Known(arm="treatment", draw=0.5, hour_left=100.0, day_left=1000.0)._replace(**changes)
