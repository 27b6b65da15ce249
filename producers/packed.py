"""Files as they lie on disk → their bytes. Packing is known by its first bytes, not by the name."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, Final, cast

from producers.source_error import SourceError

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_PARQUET_MAGIC: Final = b"PAR1"

#: What unpacking a damaged file raises; pyarrow's errors are OSError and ValueError.
UNPACK_ERRORS: Final = (OSError, EOFError, ValueError, zlib.error)

#: For blank lines at the beginning, too, of which a file by hand may have a few.
_PEEKED_BYTES: Final = 4096


def is_parquet(disk: IO[bytes]) -> bool:
    """Whether a file that has just been opened is Parquet."""
    magic = disk.read(len(_PARQUET_MAGIC))
    disk.seek(0)
    return magic == _PARQUET_MAGIC


def unpacked(disk: IO[bytes], path: Path) -> io.BufferedReader:
    """Unpack a file that has just been opened, while it is read: plain, gzip or zstd.

    Raises
    ------
    SourceError
        If it cannot be read, or is zstd and pyarrow is not installed.
    """
    try:
        magic = disk.read(len(_ZSTD_MAGIC))
        disk.seek(0)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    if magic.startswith(_GZIP_MAGIC):
        # GzipFile is a buffered binary stream in all but its declared type; pyarrow's is a raw one.
        return cast(io.BufferedReader, gzip.GzipFile(fileobj=disk))
    if magic == _ZSTD_MAGIC:
        try:
            import pyarrow
        except ImportError:
            raise SourceError(f"{path} is zstd: to read it, pip install '.[analytics]'") from None
        return io.BufferedReader(cast(io.RawIOBase, pyarrow.CompressedInputStream(disk, "zstd")))
    return cast(io.BufferedReader, disk)


def first_bytes(stream: io.BufferedReader, path: Path) -> bytes:
    """Look at the beginning without taking it, white space and a byte order mark left out."""
    try:
        return stream.peek(_PEEKED_BYTES)[:_PEEKED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    except UNPACK_ERRORS as error:
        raise SourceError(f"{path}: damaged at its beginning ({error})") from None
