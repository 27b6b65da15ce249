"""A file of history, sent again in the order and at the pace in which it happened.

The scorer's sessions live on event time, so a replay must keep its order: a file that is in time order is streamed;
another is sorted first, which holds its rows in memory. Rejected rows go to the dead letters, bytes unchanged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from producers.clock import Clock, SystemClock
from producers.formats import Format
from producers.pace import Pacer
from producers.sink import Sink
from producers.sorting import ROWS_PER_REPORT, Progress, SortedRows, in_time_order
from producers.source import Row, Source
from producers.summary import Summary
from stream_app.core.codec import Rejected


async def replay(
    path: Path,
    format: Format,
    sink: Sink,
    *,
    speed: float | None = None,
    limit: int | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Send a file's rows in event-time order.

    Parameters
    ----------
    path, format
        The file, and one of `producers.formats.FORMATS`.
    sink
        Where events and dead letters go; flushed before this returns.
    speed
        Event time over wall time: 60 sends an hour in a minute. None is as fast as the sink takes them.
    limit
        Rows to replay at most, rejected ones included; None is all.
    stop
        When set, the replay ends before the next event.
    clock
        Defaults to the real one.
    progress
        Told now and then: the phase (`checking order`, `sorting`, `sending`), how much is done, of how much.

    The summary's seconds are those of sending: checking the order and sorting are not in them.

    Raises
    ------
    SourceError
        If the file cannot be read.
    SinkError
        If something could not be delivered.
    """
    stop, clock = stop or asyncio.Event(), clock or SystemClock()
    report = progress or _silent
    now_ms = clock.now_ms()
    rejected: Counter[str] = Counter()
    events = 0
    ordered = await asyncio.to_thread(in_time_order, path, format, now_ms=now_ms, stop=stop, progress=report)
    notes = [] if ordered else [f"{path.name} is not in time order: its rows were sorted in memory before sending"]
    pacer = Pacer(clock, speed=speed, stop=stop)
    with Source(path, format, now_ms=now_ms) as source:
        rows: Iterable[Row] = source
        if not ordered:
            rows = await asyncio.to_thread(SortedRows, source, stop=stop, progress=report)
        start = clock.monotonic()
        done = 0
        for row in rows:
            if done == limit or stop.is_set():
                break
            if isinstance(row.result, Rejected):
                await sink.send_dead_letter(row.raw, row.result, source=path.name, row=row.number)
                rejected[row.result.reason] += 1
            else:
                assert isinstance(row.result.event_time, int)  # adapters have made it so
                await pacer.wait(row.result.event_time / 1000)
                if stop.is_set():
                    break  # it stopped while waiting: this event is not due yet
                await sink.send_event(row.result)
                events += 1
            done += 1
            if done % ROWS_PER_REPORT == 0:
                _report_sent(report, rows, source, done)
        _report_sent(report, rows, source, done)
    await sink.flush()
    return Summary.of(
        source=str(path),
        rows=done,
        sent=events,
        rejected=dict(rejected),
        seconds=clock.monotonic() - start,
        stopped=stop.is_set(),
        notes=notes,
    )


def _report_sent(report: Progress, rows: Iterable[Row], source: Source, done: int) -> None:
    if isinstance(rows, SortedRows):
        report("sending", done, len(rows))
    else:
        report("sending", source.read_bytes, source.size_bytes)


def _silent(phase: str, done: int, total: int) -> None:
    """Report to nobody."""
