"""Names behind the rows: categories and sources by a small code, sessions by their place in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Categories and sources that are told apart; what comes after is one: a campaign's tag may be new with each visit.
CODES_MAX: Final = 20_000

_OTHER: Final = "(other)"
_NONE: Final = "(none)"


class Names:
    """What a row's numbers mean. Sessions' ids are many, and lie on disk."""

    def __init__(self, directory: Path) -> None:
        self._codes = {_NONE: 0, _OTHER: 1}
        self._known = [_NONE, _OTHER]
        self._file = (directory / "sessions.txt").open("wb+")
        self._end = 0
        self._last: tuple[tuple[str, str], int] | None = None

    def code(self, name: str | None) -> int:
        """The code of a category or a source."""
        if name is None:
            return 0
        found = self._codes.get(name)
        if found is None:
            if len(self._known) >= CODES_MAX:
                return 1
            found = self._codes[name] = len(self._known)
            self._known.append(name)
        return found

    def name(self, code: int) -> str:
        """The name behind a code."""
        return self._known[code]

    def place(self, session: tuple[str, str]) -> int:
        """Where a session's ids are written; those of the one just asked for are not written again."""
        if self._last is None or self._last[0] != session:
            self._last = (session, self._end)
            self._end += self._file.write(f"{session[0]}\t{session[1]}\n".encode())
        return self._last[1]

    def session(self, place: int) -> tuple[str, str]:
        """The visitor's and the session's id written at a place."""
        self._file.flush()
        self._file.seek(place)
        visitor, _, session = self._file.readline().decode().rstrip("\n").partition("\t")
        self._file.seek(self._end)
        return visitor, session

    def close(self) -> None:
        """Close the file."""
        self._file.close()
