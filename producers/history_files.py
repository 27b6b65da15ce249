"""Files and directories as a person names them → the files of a history, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from producers.formats import Format
from producers.source_error import SourceError

#: What tools leave beside their data: `.crc`, `_SUCCESS`, `_temporary/`.
_NOT_DATA: Final = (".", "_")


class HistoryFile(NamedTuple):
    """A file to read; `name` is what dead letters and the state of a replay call it."""

    path: Path
    name: str
    format: Format


class FoundFile(NamedTuple):
    """As `HistoryFile`, before its format is known."""

    path: Path
    name: str


def files_in(paths: Iterable[Path]) -> list[FoundFile]:
    """The files that are named, and those below the directories that are.

    Directories are read to the bottom, in the order of the paths within them, part by part; empty files and whatever
    begins with a point or an underscore is left out there. A file that is named twice counts once. A file below a
    directory is called by its path within it.

    Raises
    ------
    SourceError
        If a path does not exist, or a directory has no file in it.
    """
    found: dict[Path, FoundFile] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [FoundFile(path, path.name)]:
            found.setdefault(file.path.resolve(), file)
    return list(found.values())


def common_name(paths: Sequence[Path]) -> str:
    """What a summary calls all of them."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _below(directory: Path) -> list[FoundFile]:
    try:
        inside = sorted((path.relative_to(directory).parts, path) for path in directory.rglob("*"))
        files = [
            FoundFile(path, "/".join(parts))
            for parts, path in inside
            if not any(part.startswith(_NOT_DATA) for part in parts) and path.is_file() and path.stat().st_size
        ]
    except OSError as error:
        raise SourceError(f"{directory}: {error.strerror or error}") from None
    if not files:
        raise SourceError(f"{directory}: got a directory without a file to read, expected at least one")
    return files
