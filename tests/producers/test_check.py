"""`produce check`: what a file would come to, and nothing personal in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from producers.cli import produce
from producers.formats import FORMATS

GOLDEN = Path(__file__).parent / "golden"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(produce, ["check", *[str(argument) for argument in arguments]])


def test_for_people_there_are_counts_examples_and_the_first_events() -> None:
    result = invoke(GOLDEN / "segment.jsonl")
    assert result.exit_code == 0, result.output
    for words in (
        "is segment: 2",
        "17 events, 9 rejected rows, 2 ignored records",
        "4 visitors, 2026-01-31T18:30:05.250Z to 2026-01-31T18:33:10.000Z",
        "events: purchase 3",
        "rejected as missing_field: 2",
        "    row 17: batch[2]: got no event in a track call",
        "ignored: identify 1, Coupon Applied 1",
        "row=1  event_type=page_view  event_time=2026-01-31T18:30:05.250Z",
        "page_url=https://shop.example/ ",
    ):
        assert words in result.stdout


def test_for_programs_it_is_json() -> None:
    result = invoke(GOLDEN / "ga4.jsonl", "--json", "--samples", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["format"] == "ga4"
    assert sum(found["events"].values()) == 10
    assert found["rejected"] == {
        "missing_field": 4,
        "invalid_value": 2,
        "time_out_of_range": 1,
        "wrong_type": 1,
        "not_json": 1,
    }
    assert found["examples"]["wrong_type"]["row"] == 12
    assert found["ignored"] == {"scroll": 1}
    assert [sample["row"] for sample in found["samples"]] == [1]


@pytest.mark.parametrize("name", ["ga4.jsonl", "ga4-bigquery.jsonl", "segment.jsonl", "snowplow.tsv", "snowplow.jsonl"])
def test_no_id_and_nothing_personal_is_shown(name: str) -> None:
    result = invoke(GOLDEN / name, "--samples", 100)
    for word in ("jo@example.org", "203.0.113.7", "1821.1769", "anon-1", "d-1\n", "customer-9", "?utm", "?color"):
        assert word not in result.stdout


def test_the_limit_ends_it() -> None:
    found = json.loads(invoke(GOLDEN / "segment.jsonl", "--limit", 2, "--json").stdout)
    assert (found["events"], found["rejected"]) == ({"page_view": 1, "search": 1}, {})


def test_a_mapping_is_used_and_not_beside_a_format(tmp_path: Path) -> None:
    mapping, file = tmp_path / "mine.toml", tmp_path / "mine.jsonl"
    mapping.write_text('event_type = "what"\nevent_time = "at"\nvisitor_id = "who"\n')
    file.write_text('{"what":"view_item","at":"2026-01-31T18:30:05Z","who":"v"}\n')
    assert "view_item 1" in invoke(file, "--mapping", mapping).stdout
    both = invoke(file, "--mapping", mapping, "--format", "ga4")
    assert both.exit_code == 2
    assert "got --format and --mapping, expected one of them" in both.stderr


def test_without_any_event_the_exit_code_is_1(tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    file.write_text('{"event_id":"e"}\n')
    result = invoke(file, "--format", "canonical")
    assert result.exit_code == 1
    assert "rejected as missing_field: 1" in result.stdout


def test_an_unknown_format_is_said_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"what":"view_item"}\n')
    result = invoke(file)
    assert result.exit_code == 2
    assert (
        "the only record has none of the known formats: got what; say --format, or --mapping (docs/formats.md)"
        in result.stderr
    )


def test_help_lists_the_formats() -> None:
    text = " ".join(invoke("--help").stdout.split())
    for name, format in FORMATS.items():
        assert f"{name}: {format.description}" in text
