"""The rows of a file, whatever it is: their numbers and bytes, one after the other, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol

from producers.packed import UNPACK_ERRORS
from producers.source_error import SourceError
from stream_app.core.codec import RECORD_BYTES_MAX

#: One byte past the limit is kept of a longer row: enough to see that it is too large, whatever its length.
KEPT_BYTES_MAX: Final = RECORD_BYTES_MAX + 1

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

#: The rest of an over-long row is skipped in pieces of this size; any bound that fits in memory would do.
_SKIP_BYTES: Final = 1 << 20


class Rows(Protocol):
    """Rows in the order of the file; iterate once."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes. An over-long row is cut to one byte past the limit. SourceError: it is damaged."""

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read, as it lies on disk."""


class LineRows:
    """Each line is a row, with its number in the file, from 1; blank ones are none.

    `sed -n 17p` shows row 17: a header that was taken (`take_line`) is counted.
    """

    def __init__(self, stream: io.BufferedReader, disk: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._disk = disk
        self._path = path
        self._number = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while line := self._next_line():
            raw = _without_end(line)
            if raw and not raw.isspace():
                yield self._number, raw

    def take_line(self) -> bytes | None:
        """Take the next line, for a header; None at the end of the file."""
        line = self._next_line()
        return _without_end(line) if line else None

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read, as it lies on disk."""
        return self._disk.tell()

    def _next_line(self) -> bytes:
        """Read the next line with its end, b"" at the end of the file; bounded whatever the file holds."""
        try:
            line = self._stream.readline(KEPT_BYTES_MAX)
            rest = line
            while len(rest) >= KEPT_BYTES_MAX and not rest.endswith(b"\n"):
                rest = self._stream.readline(_SKIP_BYTES)
        except UNPACK_ERRORS as error:
            raise SourceError(f"{self._path}: damaged after row {self._number} ({error})") from None
        self._number += 1
        # Spreadsheets and editors put it before the first line; it is no part of that.
        return line.removeprefix(_BYTE_ORDER_MARK) if self._number == 1 else line


def _without_end(line: bytes) -> bytes:
    # One line end only: further carriage returns belong to the row, whose bytes a dead letter must not change.
    return line.removesuffix(b"\n").removesuffix(b"\r")
