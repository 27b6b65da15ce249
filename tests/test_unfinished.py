"""A file that is written beside its place: there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.unfinished import unfinished


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with unfinished(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
        assert beside.parent == tmp_path
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page.html", "new")]


def write(path: Path, text: str | None, error: BaseException | None = None) -> None:
    with unfinished(path) as beside:
        if text is not None:
            beside.write_text(text)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_after_an_error_what_was_there_stays_and_nothing_else_is_left(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(type(error)):
        write(path, "half", error)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page.html", "old")]


@pytest.mark.parametrize(("name", "text"), [("no/page.html", "new"), ("page.html", None)])
def test_where_nothing_can_be_or_was_written_it_says_so(tmp_path: Path, name: str, text: str | None) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / name, text)
    assert list(tmp_path.iterdir()) == []
