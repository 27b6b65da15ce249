"""The formats by name: what their records look like, and how one becomes events.

Adding a format is one adapter and one entry in `FORMATS`. How a file is packed and cut into records
(`producers.source`) is no part of a format: each can come as JSON lines, a JSON array, CSV, TSV or Parquet, where its
records fit in there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from producers.adapters import canonical, cloudevents, ga4, ga4_bigquery, rees46, retailrocket, segment, snowplow
from producers.adapters.result import Adapt, Arrival, Record, Result
from producers.adapters.row import shown
from producers.adapters.snowplow_columns import COLUMNS as SNOWPLOW_COLUMNS
from producers.adapters.table import Table
from producers.delimited import ReadRow, header_names, plain_tsv_rows, quoted_rows
from stream_app.core.codec import RECORD_BYTES_MAX, Rejected, too_deep
from stream_app.core.events import Event

#: One row's bytes, without its line end → what is in it. Never raises.
ParseRow: TypeAlias = Callable[[bytes], list[Result]]


class RowAdapter(Protocol):
    """A row of texts by column name → its only event, or a rejection."""

    def __call__(self, row: Mapping[str, str], *, now_ms: int) -> Event | Rejected:
        """Convert one row; `now_ms` bounds how far ahead its time may lie."""


class HeaderError(ValueError):
    """The first line does not name the columns that the format needs; the text says which."""


class Format(NamedTuple):
    """A format.

    Attributes
    ----------
    name, description
        For people: `--format NAME`, and what it is.
    adapt
        A record → what is in it.
    marks
        What a record of this format has, and hardly another: names, of each group at least one. Of delimited files and
        Parquet those that consist of one name are the columns that have to be there.
    is_tabular
        Whether a record fits in a row of CSV or TSV.
    only_text
        Values of records are texts, as in the CSV files in which the format is published.
    fixed_columns
        The columns of its TSV files, which have no header.
    adapt_text
        The adapter of rows of text, where it is another.
    has_ids
        Whether its event ids are given, or at least tell apart all that is not the same; else they are hashes of rows.
    table
        The mapping, of formats that are nothing but one.
    decode
        A value as it comes from a topic → the record, of formats that are not JSON.
    """

    name: str
    description: str
    adapt: Adapt
    marks: Sequence[Sequence[str]]
    is_tabular: bool = False
    only_text: bool = False
    fixed_columns: tuple[str, ...] = ()
    adapt_text: Adapt | None = None
    has_ids: bool = True
    table: Table | None = None
    decode: Callable[[bytes], dict[str, Any] | Rejected] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a header must name."""
        return tuple(names[0] for names in self.marks if len(names) == 1)

    def delimited_parser(self, header: bytes | None, arrival: Arrival) -> ParseRow:
        """Build the parser of a delimited file's rows from its header line; None: a file that has none.

        Columns may stand in any order; unknown ones are ignored.

        Raises
        ------
        HeaderError
            If a column is missing, or records of the format do not fit in columns.
        """
        adapt = self.adapt_text or self.adapt
        if header is None:
            return _parser(plain_tsv_rows(self.fixed_columns), adapt, arrival)
        if not self.is_tabular:
            raise HeaderError(f"got {shown(header[:200])}, expected JSON: records of {self.name} do not fit in columns")
        names, separator = header_names(header)
        missing = [column for column in self.columns if column not in names]
        if missing:
            raise HeaderError(
                f"the header lacks {', '.join(missing)}; got {','.join(names)[:200] or 'an empty line'}, "
                f"expected the columns {','.join(self.columns)} of format {self.name}"
            )
        return _parser(quoted_rows(names, separator), adapt, arrival)

    def json_parser(self, arrival: Arrival) -> ParseRow:
        """Build the parser of records that are JSON, each by itself."""
        if self.name == canonical.NAME:
            return lambda raw: [canonical.to_event(raw, now_ms=arrival.now_ms)]
        return self.object_parser(arrival)

    def object_parser(self, arrival: Arrival) -> ParseRow:
        """Build the parser of records that were rows of typed columns and were put into JSON by us."""
        return _parser(json_object, self.record_adapter(), arrival)

    def record_adapter(self) -> Adapt:
        """The adapter of records with values of all types."""
        return _as_texts(self.adapt) if self.only_text else self.adapt

    def results(self, value: bytes, arrival: Arrival, *, headers: Sequence[tuple[str, bytes]] = ()) -> list[Result]:
        """Convert one value as it comes from a topic or in a request.

        `headers` are the record's: CloudEvents in binary form have their attributes there.
        """
        if self.decode is not None:
            return _adapted(self.decode(value), self.adapt, arrival)
        envelope = cloudevents.envelope_of(headers, value) if self.name == cloudevents.NAME and headers else None
        if isinstance(envelope, Rejected):
            return [envelope]
        if envelope is not None and len(value) <= RECORD_BYTES_MAX:
            return _adapted(envelope, self.adapt, arrival)
        if self.fixed_columns and not value.lstrip().startswith(b"{"):
            return self.delimited_parser(None, arrival)(value)
        return self.json_parser(arrival)(value)


def json_object(raw: bytes) -> dict[str, Any] | Rejected:
    """Decode one JSON object, within the bounds that all records have."""
    if not raw:
        return Rejected("empty_value", "got a record without a value, expected a JSON object")
    if len(raw) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got more than {RECORD_BYTES_MAX} bytes, expected at most that; it is cut here")
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejected("not_json", f"got bytes that are not JSON ({error}), expected a JSON object")
    except RecursionError:
        return too_deep()
    if not isinstance(found, dict):
        return Rejected("wrong_type", f"got {shown(found)}, expected a JSON object")
    return found


def marks_missing(format: Format, names: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """What a record with these names lacks to be of the format; nothing: it may well be."""
    return [" or ".join(group) for group in format.marks if not any(name in names for name in group)]


def recognised(record: Record) -> Adapt | Rejected:
    """The adapter of the one format (no envelope) that a single record looks like."""
    found = [
        format for format in FORMATS.values() if format.name != cloudevents.NAME and not marks_missing(format, record)
    ]
    if len(found) == 1:
        return found[0].record_adapter()
    got = f"an object with {', '.join(sorted(record))[:120] or 'nothing'}"
    if found:
        return Rejected("invalid_value", f"got {got}, which may be {' or '.join(format.name for format in found)}")
    return Rejected("invalid_value", f"got {got}, expected an event of one of the known formats")


def _parser(read: ReadRow | Callable[[bytes], dict[str, Any] | Rejected], adapt: Adapt, arrival: Arrival) -> ParseRow:
    return lambda raw: _adapted(read(raw), adapt, arrival)


def _adapted(record: Record | Rejected, adapt: Adapt, arrival: Arrival) -> list[Result]:
    if isinstance(record, Rejected):
        return [record]
    try:
        return adapt(record, arrival)
    except RecursionError:
        # Decoded on the last level that Python has: whatever looks into it goes one too deep.
        return [too_deep()]


def _single(adapter: RowAdapter) -> Adapt:
    def adapt(record: Record, arrival: Arrival) -> list[Result]:
        return [adapter(record, now_ms=arrival.now_ms)]

    return adapt


def _as_texts(adapt: Adapt) -> Adapt:
    """As in the format's CSV: numbers written out, null as nothing."""

    def convert(record: Record, arrival: Arrival) -> list[Result]:
        return adapt({name: _text(value) for name, value in record.items()}, arrival)

    return convert


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # 17.0 is what a nullable column of ids makes of 17
    return str(value)


_LISTED: Final = (
    Format(
        canonical.NAME,
        "our own events, as on the events topic",
        canonical.from_record,
        marks=[[column] for column in canonical.COLUMNS],
        is_tabular=True,
    ),
    Format(
        cloudevents.NAME,
        "CloudEvents 1.0 around any of the others",
        partial(cloudevents.to_events, recognise=recognised, canonical=canonical.from_record),
        marks=[["specversion"], ["id"], ["source"], ["type"]],
    ),
    Format(
        ga4.NAME,
        "Google Analytics 4, bodies of the Measurement Protocol",
        ga4.to_events,
        marks=[["events"], ["client_id", "app_instance_id", "user_id"]],
        table=ga4.TABLE,
    ),
    Format(
        ga4_bigquery.NAME,
        "Google Analytics 4, rows of the export to BigQuery",
        ga4_bigquery.to_events,
        marks=[["event_name"], ["event_timestamp"], ["user_pseudo_id", "user_id"], ["event_params"]],
        table=ga4_bigquery.TABLE,
    ),
    Format(
        rees46.NAME,
        "REES46 shop export: event_time, event_type (view, cart, …), product_id, …",
        _single(rees46.to_event),
        marks=[[column] for column in rees46.COLUMNS],
        is_tabular=True,
        only_text=True,
        has_ids=False,
    ),
    Format(
        retailrocket.NAME,
        "RetailRocket events.csv: timestamp (ms), visitorid, event, itemid, transactionid",
        _single(retailrocket.to_event),
        marks=[[column] for column in retailrocket.COLUMNS],
        is_tabular=True,
        only_text=True,
        has_ids=False,
    ),
    Format(
        segment.NAME,
        "Segment, calls of the e-commerce spec (V2)",
        segment.to_events,
        marks=[["type", "batch"], ["anonymousId", "userId", "batch"], ["messageId", "event", "properties", "batch"]],
        table=segment.TABLE,
    ),
    Format(
        snowplow.NAME,
        "Snowplow enriched events, TSV or the JSON of its analytics SDKs",
        snowplow.to_events,
        marks=[["event_id"], ["collector_tstamp"], ["event", "event_name"]],
        is_tabular=True,
        fixed_columns=SNOWPLOW_COLUMNS,
        adapt_text=snowplow.from_tsv,
        table=snowplow.TABLE,
    ),
)

FORMATS: Final[dict[str, Format]] = {format.name: format for format in _LISTED}
