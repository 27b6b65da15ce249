"""docs/configuration.md is made from the settings, and has each of them in a section."""

from __future__ import annotations

from pathlib import Path

from stream_app.settings import Settings
from stream_app.settings_page import page

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_the_page_is_the_one_made_from_the_settings() -> None:
    assert page() == PAGE, "stale: run python -m stream_app.settings_page > docs/configuration.md"


def test_each_setting_has_one_row_below_a_heading() -> None:
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert rows == list(Settings.model_fields)
    assert PAGE.index("## ") < PAGE.index("| `")
