"""Kinds of journeys from records: the planted ones are found, keep their numbers, and drift is noticed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_app.analytics.journeys.agreement import adjusted_rand
from stream_app.core.features import FeatureValues
from stream_app.live.kinds_of_journey import BEGIN_FROM, LATELY, SAMPLE_MAX, KindsOfJourney
from stream_app.live.told_sessions import JourneyTold
from tests.live.planted import BUYS, journeys


def begun(told: list[JourneyTold], rest: list[JourneyTold] | None = None) -> KindsOfJourney:
    kinds = KindsOfJourney()
    for start in range(0, len(told), 70):
        kinds.take(told[start : start + 70])
    assert kinds.can_begin
    kinds.begun_with(kinds.begin(kinds.sample()))
    for start in range(0, len(rest or []), 70):
        kinds.take((rest or [])[start : start + 70])
    return kinds


def test_four_planted_kinds_are_found_and_their_figures_are_those_of_their_members() -> None:
    told, planted = journeys(1_600, seed=6)
    kinds = begun(told[:800], told[800:])
    facts = kinds.facts()
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert facts["journeys"] == len(told) == sum(kind["journeys"] for kind in facts["kinds"])
    assert len(facts["kinds"]) == 4
    given = np.array([kinds.number(one) for one in told])
    agreement = adjusted_rand(given - 1, planted)
    print(f"\nadjusted Rand index {agreement:.3f}")
    assert agreement > 0.95
    assert [kind["steps"] for kind in facts["kinds"]] == sorted(kind["steps"] for kind in facts["kinds"])
    (buyers,) = [kind for kind in facts["kinds"] if kind["bought"] > 0.5]
    assert buyers["bought_low"] < 0.8 < buyers["bought_high"]
    assert (buyers["source"], buyers["last_step"]) == ("mail", "checkout")
    assert "checkout" in buyers["words"]
    assert np.bincount(planted[given == buyers["number"]], minlength=4).argmax() == BUYS
    assert sum(kind["share_lately"] for kind in facts["kinds"]) == pytest.approx(1.0)


def test_the_same_journeys_give_the_same_kinds_however_they_come() -> None:
    told, _ = journeys(1_600, seed=6)
    one, other = KindsOfJourney(), KindsOfJourney()
    one.take(told[:700])
    for journey in told[:700]:
        other.take([journey])
    for kinds in (one, other):
        kinds.begun_with(kinds.begin(kinds.sample()))
    assert one.facts() == other.facts()


def test_nothing_is_said_before_there_are_enough() -> None:
    told, _ = journeys(1_600, seed=6)
    kinds = KindsOfJourney()
    kinds.take([])
    kinds.take(told[: BEGIN_FROM - 1])
    assert not kinds.can_begin
    assert kinds.number(told[0]) is None
    assert kinds.facts() == {
        "journeys": BEGIN_FROM - 1, "needed": BEGIN_FROM, "kinds": [], "lately": None, "evidence": [],
    }  # fmt: skip
    kinds.take(told[:1])
    assert kinds.can_begin


def test_a_sample_has_its_bound_and_the_newest_stay() -> None:
    told, _ = journeys(1_600, seed=6)
    kinds = KindsOfJourney()
    for _ in range(3):
        kinds.take(told)
    assert kinds.waiting == SAMPLE_MAX < 3 * len(told)
    assert kinds.sample().first_ms[-1] == begun_first(told[-1])


def begun_first(told: JourneyTold) -> int:
    kinds = KindsOfJourney()
    kinds.take([told])
    return int(kinds.sample().first_ms[0])


def test_an_event_before_any_step_is_of_no_kind() -> None:
    told, _ = journeys(1_600, seed=6)
    kinds = begun(told[:800])
    nothing = FeatureValues(*[0.0] * len(FeatureValues.__struct_fields__))
    assert kinds.number(msgspec.structs.replace(told[0], features=nothing)) is None
    before = kinds.journeys
    kinds.take([msgspec.structs.replace(told[0], features=nothing)])
    assert kinds.journeys == before


def test_when_visitors_behave_otherwise_the_latest_sizes_are_no_chance() -> None:
    told, planted = journeys(1_600, seed=6)
    usual = begun(told[:800], told[800:])
    buyers = [one for one, kind in zip(told, planted.tolist(), strict=True) if kind == BUYS]
    others = begun(told[:800], [*told[800:], *buyers * (1 + LATELY // len(buyers))])
    assert usual.facts()["lately"]["journeys"] == others.facts()["lately"]["journeys"] == LATELY
    assert usual.facts()["lately"]["chance"] > 0.001
    assert others.facts()["lately"]["chance"] < 1e-10
