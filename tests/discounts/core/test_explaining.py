"""What `discounts check` prints: the policy in words, and what about it is probably not meant."""

from __future__ import annotations

import pytest

from stream_app.discounts.core.explaining import explain
from tests.discounts.core.policies import policy


def test_a_policy_without_fault_is_told_in_words_without_warnings() -> None:
    told = explain(policy())
    assert told.warnings == ()
    assert told.lines == (
        f"policy {policy().version}: in force",
        "experiment spring: 20.0% of the visitors are held out and never offered anything; "
        "another id, salt or share is another experiment",
        "sequential intervals are narrowest at 20,000 visitors exposed",
        "looks at a session when a moment of kind band, trend, quiet or hesitates comes, once a session, "
        "and at a visitor again after 7 days",
        "on the fence: scores from 0.05 to below 0.4",
        "likely buyers, from a score of 0.6 on, are left alone",
        "not earlier than 10 s and not later than 10 min after the session's newest event",
        "eligible: cart_value at least 10",
        "  eligible.all[0]: cart_value at least 10 — in the cart, in money",
        "offers 10 % off",
        "valid for 30 min, to the end of the session at most",
        "margin 30.0% of the list price, no categories apart",
        "budget 100.00 EUR an hour, 1,000.00 a day, of expected cost: percent × order × chance of a purchase "
        "with its odds times 2",
        "stock low: no offers (no categories by the table)",
    )


def test_features_are_told_in_the_units_that_people_count_in() -> None:
    told = explain(policy(('"cart_value", min = 10.0', '"n_item", min = 1.0986, max = 2.1972')))
    assert (
        "  eligible.all[0]: n_item from 1.0986 to 2.1972 — steps of kind 'item' in this episode, in ln(1 + events) "
        "(min 2 and max 8 before the logarithm)"
    ) in told.lines


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ('"by_score"\nby_score = [{ below = 0.2, percent = 20 }, { below = 0.3, percent = 5 }]',
         "offers by score: 20 % below 0.2, 5 % below 0.3; nothing above"),
        ('"bandit"',
         "offers what earned most, learned for each band and kind; "
         "nothing and each of 5 %, 10 %, 20 % with a chance of at least 2.5%"),
    ],
)  # fmt: skip
def test_the_rule_is_told(rule: str, line: str) -> None:
    assert line in explain(policy(('"fixed"', rule))).lines


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("fence_min = 0.05", "fence_min = 0.40", "score: the band from 0.4 to below 0.4 is empty: nobody"),
        ("suppress_from = 0.60", "suppress_from = 0.05", "score: suppress_from 0.05 leaves nothing of the band"),
        ("suppress_from = 0.60", "suppress_from = 0.3", "score: suppress_from 0.3 cuts the band, which ends at 0.4"),
        ("earliest = 10.0", "earliest = 700", "moments: earliest 700 s is after latest 600 s: nobody"),
        ('clock = "quiet"', 'clock = "quiet"\nkinds = ["band"]', "moments: nobody is quiet at an event"),
        ('number = "cart_value", min = 10.0', 'number = "score", min = 0.5', "have nothing in common"),
        ('number = "cart_value", min = 10.0', 'text = "kind", in = ["bought"]', "kind in bought, but moments.kinds"),
        ("holdout = 0.2", "holdout = 0.009", "experiment: a holdout of 0.9% is below 1%"),
        ("holdout = 0.2", "holdout = 0.6", "most visitors who could be won are not asked"),
        ('salt = "s"', 'salt = "change me"', "experiment: the salt is the default policy's"),
        ("margin = 0.30", "margin = 0.10", "levels: 10 % eat up the margin of 10.0%"),
        ("[budget]", '[money.margin_by_category]\n"a" = 0.05\n[budget]', "10 % eat up the margin of a of 5.0%"),
        # 10 % of 50 at 0.4 with its odds doubled: 0.571 · 5 = 2.86
        ("per_hour = 100.0", "per_hour = 2.8", "budget: per_hour 2.8 is smaller than one offer of 10 % on an order"),
        ("per_day = 1000.0", "per_day = 99.0", "budget: per_day 99 is below per_hour 100"),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_warned_of(old: str, new: str, warning: str) -> None:
    warnings = explain(policy((old, new))).warnings
    assert any(warning in each for each in warnings), warnings
    assert not any(warning in each for each in explain(policy()).warnings)


def test_the_kill_switch_is_told_first() -> None:
    told = explain(policy(("format = 1", "format = 1\nenabled = false")))
    assert "switched off, nobody is offered anything" in told.lines[0]
