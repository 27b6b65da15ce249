"""The reference of policy files is the one made from the types, and what can be run in the docs runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli import main
from stream_app.discounts.core.policy_schema import KEYS, policy_schema
from stream_app.discounts.policy_reference import documentation
from tests.discounts_app.policies import policy_text

_PAGE = Path(__file__).parents[2] / "docs" / "discounts-policy.md"


def test_the_reference_is_the_one_made_from_the_types() -> None:
    made = documentation()
    assert _PAGE.read_text() == made, "run: python -m stream_app.discounts.policy_reference > docs/discounts-policy.md"
    for key in ("suppress_from", "per_hour", "by_score", "overstock_from", "cart_value"):
        assert f"| `{key}` |" in made


def test_check_explains_a_good_policy_and_names_the_place_of_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(policy_text())
    good = CliRunner().invoke(main, ["discounts", "check", str(file)])
    assert (good.exit_code, "offers 10 % off" in good.output) == (0, True)
    file.write_text(policy_text().replace("valid_s", "valid"))
    bad = CliRunner().invoke(main, ["discounts", "check", str(file)])
    assert bad.exit_code == 2
    assert "offer.valid: got an unknown key, expected valid_s" in bad.output
    default = CliRunner().invoke(main, ["discounts", "check"])
    assert (default.exit_code, "the salt is the default policy's" in default.output) == (0, True)


@pytest.mark.parametrize(("clock", "since"), [("quiet", "newest"), ("age", "first")])
def test_check_takes_learned_bounds_on_either_clock(tmp_path: Path, clock: str, since: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(policy_text(earliest='"learned"').replace('clock = "quiet"', f'clock = "{clock}"'))
    told = CliRunner().invoke(main, ["discounts", "check", str(file)]).output
    assert "not earlier than what is learned of the category and not later than 1 h after" in told
    assert f"after the session's {since} event" in told
    assert "warning" not in told


def test_every_key_says_what_it_is_for_and_no_other_is_told_of() -> None:
    schema = policy_schema()
    tables = {**schema["$defs"], "Policy": schema}
    assert {name: list(table["properties"]) for name, table in tables.items()} == {
        name: list(keys) for name, keys in KEYS.items()
    }
    assert all(each["description"] for table in tables.values() for each in table["properties"].values())


def test_without_a_subcommand_it_is_run() -> None:
    helped = CliRunner().invoke(main, ["discounts", "run", "--help"]).output
    assert "--discount-policy" in helped
    wrong = CliRunner().invoke(main, ["discounts", "--discount-clock", "moon"])
    assert (wrong.exit_code, "discount_clock" in wrong.output) == (2, True)
    assert {"run", "check", "report", "replay"} <= set(CliRunner().invoke(main, ["discounts", "--help"]).output.split())
