"""Exposures, orders and outcomes by hand."""

from __future__ import annotations

from typing import Any

from stream_app.discounts.core.records import Checkout, Exposure, Outcome

T0 = 1_760_000_000_000


def exposure(visitor_id: str = "v", *, time: int = T0, **fields: Any) -> Exposure:
    """One in the treatment with 10 percent off, unless told otherwise; held out, it has no offer."""
    arm = fields.get("arm", "treatment")
    percent = fields.get("percent", 10.0 if arm == "treatment" else 0.0)
    values: dict[str, Any] = {
        "exposure_id": f"{visitor_id}-{time}",
        "visitor_id": visitor_id,
        "session_id": f"{visitor_id}@{time}",
        "experiment": "autumn",
        "policy": "p1",
        "arm": arm,
        "percent": percent,
        "propensity": 1.0,
        "levels": [(percent if arm == "treatment" else 10.0, 1.0)],
        "holdout_share": 0.2,
        "context": "shoes",
        "score": 0.2,
        "band": "on_the_fence",
        "kind": "quiet",
        "cart_value": 50.0,
        "decided_at": time + 100,
        "event_time": time,
        "category": "shoes",
    }
    return Exposure(**{**values, **fields})


def order(
    visitor_id: str = "v", *, time: int = T0 + 60_000, order_id: str = "o1", paid: float = 90.0, **fields: Any
) -> Checkout:
    """One order without a discount, unless told otherwise."""
    return Checkout(visitor_id=visitor_id, order_id=order_id, time=time, paid=paid, **fields)


def outcome(
    profit: float = 0.0, *, revenue: float = 0.0, orders: int = 0, of: Exposure | None = None, **fields: Any
) -> Outcome:
    """What became of an exposure, `exposure(**fields)` unless given."""
    first = exposure(**fields) if of is None else of
    return Outcome(
        exposure=first, exposures=1, orders=orders, revenue=revenue, discount=0.0, profit=profit,
        window_ms=86_400_000, matured_at=T0,
    )  # fmt: skip
