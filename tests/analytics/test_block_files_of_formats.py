"""Formats whose records are not one event each: in blocks, and sorted on disk, they are the events of the replay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from producers.formats import FORMATS
from producers.history_files import HistoryFile
from producers.source import Source
from stream_app.block_files.reading import BlockSource
from stream_app.block_files.sorting import sorted_blocks
from stream_app.core.codec import Rejected
from stream_app.core.events import EVENT_TYPES
from stream_app.evaluation.sorting import sorted_events

GOLDEN = Path(__file__).parents[1] / "producers" / "golden"
NOW_MS = 1_893_456_000_000

files = pytest.mark.parametrize(
    ("name", "format"),
    [
        ("ga4.jsonl", "ga4"), ("ga4-bigquery.jsonl", "ga4-bigquery"), ("segment.jsonl", "segment"),
        ("snowplow.tsv", "snowplow"), ("cloudevents.jsonl", "cloudevents"), ("canonical.csv", "canonical"),
    ],
)  # fmt: skip


def one_by_one(path: Path, format: str) -> tuple[list[tuple[int, str, str, str]], Counter[str]]:
    told = []
    rejected: Counter[str] = Counter()
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        for row in source:
            if isinstance(row.result, Rejected):
                rejected[row.result.reason] += 1
            else:
                event = row.result
                told.append((int(event.event_time), event.event_type, event.visitor_id, event.item_id or ""))
    return told, rejected


@files
@pytest.mark.parametrize("block_rows", [1, 3, 1000])
def test_blocks_hold_the_events_of_the_replay(name: str, format: str, block_rows: int) -> None:
    told = []
    with BlockSource(GOLDEN / name, FORMATS[format], now_ms=NOW_MS, block_rows=block_rows) as source:
        for block in source:
            types = [EVENT_TYPES[code] for code in block.type]
            told += list(zip(block.time_ms.tolist(), types, block.visitor.tolist(), block.item.tolist(), strict=True))
        assert (told, source.rejected) == one_by_one(GOLDEN / name, format)


@files
def test_sorted_on_disk_none_is_lost_and_none_comes_twice(tmp_path: Path, name: str, format: str) -> None:
    path = tmp_path / name
    lines = [line for line in (GOLDEN / name).read_bytes().splitlines(keepends=True) if not line.startswith(b"[")]
    header = lines[:1] if name.endswith(".csv") else []
    path.write_bytes(b"".join([*header, *reversed(lines[len(header) :])]))
    expected, expected_rejected = one_by_one(path, format)
    rejected: Counter[str] = Counter()
    blocks = sorted_blocks(
        [HistoryFile(path, name, FORMATS[format])],
        now_ms=NOW_MS,
        directory=tmp_path,
        rejected=rejected,
        progress=lambda *_: None,
        part_events=4,
    )
    told = [
        (time, EVENT_TYPES[code], visitor, item)
        for block in blocks
        for time, code, visitor, item in zip(
            block.time_ms.tolist(), block.type, block.visitor.tolist(), block.item.tolist(), strict=True
        )
    ]
    assert told == sorted(expected, key=lambda event: event[0])
    assert rejected == expected_rejected
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        events = list(sorted_events(source, tmp_path))
    of_runs = [(int(e.event_time), e.event_type, e.visitor_id, e.item_id or "") for e in events]
    assert of_runs == told
