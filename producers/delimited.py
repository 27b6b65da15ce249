"""Lines of delimited text → records by column name.

A row is one line: a quoted field may hold separators and quotes but no line break, so that one stray quote spoils its
own row and not the rest of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from stream_app.core.codec import RECORD_BYTES_MAX, Rejected

#: A row's bytes → its fields by column name.
ReadRow: TypeAlias = Callable[[bytes], dict[str, str] | Rejected]

#: What may stand between fields: the one that occurs most often in the header is taken.
SEPARATORS: Final = (",", "\t", ";")

#: Spreadsheets put a byte order mark before the first name.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def header_names(header: bytes) -> tuple[list[str], str]:
    """Read a header line: the columns' names, and the separator. No names if it is no such line."""
    line = header.removeprefix(_BYTE_ORDER_MARK)
    separator = max(SEPARATORS, key=lambda candidate: line.count(candidate.encode()))
    fields = _split(line, separator)
    return ([] if isinstance(fields, Rejected) else [field.strip() for field in fields]), separator


def quoted_rows(names: Sequence[str], separator: str) -> ReadRow:
    """Build the reader of rows whose fields may be in quotes."""

    def read(raw: bytes) -> dict[str, str] | Rejected:
        fields = _split(raw, separator)
        return fields if isinstance(fields, Rejected) else _named(names, fields)

    return read


def plain_tsv_rows(names: Sequence[str]) -> ReadRow:
    """Build the reader of rows that are cut at each tab, whatever else is in them."""

    def read(raw: bytes) -> dict[str, str] | Rejected:
        line = _decoded(raw)
        return line if isinstance(line, Rejected) else _named(names, line.split("\t"))

    return read


def _named(names: Sequence[str], fields: Sequence[str]) -> dict[str, str] | Rejected:
    if len(fields) != len(names):
        return Rejected("bad_row", f"got {len(fields)} fields, expected {len(names)}: {','.join(names)[:200]}")
    return dict(zip(names, fields, strict=True))


def _split(raw: bytes, separator: str) -> list[str] | Rejected:
    line = _decoded(raw)
    if isinstance(line, Rejected):
        return line
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        return Rejected("bad_row", f"got a line that is not CSV ({error}), expected one row a line")


def _decoded(raw: bytes) -> str | Rejected:
    if len(raw) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got a row of more than {RECORD_BYTES_MAX} bytes, expected fewer; it is cut here")
    if b"\0" in raw:
        return Rejected("bad_row", "got a NUL byte, expected text; is the file damaged, or UTF-16?")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return Rejected("bad_row", f"got byte 0x{raw[error.start]:02x} at {error.start}, expected UTF-8 text")
