"""Small files in the public shape of each format, and by hand what each of their rows is, or why it is refused.

A line of `….expected.jsonl` is one result: all fields of an event (an id that is derived is left out: it is checked to
be one, and the same every time), or the reason of a rejection and what its detail says; the last one what is ignored.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest

from producers.detection import detect_file
from producers.formats import FORMATS
from producers.source import Row, Source
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

GOLDEN = Path(__file__).parent / "golden"
NOW_MS = 1_893_456_000_000

#: File → format, and the files of what is expected.
FILES = {
    "canonical.csv": ("canonical", ["canonical-csv"]),
    "canonical.jsonl": ("canonical", ["canonical"]),
    "cloudevents.jsonl": ("cloudevents", ["cloudevents"]),
    "ga4.jsonl": ("ga4", ["ga4"]),
    "ga4-bigquery.jsonl": ("ga4-bigquery", ["ga4-bigquery"]),
    "rees46.csv": ("rees46", ["rees46"]),
    "retailrocket.csv": ("retailrocket", ["retailrocket"]),
    "segment.jsonl": ("segment", ["segment"]),
    "snowplow.jsonl": ("snowplow", ["snowplow"]),
    "snowplow.tsv": ("snowplow", ["snowplow", "snowplow-tsv"]),
}

files = pytest.mark.parametrize("name", FILES)
json_files = pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".jsonl")])


def read(path: Path, format: str) -> tuple[list[Row], Counter[str]]:
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        rows = list(source)
    return rows, source.ignored


def expected(name: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    lines = [
        json.loads(line)
        for part in FILES[name][1]
        for line in (GOLDEN / f"{part}.expected.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    ignored = Counter({kind: count for line in lines for kind, count in line.get("ignored", {}).items()})
    return [line for line in lines if "ignored" not in line], ignored


def as_told(row: Row, line: dict[str, Any]) -> dict[str, Any]:
    """A row in the shape of an expected line."""
    if isinstance(row.result, Rejected):
        said = [words for words in line.get("says", []) if words in row.result.detail]
        return {"row": row.number, "rejected": row.result.reason, "says": said, "detail": row.result.detail}
    event = {name: value for name, value in msgspec.structs.asdict(row.result).items() if value is not None}
    if "event_id" not in line:
        assert len(event.pop("event_id")) in (16, 18)  # of hexadecimal digits; with -1 of a second item
    return {"row": row.number, **event}


def assert_expected(name: str, rows: list[Row], ignored: Counter[str]) -> None:
    lines, ignored_kinds = expected(name)
    told = [as_told(row, line) for row, line in zip(rows, lines, strict=False)]
    wanted = [
        line | ({"detail": row["detail"]} if "rejected" in line and "detail" in row else {})
        for row, line in zip(told, lines, strict=False)
    ]
    assert told == wanted
    assert len(rows) == len(lines)
    assert ignored == ignored_kinds


@files
def test_each_row_is_what_it_says(name: str) -> None:
    assert_expected(name, *read(GOLDEN / name, FILES[name][0]))


@files
def test_the_format_is_recognised_with_an_explanation(name: str) -> None:
    found = detect_file(GOLDEN / name)
    assert found.format is FORMATS[FILES[name][0]], found
    assert found.why


def test_every_format_has_a_golden_file_with_events_and_rejections() -> None:
    assert {format for format, _ in FILES.values()} == set(FORMATS)
    for name in FILES:
        lines, _ = expected(name)
        assert {"event_type", "rejected"} <= {key for line in lines for key in line}


@files
def test_ids_are_unlike_within_a_file_and_the_same_on_every_reading(name: str) -> None:
    first, second = (
        [row.result.event_id for row in read(GOLDEN / name, FILES[name][0])[0] if isinstance(row.result, Event)]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == len(first)


@files
@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_packed_files_are_known_by_their_bytes(tmp_path: Path, name: str, packing: str) -> None:
    content = (GOLDEN / name).read_bytes()
    path = tmp_path / "export"
    path.write_bytes(
        gzip.compress(content) if packing == "gzip" else pyarrow.compress(content, codec="zstd", asbytes=True)
    )
    assert_expected(name, *read(path, FILES[name][0]))
    assert detect_file(path).format is FORMATS[FILES[name][0]]


@json_files
@pytest.mark.parametrize("between", [",", " ,\n\n  "])
def test_an_array_is_read_as_its_lines_are(tmp_path: Path, name: str, between: str) -> None:
    lines = [line for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines() if _is_json(line)]
    whole, array = tmp_path / "lines.jsonl", tmp_path / "array.json"
    whole.write_text("\n".join(lines), encoding="utf-8")
    array.write_text("\n [ " + between.join(lines) + "\n]\n", encoding="utf-8")
    of_lines, ignored = read(whole, FILES[name][0])
    of_array, ignored_too = read(array, FILES[name][0])
    assert [(row.number, row.result) for row in of_array] == [(row.number, row.result) for row in of_lines]
    assert ignored == ignored_too
    assert detect_file(array).format is FORMATS[FILES[name][0]]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ["rees46.csv", "retailrocket.csv"])
def test_tables_of_typed_columns_are_read_as_the_text_is(tmp_path: Path, name: str) -> None:
    """What pandas or a database makes of the file: numbers, moments, nulls."""
    lines = [line for line in (GOLDEN / name).read_text().splitlines() if "rejected" not in line][:4]
    text, path = tmp_path / name, tmp_path / "table.parquet"
    text.write_text("\n".join(lines) + "\n")
    table = pyarrow.csv.read_csv(text)
    if name == "rees46.csv":
        moments = pyarrow.compute.strptime(table["event_time"], "%Y-%m-%d %H:%M:%S UTC", unit="ms")
        table = table.set_column(0, "event_time", moments)
    pyarrow.parquet.write_table(table, path)
    of_table, _ = read(path, FILES[name][0])
    of_text, _ = read(text, FILES[name][0])
    one, other = (
        [msgspec.structs.asdict(row.result) | {"event_id": ""} for row in rows if isinstance(row.result, Event)]
        for rows in (of_table, of_text)
    )
    assert one == other
    assert len(of_table) == 3
    assert detect_file(path).format is FORMATS[FILES[name][0]]


def test_nested_columns_are_read_as_objects_are(tmp_path: Path) -> None:
    """The export to BigQuery, taken from there as Parquet."""
    lines = (GOLDEN / "ga4-bigquery.jsonl").read_text().splitlines()[:4]
    text, path = tmp_path / "lines.jsonl", tmp_path / "table.parquet"
    text.write_text("\n".join(lines))
    pyarrow.parquet.write_table(pyarrow.json.read_json(text), path)
    rows, _ = read(path, "ga4-bigquery")
    assert_rows = expected("ga4-bigquery.jsonl")[0][: len(rows)]
    assert [as_told(row, line) for row, line in zip(rows, assert_rows, strict=True)] == assert_rows
    assert detect_file(path).format is FORMATS["ga4-bigquery"]
