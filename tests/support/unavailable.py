"""What a real server needs may be missing on a laptop: said loudly, by what to install."""

from __future__ import annotations

import shutil


class UnavailableError(RuntimeError):
    """This machine lacks what a real server needs; the text says what to install."""


def program(name: str, install: str) -> str:
    """The path of a program. Raises UnavailableError if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is not installed (Debian: {install})")
    return path
