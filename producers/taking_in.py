"""Files and standard input, sent as they come: unpaced, unsorted, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from producers.clock import Clock, SystemClock
from producers.door import Door
from producers.findings import Findings, found_told, is_unknown_type
from producers.history_files import HistoryFile
from producers.read_ahead import ReadAhead
from producers.sink import Sink
from producers.sorting import Progress
from producers.source import Row, Source, kinds_told
from producers.source_error import SourceError
from producers.standard_input import StandardInput
from producers.summary import Summary
from stream_app.core.codec import Rejected

#: Between two looks at the clock that bounds how far ahead times may lie, in seconds: the bound itself is a day.
_CLOCK_S: Final = 60.0


class Input(NamedTuple):
    """A file, or standard input where there is a `stream`."""

    file: HistoryFile
    stream: StandardInput | None = None

    @property
    def size_bytes(self) -> int:
        """Of the file, for a progress bar; 0 where nobody knows."""
        return 0 if self.stream is not None or not self.file.path.is_file() else self.file.path.stat().st_size

    def open(self, now_ms: int) -> Source:
        """Open it. Raises SourceError as `Source` does."""
        stream = self.stream.opened() if self.stream is not None else None
        return Source(self.file.path, self.file.format, now_ms=now_ms, stream=stream)


async def take_in(
    inputs: Sequence[Input],
    sink: Sink,
    *,
    door: Door,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Send all rows, one input after the other.

    Parameters
    ----------
    inputs
        At least one.
    sink
        Where events and dead letters go; flushed before this returns.
    door
        What events pass on their way in.
    stop
        When set, no further row is read, and what was read is delivered.
    clock
        Defaults to the real one.
    progress
        Told now and then: `sending`, bytes read, of how many (0: nobody knows).

    Raises
    ------
    SourceError
        If an input cannot be read.
    SinkError
        If something could not be delivered.
    """
    stop, clock = stop or asyncio.Event(), clock or SystemClock()
    sizes = [one.size_bytes for one in inputs]
    total = sum(sizes) if all(sizes) else 0
    report = progress or _silent
    run = _Run(sink, door, stop, clock, lambda read_bytes: report("sending", read_bytes, total))
    start = clock.monotonic()
    for one in inputs:
        if not stop.is_set():
            await run.send(one)
    await sink.flush()
    return run.summary(inputs, seconds=clock.monotonic() - start)


class _Run:
    """What was sent so far."""

    def __init__(
        self, sink: Sink, door: Door, stop: asyncio.Event, clock: Clock, progress: Callable[[int], None]
    ) -> None:
        self._sink, self._door, self._stop, self._clock, self._progress = sink, door, stop, clock, progress
        self._rows, self._events = 0, 0
        self._rejected: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        #: by format
        self._findings: dict[str, Findings] = {}
        self._bytes_before = 0

    async def send(self, one: Input) -> None:
        """Send one input."""
        ending = asyncio.create_task(self._end(one.stream))
        try:
            # In a thread: a stream's first byte may be long in coming.
            with await asyncio.to_thread(one.open, self._clock.now_ms()) as source:
                await self._send(source, one)
                self._ignored.update(source.ignored)
                self._bytes_before += source.size_bytes
        except SourceError:
            if not self._stop.is_set():  # else it was ended in the middle of a row
                raise
        finally:
            ending.cancel()

    async def _send(self, source: Source, one: Input) -> None:
        looked = self._clock.monotonic()
        async with aclosing(ReadAhead(source).lists()) as found:
            async for rows in found:
                for row in rows:
                    await self._pass(row, one)
                    if self._stop.is_set() and one.stream is None:
                        return
                self._progress(self._bytes_before + source.read_bytes)
                if self._clock.monotonic() - looked >= _CLOCK_S:
                    looked = self._clock.monotonic()
                    source.judge_by(self._clock.now_ms())

    def summary(self, inputs: Sequence[Input], *, seconds: float) -> Summary:
        """What it came to."""
        return Summary.of(
            source=", ".join(str(one.file.path) for one in inputs),
            rows=self._rows,
            sent=self._events,
            rejected=dict(self._rejected),
            seconds=seconds,
            stopped=self._stop.is_set(),
            notes=[*([kinds_told(self._ignored)] if self._ignored else []), *found_told(self._findings)],
        )

    def _found(self, one: Input) -> Findings:
        name = one.file.format.name
        return self._findings.setdefault(name, Findings(name))

    async def _pass(self, row: Row, one: Input) -> None:
        result = row.result if isinstance(row.result, Rejected) else self._door.admit(row.result)
        if isinstance(result, Rejected):
            await self._sink.send_dead_letter(row.raw, result, source=one.file.name, row=row.number)
            self._rejected[result.reason] += 1
            self._found(one).unknown_types(is_unknown_type(result))
        else:
            await self._sink.send_event(result)
            self._events += 1
            self._found(one).event(result, received_ms=None)
        self._rows += 1

    async def _end(self, stream: StandardInput | None) -> None:
        """End the stream when it is to stop: nobody knows when its next byte comes."""
        await self._stop.wait()
        if stream is not None:
            stream.end()


def _silent(phase: str, done: int, total: int) -> None:
    """Report to nobody."""
