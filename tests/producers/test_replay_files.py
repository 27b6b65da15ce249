"""Replaying several files: one order in event time, whatever lies in which file. In memory; no test waits."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from producers import merging
from producers.door import Door
from producers.formats import FORMATS
from producers.history_files import HistoryFile, files_in
from producers.memory_sink import MemorySink
from producers.replay import replay_files
from producers.source import SourceError
from stream_app import topics

HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
START_MS = 1_433_000_000_000
RETAIL = FORMATS["retailrocket"]


def write(root: Path, name: str, *rows: tuple[int, str] | str) -> HistoryFile:
    """A RetailRocket file: (seconds after the start, visitor), or a line as it is."""
    lines = [row if isinstance(row, str) else f"{START_MS + row[0] * 1000},{row[1]},view,5,\n" for row in rows]
    path = root / name
    path.write_text(HEADER + "".join(lines))
    return HistoryFile(path, name, RETAIL)


def visitors(sink: MemorySink) -> str:
    return "".join(record.key.decode() for record in sink.records if record.topic == topics.EVENTS and record.key)


async def test_files_that_follow_each_other_in_time_are_sent_so_whatever_their_order(tmp_path: Path) -> None:
    late = write(tmp_path, "a.csv", (10, "c"), (11, "d"))
    early = write(tmp_path, "b.csv", (0, "a"), (9, "b"))
    sink = MemorySink()
    summary = await replay_files([late, early], sink)
    assert visitors(sink) == "abcd"
    assert (summary.rows, summary.sent, summary.notes) == (4, 4, [])
    assert summary.source == f"{late.path} and 1 more"


async def test_files_that_overlap_are_read_side_by_side_and_equal_times_keep_their_order(tmp_path: Path) -> None:
    one = write(tmp_path, "1.csv", (0, "a"), (5, "d"), (5, "e"), (9, "h"))
    two = write(tmp_path, "2.csv", (1, "b"), (5, "f"), (20, "i"))
    three = write(tmp_path, "3.csv", (3, "c"), (8, "g"))
    sink = MemorySink()
    await replay_files([one, two, three], sink)
    assert visitors(sink) == "abcdefghi"


async def test_a_file_out_of_order_is_sorted_by_itself_and_named(tmp_path: Path) -> None:
    ordered = write(tmp_path, "1.csv", (0, "a"), (5, "c"))
    mixed = write(tmp_path, "2.csv", (9, "d"), (3, "b"))
    sink = MemorySink()
    summary = await replay_files([ordered, mixed], sink)
    assert visitors(sink) == "abcd"
    assert summary.notes == ["2.csv is not in time order: its rows were sorted in memory before sending"]


async def test_a_rejected_row_comes_after_the_event_before_it_and_names_its_file(tmp_path: Path) -> None:
    one = write(tmp_path, "1.csv", (0, "a"), "broken\n", (9, "d"))
    two = write(tmp_path, "2.csv", "1433000000000,77,sneeze,5,\n", (1, "b"), (2, "c"))
    sink = MemorySink()
    summary = await replay_files([one, two], sink)
    told = [record.key.decode() if record.key else dict(record.headers)["source"].decode() for record in sink.records]
    assert told == ["a", "1.csv", "2.csv", "b", "c", "d"]
    assert summary.rejected == {"bad_row": 1, "invalid_value": 1}


async def test_a_file_without_any_event_is_its_rejections(tmp_path: Path) -> None:
    sink = MemorySink()
    summary = await replay_files([write(tmp_path, "1.csv", (5, "a")), write(tmp_path, "2.csv", "broken\n")], sink)
    assert (summary.sent, summary.rejected) == (1, {"bad_row": 1})


async def test_a_thousand_rows_dealt_out_to_files_come_back_in_their_order(tmp_path: Path) -> None:
    draw = random.Random(3)
    deck: list[list[tuple[int, str]]] = [[] for _ in range(7)]
    for number in range(1_000):
        draw.choice(deck).append((number // 3, f"v{number}"))
    for hand in deck[:2]:
        draw.shuffle(hand)  # those two are sorted first
    files = [write(tmp_path, f"{number}.csv", *hand) for number, hand in enumerate(deck)]
    sink = MemorySink()
    await replay_files(files, sink)
    times = [int(record.value.partition(b'"event_time":')[2].partition(b",")[0]) for record in sink.records]
    assert times == sorted(times)
    assert len({record.key for record in sink.records}) == 1_000


async def test_files_that_do_not_overlap_are_never_open_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "OPEN_FILES_MAX", 1)
    apart = [write(tmp_path, f"{number}.csv", (number * 10, "a"), (number * 10 + 5, "b")) for number in range(20)]
    sink = MemorySink()
    await replay_files(apart, sink)
    assert visitors(sink) == "ab" * 20
    overlapping = [*apart, write(tmp_path, "x.csv", (3, "c"), (1_000, "d"))]
    with pytest.raises(SourceError, match="more than 1 files that overlap in time"):
        await replay_files(overlapping, MemorySink())


async def test_progress_is_that_of_all_files_and_reaches_the_end(tmp_path: Path) -> None:
    files = [
        write(tmp_path, "1.csv", *((number, "a") for number in range(5_000))),
        write(tmp_path, "2.csv", *((9_000 - number, "b") for number in range(5_000))),
    ]
    told: dict[str, list[tuple[int, int]]] = {}
    await replay_files(
        files, MemorySink(), progress=lambda phase, done, total: told.setdefault(phase, []).append((done, total))
    )
    size = sum(file.path.stat().st_size for file in files)
    assert told["sending"][-1] == (size, size)
    assert {total for _, total in told["sending"] + told["checking order"]} == {size}
    sent = [done for done, _ in told["sending"]]
    assert sent == sorted(sent)
    assert len(sent) > 3
    assert max(done for done, _ in told["checking order"]) > files[0].path.stat().st_size


async def test_directories_of_two_formats_are_one_history(tmp_path: Path) -> None:
    write(tmp_path, "old.csv", (5, "b"))
    (tmp_path / "new.jsonl").write_text(
        f'{{"event_id":"e1","event_type":"view_item","event_time":{START_MS},"visitor_id":"a"}}\n'
    )
    formats = {"old.csv": RETAIL, "new.jsonl": FORMATS["canonical"]}
    sink = MemorySink()
    await replay_files([HistoryFile(file.path, file.name, formats[file.name]) for file in files_in([tmp_path])], sink)
    assert visitors(sink) == "ab"


async def test_events_pass_the_door(tmp_path: Path) -> None:
    row = '{{"event_id":"e{0}","event_type":"page_view","event_time":{1},"visitor_id":"{2}","page_url":"/a?token=7"}}\n'
    path = tmp_path / "f.jsonl"
    path.write_text(row.format(1, START_MS, "v1") + row.format(2, START_MS + 1, "jane@shop.example"))
    sink = MemorySink()
    summary = await replay_files([HistoryFile(path, "f.jsonl", FORMATS["canonical"])], sink, door=Door())
    (event,) = [record for record in sink.records if record.topic == topics.EVENTS]
    assert b"token" not in event.value
    assert (summary.sent, summary.rejected) == (1, {"invalid_value": 1})
    (letter,) = [record for record in sink.records if record.topic == topics.DEAD_LETTERS]
    assert b"jane" not in (dict(letter.headers)["detail"] or b"")


async def test_stopping_while_a_file_is_sorted_sends_nothing_of_it(tmp_path: Path) -> None:
    stop = asyncio.Event()

    def report(phase: str, done: int, total: int) -> None:
        if phase == "sorting":
            stop.set()

    mixed = write(tmp_path, "1.csv", *((9_000 - number, "a") for number in range(5_000)))
    sink = MemorySink()
    summary = await replay_files([mixed], sink, stop=stop, progress=report)
    assert (summary.stopped, summary.rows, sink.records) == (True, 0, [])
