"""What must hold whatever was killed: worked out from the topics alone, as a reader of them would."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream_app import topics
from stream_app.discounts.budget import DAY_MS, HOUR_MS, UNITS, units
from tests.scenarios.deployment import Deployment

Session = tuple[str, str]


@dataclass
class Verdict:
    """The committed records of a run."""

    exposures: list[dict[str, Any]]
    offers: list[dict[str, Any]]

    @classmethod
    async def of(cls, deployment: Deployment) -> Verdict:
        """Read both topics to their ends, committed records only."""
        exposures, offers = [await deployment.read(topic) for topic in (topics.EXPOSURES, topics.OFFERS)]
        return cls([value for _, value, _ in exposures], [value for _, value, _ in offers])

    @property
    def sessions(self) -> set[Session]:
        """Who was exposed."""
        return {(each["visitor_id"], each["session_id"]) for each in self.exposures}

    @property
    def spent(self) -> float:
        """What the offers are reckoned to cost, in money."""
        return sum(units(each.get("cost", 0.0)) for each in self.exposures) / UNITS

    def hold(self, *, per_hour: float, per_day: float) -> None:
        """No session twice, every offer beside its exposure and the reverse, both budgets kept."""
        self._once()
        self._together()
        self._kept({HOUR_MS: per_hour, DAY_MS: per_day})

    def _once(self) -> None:
        for name, records in (("exposed", self.exposures), ("offered something", self.offers)):
            counts = Counter((each["visitor_id"], each["session_id"]) for each in records)
            twice = {session: count for session, count in counts.items() if count > 1}
            assert not twice, f"{name} more than once: {dict(list(twice.items())[:5])}"
        bookings = Counter((each["budget"], each["booking"]) for each in self.exposures)
        assert max(bookings.values(), default=1) == 1, "two exposures share a booking"

    def _together(self) -> None:
        offered = {each["offer_id"]: each for each in self.offers}
        treated = {each["exposure_id"]: each for each in self.exposures if each["percent"] > 0}
        assert set(offered) == set(treated)
        for name, offer in offered.items():
            exposure = treated[name]
            assert (offer["arm"], exposure["arm"]) == ("treatment", "treatment")
            assert offer["percent"] == exposure["percent"]
            assert offer["session_id"] == exposure["session_id"]
        assert all(each["percent"] == 0 for each in self.exposures if each["arm"] == "holdout")

    def _kept(self, limits: Mapping[int, float]) -> None:
        for span_ms, limit in limits.items():
            spent: dict[int, int] = defaultdict(int)
            for each in self.exposures:
                spent[each["decided_at"] // span_ms] += units(each.get("cost", 0.0))
            over = {span: amount for span, amount in spent.items() if amount > units(limit)}
            assert not over, f"overspent: {over}, expected at most {units(limit)}"
