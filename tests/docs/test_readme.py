"""What README, docs and their overview show exists: links, commands, records, figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app import cli
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.records import ScoreRecord

_REPOSITORY = Path(__file__).parents[2]
_PAGES = [*sorted(_REPOSITORY.glob("*.md")), *sorted((_REPOSITORY / "docs").rglob("*.md"))]
_README = (_REPOSITORY / "README.md").read_text()
_USAGE = (_REPOSITORY / "docs" / "usage.md").read_text()
_BENCHMARKS = (_REPOSITORY / "docs" / "benchmarks.md").read_text()


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_no_placeholder_was_left(page: Path) -> None:
    assert not re.search(r"MEASURE[A-Z_]+|TODO|FIXME|(?<!`)XXX", page.read_text())


def test_every_command_shown_is_one() -> None:
    shown = {line.split()[2] for line in _USAGE.splitlines() if line.startswith("$ stream-app ")}
    assert shown
    listed = CliRunner().invoke(cli.main, ["--help"]).output
    assert [command for command in shown if not re.search(rf"^  {command}\b", listed, re.MULTILINE)] == []


def test_the_event_and_the_label_shown_are_accepted_and_the_score_has_the_fields_of_its_type() -> None:
    event, label, score = re.findall(r"```json\n(.*?)```", _USAGE, re.DOTALL)
    now = 1_767_300_000_000
    assert not isinstance(codec.decode_event(event.encode(), record_time_ms=now), Rejected)
    assert not isinstance(codec.decode_label(label.encode(), record_time_ms=now), Rejected)
    # `bot` is left out of a person's.
    assert [*re.findall(r'"(\w+)":', score), "bot"] == list(ScoreRecord.__struct_fields__)


def test_the_readme_fits_a_screen_and_a_half() -> None:
    assert len(_README.splitlines()) <= 60


def test_the_figures_of_the_readme_and_the_comparison_are_those_of_the_benchmarks() -> None:
    (row,) = [line for line in _README.splitlines() if line.startswith("| one worker")]
    shown = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]+", row.partition("([")[0])]
    names = ("ours, at_least_once", "ours, exactly_once", "Faust agent, Redis per event", "Quix Streams, at-least-once",
             "Kafka Streams, at_least_once")  # fmt: skip
    assert shown == [round(_throughput(name), -2 if _throughput(name) > 1000 else 0) for name in names]
    comparison = (_REPOSITORY / "docs" / "comparison.md").read_text()
    for name in names:
        assert f"| {_throughput(name):,} | " in comparison, name


def _throughput(contender: str) -> int:
    """Events a second in the table of all contenders, which is the only one with that many columns."""
    table = _BENCHMARKS.partition("<!-- throughput -->")[2].partition("<!-- /throughput -->")[0]
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {contender} |")]
    return int(row.split("|")[2].replace(",", ""))
