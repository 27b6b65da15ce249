"""What batch models are fitted to: the rows whose outcome is known, or a sample of whole sessions of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from stream_app.core.model import INPUT_NAMES
from stream_app.evaluation.columns import Chunk, Columns

#: Rows kept at most: 75 inputs of four bytes each make 120 MB, and no batch model here gains from more.
ROWS_MAX: Final = 400_000

_HASHES: Final = 2**64


class TrainingRows:
    """Rows in the order in which their outcomes came to be known, at most `rows_max`.

    When one more would come, every second session goes, those in the upper half of the hashes that are still let in:
    what is kept is always all rows of a uniform sample of sessions.
    """

    def __init__(self, directory: Path, *, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._below = _HASHES
        self._directory = directory
        self._generation = 0
        self._columns = self._new_columns()

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def session_share(self) -> float:
        """The share of sessions that is kept."""
        return self._below / _HASHES

    def add(self, inputs: np.ndarray, *, label: int, weight: float, events: int, session: int) -> None:
        """Take a row whose outcome is known; `session` is its session's hash, 64 bits."""
        if session >= self._below:
            return
        while len(self._columns) >= self._rows_max:
            self._halve()
        if session >= self._below:
            return
        self._columns.append({"inputs": inputs, "label": label, "weight": weight, "events": events, "session": session})

    def all(self) -> Chunk:
        """Everything, in memory: its size is bounded."""
        return self._columns.all()

    def close(self) -> None:
        """Close the files."""
        self._columns.close()

    def _halve(self) -> None:
        self._below //= 2
        kept = self._new_columns()
        for chunk in self._columns.chunks():
            stays = chunk["session"] < np.uint64(self._below)
            kept.extend({name: values[stays] for name, values in chunk.items()})
        self._columns.close()
        self._columns = kept

    def _new_columns(self) -> Columns:
        self._generation += 1
        return Columns(
            # Two generations take turns: one is read while the other is written.
            self._directory / f"training{self._generation % 2}",
            {
                "inputs": (np.float32, len(INPUT_NAMES)),
                "label": (np.uint8, 0),
                "weight": (np.float64, 0),
                "events": (np.int32, 0),
                "session": (np.uint64, 0),
            },
        )
