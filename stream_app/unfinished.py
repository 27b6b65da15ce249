"""A file that is there whole or not at all: a page or a table that was cut would still open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, beside `path`: at the end it takes its place, after an error it is removed.

    What was at `path` before stays until then. A crash of the machine is not guarded against: nothing is flushed.

    Raises
    ------
    OSError
        If it cannot take its place.
    """
    beside = path.with_name(f"{path.name}.unfinished")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
