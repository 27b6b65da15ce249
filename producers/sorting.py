"""A file's rows in time order: checked first, sorted in memory only where they are not.

Sorting keeps each row's bytes and 25 bytes beside them, not the parsed events, and parses again when a row's turn
comes: twice the work for about a tenth of the memory.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from producers.formats import Format
from producers.source import Row, Source
from stream_app.core.codec import Rejected

#: Called with a phase, and how much of how much is done, in bytes of the files.
Progress: TypeAlias = Callable[[str, int, int], None]

#: Rows between two looks at `stop` and two reports: some 10 ms of parsing.
ROWS_PER_REPORT: Final = 2_000


class Span(NamedTuple):
    """The time of a file's earliest event, ms (0 without one), and whether its events are in time order."""

    first: int
    in_order: bool


def span_of(path: Path, format: Format, *, now_ms: int, stop: asyncio.Event, progress: Callable[[int], None]) -> Span:
    """Read the file once to see when its events begin, and whether they are in time order (equal times are).

    Blocking: call it in a thread. When `stop` is set it ends early, and nobody will use the answer. `progress` is told
    the bytes read.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    first = newest = 0
    in_order = True
    with Source(path, format, now_ms=now_ms) as source:
        for row in _watched(source, stop=stop, progress=progress):
            if not isinstance(row.result, Rejected):
                time = row.result.event_time
                assert isinstance(time, int)  # adapters have made it so
                first = min(first or time, time)
                in_order = in_order and time >= newest
                newest = time
    return Span(first, in_order)


class SortedRows:
    """A file's events by (event time, row number); a rejected row keeps its place after the event before it.

    Building it reads the whole file and blocks: do it in a thread. `stop` ends it early, with the rows so far.
    """

    def __init__(self, source: Source, *, stop: asyncio.Event, progress: Callable[[int], None]) -> None:
        self._source = source
        self._bytes = bytearray()
        self._ends = array("q")
        self._numbers = array("q")
        self._is_event = bytearray()
        self._handed_out = 0
        times = array("q")
        time = 0
        for row in _watched(source, stop=stop, progress=progress):
            if not isinstance(row.result, Rejected):
                assert isinstance(row.result.event_time, int)
                time = row.result.event_time
            self._bytes += row.raw
            self._ends.append(len(self._bytes))
            self._numbers.append(row.number)
            self._is_event.append(not isinstance(row.result, Rejected))
            times.append(time)
        # Rows stand in the order of their numbers, so a stable sort by time alone keeps that order among equals.
        self._order = np.argsort(np.frombuffer(times, dtype=np.int64), kind="stable")

    def __iter__(self) -> Iterator[Row]:
        for position in self._order:
            begin = self._ends[position - 1] if position else 0
            raw = bytes(self._bytes[begin : self._ends[position]])
            read = self._source.parse if self._is_event[position] else self._source.rejection
            self._handed_out += 1
            yield Row(self._numbers[position], raw, read(raw))

    @property
    def read_bytes(self) -> int:
        """How much of the file has been handed out, by the share of its rows: for a progress bar."""
        return self._source.size_bytes * self._handed_out // max(1, len(self._numbers))


def _watched(source: Source, *, stop: asyncio.Event, progress: Callable[[int], None]) -> Iterator[Row]:
    for count, row in enumerate(source):
        if count % ROWS_PER_REPORT == 0:
            if stop.is_set():
                return
            progress(source.read_bytes)
        yield row
