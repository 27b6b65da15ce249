"""`stream-app sessions`: rows in CSV and Parquet, histories out of order, and what is said when it goes wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from producers.formats import FORMATS
from stream_app.cli import main
from stream_app.core.codec import encode
from tests.analytics.small import T0, event

EVENTS = [event("a", "x", what, n) for n, what in enumerate(["view", "view", "cart", "buy", "view"])]


def run(tmp_path: Path, out: str, *more: str, order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Result:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([*(encode(EVENTS[n]) for n in order), b"{"]))
    options = ["--format", "canonical", "--out", str(tmp_path / out), *more]
    return CliRunner().invoke(main, ["sessions", str(path), *options])


def test_the_two_rows_of_the_example_are_written(tmp_path: Path) -> None:
    result = run(tmp_path, "rows.csv", "--json")
    assert result.exit_code == 0
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["views"], row["added_to_cart"], row["purchased"], row["closed_by"]) for row in rows] == [
        ("2", "1", "1", "purchase"),
        ("1", "0", "0", "end"),
    ]
    assert (rows[0]["first_ms"], rows[0]["duration_ms"], rows[0]["price"]) == (str(T0), "180000", "")
    told = json.loads(result.stdout)
    assert (told["rows"], told["events taken in"], told["rows of the files rejected: not_json"]) == (2, 5, 1)


def test_parquet_holds_the_rows_of_the_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert run(tmp_path, "rows.csv").exit_code == run(tmp_path, "rows.parquet").exit_code == 0
    expected = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False, na_values={"price": [""]})
    found = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(found) == list(expected)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_the_order_of_lines_read_together_does_not_matter(tmp_path: Path) -> None:
    assert run(tmp_path, "right.csv", "--json").exit_code == 0
    result = run(tmp_path, "turned.csv", "--json", order=(4, 3, 2, 1, 0))
    assert result.exit_code == 0
    assert (tmp_path / "turned.csv").read_text() == (tmp_path / "right.csv").read_text()


def test_a_long_history_out_of_order_is_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events = [event(f"v{n % 7}", f"i{n % 3}", "view", n * 0.01) for n in range(70_000)]
    right, turned = tmp_path / "right.jsonl", tmp_path / "turned.jsonl"
    right.write_bytes(b"\n".join(map(encode, events)))
    turned.write_bytes(b"\n".join(map(encode, [*events[35_000:], *events[:35_000]])))
    told = []
    for path in (right, turned):
        out = path.with_suffix(".csv")
        options = ["--format", "canonical", "--out", str(out), "--json"]
        result = CliRunner().invoke(main, ["sessions", str(path), *options])
        assert result.exit_code == 0, result.output
        told.append((json.loads(result.stdout), sorted(out.read_text().splitlines())))
    assert told[0] == told[1]
    assert told[0][0]["events taken in"] == 70_000


def rows_of(path: Path) -> list[tuple[str, ...]]:
    asked = ("visitor_id", "item_id", "first_ms", "duration_ms", "views", "added_to_cart", "purchased", "closed_by")
    with path.open() as file:
        return [tuple(row[name] for name in asked) for row in csv.DictReader(file)]


def test_files_of_three_formats_are_the_one_history_that_they_tell_together(tmp_path: Path) -> None:
    # The example's events in their order: two views, the cart, the purchase and the last view.
    parts = tmp_path / "parts"
    parts.mkdir()
    view = "2024-07-01 00:0{n}:00 UTC,view,x,1,shoes,acme,,a,s"
    (parts / "1.csv").write_text(
        "\n".join([",".join(FORMATS["rees46"].columns), *(view.format(n=n) for n in range(2))])
    )
    (parts / "2.csv").write_text(f"{','.join(FORMATS['retailrocket'].columns)}\n{T0 + 120_000},a,addtocart,x,")
    (parts / "3.json").write_bytes(b"[" + b",".join(map(encode, EVENTS[3:])) + b"]")
    assert run(tmp_path, "one.csv").exit_code == 0
    result = CliRunner().invoke(main, ["sessions", str(parts), "--out", str(tmp_path / "three.csv"), "--json"])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        f"1.csv is rees46: the header has {', '.join(FORMATS['rees46'].columns)}",
        "2.csv is retailrocket: the header has timestamp, visitorid, event, itemid, transactionid",
        "3.json is canonical: 2 of 2 records have event_id, event_type, event_time, visitor_id",
    ]
    assert json.loads(result.stdout)["events taken in"] == 5
    assert rows_of(tmp_path / "three.csv") == rows_of(tmp_path / "one.csv")


def test_a_mapping_says_where_the_fields_are(tmp_path: Path) -> None:
    mine, mapping = tmp_path / "mine.jsonl", tmp_path / "mine.toml"
    mapping.write_text(
        'event_type = "what"\nevent_time = "at"\nvisitor_id = "who.cookie"\nitem_id = "sku"\n'
        'types = { looked = "view_item", took = "add_to_cart", paid = "purchase" }\n'
        'time = { unit = "milliseconds" }\n'
    )
    names = {"view_item": "looked", "add_to_cart": "took", "purchase": "paid"}
    records = [
        {"what": names[one.event_type], "at": one.event_time, "who": {"cookie": "a"}, "sku": "x"} for one in EVENTS
    ]
    mine.write_text("\n".join(map(json.dumps, records)))
    assert run(tmp_path, "one.csv").exit_code == 0
    asked = ["--mapping", str(mapping), "--out", str(tmp_path / "mine.csv")]
    result = CliRunner().invoke(main, ["sessions", str(mine), *asked])
    assert (result.exit_code, "mine.jsonl is" in result.stderr) == (0, False), result.output
    assert rows_of(tmp_path / "mine.csv") == rows_of(tmp_path / "one.csv")


@pytest.mark.parametrize(
    ("out", "more", "said"),
    [
        ("rows.xlsx", (), "expected a name that ends in .csv or .parquet"),
        ("no/such/folder/rows.csv", (), "No such file or directory"),
        ("rows.csv", ("--open-max", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(
    tmp_path: Path, out: str, more: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path, out, *more)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_file_that_is_damaged_leaves_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("a,b\n1,2\n")
    out = tmp_path / "rows.csv"
    result = CliRunner().invoke(main, ["sessions", str(path), "--format", "rees46", "--out", str(out)])
    assert (result.exit_code, "the header lacks event_time" in result.output) == (2, True)
    assert not out.exists()
    assert not out.with_name("rows.csv.unfinished").exists()
