"""The rows of several files in the order of their event times, each file open no longer than its turn lasts.

The scorer's sessions live on event time, so files that overlap in it (a day's parts, one for each server) must be
read side by side: one after the other, a visitor's events would arrive in another order than they happened.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from itertools import islice
from typing import Final, NamedTuple

from producers.history_files import HistoryFile
from producers.sorting import ROWS_PER_REPORT, Progress, SortedRows, Span
from producers.source import Row, Source, SourceError
from stream_app.core.codec import Rejected

#: Files open at the same time: a system gives a process 1,024 as a rule, and the client to Kafka needs some of them.
OPEN_FILES_MAX: Final = 512


class _Open(NamedTuple):
    """A file that is being read; `rows` come with the time by which they take their turn."""

    source: Source
    content: Source | SortedRows
    rows: Iterator[tuple[int, Row]]


class MergedRows:
    """Use it as a context manager; `turns` hands out, once, each row with its file's place in `files`.

    Equal times keep the order of the files. A rejected row comes after the event before it in its file. The order
    depends on the files alone: with `done` it is the same one, continued.

    Parameters
    ----------
    files, spans
        The files, and what is known of the times in each.
    done
        For each file how many of its rows are left out, because they were handed out before; None is all of them.
    now_ms
        Wall clock, ms since the epoch: bounds how far ahead an event time may lie.
    stop
        Ends the sorting of a file early; who iterates has to look at it as well.
    progress
        Told of a sorting.

    Attributes
    ----------
    ignored
        Records so far that say nothing we want to know, by their kind.
    finished
        Places of the files that have been handed out to their end, and are not done since before.

    Raises
    ------
    SourceError
        While iterating: if a file cannot be read, or more than `OPEN_FILES_MAX` overlap.
    """

    def __init__(
        self, files: Sequence[HistoryFile], spans: Sequence[Span], *, done: Sequence[int | None], now_ms: int,
        stop: asyncio.Event, progress: Progress,
    ) -> None:  # fmt: skip
        self._files, self._spans, self._done = files, spans, done
        self._now_ms, self._stop, self._progress = now_ms, stop, progress
        self._open: dict[int, _Open] = {}
        self._closed_bytes = 0
        self.ignored: Counter[str] = Counter()
        self.finished: set[int] = set()

    def __enter__(self) -> MergedRows:
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self._open):
            self._close(place)

    async def turns(self) -> AsyncGenerator[tuple[int, Row], None]:
        """Yield all rows; what was yielded last counts as handed out when the next one is asked for."""
        begun = [place for place, count in enumerate(self._done) if count is not None]
        waiting = deque(sorted(begun, key=lambda place: (self._spans[place].first, place)))
        turns: list[tuple[int, int, Row]] = []  # (time, place of the file, row)
        while waiting or turns:
            while waiting and (not turns or self._spans[waiting[0]].first <= turns[0][0]):
                place = waiting.popleft()
                await self._begin(place)
                if (turn := self._next(place)) is not None:
                    heappush(turns, turn)
            if not turns:
                continue
            _, place, row = turns[0]
            yield place, row
            if (turn := self._next(place)) is not None:
                heapreplace(turns, turn)
            else:
                heappop(turns)

    @property
    def read_bytes(self) -> int:
        """How much of the files has been read, as they lie on disk: for a progress bar."""
        return self._closed_bytes + sum(file.content.read_bytes for file in self._open.values())

    async def _begin(self, place: int) -> None:
        if len(self._open) == OPEN_FILES_MAX:
            raise SourceError(
                f"{self._files[place].path}: got more than {OPEN_FILES_MAX} files that overlap in time, which all have "
                "to be open at once; join some of them (`cat`), or replay fewer at a time"
            )
        file = self._files[place]
        source = Source(file.path, file.format, now_ms=self._now_ms)
        content: Source | SortedRows = source
        # Taken note of before the sorting, which takes long and can be cancelled: closed in any case.
        self._open[place] = _Open(source, source, iter(()))
        if not self._spans[place].in_order:
            content = await asyncio.to_thread(
                SortedRows, source, stop=self._stop,
                progress=lambda read_bytes: self._progress("sorting", read_bytes, source.size_bytes),
            )  # fmt: skip
        rows = _timed(content, self._spans[place].first)
        if count := self._done[place]:
            # Parsing again what was sent before takes as long as it took then: not in the event loop.
            await asyncio.to_thread(self._skip, rows, count)
        self._open[place] = _Open(source, content, rows)

    def _skip(self, rows: Iterator[tuple[int, Row]], count: int) -> None:
        for number, _ in enumerate(islice(rows, count)):
            if number % ROWS_PER_REPORT == 0:
                if self._stop.is_set():
                    return
                self._progress("skipping what was sent", number, count)

    def _next(self, place: int) -> tuple[int, int, Row] | None:
        found = next(self._open[place].rows, None)
        if found is None:
            if not self._stop.is_set():  # else its sorting may have ended early
                self.finished.add(place)
            self._close(place)
            return None
        return found[0], place, found[1]

    def _close(self, place: int) -> None:
        source = self._open.pop(place).source
        self.ignored.update(source.ignored)
        self._closed_bytes += source.size_bytes
        source.close()


def _timed(rows: Iterable[Row], first: int) -> Iterator[tuple[int, Row]]:
    time = first
    for row in rows:
        if not isinstance(row.result, Rejected):
            assert isinstance(row.result.event_time, int)  # adapters have made it so
            time = row.result.event_time
        yield time, row
