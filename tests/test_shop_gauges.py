"""Gauges of what is known of the shop: the frequent sources alone, and none that is no more among them."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry

from stream_app.live.kinds_of_journey import KindsOfJourney
from stream_app.live.shop_figures import ShopFigures
from stream_app.live.told_sessions import ClosedTold
from stream_app.metrics import Metrics
from stream_app.shop_gauges import OTHER, SOURCE_CHARS_MAX, SOURCES_MAX, ShopGauges
from tests.live.planted import journeys


def sessions(source: str | None, count: int, bought: int = 0) -> list[ClosedTold]:
    return [ClosedTold(0, 1_000, 2, int(n < bought), 0, source) for n in range(count)]


class Shown:
    """The gauges on a registry, and a clock that is told."""

    def __init__(self) -> None:
        self.registry, self.now = CollectorRegistry(), 0.0
        self.gauges = ShopGauges(Metrics(self.registry), monotonic=lambda: self.now)
        self.kinds = KindsOfJourney()

    def after(self, figures: ShopFigures) -> None:
        self.now += 10.0
        self.gauges.told(figures, self.kinds)

    def values(self, name: str, label: str) -> dict[str, float]:
        families = [family for family in self.registry.collect() if family.name == name]
        return {sample.labels[label]: sample.value for family in families for sample in family.samples}


def test_sources_have_their_sessions_and_the_share_that_bought() -> None:
    shown, figures = Shown(), ShopFigures()
    figures.take([*sessions("ads", 100, 5), *sessions("mail", 50, 10), *sessions(None, 10, 10)])
    shown.after(figures)
    assert shown.values("intent_shop_sessions", "source") == {"ads": 100, "mail": 50, "(none)": 10}
    shares = shown.values("intent_shop_bought_share", "source")
    assert (shares["ads"], shares["mail"], math.isnan(shares["(none)"])) == (0.05, 0.2, True)


def test_no_more_series_than_the_bound_however_many_tags_come() -> None:
    shown, figures = Shown(), ShopFigures()
    for n in range(60):
        figures.take(sessions(f"tag-{n:02d}", 100 - n))
    shown.after(figures)
    found = shown.values("intent_shop_sessions", "source")
    assert len(found) == SOURCES_MAX + 1
    assert found[OTHER] == sum(100 - n for n in range(SOURCES_MAX, 60))
    assert sum(found.values()) == figures.sessions
    figures.take(sessions("new", 1_000))
    shown.after(figures)
    found = shown.values("intent_shop_sessions", "source")
    assert found["new"] == 1_000
    assert f"tag-{SOURCES_MAX - 1:02d}" not in found
    assert len(found) == SOURCES_MAX + 1


def test_a_long_source_is_cut_and_two_that_become_one_are_counted_together() -> None:
    shown, figures = Shown(), ShopFigures()
    figures.take([*sessions("x" * 50 + "a", 40, 10), *sessions("x" * 50 + "b", 40)])
    shown.after(figures)
    assert shown.values("intent_shop_sessions", "source") == {"x" * SOURCE_CHARS_MAX: 80}
    assert shown.values("intent_shop_bought_share", "source") == {"x" * SOURCE_CHARS_MAX: 0.125}


def test_they_are_set_every_few_seconds_and_not_with_every_record() -> None:
    shown, figures = Shown(), ShopFigures()
    shown.after(figures)
    figures.take(sessions("ads", 40))
    shown.gauges.told(figures, shown.kinds)
    assert shown.values("intent_shop_sessions", "source") == {}
    shown.after(figures)
    assert shown.values("intent_shop_sessions", "source") == {"ads": 40}


def test_kinds_of_journeys_are_those_of_the_page() -> None:
    shown = Shown()
    told, _ = journeys(1_600, seed=5)
    shown.after(ShopFigures())
    assert shown.values("intent_shop_journeys", "kind") == {}
    shown.kinds.take(told[:800])
    shown.kinds.begun_with(shown.kinds.begin(shown.kinds.sample()))
    shown.after(ShopFigures())
    facts: list[dict[str, Any]] = shown.kinds.facts()["kinds"]
    assert shown.values("intent_shop_journeys", "kind") == {str(kind["number"]): kind["journeys"] for kind in facts}
    shares = shown.values("intent_shop_journeys_bought_share", "kind")
    assert all(abs(shares[str(kind["number"])] - kind["bought"]) < 1e-9 for kind in facts)
