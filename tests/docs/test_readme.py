"""What the README shows exists: its links, its commands, its records."""

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
_PAGES = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").rglob("*.md"))]
_README = (_REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_no_placeholder_was_left(page: Path) -> None:
    assert not re.search(r"MEASURE[A-Z_]+|TODO|FIXME|XXX", page.read_text())


def test_every_command_shown_is_one() -> None:
    shown = {line.split()[2] for line in _README.splitlines() if line.startswith("$ stream-app ")}
    assert shown
    listed = CliRunner().invoke(cli.main, ["--help"]).output
    assert [command for command in shown if not re.search(rf"^  {command}\b", listed, re.MULTILINE)] == []


def test_the_event_and_the_label_shown_are_accepted_and_the_score_has_the_fields_of_its_type() -> None:
    event, label, score = re.findall(r"```json\n(.*?)```", _README, re.DOTALL)
    now = 1_767_300_000_000
    assert not isinstance(codec.decode_event(event.encode(), record_time_ms=now), Rejected)
    assert not isinstance(codec.decode_label(label.encode(), record_time_ms=now), Rejected)
    assert re.findall(r'"(\w+)":', score) == list(ScoreRecord.__struct_fields__)
