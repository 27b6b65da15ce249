"""Replaying a file: order, pace, limit, dead letters. No test here waits for real time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from producers.formats import FORMATS
from producers.memory_sink import MemorySink
from producers.pace import Pacer
from producers.replay import replay
from producers.source import SourceError
from stream_app import topics
from stream_app.core import codec
from stream_app.core.events import Event

HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
START_MS = 1_433_000_000_000


class FakeClock:
    """Time that moves only by sleeping, or when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return 1_893_456_000_000

    async def sleep(self, seconds: float, stop: asyncio.Event) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class TimedSink(MemorySink):
    """Notes when each event was sent; may take its time over each."""

    def __init__(self, clock: FakeClock, *, seconds_each: float = 0.0) -> None:
        super().__init__()
        self.clock = clock
        self.seconds_each = seconds_each
        self.sent_at: list[float] = []

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        self.sent_at.append(round(self.clock.seconds - 100.0, 6))
        self.clock.seconds += self.seconds_each
        await super().send_event(event, due_ms=due_ms)


def file_of(tmp_path: Path, *rows: tuple[int, str] | str) -> Path:
    """A RetailRocket file: (seconds after the start, visitor), or a line as it is."""
    lines = [row if isinstance(row, str) else f"{START_MS + row[0] * 1000},{row[1]},view,5,\n" for row in rows]
    path = tmp_path / "history.csv"
    path.write_text(HEADER + "".join(lines))
    return path


def visitors(sink: MemorySink) -> list[str]:
    keys = [record.key for record in sink.records if record.topic == topics.EVENTS]
    return [key.decode() for key in keys if key is not None]


async def test_a_file_in_time_order_is_sent_as_it_stands_keyed_by_visitor(tmp_path: Path) -> None:
    sink = MemorySink()
    path = file_of(tmp_path, (0, "a"), (5, "b"), (5, "a"))
    summary = await replay(path, FORMATS["retailrocket"], sink)
    assert visitors(sink) == ["a", "b", "a"]
    assert (summary.rows, summary.sent, summary.rejected, summary.notes) == (3, 3, {}, [])
    event = codec.decode_event(sink.records[0].value, record_time_ms=sink.records[0].timestamp_ms)
    assert isinstance(event, Event)
    assert (event.visitor_id, event.event_time) == ("a", START_MS)


async def test_records_are_stamped_with_the_wall_clock_not_the_event_time(tmp_path: Path) -> None:
    sink = MemorySink()
    await replay(file_of(tmp_path, (0, "a")), FORMATS["retailrocket"], sink)
    assert sink.records[0].timestamp_ms > START_MS + 5 * 365 * 24 * 3600 * 1000


async def test_a_file_out_of_order_is_sorted_with_ties_in_file_order_and_a_note(tmp_path: Path) -> None:
    sink = MemorySink()
    path = file_of(tmp_path, (9, "d"), (5, "b"), (5, "c"), (0, "a"))
    summary = await replay(path, FORMATS["retailrocket"], sink)
    assert visitors(sink) == ["a", "b", "c", "d"]
    assert ["not in time order" in note for note in summary.notes] == [True]


@pytest.mark.parametrize("times", [(0, 5, 9), (9, 5, 0)], ids=["streamed", "sorted"])
async def test_a_rejected_row_goes_to_the_dead_letters_unchanged_with_its_coordinates(
    tmp_path: Path, times: tuple[int, int, int]
) -> None:
    sink = MemorySink()
    bad = "1433000000000,77,sneeze,5,"
    path = file_of(tmp_path, (times[0], "a"), bad + "\n", (times[1], "b"), (times[2], "c"))
    summary = await replay(path, FORMATS["retailrocket"], sink)
    (letter,) = [record for record in sink.records if record.topic == topics.DEAD_LETTERS]
    headers = dict(letter.headers)
    assert letter.value == bad.encode()
    assert (headers["reason"], headers["source"], headers["row"]) == (b"invalid_value", b"history.csv", b"3")
    assert b"'sneeze'" in (headers["detail"] or b"")
    assert (summary.rows, summary.sent, summary.rejected) == (4, 3, {"invalid_value": 1})


async def test_the_pace_is_event_time_over_speed(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = TimedSink(clock)
    path = file_of(tmp_path, (0, "a"), (60, "b"), (60, "c"), (3600, "d"))
    summary = await replay(path, FORMATS["retailrocket"], sink, speed=60.0, clock=clock)
    assert sink.sent_at == [0.0, 1.0, 1.0, 60.0]
    assert (summary.seconds, summary.events_per_second) == (60.0, 0.1)


async def test_a_slow_sink_makes_events_late_but_does_not_move_the_schedule(tmp_path: Path) -> None:
    # due 0, 10, 20, 30; each send takes 15: sent at 0, 15, 30, 45 and never again 10 after the last
    clock = FakeClock()
    sink = TimedSink(clock, seconds_each=15.0)
    summary = await replay(
        file_of(tmp_path, (0, "a"), (10, "b"), (20, "c"), (30, "d")),
        FORMATS["retailrocket"],
        sink,
        speed=1.0,
        clock=clock,
    )
    assert sink.sent_at == [0.0, 15.0, 30.0, 45.0]
    assert clock.slept == []
    # whoever counts from the stamps counts the lateness; and it is said
    begin = clock.now_ms()
    assert [record.timestamp_ms - begin for record in sink.records] == [0, 10_000, 20_000, 30_000]
    assert summary.notes == [
        "3 of 4 records were sent over 0.1 s after they were due, up to 15.0 s: the pace was too fast for the "
        "sender or for Kafka (records are stamped with when they were due, so latencies count from there)"
    ]


async def test_a_sender_that_keeps_its_pace_says_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    path = file_of(tmp_path, (0, "a"), (10, "b"), (20, "c"))
    summary = await replay(path, FORMATS["retailrocket"], TimedSink(clock, seconds_each=0.05), speed=1.0, clock=clock)
    assert summary.notes == []


async def test_after_a_stall_the_schedule_is_caught_up_with(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = TimedSink(clock)
    pacer = Pacer(clock, speed=1.0, stop=asyncio.Event())
    await pacer.wait(0.0)
    clock.seconds += 25.0  # somebody else's doing
    waits = []
    for due in (10.0, 20.0, 30.0):
        await pacer.wait(due)
        waits.append(clock.seconds - 100.0)
    assert waits == [25.0, 25.0, 30.0]
    assert sink.records == []


async def test_full_speed_never_waits(tmp_path: Path) -> None:
    clock = FakeClock()
    await replay(file_of(tmp_path, (0, "a"), (3600, "b")), FORMATS["retailrocket"], MemorySink(), clock=clock)
    assert clock.slept == []


async def test_the_limit_counts_rows_in_the_order_of_sending(tmp_path: Path) -> None:
    sink = MemorySink()
    path = file_of(tmp_path, (9, "c"), (0, "a"), "broken\n", (5, "b"))
    summary = await replay(path, FORMATS["retailrocket"], sink, limit=2)
    assert visitors(sink) == ["a"]  # and the broken row after it
    assert (summary.rows, summary.sent, summary.rejected) == (2, 1, {"bad_row": 1})


async def test_stopping_ends_the_replay_before_the_next_event(tmp_path: Path) -> None:
    stop = asyncio.Event()

    class StoppingSink(MemorySink):
        async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
            await super().send_event(event, due_ms=due_ms)
            if event.visitor_id == "b":
                stop.set()

    sink = StoppingSink()
    path = file_of(tmp_path, (0, "a"), (1, "b"), (2, "c"))
    summary = await replay(path, FORMATS["retailrocket"], sink, stop=stop)
    assert visitors(sink) == ["a", "b"]
    assert (summary.stopped, summary.sent) == (True, 2)


async def test_a_damaged_file_is_an_error_not_a_short_replay(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="header lacks"):
        await replay(path, FORMATS["rees46"], MemorySink())


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="got speed 0"):
        Pacer(FakeClock(), speed=0.0, stop=asyncio.Event())


async def test_records_of_several_events_are_sent_in_the_order_of_these_and_refused_once_each() -> None:
    """GA4 bodies, one of them with a purchase that is older than the rest, and bodies of which a part is broken."""
    sink = MemorySink()
    path = Path(__file__).parent / "golden" / "ga4.jsonl"
    summary = await replay(path, FORMATS["ga4"], sink)
    events = [record for record in sink.records if record.topic == topics.EVENTS]
    times = [json.loads(record.value)["event_time"] for record in events]
    assert times == sorted(times)
    assert (summary.sent, len(events), summary.rows) == (10, 10, 19)
    letters = [record for record in sink.records if record.topic == topics.DEAD_LETTERS]
    lines = path.read_bytes().splitlines()
    assert sorted(record.value for record in letters) == sorted([*lines[5:14]])
    assert summary.notes[-1] == "ignored as no part of a visit: 1 (scroll 1)"
