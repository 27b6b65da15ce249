"""A decision: the first check that fails is the reason; both arms are the same people; no budget is overdrawn."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.discounts.core.assignment import Assignment
from stream_app.discounts.core.bandit import LevelBandit
from stream_app.discounts.core.deciding import REASONS, Decision, Known, decide, not_funded
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import decode, encode, exposure_id
from stream_app.discounts.core.situation import situation
from stream_app.discounts.core.timing import Window
from tests.discounts.core.policies import NOW_MS, known, moment, policy, seen

BANDIT = ('rule = "fixed"', 'rule = "bandit"')
STOCK = ("[budget]", '[stock.categories]\n"garden.pro" = 3\n[budget]')
LEARNED = (("earliest = 10.0", 'earliest = "learned"'), ("latest = 600.0", 'latest = "learned"'))


def test_an_eligible_visitor_in_treatment_is_offered_the_level_and_the_exposure_says_all() -> None:
    decision = decide(policy(), seen(), known())
    assert decision.reason == "eligible"
    offer, exposure = decision.offer, decision.exposure
    assert offer is not None
    assert exposure is not None
    assert offer.offer_id == exposure.exposure_id == exposure_id("spring", "v1", "s1")
    assert (offer.percent, offer.arm, offer.reason, offer.score) == (10.0, "treatment", "quiet", 0.2)
    assert (offer.issued_at, offer.expires_at) == (NOW_MS, NOW_MS + 1_800_000)
    assert offer.policy == exposure.policy == policy().version
    assert (exposure.percent, exposure.propensity, exposure.levels) == (10.0, 1.0, [(10.0, 1.0)])
    assert (exposure.context, exposure.holdout_share) == ("on_the_fence|quiet", 0.2)
    # 10 % of 80 at odds of 1/4 doubled
    assert decision.cost == decision.needs == pytest.approx(0.1 * 80 / 3, abs=1e-4)
    for record in (offer, exposure):
        assert decode(type(record), encode(record)) == record


def test_a_held_out_visitor_is_exposed_and_offered_nothing_and_needs_the_same_budget() -> None:
    treated, held = decide(policy(), seen(), known()), decide(policy(), seen(), known(arm="holdout"))
    assert held.offer is None
    assert held.cost == 0.0
    assert held.needs == treated.needs > 0.0
    assert held.exposure is not None
    assert treated.exposure is not None
    assert (held.exposure.percent, held.exposure.propensity, held.exposure.arm) == (0.0, 1.0, "holdout")
    assert held.exposure.levels == treated.exposure.levels


@pytest.mark.parametrize(
    ("reason", "changes", "moment", "beside", "words"),
    [
        ("off", [("format = 1", "format = 1\nenabled = false")], {}, {}, "switched off"),
        ("over", [], {}, {"over": True}, "has bought or is closed"),
        ("over", [], {"purchases": 1}, {}, "has bought or is closed"),
        ("decided", [], {}, {"decided": True}, "has had its decision"),
        ("kind", [], {"kind": "bought"}, {}, "kind bought"),
        ("kind", [('clock = "quiet"', 'clock = "quiet"\nkinds = ["trend"]')], {}, {}, "kind quiet"),
        ("likely", [], {"score": 0.6}, {}, "score 0.6000 is at or above 0.6"),
        ("fence", [], {"score": 0.4}, {}, "score 0.4000 is not from 0.05 to below 0.4"),
        ("fence", [], {"score": 0.0499}, {}, "score 0.0499 is not from 0.05 to below 0.4"),
        ("early", [], {"event_time": NOW_MS - 9_900}, {}, "quiet 9.9 s is before 10.0 s"),
        ("late", [], {"event_time": NOW_MS - 600_100}, {}, "quiet 600.1 s is after 600.0 s"),
        ("not_learned", LEARNED, {}, {}, "too few purchases"),
        ("early", LEARNED, {}, {"window": Window(61.0, 90.0)}, "before 61.0 s"),
        ("late", LEARNED, {}, {"window": Window(20.0, 59.0)}, "after 59.0 s"),
        ("not_learned", [('clock = "quiet"', 'clock = "age"')], {"features": {}}, {}, "age_s is not known"),
        ("stock", [STOCK], {}, {}, "stock of garden.pro is low"),
        ("criteria", [], {"cart_value": 9.0}, {}, "eligible.all[0]: cart_value is 9, expected at least 10"),
        ("cool_down", [], {}, {"cool_down_until": NOW_MS + 5_000}, "for 5 s more"),
        ("margin", [("margin = 0.30", "margin = 0.05")], {}, {}, "no level is below the margin of 5.0%"),
        ("budget", [], {}, {"hour_left": 1.33}, "1.33 is left, the lowest level costs 1.33"),
        ("budget", [], {}, {"day_left": 0.0}, "0.00 is left"),
    ],
)  # fmt: skip
def test_the_check_that_fails_is_the_reason_and_nothing_is_exposed(
    reason: str, changes: list[tuple[str, str]], moment: dict[str, Any], beside: dict[str, Any], words: str
) -> None:
    for arm in ("treatment", "holdout"):
        decision = decide(policy(*changes), seen(**moment), known(arm=arm, **beside))
        assert decision.reason == reason
        assert words in decision.words
        assert (decision.exposure, decision.offer, decision.needs, decision.cost) == (None, None, 0.0, 0.0)


def test_of_several_reasons_the_first_in_order_is_told() -> None:
    everything: dict[str, Any] = {"kind": "bought", "score": 0.9, "cart_value": 1.0}
    beside: dict[str, Any] = {"over": True, "decided": True, "cool_down_until": NOW_MS + 1, "hour_left": 0.0}
    order = []
    stopped = policy(("format = 1", "format = 1\nenabled = false"))
    for read, mend in (
        (stopped, ({}, {})),
        (policy(), ({}, {"over": False})),
        (policy(), ({}, {"decided": False})),
        (policy(), ({"kind": "quiet"}, {})),
        (policy(), ({"score": 0.5}, {})),
        (policy(), ({"score": 0.2}, {})),
        (policy(), ({"cart_value": 80.0}, {})),
        (policy(), ({}, {"cool_down_until": 0})),
        (policy(), ({}, {"hour_left": 9.0})),
    ):
        order.append(decide(read, seen(**everything), known(**beside)).reason)
        everything |= mend[0]
        beside |= mend[1]
    assert order == ["off", "over", "decided", "kind", "likely", "fence", "criteria", "cool_down", "budget"]
    assert [REASONS.index(reason) for reason in order] == sorted(REASONS.index(reason) for reason in order)


@pytest.mark.parametrize("clock", ["quiet", "age"])
def test_who_comes_too_early_is_told_when_to_ask_again_and_is_right_on_time_then(clock: str) -> None:
    read = policy(('clock = "quiet"', f'clock = "{clock}"'), ("earliest = 10.0", "earliest = 90.007"))
    told = moment(event_time=NOW_MS, features={"age": math.log1p(33.3333)}, kind="hesitates")
    early = decide(read, situation(told, now_ms=NOW_MS), known())
    assert early.reason == "early"
    assert early.again_ms is not None
    assert decide(read, situation(told, now_ms=early.again_ms - 1), known()).reason == "early"
    on_time = decide(read, situation(told, now_ms=early.again_ms), known())
    assert (on_time.reason, on_time.again_ms) == ("eligible", None)


def test_a_learned_bound_that_is_not_known_may_be_none_at_all() -> None:
    lenient = policy(*LEARNED, ('clock = "quiet"', 'clock = "quiet"\nuntil_learned = "offer"'))
    assert decide(lenient, seen(), known()).reason == "eligible"


@pytest.mark.parametrize(("score", "percent"), [(0.05, 20.0), (0.0999, 20.0), (0.1, 5.0), (0.29, 5.0), (0.3, 0.0)])
def test_the_score_table_chooses_and_past_its_end_there_is_no_offer(score: float, percent: float) -> None:
    rows = "by_score = [{ below = 0.1, percent = 20 }, { below = 0.3, percent = 5 }]"
    decision = decide(policy(('rule = "fixed"', f'rule = "by_score"\n{rows}')), seen(score=score), known())
    assert decision.exposure is not None
    assert decision.exposure.percent == percent
    assert (decision.offer is not None) == (percent > 0)
    assert (decision.cost > 0) == (percent > 0)


def test_a_level_that_is_not_allowed_or_not_paid_for_gives_way_to_the_next_below() -> None:
    dear = policy(("fixed = 10.0", "fixed = 20.0"))
    assert percent_of(decide(dear, seen(), known())) == 20.0
    # at odds doubled a third of the offers is redeemed: 20 % of 80 costs 5.33, 10 % 2.67, 5 % 1.33
    assert percent_of(decide(dear, seen(), known(hour_left=5.3))) == 10.0
    assert percent_of(decide(dear, seen(), known(day_left=2.6))) == 5.0
    thin = policy(("fixed = 10.0", "fixed = 20.0"), ("margin = 0.30", "margin = 0.20"))
    assert percent_of(decide(thin, seen(), known())) == 10.0


def test_the_stock_may_have_a_level_of_its_own() -> None:
    stocked = policy(
        ("[budget]", '[stock.categories]\n"garden.pro" = "overstock"\n[stock.overstock]\nfixed = 20.0\n[budget]')
    )
    assert percent_of(decide(stocked, seen(), known())) == 20.0
    assert percent_of(decide(stocked, seen(category="toys.pro"), known())) == 10.0


def test_a_bandits_choice_is_drawn_and_logged_with_its_chances() -> None:
    bandit = LevelBandit(exploration=0.2)
    chosen = {percent_of(decide(policy(BANDIT), seen(), known(draw=draw / 50), bandit.choose)) for draw in range(50)}
    assert chosen == {0.0, 5.0, 10.0, 20.0}
    decision = decide(policy(BANDIT), seen(), known(draw=0.999), bandit.choose)
    assert decision.exposure is not None
    assert dict(decision.exposure.levels)[decision.exposure.percent] == decision.exposure.propensity < 1.0
    assert sum(chance for _, chance in decision.exposure.levels) == pytest.approx(1.0)


def test_a_bandit_is_asked_only_about_what_is_paid_for() -> None:
    decision = decide(policy(BANDIT), seen(), known(hour_left=2.0), LevelBandit(exploration=0.2).choose)
    assert decision.exposure is not None
    assert [percent for percent, _ in decision.exposure.levels] == [0.0, 5.0]


def test_a_bandit_is_needed_where_the_rule_is_its_and_must_keep_to_the_levels() -> None:
    class Wrong(NamedTuple):
        percent: float = 50.0
        propensity: float = 1.0
        levels: list[tuple[float, float]] = [(50.0, 1.0)]  # noqa: RUF012

    with pytest.raises(ValueError, match="without a chooser"):
        decide(policy(BANDIT), seen(), known())
    with pytest.raises(ValueError, match="expected one of them"):
        decide(policy(BANDIT), seen(), known(), lambda *_: Wrong())


def test_where_others_took_the_money_meanwhile_nothing_is_exposed_in_any_arm() -> None:
    gone = not_funded(decide(policy(), seen(), known(arm="holdout")))
    assert (gone.reason, gone.exposure, gone.offer) == ("budget", None, None)
    assert "2.67 was needed" in gone.words


def percent_of(decision: Decision) -> float:
    assert decision.exposure is not None
    return decision.exposure.percent


POLICIES: list[Policy] = [
    policy(),
    policy(BANDIT),
    policy(("fixed = 10.0", "fixed = 20.0"), ("margin = 0.30", "margin = 0.15")),
    policy(('rule = "fixed"', 'rule = "by_score"\nby_score = [{ below = 0.2, percent = 20 }]')),
    policy(STOCK, ("min = 10.0", "min = 0.0")),
    policy(*LEARNED),
    policy(("format = 1", "format = 1\nenabled = false")),
]
BESIDE = st.builds(
    Known,
    arm=st.sampled_from(["treatment", "holdout"]),
    draw=st.floats(0.0, 1.0, exclude_max=True),
    hour_left=st.floats(0.0, 30.0),
    day_left=st.floats(0.0, 30.0),
    over=st.sampled_from([False, False, False, True]),
    decided=st.sampled_from([False, False, False, True]),
    cool_down_until=st.sampled_from([0, 0, NOW_MS - 1, NOW_MS + 1_000]),
    window=st.sampled_from([None, Window(5.0, 300.0)]),
)
MOMENTS = st.fixed_dictionaries(
    {
        "score": st.floats(0.0, 1.0),
        "kind": st.sampled_from(["quiet", "trend", "band", "hesitates", "bought"]),
        "cart_value": st.floats(0.0, 500.0),
        "event_time": st.integers(NOW_MS - 900_000, NOW_MS + 1_000),
        "category": st.sampled_from([None, "garden.pro", "toys.pro"]),
        "purchases": st.sampled_from([0, 0, 0, 1]),
    }
)
BANDITS = LevelBandit(exploration=0.3)


@settings(max_examples=600)
@given(st.sampled_from(POLICIES), MOMENTS, BESIDE)
def test_whatever_comes_no_rule_is_broken(read: Policy, told: dict[str, Any], beside: Known) -> None:
    here = seen(**told)
    decision = decide(read, here, beside, BANDITS.choose)
    note(decision.reason)
    assert decision == decide(read, here, beside, BANDITS.choose)
    assert decision.reason in REASONS
    assert (decision.exposure is not None) == (decision.reason == "eligible")
    other = decide(
        read, here, beside._replace(arm="holdout" if beside.arm == "treatment" else "treatment"), BANDITS.choose
    )
    # The arm decides nothing but what is offered.
    assert (decision.reason, decision.needs) == (other.reason, other.needs)
    exposure, offer = decision.exposure, decision.offer
    assert decision.cost == (decision.needs if offer else 0.0)
    assert decision.needs <= min(beside.hour_left, beside.day_left)
    if exposure is None:
        assert offer is None
        return
    assert read.enabled
    assert not any((beside.over, beside.decided, told["purchases"]))
    assert read.score.fence_min <= told["score"] < read.score.fence_max
    assert exposure.percent == 0.0 or exposure.percent in read.percents(told["category"])
    assert exposure.percent / 100.0 < read.margin(told["category"])
    assert (offer is not None) == (beside.arm == "treatment" and exposure.percent > 0.0)
    if beside.arm == "holdout":
        assert offer is None
        assert exposure.percent == 0.0


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(0.0, 40.0))
def test_whoever_comes_the_budget_is_never_overdrawn_and_the_held_out_never_get_anything(
    seed: int, budget: float
) -> None:
    read, assignment = policy(BANDIT), Assignment("spring", str(seed), 0.3)
    left, exposed = budget, 0
    for number in range(60):
        visitor = f"v{number}"
        told = seen(visitor_id=visitor, session_id=f"s{number}", score=0.05 + (number * 7 % 34) / 100.0)
        draw = assignment.level_draw(exposure_id("spring", visitor, f"s{number}"))
        decision = decide(
            read, told, known(arm=assignment.arm(visitor), draw=draw, hour_left=left, day_left=1e6), BANDITS.choose
        )
        left -= decision.cost
        exposed += decision.exposure is not None
        assert left >= 0.0
        assert decision.offer is None or assignment.arm(visitor) == "treatment"
    assert exposed == 60 or left < read.cost(5.0, score=0.4, cart_value=80.0)
