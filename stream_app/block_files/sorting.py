"""Histories out of order: rows are dealt out to files by their time, then each file is sorted in memory.

The cuts between these files are quantiles of all times, taken in a first reading, so each holds about `PART_EVENTS`,
however long the history is and wherever its busy days lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from producers.history_files import HistoryFile
from stream_app.analytics.block import Block
from stream_app.analytics.table import Integers
from stream_app.block_files.reading import BLOCK_ROWS, BlockSource, ReadBlock
from stream_app.evaluation.history import Progress, Survey

#: Events sorted in memory at once: about 120 MB.
PART_EVENTS: Final = 262_144


def sorted_blocks(
    files: Sequence[HistoryFile],
    *,
    now_ms: int,
    directory: Path,
    rejected: Counter[str],
    progress: Progress,
    part_events: int = PART_EVENTS,
) -> Iterator[Block]:
    """Yield the events of all files by time; of one time, in the order of the files and of their rows.

    `directory` takes a copy of the rows, which is read away as the blocks are taken; `rejected` is added what is not
    accepted, by reason.

    Raises
    ------
    SourceError
        If a file cannot be read.
    """
    survey = Survey()
    for file in files:
        with BlockSource(file.path, file.format, now_ms=now_ms) as source:
            for block in source:
                progress(f"looking at {file.name}", source.read_bytes, source.size_bytes)
                for time in block.time_ms.tolist():
                    survey.observe(time)
            rejected += source.rejected
    if not survey.events:
        return
    parts = -(-survey.events // part_events)
    cuts = np.array([survey.time_at(part / parts) for part in range(1, parts)], np.int64)
    for number, file in enumerate(files):
        with BlockSource(file.path, file.format, now_ms=now_ms) as source:
            for read in source.with_rows():
                progress(f"sorting {file.name}", source.read_bytes, source.size_bytes)
                _deal_out(read, cuts, directory, number)
    with ExitStack() as stack:
        # Open for their headers alone: rows are understood as those of their own file.
        sources = [stack.enter_context(BlockSource(file.path, file.format, now_ms=now_ms)) for file in files]
        for part in range(parts):
            yield from _sorted_part(sources, directory, part)


def _deal_out(read: ReadBlock, cuts: Integers, directory: Path, number: int) -> None:
    part_of = np.searchsorted(cuts, read.block.time_ms, side="right")
    for part in np.unique(part_of).tolist():
        # Opened anew for each block: a long history has more parts than a process may have open files.
        with _part_path(directory, number, part).open("ab") as file:
            for place in np.flatnonzero(part_of == part).tolist():
                file.write(read.raw[place] + b"\n")


def _sorted_part(sources: Sequence[BlockSource], directory: Path, part: int) -> Iterator[Block]:
    found: list[Block] = []
    for number, source in enumerate(sources):
        path = _part_path(directory, number, part)
        if path.exists():
            with path.open("rb") as file:
                rows = (line.removesuffix(b"\n") for line in file)
                while block_rows := list(islice(rows, BLOCK_ROWS)):
                    found.append(source.understand(block_rows).block)
            path.unlink()
    if found:
        whole = Block.concat(found)
        order = np.argsort(whole.time_ms, kind="stable")
        for start in range(0, len(order), BLOCK_ROWS):
            yield whole.take(order[start : start + BLOCK_ROWS])


def _part_path(directory: Path, number: int, part: int) -> Path:
    return directory / f"{number}.{part}.rows"
