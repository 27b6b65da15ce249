"""Files in blocks: the very events of the row-by-row parser, in any order on disk, whatever is wrong with rows."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from producers.formats import FORMATS
from producers.history_files import HistoryFile
from producers.source import Source
from stream_app.analytics.block import TEXT_COLUMNS, Block
from stream_app.block_files.plain_rows import PLAIN
from stream_app.block_files.reading import BlockSource
from stream_app.block_files.sorting import sorted_blocks
from stream_app.core.codec import Rejected, encode
from stream_app.core.events import EVENT_TYPES, Event
from tests.analytics.small import event, histories
from tests.producers.test_real_files import NOW_MS, files, found

REES46 = b"event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
GOOD = b"2019-10-01 00:00:01 UTC,view,17200506,2053013559792632471,furniture.sofa,acme,543.10,519107250,566511c2"
BAD_FIELDS = [
    b"", b"NA", b"nan", b"-1", b"1e9", b"1,5", b'"view"', b'"', b"2019-02-30 00:00:00 UTC", b"2019-10-01 24:00:00 UTC",
    b"1970-01-01 00:00:00 UTC", b"2199-01-01 00:00:00 UTC", b"1999999999.5", b"\xff", b"\xc3\xa9", b"a\rb", b"\0",
    b" view", b"x" * 300, b"purchase", b"cart", b"remove_from_cart", b"\xef\xbb\xbf1", b"12.", b"007",
]  # fmt: skip


def one_by_one(path: Path, format: str) -> tuple[list[tuple[object, ...]], Counter[str]]:
    """What the row-by-row parser accepts, as tuples, and why it refuses the rest."""
    rejected: Counter[str] = Counter()
    events = []
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        for row in source:
            if isinstance(row.result, Rejected):
                rejected[row.result.reason] += 1
            else:
                events.append(as_tuple(row.result))
    return events, rejected


def as_tuple(event: Event) -> tuple[object, ...]:
    names = (event.visitor_id, event.session_id, event.item_id, event.category, event.brand, event.source)
    more = (event.country, event.device, event.order_id, event.page_url)
    return (event.event_time, event.event_type, event.price, *(name or "" for name in (*names, *more)))


def in_blocks(blocks: list[Block]) -> list[tuple[object, ...]]:
    events: list[tuple[object, ...]] = []
    for block in blocks:
        prices = [None if price != price else price for price in block.price.tolist()]
        texts = [getattr(block, name).tolist() for name in TEXT_COLUMNS]
        types = [EVENT_TYPES[code] for code in block.type]
        events += zip(block.time_ms.tolist(), types, prices, *texts, strict=True)
    return events


def read(path: Path, format: str, rows: int) -> tuple[list[tuple[object, ...]], Counter[str]]:
    with BlockSource(path, FORMATS[format], now_ms=NOW_MS, block_rows=rows) as source:
        return in_blocks(list(source)), source.rejected


@files
@pytest.mark.parametrize("rows", [997, 65_536])
def test_blocks_of_a_real_file_hold_the_events_of_the_row_by_row_parser(name: str, format: str, rows: int) -> None:
    path = found(name)
    assert read(path, format, rows) == one_by_one(path, format)


@pytest.mark.parametrize("rows", [1, 7, 65_536])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_rows_with_something_wrong_are_taken_and_refused_as_row_by_row(tmp_path: Path, rows: int, end: bytes) -> None:
    lines = [REES46]
    for field, value in product(range(9), BAD_FIELDS):
        fields = GOOD.split(b",")
        fields[field] = value
        lines += [b",".join(fields), GOOD]
    path = tmp_path / "mutated.csv"
    path.write_bytes(end.join(lines) + end)
    events, rejected = read(path, "rees46", rows)
    assert (events, rejected) == one_by_one(path, "rees46")
    assert (len(events) > 300, rejected.keys()) == (True, {"bad_row", "invalid_value", "time_out_of_range"})


@pytest.mark.parametrize(
    "header",
    [
        b"user_session,price,user_id,brand,category_code,category_id,product_id,event_type,event_time",
        REES46 + b",unknown",
        REES46 + b",brand",
        b"\xef\xbb\xbf" + REES46,
        b'"event_time"' + REES46.removeprefix(b"event_time"),
    ],
)
def test_columns_may_stand_anywhere_and_more_of_them_too(tmp_path: Path, header: bytes) -> None:
    names = header.removeprefix(b"\xef\xbb\xbf").replace(b'"', b"").split(b",")
    of = dict(zip(REES46.split(b","), GOOD.split(b","), strict=True))
    row = b",".join(of.get(name, b"more") for name in names)
    path = tmp_path / "columns.csv"
    path.write_bytes(b"\n".join([header, b"broken", row, row]) + b"\n")
    events, rejected = read(path, "rees46", 2)
    assert (events, rejected) == one_by_one(path, "rees46")
    assert len(events) == 2


def test_all_formats_of_rows_and_columns_have_a_quick_way() -> None:
    assert set(PLAIN) == {name for name, format in FORMATS.items() if format.only_text}


@given(histories())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_canonical_lines_are_read_whole(tmp_path: Path, history: tuple[list[Event], list[int]]) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(encode(e) for e in history[0]) + b"\n{\n")
    events, rejected = read(path, "canonical", 7)
    assert events == [as_tuple(e) for e in history[0]]
    assert rejected == Counter(not_json=1)


def test_history_in_any_order_over_several_files_comes_sorted_with_ties_in_their_order(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    minutes = random.integers(0, 200, 1_000)
    events = [event(f"v{n}", "x", "view", minute) for n, minute in enumerate(minutes.tolist())]
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path, part in zip(paths, (events[:600], events[600:]), strict=True):
        path.write_bytes(b"\n".join([b"nonsense", *(encode(e) for e in part)]))
    scratch, rejected = tmp_path / "scratch", Counter[str]()
    scratch.mkdir()
    blocks = sorted_blocks(
        [HistoryFile(path, path.name, FORMATS["canonical"]) for path in paths], now_ms=NOW_MS, directory=scratch,
        rejected=rejected, progress=lambda phase, done, total: None, part_events=100,
    )  # fmt: skip
    assert in_blocks(list(blocks)) == [as_tuple(e) for e in sorted(events, key=lambda e: e.event_time)]  # type: ignore[arg-type, return-value]
    assert rejected == Counter(not_json=2)
    assert list(scratch.iterdir()) == []
