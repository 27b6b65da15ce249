"""The visitors' states on disk: what Redis is to a worker. The processor's own cache holds those in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

#: States waiting to be written, about 1 kB each: one transaction for many costs little.
_WAITING_MAX: Final = 1_000


class DiskStates:
    """Visitor → blob, in a file that lives as long as the evaluation: nothing is synced."""

    def __init__(self, directory: Path) -> None:
        self._waiting: dict[str, bytes | None] = {}
        self._file = sqlite3.connect(directory / "states.sqlite", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute("CREATE TABLE states (visitor TEXT PRIMARY KEY, blob BLOB) WITHOUT ROWID")

    def load(self, visitors: Sequence[str]) -> dict[str, bytes | None]:
        """The blob of each, None where there is none."""
        return {visitor: self._waiting.get(visitor) or self._read(visitor) for visitor in visitors}

    def put(self, states: Mapping[str, bytes | None]) -> None:
        """Keep blobs, in memory for a while, then on disk."""
        self._waiting.update(states)
        if len(self._waiting) >= _WAITING_MAX:
            self._file.execute("BEGIN")
            self._file.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", self._waiting.items())
            self._file.execute("COMMIT")
            self._waiting = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, visitor: str) -> bytes | None:
        row = self._file.execute("SELECT blob FROM states WHERE visitor = ?", (visitor,)).fetchone()
        return None if row is None else row[0]
