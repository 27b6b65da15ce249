"""A file's rows in time order: checked first, sorted in memory only where they are not.

Sorting keeps each row's bytes and 24 bytes beside them, not the parsed events, and parses again when a row's turn
comes: twice the work for about a tenth of the memory.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from producers.formats import Format
from producers.source import Row, Source
from stream_app.core.codec import Rejected

#: Called with a phase, and how much of how much is done: bytes of the file read, or rows sent.
Progress: TypeAlias = Callable[[str, int, int], None]

#: Rows between two looks at `stop` and two reports: some 10 ms of parsing.
ROWS_PER_REPORT: Final = 2_000


def in_time_order(path: Path, format: Format, *, now_ms: int, stop: asyncio.Event, progress: Progress) -> bool:
    """Read the file once and say whether its events are in time order (equal times are); ends early when they are not.

    Blocking: call it in a thread. When `stop` is set it returns True, and nobody will use the answer.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    newest = 0
    with Source(path, format, now_ms=now_ms) as source:
        for row in _watched(source, "checking order", stop=stop, progress=progress):
            if not isinstance(row.result, Rejected):
                time = row.result.event_time
                assert isinstance(time, int)  # adapters have made it so
                if time < newest:
                    return False
                newest = time
    return True


class SortedRows:
    """A file's rows by (event time, row number); a rejected row keeps its place after the event before it.

    Building it reads the whole file and blocks: do it in a thread. `stop` ends it early, with the rows so far.
    """

    def __init__(self, source: Source, *, stop: asyncio.Event, progress: Progress) -> None:
        self._parse = source.parse
        self._bytes = bytearray()
        self._ends = array("q")
        self._numbers = array("q")
        times = array("q")
        time = 0
        for row in _watched(source, "sorting", stop=stop, progress=progress):
            if not isinstance(row.result, Rejected):
                assert isinstance(row.result.event_time, int)
                time = row.result.event_time
            self._bytes += row.raw
            self._ends.append(len(self._bytes))
            self._numbers.append(row.number)
            times.append(time)
        # Rows stand in the order of their numbers, so a stable sort by time alone keeps that order among equals.
        self._order = np.argsort(np.frombuffer(times, dtype=np.int64), kind="stable")

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Row]:
        for position in self._order:
            begin = self._ends[position - 1] if position else 0
            raw = bytes(self._bytes[begin : self._ends[position]])
            yield Row(self._numbers[position], raw, self._parse(raw))


def _watched(source: Source, phase: str, *, stop: asyncio.Event, progress: Progress) -> Iterator[Row]:
    for count, row in enumerate(source):
        if count % ROWS_PER_REPORT == 0:
            if stop.is_set():
                return
            progress(phase, source.read_bytes, source.size_bytes)
        yield row
