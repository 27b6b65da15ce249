"""Parquet → rows as JSON objects, by column name; nested columns are objects and lists. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from producers.source_error import SourceError

#: Rows turned into objects at once: some MB.
_BATCH_ROWS: Final = 2_000

_TEXT_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"


class ParquetRows:
    """Each row of the table, numbered from 1, as the bytes of a JSON object.

    Moments become RFC 3339 text (without a zone they are UTC), or, for a format that knows texts only, text such as
    `2026-01-31 18:30:05 UTC`. NaN and infinities become null.

    Raises
    ------
    SourceError
        If pyarrow is not installed, or the file is damaged; that also while iterating.
    """

    def __init__(self, disk: IO[bytes], path: Path, *, only_text: bool) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise SourceError(f"{path} is Parquet: to read it, pip install '.[analytics]'") from None
        self._path = path
        self._only_text = only_text
        self._number = 0
        try:
            self._file = pyarrow.parquet.ParquetFile(disk)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: {_first_line(error)}") from None
        self._size = path.stat().st_size

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self._file.schema_arrow.names)

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read, by the share of its rows."""
        rows: int = self._file.metadata.num_rows
        return self._size * self._number // max(1, rows)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        try:
            for batch in self._file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    self._number += 1
                    yield self._number, msgspec.json.encode(self._plain(row))
        except (OSError, ValueError, OverflowError) as error:
            raise SourceError(f"{self._path}: damaged after row {self._number} ({_first_line(error)})") from None

    def _plain(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._plain(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._plain(inner) for inner in value]
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.astimezone(UTC).strftime(_TEXT_TIME) if self._only_text else moment.isoformat()
        if isinstance(value, bytes):
            return value.decode(errors="replace")  # written by tools that do not mark their texts as such
        return float(value) if isinstance(value, Decimal) else value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
