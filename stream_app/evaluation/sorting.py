"""A file out of time order, sorted on disk: sorted runs are written one after the other, then merged.

The replay sorts such a file in memory (`producers.sorting`); histories that are evaluated may be larger than that. The
order is the same: by event time, rows of one time in the order of the file.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from producers.source import Source
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

#: Rows sorted in memory at once: about 50 MB with their bytes. A file of 40 million rows makes 200 runs, which one
#: merge can hold open.
RUN_ROWS: Final = 200_000

#: Event time (ms), row number, length of the row's bytes.
_HEADER: Final = struct.Struct("<qqI")


def sorted_events(source: Source, directory: Path, *, run_rows: int = RUN_ROWS) -> Iterator[Event]:
    """Yield the events of a file by (event time, row number); rejected rows are left out.

    Raises
    ------
    SourceError
        If the file turns out damaged.
    """
    # Of its own: files of one name, from two directories, are read side by side.
    with TemporaryDirectory(dir=directory, prefix="runs-") as runs, ExitStack() as stack:
        files = [stack.enter_context(run.open("rb")) for run in list(_write_runs(source, Path(runs), run_rows))]
        for _, _, raw in heapq.merge(*map(_read_run, files)):
            event = source.parse(raw)
            assert isinstance(event, Event)  # it was one before
            yield event


def _write_runs(source: Source, directory: Path, run_rows: int) -> Iterator[Path]:
    rows: list[tuple[int, int, bytes]] = []
    written = 0
    for row in source:
        if isinstance(row.result, Rejected):
            continue
        assert isinstance(row.result.event_time, int)  # adapters have made it so
        rows.append((row.result.event_time, row.number, row.raw))
        if len(rows) == run_rows:
            yield _write_run(rows, directory / f"{written}.run")
            rows, written = [], written + 1
    yield _write_run(rows, directory / f"{written}.run")


def _write_run(rows: list[tuple[int, int, bytes]], path: Path) -> Path:
    rows.sort(key=lambda row: row[:2])
    with path.open("wb") as file:
        for time, number, raw in rows:
            file.write(_HEADER.pack(time, number, len(raw)))
            file.write(raw)
    return path


def _read_run(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    while header := file.read(_HEADER.size):
        time, number, length = _HEADER.unpack(header)
        yield time, number, file.read(length)
