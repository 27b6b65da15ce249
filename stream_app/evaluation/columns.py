"""A table on disk, one file a column: rows are appended and read back in chunks, so that none of it stays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: Rows gathered before they are written.
_GATHERED_MAX: Final = 1_024

#: Rows of a chunk: with twenty models and 200 draws of the bootstrap about 100 MB of work.
CHUNK_ROWS: Final = 32_768

Chunk = dict[str, npt.NDArray[Any]]


class Columns:
    """Columns by name, each of a dtype and a width (0: plain numbers). Not thread-safe."""

    def __init__(self, directory: Path, columns: Mapping[str, tuple[Any, int]]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._columns = {name: (np.dtype(dtype), width) for name, (dtype, width) in columns.items()}
        self._paths = {name: directory / f"{name}.column" for name in columns}
        self._files = {name: path.open("wb+") for name, path in self._paths.items()}
        self._gathered: dict[str, list[Any]] = {name: [] for name in columns}
        self._written = 0

    def __len__(self) -> int:
        return self._written + len(next(iter(self._gathered.values())))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row, which has a value for every column."""
        for name, values in self._gathered.items():
            values.append(row[name])
        if len(values) >= _GATHERED_MAX:
            self.flush()

    def extend(self, chunk: Chunk) -> None:
        """Add many rows, as `chunks` gives them."""
        self.flush()
        for name, file in self._files.items():
            np.ascontiguousarray(chunk[name], dtype=self._columns[name][0]).tofile(file)
        self._written += len(next(iter(chunk.values())))

    def flush(self) -> None:
        """Write what has been gathered."""
        rows = len(next(iter(self._gathered.values())))
        if rows:
            for name, file in self._files.items():
                np.asarray(self._gathered[name], dtype=self._columns[name][0]).tofile(file)
                self._gathered[name] = []
            self._written += rows
        for file in self._files.values():
            file.flush()

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column as it lies on disk, all rows so far; writing into it changes the file."""
        self.flush()
        dtype, width = self._columns[name]
        shape = (self._written, width) if width else (self._written,)
        if not self._written:
            return np.empty(shape, dtype)
        return np.memmap(self._paths[name], dtype=dtype, mode="r+", shape=shape)

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """All rows, in memory chunk by chunk."""
        for start in range(0, len(self), rows):
            yield {name: np.array(self.column(name)[start : start + rows]) for name in self._columns}

    def all(self) -> Chunk:
        """All rows in memory: for tables that are bounded."""
        return {name: np.array(self.column(name)) for name in self._columns}

    def close(self) -> None:
        """Close the files; they stay."""
        for file in self._files.values():
            file.close()
