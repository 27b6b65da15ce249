"""Files of history, sent again in the order and at the pace in which it happened.

The scorer's sessions live on event time, so a replay must keep its order: files in time order are streamed; others are
sorted first, each by itself, which holds its rows in memory; files that overlap in time are read side by side. Rejected
rows go to the dead letters, bytes unchanged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from producers.clock import Clock, SystemClock
from producers.door import Door
from producers.findings import Findings, found_told, is_unknown_type
from producers.formats import Format
from producers.history_files import HistoryFile, common_name
from producers.merging import MergedRows
from producers.pace import Pacer
from producers.replay_state import StateFile
from producers.sink import Sink
from producers.sorting import ROWS_PER_REPORT, Progress, Span
from producers.source import Row, kinds_told
from producers.summary import Summary
from producers.survey import Survey, survey
from stream_app.core.codec import Rejected

#: How often a replay's state is written: what was sent since is sent again after a kill. Each time waits for Kafka's
#: acknowledgement, some milliseconds.
SAVE_SECONDS: Final = 1.0


async def replay(path: Path, format: Format, sink: Sink, **options: Any) -> Summary:
    """Send one file; `options` as in `replay_files`."""
    return await replay_files([HistoryFile(path, path.name, format)], sink, **options)


async def replay_files(
    files: Sequence[HistoryFile],
    sink: Sink,
    *,
    speed: float | None = None,
    limit: int | None = None,
    door: Door | None = None,
    kept: StateFile | None = None,
    same: dict[str, str] | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Send files' rows in event-time order.

    Parameters
    ----------
    files
        At least one.
    sink
        Where events and dead letters go; flushed before this returns.
    speed
        Event time over wall time: 60 sends an hour in a minute. None is as fast as the sink takes them.
    limit
        Events and rejected rows to replay at most; None is all.
    door
        What events pass on their way in; None lets them in as they are.
    kept
        Where the state is written, about once a second, and whence an earlier run's is taken up. After a kill nothing
        is missing, and what is sent again are events of that last second, with the ids they had.
    same
        Options that a run must have in common with the one it takes up.
    stop
        When set, the replay ends before the next event.
    clock
        Defaults to the real one.
    progress
        Told now and then: the phase (`checking order`, `sorting`, `sending`), how much is done, of how much, in bytes.

    The summary's seconds are those of sending: checking the order and sorting are not in them.

    Raises
    ------
    SourceError
        If a file cannot be read, or is not the one that was begun.
    SinkError
        If something could not be delivered.
    """
    stop, clock, report = stop or asyncio.Event(), clock or SystemClock(), progress or _silent
    found = await asyncio.to_thread(
        survey, files, kept=kept, same=same or {}, now_ms=clock.now_ms(), stop=stop, progress=report
    )
    run = _Run(files, sink, found, kept, door=door, stop=stop, clock=clock, progress=report)
    return await run.send(Pacer(clock, speed=speed, stop=stop), limit)


class _Run:
    """What was sent since the start, and what of it is noted as arrived."""

    def __init__(
        self, files: Sequence[HistoryFile], sink: Sink, found: Survey, kept: StateFile | None, *, door: Door | None,
        stop: asyncio.Event, clock: Clock, progress: Progress,
    ) -> None:  # fmt: skip
        self._files, self._sink, self._kept, self._door = files, sink, kept, door
        self._state, self._size_bytes, self._notes = found
        self._stop, self._clock, self._progress = stop, clock, progress
        self._sent_before = self._state.sent
        self._counts = [file.done for file in self._state.files]
        self._rows, self._events, self._rejected = 0, 0, Counter[str]()
        #: by format
        self._findings: dict[str, Findings] = {}
        self._saved_rows, self._saved_at = 0, clock.monotonic()

    async def send(self, pacer: Pacer, limit: int | None) -> Summary:
        """Send what is left of the files, at most `limit` rows."""
        start = self._clock.monotonic()
        with self._merged() as rows:
            async with aclosing(rows.turns()) as turns:
                async for place, row in turns:
                    if self._rows == limit or self._stop.is_set() or not await self._pass(row, place, rows, pacer):
                        break
                    self._counts[place] += 1
                    self._rows += 1
                    if self._rows % ROWS_PER_REPORT == 0:
                        self._progress("sending", rows.read_bytes, self._size_bytes)
            await self._arrive(rows)
            self._progress("sending", rows.read_bytes, self._size_bytes)
        ignored = [kinds_told(rows.ignored)] if rows.ignored else []
        notes = [*self._notes, *ignored, *found_told(self._findings), *pacer.notes()]
        return Summary.of(
            source=common_name([file.path for file in self._files]),
            rows=self._rows,
            sent=self._events,
            rejected=dict(self._rejected),
            seconds=self._clock.monotonic() - start,
            stopped=self._stop.is_set(),
            notes=notes,
        )

    def _merged(self) -> MergedRows:
        return MergedRows(
            self._files,
            [Span(file.first, file.in_order) for file in self._state.files],
            done=[None if file.finished else file.done for file in self._state.files],
            now_ms=self._state.now_ms,
            stop=self._stop,
            progress=self._progress,
        )

    async def _pass(self, row: Row, place: int, rows: MergedRows, pacer: Pacer) -> bool:
        """Send what a row came to, when it is due; False if it stopped before that."""
        result = row.result
        if self._door is not None and not isinstance(result, Rejected):
            result = self._door.admit(result)
        if isinstance(result, Rejected):
            await self._sink.send_dead_letter(row.raw, result, source=self._files[place].name, row=row.number)
            self._rejected[result.reason] += 1
            self._found(place).unknown_types(is_unknown_type(result))
            return True
        assert isinstance(result.event_time, int)  # adapters have made it so
        due = result.event_time / 1000
        if self._kept is not None and self._rows > self._saved_rows:
            # Before a long wait, too: what was sent shall not be sent again because nothing came after it.
            pause = self._clock.monotonic() - self._saved_at
            if pause >= SAVE_SECONDS or pacer.ahead(due) >= SAVE_SECONDS:
                await self._arrive(rows)
        await pacer.wait(due)
        if self._stop.is_set():
            return False  # it stopped while waiting: this event is not due yet
        await self._sink.send_event(result, due_ms=pacer.due_ms(due))
        self._events += 1
        self._found(place).event(result, received_ms=None)
        return True

    def _found(self, place: int) -> Findings:
        name = self._files[place].format.name
        return self._findings.setdefault(name, Findings(name))

    async def _arrive(self, rows: MergedRows) -> None:
        """Wait until all that was sent has arrived, and note it."""
        await self._sink.flush()
        if self._kept is None:
            return
        for place, file in enumerate(self._state.files):
            file.done = self._counts[place]
            file.finished = file.finished or place in rows.finished
        self._state.sent = self._sent_before + self._events
        await asyncio.to_thread(self._kept.write, self._state)
        self._saved_rows, self._saved_at = self._rows, self._clock.monotonic()


def _silent(phase: str, done: int, total: int) -> None:
    """Report to nobody."""
