"""Rows → a CSV or a Parquet file, as they come."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import numpy as np

from stream_app.analytics.episodes import EpisodeRows
from stream_app.analytics.stretches import CLOSED_BY

#: Column → its type in Parquet. Times are UTC in ms, `duration_ms` is ms, `price` and `value` the shop's currency.
COLUMNS: Final = {
    "visitor_id": "string",
    "item_id": "string",
    "category": "string",
    "brand": "string",
    "source": "string",
    "first_ms": "int64",
    "last_ms": "int64",
    "duration_ms": "int64",
    "events": "int32",
    "views": "int32",
    "carts": "int32",
    "interest": "int32",
    "added_to_cart": "bool",
    "purchased": "bool",
    "lines": "int32",
    "value": "float64",
    "price": "float64",
    "closed_by": "string",
}


class WritingError(Exception):
    """Rows cannot be written there; the text says why and what to do."""


class RowWriter(Protocol):
    """A file of rows, open for writing; a context manager that closes it."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""

    def write(self, rows: EpisodeRows) -> None:
        """Add rows."""


def open_rows(path: Path, *, kind: str) -> RowWriter:
    """Open a file for rows: `kind` is `csv` or `parquet`.

    Raises
    ------
    WritingError
        If the file cannot be written, or Parquet's library is not installed.
    """
    try:
        return _Csv(path) if kind == "csv" else _Parquet(path)
    except OSError as error:
        raise WritingError(f"{path}: {error.strerror or error}") from None


class _Csv:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: EpisodeRows) -> None:
        columns = _columns(rows)
        columns |= {name: columns[name].astype(int) for name in ("added_to_cart", "purchased")}
        # Python's own numbers: NumPy's take three times as long to become text.
        values = {name: column.tolist() for name, column in columns.items()}
        # An unknown price is an empty field, as in the exports that such rows come from.
        values["price"] = ["" if price != price else price for price in values["price"]]
        self._writer.writerows(zip(*values.values(), strict=True))


class _Parquet:
    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise WritingError("Parquet needs pyarrow: pip install '.[analytics]', or write to a .csv") from None
        self._arrow: Any = pa
        self._schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: EpisodeRows) -> None:
        if len(rows):
            arrays = [
                self._arrow.array(column, type=self._schema.field(name).type, from_pandas=True)
                for name, column in _columns(rows).items()
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


def _columns(rows: EpisodeRows) -> dict[str, Any]:
    """The columns of `COLUMNS`, in order."""
    own = {name: getattr(rows, name) for name in COLUMNS if hasattr(rows, name)}
    told = {
        "visitor_id": rows.visitor,
        "item_id": rows.item,
        "closed_by": np.array(CLOSED_BY, dtype=object)[rows.closed_by],
    }
    return {name: (own | told)[name] for name in COLUMNS}
