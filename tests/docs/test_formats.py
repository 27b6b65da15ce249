"""docs/formats.md: its tables are those of the adapters, and what it shows was printed."""

from __future__ import annotations

import re

from click.testing import CliRunner

from producers.cli import produce
from producers.formats_page import PAGE, page_with
from stream_app.core.events import Event

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_made_from_the_mappings() -> None:
    assert page_with(TEXT) == TEXT, "stale: run python -m producers.formats_page"


def test_an_event_has_as_many_fields_as_the_page_says() -> None:
    assert "the nineteen fields" in TEXT
    assert len(Event.__struct_fields__) == 19


def test_what_check_is_shown_to_print_it_prints() -> None:
    command = re.search(r"\$ stream-app produce (check tests.*)", TEXT)
    shown = re.search(r"```\n(tests/producers/golden.*?)```", TEXT, re.DOTALL)
    assert command is not None
    assert shown is not None
    result = CliRunner().invoke(produce, command[1].split())
    assert result.stdout.startswith(shown[1])
