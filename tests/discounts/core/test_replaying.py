"""A policy asked about logged exposures: by the live `decide`, and without what the log does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from stream_app.discounts.core.off_policy import NoSupportError, evaluate
from stream_app.discounts.core.records import Exposure, Outcome
from stream_app.discounts.core.replaying import NotReplayableError, Replayed
from tests.discounts.core.exposures import T0, exposure, outcome
from tests.discounts.core.policies import policy


def logged(**fields: Any) -> Exposure:
    """One that the default of these tests finds eligible: quiet for 20 s, a cart of 50, score 0.2."""
    return exposure(decided_at=fields.pop("decided_at", T0 + 20_000), **fields)


def test_it_takes_the_level_that_decide_takes_live() -> None:
    replayed = Replayed(policy())
    assert replayed(logged()) == {10.0: 1.0}
    assert replayed(logged(arm="holdout")) == {10.0: 1.0}
    assert replayed.unseen == []


@pytest.mark.parametrize(
    "fields",
    [
        {"cart_value": 9.0},
        {"score": 0.41},
        {"score": 0.04},
        {"kind": "unknown"},
        {"decided_at": T0 + 9_000},
        {"decided_at": T0 + 601_000},
    ],
)
def test_who_is_not_eligible_by_what_the_log_tells_is_offered_nothing(fields: dict[str, Any]) -> None:
    assert Replayed(policy())(logged(**fields)) == {0.0: 1.0}


def test_a_policy_by_score_takes_each_rows_level() -> None:
    by_score = policy(
        (
            'rule = "fixed"\nfixed = 10.0',
            'rule = "by_score"\nby_score = [{below = 0.1, percent = 20.0}, {below = 0.3, percent = 5.0}]',
        )
    )
    found = Replayed(by_score)
    assert [found(logged(score=score)) for score in (0.06, 0.2, 0.35)] == [{20.0: 1.0}, {5.0: 1.0}, {0.0: 1.0}]


def test_conditions_on_what_is_not_in_the_log_are_taken_as_fulfilled_and_named() -> None:
    tree = """all = [
        { number = "cart_value", min = 60.0 },
        { number = "events", min = 100 },
        { any = [{ text = "source", in = ["email"] }, { text = "category", in = ["boats"] }] },
        { none = [{ text = "country", in = ["US"] }, { text = "category", in = ["garden"] }] },
    ]"""
    found = Replayed(policy(('all = [{ number = "cart_value", min = 10.0 }]', tree)))
    assert found.unseen == ["events", "source", "country"]
    # What the log tells still counts: the cart, and the category that is ruled out.
    assert found(logged(cart_value=70.0)) == {10.0: 1.0}
    assert found(logged(cart_value=50.0)) == {0.0: 1.0}
    assert found(logged(cart_value=70.0, category="garden")) == {0.0: 1.0}


def test_a_clock_that_is_not_in_the_log_and_learned_bounds_are_taken_as_kept() -> None:
    assert Replayed(policy(('clock = "quiet"', 'clock = "age"')))(logged(decided_at=T0)) == {10.0: 1.0}
    learned = Replayed(policy(("earliest = 10.0", 'earliest = "learned"')))
    assert learned.unseen == ["learned bounds"]
    assert learned(logged(decided_at=T0 + 1_000)) == {10.0: 1.0}
    assert learned(logged(decided_at=T0 + 700_000)) == {0.0: 1.0}


def test_a_switched_off_policy_is_replayed_as_if_it_were_on() -> None:
    assert Replayed(policy(("format = 1", "format = 1\nenabled = false")))(logged()) == {10.0: 1.0}


def test_a_bandit_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotReplayableError, match="rule 'fixed'"):
        Replayed(policy(('rule = "fixed"', 'rule = "bandit"')))


def test_its_value_is_that_of_those_who_got_what_it_would_take_worked_out_by_hand() -> None:
    # Of four treated, evenly 5 or 10 %: those with 5 earned 1 and 3, those with 10 nothing. The new policy takes 5.
    even = [(5.0, 0.5), (10.0, 0.5)]

    def unit(name: str, percent: float, profit: float) -> Outcome:
        return outcome(profit, of=logged(visitor_id=name, percent=percent, levels=even, holdout_share=0.0))

    log = [unit("a", 5.0, 1.0), unit("b", 5.0, 3.0), unit("c", 10.0, 0.0), unit("d", 10.0, 0.0)]
    found = evaluate(log, Replayed(policy(("fixed = 10.0", "fixed = 5.0"))))
    assert found.ips.value == pytest.approx((1.0 / 0.5 + 3.0 / 0.5) / 4)
    assert found.snips.value == pytest.approx(2.0)
    assert found.effective == pytest.approx(2.0)


def test_a_level_that_had_no_chance_is_refused() -> None:
    log = [outcome(of=logged(visitor_id=f"v{n}")) for n in range(4)]
    with pytest.raises(NoSupportError, match="20 % in 4"):
        evaluate(log, Replayed(policy(("fixed = 10.0", "fixed = 20.0"))))
