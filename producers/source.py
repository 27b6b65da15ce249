"""Files → rows, streaming: memory does not grow with the file.

A row is a line; its number is the line's number in the file, from 1 with the header counted, so that
`sed -n 17p` shows row 17. Blank lines are no rows. Gzip is recognised by its first bytes, not by the name.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from producers.formats import Format, HeaderError, ParseRow
from stream_app.core.codec import RECORD_BYTES_MAX, Rejected
from stream_app.core.events import Event

_GZIP_MAGIC: Final = b"\x1f\x8b"

#: One byte past the limit is kept of a longer row: enough to see that it is too large, whatever its length.
_KEPT_BYTES_MAX: Final = RECORD_BYTES_MAX + 1

#: The rest of an over-long row is skipped in pieces of this size; any bound that fits in memory would do.
_SKIP_BYTES: Final = 1 << 20


class SourceError(Exception):
    """The file as a whole cannot be read (missing, damaged, wrong header); the text is one line that says why."""


class Row(NamedTuple):
    """One row: its number, its bytes without the line end, and what became of it."""

    number: int
    raw: bytes
    result: Event | Rejected


class Source:
    """One file of a known format, open for reading. Use it as a context manager; iterate once.

    Parameters
    ----------
    path
        A file of the format, plain or gzip.
    format
        One of `producers.formats.FORMATS`.
    now_ms
        Wall clock, ms since the epoch: bounds how far ahead an event time may lie.

    Attributes
    ----------
    parse
        Bytes of one row of this very file → event or rejection (the header is known to it).
    size_bytes
        Of the file as it lies on disk.

    Raises
    ------
    SourceError
        If the file cannot be opened, is empty, or has the wrong header; while iterating, if it turns out damaged.
    """

    parse: ParseRow

    def __init__(self, path: Path, format: Format, *, now_ms: int) -> None:
        self.path = path
        self._row = 0
        try:
            self._disk = path.open("rb")
            self.size_bytes = path.stat().st_size
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        try:
            self._lines = self._open()
            header = self._header() if format.has_header else b""
            self.parse = format.parser(header, now_ms=now_ms)
        except HeaderError as error:
            self.close()
            raise SourceError(f"{path}: {error}") from None
        except SourceError:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Row]:
        parse = self.parse
        for number, raw in self.rows():
            yield Row(number, raw, parse(raw))

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield the rows unparsed: number and bytes. An over-long row is cut to one byte past the limit."""
        while line := self._next_line():
            raw = _without_end(line)
            if raw and not raw.isspace():
                yield self._row, raw

    @property
    def read_bytes(self) -> int:
        """How much of `size_bytes` has been read: for a progress bar."""
        return self._disk.tell()

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._disk.close()

    def _open(self) -> IO[bytes]:
        try:
            magic = self._disk.read(len(_GZIP_MAGIC))
            self._disk.seek(0)
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror or error}") from None
        # GzipFile is a buffered binary stream in all but its declared type.
        return gzip.GzipFile(fileobj=self._disk) if magic == _GZIP_MAGIC else self._disk  # type: ignore[return-value]

    def _header(self) -> bytes:
        header = self._next_line()
        if not header:
            raise SourceError(f"{self.path}: the file is empty, expected a header line")
        return _without_end(header)

    def _next_line(self) -> bytes:
        """Read the next line with its end, b"" at the end of the file; bounded whatever the file holds."""
        try:
            line = self._lines.readline(_KEPT_BYTES_MAX)
            rest = line
            while len(rest) >= _KEPT_BYTES_MAX and not rest.endswith(b"\n"):
                rest = self._lines.readline(_SKIP_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{self.path}: damaged after row {self._row} ({error})") from None
        self._row += 1
        return line


def _without_end(line: bytes) -> bytes:
    # One line end only: further carriage returns belong to the row, whose bytes a dead letter must not change.
    return line.removesuffix(b"\n").removesuffix(b"\r")
