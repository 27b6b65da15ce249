"""The policy file: read as a whole or refused in one line that says what was got, expected, and where."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import stream_app.discounts
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import POLICY_CHARS_MAX, PolicyError, read_policy
from stream_app.discounts.core.policy_schema import policy_schema
from tests.discounts.core.policies import POLICY, policy

DEFAULT = (Path(stream_app.discounts.__file__).parent / "default_policy.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("holdout = 0.2", "holdout = 1.5", "experiment.holdout: got 1.5, expected a number < 1.0"),
        ("holdout = 0.2", "holdot = 0.2", "experiment.holdot: got an unknown key, expected holdout"),
        ("format = 1", "format = 2", "format: got 2, expected one of 1"),
        ("format = 1", "formula = 1", "formula: got an unknown key, expected format"),
        ("[budget]", "[budgets]", "budgets: got an unknown key, expected budget"),
        ("per_day = 1000.0", "", "budget.per_day: got nothing, expected it: the default policy shows how"),
        ("per_hour = 100.0", 'per_hour = "much"', "budget.per_hour: got 'much', expected a number"),
        ("per_hour = 100.0", "per_hour = -1", "budget.per_hour: got -1, expected a number >= 0.0"),
        ("per_hour = 100.0", "per_hour = nan", "budget.per_hour: got nan, expected a finite number"),
        ("per_hour = 100.0", "per_hour = inf", "budget.per_hour: got inf, expected a finite number"),
        ("fixed = 10.0", "fixed = 7.0", "levels: got fixed 7, expected one of percents [5, 10, 20]"),
        ("fixed = 10.0", "", "levels: got rule 'fixed' without `fixed`, expected the percent to offer"),
        ("[5.0, 10.0, 20.0]", "[10.0, 5.0]", "levels: got percents [10, 5], expected them in rising order, each once"),
        ("[5.0, 10.0, 20.0]", "[5.0, 10.0, 95.0]", "levels.percents[2]: got 95.0, expected a number <= 90.0"),
        ("[5.0, 10.0, 20.0]", "[]", "levels.percents: expected a list of length >= 1"),
        ('rule = "fixed"', 'rule = "by_score"', "levels: got rows below [], expected at least one"),
        ('rule = "fixed"', 'rule = "bandid"', "levels.rule: got 'bandid', expected bandit"),
        (
            'rule = "fixed"',
            'rule = "by_score"\nby_score = [{ below = 0.1, percent = 7 }]',
            "levels: got by_score percents [7], expected 0 or one of percents [5, 10, 20]",
        ),
        ("earliest = 10.0", 'earliest = "learnt"', "moments.earliest: got 'learnt', expected learned, or a number"),
        ('clock = "quiet"', 'kinds = ["quite"]', "moments.kinds[0]: got 'quite', expected quiet"),
        ('"cart_value"', '"cart_vale"', "eligible.all[0].number: got unknown 'cart_vale', expected cart_value"),
        ('number = "cart_value"', 'number = "band"', 'got \'band\', which is a text: write `text = "band"`'),
        ("min = 10.0", "mim = 10.0", "eligible.all[0].mim: got an unknown key, expected min"),
        ("min = 10.0", "min = 10.0, max = 3.0", "eligible.all[0]: got min 10 above max 3, expected min <= max"),
        ("fence_min = 0.05", "fence_min = 0.5", "score: got fence_min 0.5 above fence_max 0.4, expected <="),
        ('"EUR"', '"euros"', "money.currency: got 'euros', expected a text matching regex"),
        ("[budget]", '[stock.categories]\n"a.b" = "many"\n[budget]', "stock.categories.a.b: got 'many', expected"),
        ("[budget]", '[stock.categories]\n"a.b" = 2.5\n[budget]', "stock.categories[...]: expected"),
        ("[budget]", "[stock.low]\nfixed = 7\n[budget]", "got stock.low.fixed 7, expected one of percents [5, 10, 20]"),
        ("[budget]", "[stock]\nlow_below = 600\n[budget]", "stock: got low_below 600 above overstock_from 500"),
        ("[budget]", "[budget", "got what is not TOML"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_used_is_refused_in_one_line(old: str, new: str, complaint: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy((old, new))
    text = str(refused.value)
    assert text.startswith("policy.toml: ")
    assert complaint in text
    assert "\n" not in text


def test_too_long_and_too_deep_files_are_refused() -> None:
    with pytest.raises(PolicyError, match="characters, expected at most"):
        read_policy(POLICY + "#" * POLICY_CHARS_MAX, where="p")
    deep = "{ all = [" * 9 + '{ number = "events", min = 1 }' + "] }" * 9
    with pytest.raises(PolicyError, match="got groups 10 deep, expected at most 8"):
        policy(('{ number = "cart_value", min = 10.0 }', deep))


def test_the_default_policy_can_be_used_and_spells_out_every_key() -> None:
    read = read_policy(DEFAULT, where="default_policy.toml")
    assert read.enabled
    told = tomllib.loads(DEFAULT)
    for section, fields in msgspec.to_builtins(read).items():
        if section in ("eligible", "stock") or not isinstance(fields, dict):
            assert section in told
            continue
        assert set(fields) - {"by_score"} <= set(told[section]), section


def test_the_version_is_of_what_is_said_and_not_of_how() -> None:
    plain = policy()
    assert plain.version == policy(("format = 1", "# a comment\nformat = 1\nenabled = true")).version
    assert plain.version == policy(("per_hour = 100.0", "per_hour = 100")).version
    assert plain.version != policy(("per_hour = 100.0", "per_hour = 100.5")).version
    assert plain.version != policy(("[budget]", '[stock.categories]\n"a" = "low"\n[budget]')).version
    assert len(plain.version) == 12


def test_the_schema_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    validator = Draft202012Validator(policy_schema())
    Draft202012Validator.check_schema(policy_schema())
    for read in (policy(), read_policy(DEFAULT, where="d")):
        validator.validate(_said(read))
    for section, changes in (
        ("experiment", {"holdout": 1.5}),
        ("experiment", {"holdot": 0.1}),
        ("eligible", {"number": "score", "min": 0.1}),
        ("eligible", {"all": [{}]}),
    ):
        raw = _said(policy())
        raw[section] |= changes
        with pytest.raises(ValidationError):
            validator.validate(raw)


def _said(read: Policy) -> Any:
    """As a file would say it, which has no way to say `None`."""

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_none(each) for name, each in value.items() if each is not None}
        return [without_none(each) for each in value] if isinstance(value, list) else value

    return without_none(json.loads(msgspec.json.encode(read)))


def test_levels_are_those_of_the_stock_that_leave_a_margin() -> None:
    stocked = policy(
        (
            "[budget]",
            '[money.margin_by_category]\n"thin" = 0.1\n"none" = 0.05\n[stock.categories]\n"many" = 600\n"few" = 2\n'
            '"some" = 5\n"over" = "overstock"\n[stock.overstock]\npercents = [20.0, 29.0, 40.0]\n[budget]',
        )
    )
    assert stocked.percents(None) == stocked.percents("some") == stocked.percents("few") == [5.0, 10.0, 20.0]
    assert stocked.percents("thin") == [5.0]
    assert stocked.percents("none") == []
    assert stocked.percents("many") == stocked.percents("over") == [20.0, 29.0]
    assert [stocked.stock_level(name) for name in ("few", "some", "many", "over", "else", None)] == [
        "low", "normal", "overstock", "overstock", "normal", "normal",
    ]  # fmt: skip
    assert not stocked.stock_rule("low").offers


def test_an_offers_expected_cost_reckons_with_its_own_effect() -> None:
    # a score of 0.2 has odds of 1/4; doubled, 1/2, which is a third
    read = policy()
    assert read.cost(10.0, score=0.2, cart_value=60.0) == pytest.approx(0.1 * 60.0 / 3)
    assert read.cost(10.0, score=0.2, cart_value=0.0) == pytest.approx(0.1 * 50.0 / 3)
    assert read.cost(10.0, score=1.0, cart_value=60.0) == pytest.approx(6.0)
    assert isinstance(read, Policy)
