"""The formats a file can have, by name: how it is cut into rows and how a row becomes an event.

Adding a format is one adapter and one line in `FORMATS`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias

from producers.adapters import canonical, rees46, retailrocket
from stream_app.core.codec import RECORD_BYTES_MAX, Rejected
from stream_app.core.events import Event

#: One row's bytes, without its line end → an event or a rejection. Never raises.
ParseRow: TypeAlias = Callable[[bytes], Event | Rejected]


class CsvAdapter(Protocol):
    """A row by column name → an event or a rejection."""

    def __call__(self, row: Mapping[str, str], *, now_ms: int) -> Event | Rejected:
        """Convert one row; `now_ms` bounds how far ahead its time may lie."""


class LineAdapter(Protocol):
    """A line's bytes → an event or a rejection."""

    def __call__(self, line: bytes, *, now_ms: int) -> Event | Rejected:
        """Convert one line; `now_ms` bounds how far ahead its time may lie."""


class HeaderError(ValueError):
    """The first line does not name the columns that the format needs; the text says which."""


class CsvFormat(NamedTuple):
    """A format whose file starts with a header line and has one row a line."""

    name: str
    description: str
    columns: tuple[str, ...]
    adapt: CsvAdapter
    has_header: bool = True

    def parser(self, header: bytes, *, now_ms: int) -> ParseRow:
        """Build the parser of a file's rows from its header line.

        Columns may stand in any order; unknown ones are ignored. A row is one line: a quoted field may hold commas and
        quotes but no line break, so that one stray quote spoils its own row and not the rest of the file.

        Raises
        ------
        HeaderError
            If a column is missing.
        """
        names = _header_names(header)
        missing = [column for column in self.columns if column not in names]
        if missing:
            raise HeaderError(
                f"the header lacks {', '.join(missing)}; got {','.join(names)[:200] or 'an empty line'}, "
                f"expected the columns {','.join(self.columns)} of format {self.name}"
            )
        adapt = self.adapt

        def parse(raw: bytes) -> Event | Rejected:
            fields = _split(raw)
            if isinstance(fields, Rejected):
                return fields
            if len(fields) != len(names):
                return Rejected("bad_row", f"got {len(fields)} fields, expected {len(names)}: {','.join(names)[:200]}")
            return adapt(dict(zip(names, fields, strict=True)), now_ms=now_ms)

        return parse


class LineFormat(NamedTuple):
    """A format whose every line is a record of its own."""

    name: str
    description: str
    adapt: LineAdapter
    has_header: bool = False

    def parser(self, header: bytes, *, now_ms: int) -> ParseRow:
        """Build the parser of a file's lines; there is no header."""
        adapt = self.adapt

        def parse(raw: bytes) -> Event | Rejected:
            return adapt(raw, now_ms=now_ms)

        return parse


Format: TypeAlias = CsvFormat | LineFormat

FORMATS: Final[dict[str, Format]] = {
    canonical.NAME: LineFormat(
        canonical.NAME,
        "our own events, one JSON object a line, as on the events topic",
        canonical.to_event,
    ),
    rees46.NAME: CsvFormat(
        rees46.NAME,
        "REES46 shop export: CSV with event_time, event_type (view, cart, …), product_id, …",
        rees46.COLUMNS,
        rees46.to_event,
    ),
    retailrocket.NAME: CsvFormat(
        retailrocket.NAME,
        "RetailRocket events.csv: timestamp (ms), visitorid, event, itemid, transactionid",
        retailrocket.COLUMNS,
        retailrocket.to_event,
    ),
}


def _header_names(header: bytes) -> list[str]:
    # Spreadsheets put a byte order mark before the first name.
    fields = _split(header.removeprefix(b"\xef\xbb\xbf"))
    return [] if isinstance(fields, Rejected) else [field.strip() for field in fields]


def _split(raw: bytes) -> list[str] | Rejected:
    if len(raw) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got a row of more than {RECORD_BYTES_MAX} bytes, expected fewer; it is cut here")
    if b"\0" in raw:
        return Rejected("bad_row", "got a NUL byte, expected text; is the file damaged, or UTF-16?")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return Rejected("bad_row", f"got byte 0x{raw[error.start]:02x} at {error.start}, expected UTF-8 text")
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        return Rejected("bad_row", f"got a line that is not CSV ({error}), expected one row a line")
