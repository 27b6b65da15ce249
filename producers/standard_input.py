"""Standard input as a file whose beginning can be read twice: once to tell its format, once for what it says."""

from __future__ import annotations

import io
import os
import select
from pathlib import Path
from typing import Final

from producers.source_error import SourceError

#: How it is called on the command line, and in dead letters.
NAME: Final = Path("-")

#: While it is looked at, nothing for so long is the end of what there is, in seconds: who waits for the next click must
#: not hold up the ones before it.
_LOOK_S: Final = 0.5

#: … and so much is kept for the second reading, at most: a hundred records of the largest size.
_LOOKED_AT_BYTES_MAX: Final = 32 << 20

#: Read at once, where there is as much.
_BUFFER_BYTES: Final = 1 << 16


class StandardInput(io.RawIOBase):
    """Reads a descriptor as it comes. `rewind` goes back to the beginning, once; `end` ends it from another thread.

    Raises SourceError where there is nobody to write to it: a terminal.
    """

    def __init__(self, descriptor: int = 0) -> None:
        super().__init__()
        if os.isatty(descriptor):
            raise SourceError(
                "standard input is a terminal, expected a file or another program: … | stream-app ingest -"
            )
        # A descriptor of our own: closing it leaves the interpreter's as it is.
        self._descriptor = os.dup(descriptor)
        self._ended, self._end = os.pipe()
        self._kept = bytearray()
        self._position = 0
        self._looking = True

    def opened(self) -> io.BufferedReader:
        """A buffered file from where it stands."""
        return io.BufferedReader(self, _BUFFER_BYTES)

    def rewind(self) -> None:
        """Go back to the beginning, to read all of it."""
        self._looking, self._position = False, 0

    def end(self) -> None:
        """Whoever reads is told that this is the end, now and from now on."""
        os.write(self._end, b".")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Within what is kept of its beginning."""
        return True

    def tell(self) -> int:
        """Bytes read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go back within what is kept; io.UnsupportedOperation otherwise."""
        target = offset if whence == os.SEEK_SET else self._position + offset if whence == os.SEEK_CUR else -1
        if target != self._position:
            if not 0 <= target <= len(self._kept):
                raise io.UnsupportedOperation("standard input cannot be read in any order: save it to a file first")
            self._position = target
        return target

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill as much as there is; waits for the first byte, 0 is the end."""
        if self._position < len(self._kept):
            found = bytes(self._kept[self._position : self._position + len(buffer)])
        else:
            found = self._read(len(buffer))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def close(self) -> None:
        """Close; harmless when repeated."""
        if not self.closed:
            super().close()
            for descriptor in (self._descriptor, self._ended, self._end):
                os.close(descriptor)

    def _read(self, size: int) -> bytes:
        if self._looking and len(self._kept) >= _LOOKED_AT_BYTES_MAX:
            return b""
        timeout = _LOOK_S if self._looking and self._kept else None
        ready, _, _ = select.select([self._descriptor, self._ended], [], [], timeout)
        if self._ended in ready or not ready:
            return b""
        found = os.read(self._descriptor, size)
        if self._looking:
            self._kept += found
        elif found:
            self._kept.clear()  # all of it has been read again
        return found
