"""Files → rows: headers, gzip, damage, and rows that are no rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.formats import FORMATS
from producers.source import Row, Source, SourceError
from stream_app.core.codec import RECORD_BYTES_MAX, REJECT_REASONS, Rejected
from stream_app.core.events import Event

NOW_MS = 1_893_456_000_000

HEADER = b"timestamp,visitorid,event,itemid,transactionid\n"
GOOD = b"1433000000123,77,view,5,\n"
JSON_LINE = b'{"event_id":"e1","event_type":"view_item","event_time":1433000000123,"visitor_id":"77"}\n'


def rows_of(path: Path, format: str = "retailrocket") -> list[Row]:
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        return list(source)


def only_reject(tmp_path: Path, line: bytes) -> Rejected:
    """The rejection of `line`, which must stand between two good rows that survive it."""
    path = tmp_path / "f.csv"
    path.write_bytes(HEADER + GOOD + line + b"\n" + GOOD)
    first, bad, last = rows_of(path)
    assert isinstance(first.result, Event)
    assert isinstance(last.result, Event)
    assert isinstance(bad.result, Rejected)
    assert bad.raw == line[: RECORD_BYTES_MAX + 1]
    return bad.result


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "misnamed.txt"])
@pytest.mark.parametrize("packed", [False, True])
def test_gzip_is_known_by_its_bytes_whatever_the_name(tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(HEADER + GOOD) if packed else HEADER + GOOD)
    (row,) = rows_of(path)
    assert (row.number, row.raw) == (2, GOOD.rstrip())
    assert isinstance(row.result, Event)


def test_json_lines_need_no_header_and_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(JSON_LINE + b"\n" + b"{}\n" + JSON_LINE.rstrip())
    first, bad, last = rows_of(path, "canonical")
    assert [first.number, bad.number, last.number] == [1, 3, 4]  # the blank line 2 is no row
    assert isinstance(first.result, Event)
    assert isinstance(bad.result, Rejected)
    assert bad.result.reason == "missing_field"
    assert isinstance(last.result, Event)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + JSON_LINE)
    (row,) = rows_of(path, "canonical")
    assert isinstance(row.result, Event)
    assert row.raw == JSON_LINE.rstrip()


def test_columns_may_stand_in_any_order_and_unknown_ones_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(
        b"\xef\xbb\xbfnote,event,itemid,visitorid,transactionid,timestamp\r\nx,view,5,77,,1433000000123\r\n"
    )
    (row,) = rows_of(path)
    assert row.raw == b"x,view,5,77,,1433000000123"
    (same,) = (tmp_path / "g.csv",)
    same.write_bytes(HEADER + GOOD)
    assert row.result == rows_of(same)[0].result


def test_quoted_fields_may_hold_commas_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(HEADER + b'1433000000123,77,view,"a ""big"", red one",\n')
    (row,) = rows_of(path)
    assert isinstance(row.result, Event)
    assert row.result.item_id == 'a "big", red one'
    assert row.raw == b'1433000000123,77,view,"a ""big"", red one",'


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        (b"1433000000123,77,view,5", "bad_row", ["got 4 fields, expected 5"]),
        (b"1433000000123,77,view,5,,", "bad_row", ["got 6 fields, expected 5"]),
        (b'1433000000123,77,view,"5,', "bad_row", ["not CSV", "one row a line"]),
        (b"1433000000123,77,view,\x005,", "bad_row", ["NUL"]),
        (b"1433000000123,77,view,\xff,", "bad_row", ["0xff", "UTF-8"]),
        (b"1433000000123,77,view\rx,5,", "bad_row", ["not CSV"]),
        (b"1433000000123,77,view," + b"x" * 200_000 + b",", "bad_row", ["field larger"]),
        (b"1433000000123,77,view," + b"x" * 3_000_000 + b",", "too_large", [str(RECORD_BYTES_MAX)]),
    ],
    ids=["few", "many", "quote", "nul", "utf8", "cr", "field", "row"],
)
def test_a_broken_row_is_refused_and_its_neighbours_live(
    tmp_path: Path, line: bytes, reason: str, words: list[str]
) -> None:
    result = only_reject(tmp_path, line)
    assert result.reason == reason
    assert [word for word in words if word not in result.detail] == []


def test_a_wrong_header_names_what_is_missing_and_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"timestamp,visitor,event,itemid\n")
    with pytest.raises(SourceError) as error:
        rows_of(path)
    assert "lacks visitorid, transactionid" in str(error.value)
    assert "got timestamp,visitor,event,itemid" in str(error.value)
    assert "expected the columns timestamp,visitorid,event,itemid,transactionid" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        rows_of(tmp_path / "none.csv")
    with pytest.raises(SourceError, match="directory"):
        rows_of(tmp_path)
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(SourceError, match="is empty"):
        rows_of(empty)


def test_a_cut_gzip_gives_its_whole_rows_and_then_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    lines = b"".join(b"%d,%d,view,5,\n" % (1_433_000_000_123 + n * 7919, n * n) for n in range(20_000))
    path.write_bytes(gzip.compress(HEADER + lines)[:-4000])
    read: list[int] = []
    with (
        Source(path, FORMATS["retailrocket"], now_ms=NOW_MS) as source,
        pytest.raises(SourceError, match="damaged after row"),
    ):
        read.extend(row.number for row in source)
    assert len(read) > 1_000


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), format=st.sampled_from(sorted(FORMATS)))
def test_any_bytes_after_the_header_are_rows_with_an_event_or_a_named_rejection(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f"
    begin = ",".join(FORMATS[format].columns).encode() if FORMATS[format].only_text else b"{}"
    path.write_bytes(begin + b"\n" + content)
    for row in rows_of(path, format):
        assert isinstance(row.result, Event) or row.result.reason in REJECT_REASONS


def test_our_own_csv_without_a_column_says_which(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"event_id,event_type,visitor_id\ne1,view_item,77\n")
    with pytest.raises(SourceError, match="the header lacks event_time; got event_id,event_type,visitor_id"):
        rows_of(path, "canonical")


def test_a_table_without_a_column_says_which(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"timestamp": [1433000000123], "event": ["view"]}), path)
    with pytest.raises(SourceError, match="the table lacks visitorid, itemid, transactionid of format retailrocket"):
        rows_of(path)


def test_a_damaged_table_and_a_damaged_zstd_say_so(tmp_path: Path) -> None:
    path = tmp_path / "f"
    pyarrow.parquet.write_table(pyarrow.table({"timestamp": [1] * 5000}), path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match="Parquet"):
        rows_of(path)
    packed = pyarrow.compress(HEADER + GOOD * 100_000, codec="zstd", asbytes=True)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceError, match="damaged after row"):
        rows_of(path)


def test_ignored_kinds_are_counted_and_not_without_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    line = b'{"type":"track","event":"kind %d","anonymousId":"a"}\n'
    path.write_bytes(b"".join(line % n for n in (*range(150), 0, 149)))
    with Source(path, FORMATS["segment"], now_ms=NOW_MS) as source:
        assert list(source) == []
    assert len(source.ignored) == 101
    assert (source.ignored["kind 0"], source.ignored["(other)"]) == (2, 51)


@settings(max_examples=60, deadline=None)
@given(
    begin=st.sampled_from([b"", b"[", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"]),
    content=st.binary(max_size=60),
    format=st.sampled_from(sorted(FORMATS)),
)
def test_any_file_is_rows_or_one_line_that_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, begin: bytes, content: bytes, format: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f"
    path.write_bytes(begin + content)
    try:
        rows_of(path, format)
    except SourceError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
