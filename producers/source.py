"""Files → rows → events, streaming: memory does not grow with the file.

A file is packed (gzip, zstd) or not, and is JSON lines, one JSON array, CSV or TSV, or Parquet: all that is seen in its
first bytes, whatever it is called. A row is a line, an element or a row of the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

from producers.adapters import canonical
from producers.adapters.result import Arrival, Ignored
from producers.array_rows import ArrayRows
from producers.delimited import header_names
from producers.formats import Format, HeaderError, ParseRow, marks_missing
from producers.packed import first_bytes, is_parquet, unpacked
from producers.parquet_rows import ParquetRows
from producers.rows import LineRows, Rows
from producers.source_error import SourceError
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

__all__ = ["Row", "Source", "SourceError"]

#: Kinds of ignored records that are counted by name; the rest is one more.
_KINDS_MAX: Final = 100
_OTHER_KINDS: Final = "(other)"


class Row(NamedTuple):
    """What a row came to: its number, bytes that stand for the result, and the result.

    A row with several events is several of these. `raw` of a rejected row are its own bytes, without the line end
    (`Source.rejection` reads them again); those of an event are whatever `Source.parse` makes that very event of.
    """

    number: int
    raw: bytes
    result: Event | Rejected


class Source:
    """One file of a known format, open for reading. Use it as a context manager; iterate once.

    Parameters
    ----------
    path
        A file of the format.
    format
        One of `producers.formats.FORMATS`, or a mapping file's.
    now_ms
        Wall clock, ms since the epoch: bounds how far ahead an event time may lie.
    stream
        Where its bytes come from, if not from a file called `path`; closed with this.

    Attributes
    ----------
    results
        Bytes of one row of this very file → what is in it (the header is known to it).
    ignored
        Records so far that say nothing we want to know, by their kind.
    columns
        Of a delimited file its columns, else none; `separator` is what stands between them.
    is_plain
        Whether each row is one event or rejection, whose bytes are one line.
    size_bytes
        Of the file as it lies on disk; 0 of a stream.

    Raises
    ------
    SourceError
        If the file cannot be opened, is empty, or has the wrong header; while iterating, if it turns out damaged.
    """

    results: ParseRow

    def __init__(self, path: Path, format: Format, *, now_ms: int, stream: IO[bytes] | None = None) -> None:
        self.path = path
        self.format = format
        self.ignored: Counter[str] = Counter()
        self.columns: tuple[str, ...] = ()
        self.separator = ""
        self.is_plain = False
        self._arrival = Arrival(now_ms)
        try:
            self._disk = stream or path.open("rb")
            self.size_bytes = 0 if stream else path.stat().st_size
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        try:
            self._rows, self._parser = self._open()
            self.results = self._parser(self._arrival)
        except HeaderError as error:
            self.close()
            raise SourceError(f"{path}: {error}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Row]:
        for number, raw in self._rows:
            for result in self.results(raw):
                if isinstance(result, Ignored):
                    self._count(result)
                elif self.is_plain or isinstance(result, Rejected):
                    yield Row(number, raw, result)
                else:
                    yield Row(number, codec.encode(result), result)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield the rows unparsed: number and bytes. An over-long row is cut to one byte past the limit."""
        return iter(self._rows)

    def judge_by(self, now_ms: int) -> None:
        """Hold the times of what is read from now on to this clock: a stream may last for days."""
        self._arrival = Arrival(now_ms)
        self.results = self._parser(self._arrival)

    def parse(self, raw: bytes) -> Event | Rejected:
        """Read `Row.raw` of an event again."""
        if self.is_plain:
            return next(result for result in self.results(raw) if not isinstance(result, Ignored))
        return canonical.to_event(raw, now_ms=self._arrival.now_ms)

    def rejection(self, raw: bytes) -> Rejected:
        """Read `Row.raw` of a rejected row again."""
        return next(result for result in self.results(raw) if isinstance(result, Rejected))

    @property
    def read_bytes(self) -> int:
        """How much of `size_bytes` has been read: for a progress bar."""
        return self._rows.read_bytes

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._disk.close()

    def _open(self) -> tuple[Rows, Callable[[Arrival], ParseRow]]:
        """The rows, and what makes the parser of one."""
        format = self.format
        try:
            has_table = is_parquet(self._disk)
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror or error}") from None
        if has_table:
            table = ParquetRows(self._disk, self.path, only_text=format.only_text)
            if missing := marks_missing(format, table.names):
                got = ", ".join(table.names)[:200]
                raise HeaderError(f"the table lacks {', '.join(missing)} of format {format.name}; got {got}")
            return table, format.object_parser
        stream = unpacked(self._disk, self.path)
        begin = first_bytes(stream, self.path)
        if begin.startswith(b"["):
            return ArrayRows(stream, self._disk, self.path), format.json_parser
        lines = LineRows(stream, self._disk, self.path)
        if _is_json(begin, format):
            self.is_plain = format.name == canonical.NAME
            return lines, format.json_parser
        return lines, self._delimited(lines, begin)

    def _delimited(self, lines: LineRows, begin: bytes) -> Callable[[Arrival], ParseRow]:
        format = self.format
        if format.fixed_columns and not _names_columns(begin, format):
            return partial(format.delimited_parser, None)
        header = lines.take_line()
        if header is None:
            raise SourceError(f"{self.path}: the file is empty, expected a header line")
        names, self.separator = header_names(header)
        self.columns = tuple(names)
        self.is_plain = not format.fixed_columns and format.table is None
        return partial(format.delimited_parser, header)

    def _count(self, ignored: Ignored) -> None:
        known = ignored.kind in self.ignored or len(self.ignored) < _KINDS_MAX
        self.ignored[ignored.kind if known else _OTHER_KINDS] += 1


def kinds_told(ignored: Counter[str]) -> str:
    """The ignored kinds in words, the most frequent ones by name."""
    named = ", ".join(f"{kind} {count:,}" for kind, count in ignored.most_common(5))
    more = ", …" if len(ignored) > 5 else ""
    return f"ignored as no part of a visit: {ignored.total():,} ({named}{more})"


def _is_json(begin: bytes, format: Format) -> bool:
    """Whether a file's lines are JSON. Of a format that has both, what is neither counts as JSON, which says so."""
    if begin.startswith(b"{") or not format.is_tabular:
        return True
    return format.name == canonical.NAME and not _names_columns(begin, format)


def _names_columns(begin: bytes, format: Format) -> bool:
    """Whether a file begins with a header, by half of the columns that the format needs."""
    names = header_names(begin.partition(b"\n")[0].removesuffix(b"\r"))[0]
    return 2 * sum(column in names for column in format.columns) >= len(format.columns)
