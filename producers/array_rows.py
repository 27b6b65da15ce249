"""One JSON array → its elements, cut out while the file is read: an export of gigabytes is often one array."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from producers.packed import UNPACK_ERRORS
from producers.rows import KEPT_BYTES_MAX
from producers.source_error import SourceError

CHUNK_BYTES: Final = 1 << 18

#: Of what lies between these nothing matters to where an element ends.
_OUTSIDE: Final = re.compile(rb'["\[\]{},]')
_IN_STRING: Final = re.compile(rb'["\\]')

_SPACE: Final = b" \t\r\n"


class ArrayRows:
    """Each element of the array is a row, numbered from 1. Its bytes are those of the file, line breaks included.

    `chunk_bytes` are read at once; an element may be longer or shorter than that.
    """

    def __init__(
        self, stream: io.BufferedReader, disk: IO[bytes], path: Path, *, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self._stream = stream
        self._disk = disk
        self._chunk_bytes = chunk_bytes
        self._path = path
        self._number = 0
        self._element = bytearray()
        self._depth = 0
        self._in_string = False
        self._skip = 0

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read, as it lies on disk."""
        return self._disk.tell()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        before = b"\xef\xbb\xbf" + _SPACE
        try:
            while chunk := self._stream.read(self._chunk_bytes):
                if self._depth == 0 and self._number == 0 and not (chunk := chunk.lstrip(before)):
                    continue
                for element in self._cut(chunk):
                    self._number += 1
                    yield self._number, element
        except UNPACK_ERRORS as error:
            raise SourceError(f"{self._path}: damaged after element {self._number} ({error})") from None
        if self._depth != 0:
            raise SourceError(f"{self._path}: the array is not closed after element {self._number}; is the file cut?")

    def _cut(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements that end in this chunk."""
        position, begin = self._skip, 0
        self._skip = 0
        while match := (_IN_STRING if self._in_string else _OUTSIDE).search(chunk, position):
            sign, position = match[0], match.end()
            if self._in_string:
                if sign == b"\\":
                    position += 1  # what is escaped, which may be the first byte of the next chunk
                else:
                    self._in_string = False
            elif sign == b'"':
                self._in_string = True
            elif sign in b"[{":
                self._depth += 1
                if self._depth == 1:
                    begin = position
            elif self._depth == 1 and sign in b",]":
                self._keep(chunk, begin, match.start())
                begin = position
                element = bytes(self._element.strip(_SPACE))
                self._element.clear()
                if element or sign == b",":
                    yield element
                if sign == b"]":
                    self._end(chunk[position:])
                    return
            elif sign != b",":
                self._depth -= 1
        self._skip = max(0, position - len(chunk))
        self._keep(chunk, begin, len(chunk))

    def _keep(self, chunk: bytes, begin: int, end: int) -> None:
        self._element += chunk[begin : min(end, begin + KEPT_BYTES_MAX - len(self._element))]

    def _end(self, rest: bytes) -> None:
        self._depth = 0
        while not rest.strip(_SPACE) and (rest := self._stream.read(self._chunk_bytes)):
            pass
        if rest:
            raise SourceError(f"{self._path}: there is more after the array's end, behind element {self._number}")
