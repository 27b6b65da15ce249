"""Files and standard input, sent as they come."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from producers.detection import detect_stream
from producers.door import Door, DoorSettings
from producers.formats import FORMATS, Format
from producers.history_files import HistoryFile
from producers.memory_sink import MemorySink
from producers.read_ahead import ITEMS_MAX, ReadAhead
from producers.source_error import SourceError
from producers.standard_input import NAME, StandardInput
from producers.summary import Summary
from producers.taking_in import Input, take_in
from stream_app import topics
from tests.producers.test_golden import GOLDEN

OPEN = Door(DoorSettings(masks=False))


class Pipe:
    """A standard input that a test writes to."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.input = StandardInput(self._read)
        os.close(self._read)

    def write(self, data: bytes) -> None:
        """In one go: at most what a pipe holds."""
        os.write(self._write, data)

    def close(self) -> None:
        """The end of the stream; harmless when repeated."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()
    made.input.close()


def view(visitor: str, event: int, time_ms: int = 1_769_884_205_250) -> bytes:
    fields = {"event_id": f"e-{event}", "event_type": "page_view", "event_time": time_ms, "visitor_id": visitor}
    return json.dumps(fields).encode() + b"\n"


def of(path: Path, format: str) -> Input:
    return Input(HistoryFile(path, path.name, FORMATS[format]))


def stream(pipe: Pipe, format: Format) -> Input:
    return Input(HistoryFile(NAME, "standard input", format), pipe.input)


def told_by(pipe: Pipe) -> Format | None:
    disk = pipe.input.opened()
    found = detect_stream(disk, NAME)
    disk.detach()
    pipe.input.rewind()
    return found.format


async def until(sink: MemorySink, records: int) -> None:
    async with asyncio.timeout(10):
        while len(sink.records) < records:  # noqa: ASYNC110 (a memory sink tells nobody)
            await asyncio.sleep(0.005)


async def test_files_are_sent_one_after_the_other_as_they_stand(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    first.write_bytes(view("v-1", 1, 1_769_884_209_000) + view("v-1", 2, 1_769_884_201_000) + b"{\n")
    second.write_bytes(gzip.compress(view("v-2", 3, 1_769_884_200_000)))
    sink, told = MemorySink(), list[tuple[str, int, int]]()
    summary = await take_in(
        [of(first, "canonical"), of(second, "canonical"), of(GOLDEN / "segment.jsonl", "segment")],
        sink, door=OPEN, progress=lambda *progress: told.append(progress),
    )  # fmt: skip
    sent = [record for record in sink.records if record.topic == topics.EVENTS]
    assert [record.key for record in sent[:3]] == [b"v-1", b"v-1", b"v-2"]
    assert [b"e-1" in sent[0].value, b"e-2" in sent[1].value] == [True, True]
    letter = next(record for record in sink.records if record.topic == topics.DEAD_LETTERS)
    assert letter.value == b"{"
    assert dict(letter.headers)["source"] == b"a.jsonl"
    assert (summary.rows, summary.sent, sum(summary.rejected.values())) == (30, 20, 10)
    assert summary.notes == [
        "ignored as no part of a visit: 2 (identify 1, Coupon Applied 1)",
        "segment: rejected for a type that is not known: 1",
    ]
    sizes = [path.stat().st_size for path in (first, second, GOLDEN / "segment.jsonl")]
    assert told[-1] == ("sending", sum(sizes), sum(sizes))


async def test_what_is_personal_stays_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(view("v-1", 1) + view("jo@example.org", 2))
    sink = MemorySink()
    summary = await take_in([of(path, "canonical")], sink, door=Door())
    assert (summary.sent, summary.rejected) == (1, {"invalid_value": 1})


async def test_a_row_of_standard_input_is_sent_when_it_is_there(pipe: Pipe) -> None:
    sink = MemorySink()
    running = asyncio.create_task(take_in([stream(pipe, FORMATS["canonical"])], sink, door=OPEN))
    for number in range(1, 4):
        pipe.write(view("v-1", number))
        await until(sink, number)
    pipe.write(view("v-1", 4)[:30])
    await asyncio.sleep(0.05)
    assert len(sink.records) == 3
    pipe.write(view("v-1", 4)[30:])
    pipe.close()
    summary = await asyncio.wait_for(running, 10)
    assert (summary.sent, summary.stopped, summary.source) == (4, False, "-")


async def test_a_stop_ends_standard_input_while_nothing_comes(pipe: Pipe) -> None:
    sink, stop = MemorySink(), asyncio.Event()
    running = asyncio.create_task(take_in([stream(pipe, FORMATS["canonical"])], sink, door=OPEN, stop=stop))
    pipe.write(view("v-1", 1) + view("v-1", 2))
    await until(sink, 2)
    stop.set()
    summary = await asyncio.wait_for(running, 10)
    assert (summary.sent, summary.stopped) == (2, True)


async def test_a_stop_ends_the_wait_for_the_first_byte(pipe: Pipe) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(take_in([stream(pipe, FORMATS["rees46"])], MemorySink(), door=OPEN, stop=stop))
    await asyncio.sleep(0.05)
    stop.set()
    summary = await asyncio.wait_for(running, 10)
    assert (summary.rows, summary.stopped) == (0, True)


async def test_a_stop_ends_a_file_between_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(view("v-1", number) for number in range(20_000)))
    stop, sink = asyncio.Event(), MemorySink()
    summary = await take_in(
        [of(path, "canonical"), of(path, "canonical")], sink, door=OPEN, stop=stop, progress=lambda *_: stop.set()
    )
    assert 0 < summary.sent <= 2 * ITEMS_MAX
    assert summary.stopped


@pytest.mark.parametrize("packed", [False, True])
async def test_the_format_is_told_by_what_is_there_and_nothing_of_it_is_lost(pipe: Pipe, packed: bool) -> None:
    text = (GOLDEN / "segment.jsonl").read_bytes()
    pipe.write(gzip.compress(text) if packed else text)
    if packed:
        pipe.close()  # what is packed is only whole at its end
    format = await asyncio.to_thread(told_by, pipe)
    assert format is FORMATS["segment"]
    pipe.close()
    summary: Summary = await take_in([stream(pipe, format)], MemorySink(), door=OPEN)
    assert (summary.sent, sum(summary.rejected.values())) == (17, 9)


async def test_who_waits_for_the_next_click_does_not_hold_up_the_first_one(pipe: Pipe) -> None:
    pipe.write(view("v-1", 1))
    # Nothing more comes: whoever waited for a second click would wait for ever.
    assert await asyncio.wait_for(asyncio.to_thread(told_by, pipe), 60.0) is FORMATS["canonical"]


async def test_a_stream_is_held_to_the_clock_of_the_moment_and_not_to_that_of_its_beginning(pipe: Pipe) -> None:
    class Days:
        """A clock by which each look is a day later."""

        def __init__(self) -> None:
            self.days = 0

        def monotonic(self) -> float:
            self.days += 1
            return self.days * 86_400.0

        def now_ms(self) -> int:
            return 1_769_884_205_250 + self.days * 86_400_000

        async def sleep(self, seconds: float, stop: asyncio.Event) -> None:
            raise AssertionError("nothing is paced")

    clock, sink = Days(), MemorySink()
    running = asyncio.create_task(take_in([stream(pipe, FORMATS["canonical"])], sink, door=OPEN, clock=clock))
    for number in range(1, 30):
        pipe.write(view("v-1", number, clock.now_ms()))
        await until(sink, number)
    pipe.close()
    assert (await asyncio.wait_for(running, 10)).rejected == {}


async def test_standard_input_that_is_parquet_is_refused_with_what_to_do(pipe: Pipe) -> None:
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"event_id": ["e-1"]}), table)
    pipe.write(table.getvalue())
    pipe.close()
    with pytest.raises(SourceError, match="save it to a file first"):
        await asyncio.to_thread(told_by, pipe)


async def test_what_was_read_ahead_is_bounded_and_comes_in_order() -> None:
    begun = threading.Event()
    read: list[int] = []

    def items() -> Iterator[int]:
        begun.set()
        for number in range(1_000):
            read.append(number)
            yield number

    ahead = ReadAhead(items(), items_max=10)
    found: list[int] = []
    async for some in ahead.lists():
        assert begun.is_set()
        await asyncio.sleep(0.0005)
        assert len(read) <= len(found) + len(some) + 11
        found += some
    assert found == list(range(1_000))


async def test_an_error_of_the_reading_comes_after_what_was_read_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise SourceError("damaged after row 2")

    found: list[int] = []

    async def read() -> None:
        async for some in ReadAhead(items()).lists():
            found.extend(some)

    with pytest.raises(SourceError, match="damaged after row 2"):
        await read()
    assert found == [1, 2]
