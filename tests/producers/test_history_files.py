"""Which files a path stands for, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.history_files import files_in
from producers.source import SourceError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def test_a_directory_is_read_to_the_bottom_in_the_order_of_its_paths(tmp_path: Path) -> None:
    root = tree(tmp_path, "day=02/part-1.csv", "day=01/part-1.csv", "day=01/part-0.csv", "z.csv", "day=010/a.csv")
    assert [file.name for file in files_in([root])] == [
        "day=01/part-0.csv",
        "day=01/part-1.csv",
        "day=010/a.csv",  # by whole parts: "day=01" before "day=010", whatever follows
        "day=02/part-1.csv",
        "z.csv",
    ]


def test_what_tools_leave_beside_their_data_and_empty_files_are_no_data(tmp_path: Path) -> None:
    root = tree(tmp_path, "a.csv", ".a.csv.crc", "_SUCCESS", "_temporary/0/b.csv", ".git/config")
    (root / "empty.csv").touch()
    assert [file.name for file in files_in([root])] == ["a.csv"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called_and_once(tmp_path: Path) -> None:
    root = tree(tmp_path, "b.csv", "a.csv", "_c.csv")
    named = [root / "_c.csv", root / "b.csv", root, root / "." / "b.csv"]
    assert [file.name for file in files_in(named)] == ["_c.csv", "b.csv", "a.csv"]


def test_a_directory_without_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path}: got a directory without a file"):
        files_in([tree(tmp_path, ".hidden")])
