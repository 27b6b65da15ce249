"""The history: files as one stream of events in the order of their times, and what is known of it before.

Several files are parts of one shop's history and may overlap: they are merged by event time. The first pass (`survey`)
counts, finds out which files are out of order, and when which share of the events has passed.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from producers.history_files import HistoryFile
from producers.source import Source
from stream_app.core.codec import Rejected
from stream_app.core.events import Event
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.sorting import sorted_events
from stream_app.evaluation.target import Target, as_target

#: Told now and then: a phase, how much of it is done, of how much (None: not known).
Progress: TypeAlias = Callable[[str, int, int | None], None]

#: Rows between two reports of progress.
ROWS_PER_REPORT: Final = 2_000

#: Event times that the survey keeps. Folds begin at times to within a share of 1/8192 of the events.
_TIMES_KEPT_MAX: Final = 16_384


@dataclass(slots=True)
class Survey:
    """What a first reading has found: events, rejected rows by reason, times in ms, files out of order."""

    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_ms: int = 0
    last_ms: int = 0
    unordered: set[Path] = field(default_factory=set)
    _times: array[int] = field(default_factory=lambda: array("q"))
    _every: int = 1

    def observe(self, time: int) -> None:
        """Take one event's time into account."""
        if not self.events % self._every:
            self._times.append(time)
            if len(self._times) > _TIMES_KEPT_MAX:
                self._times = self._times[::2]
                self._every *= 2
        self.first_ms = min(self.first_ms, time) if self.events else time
        self.last_ms = max(self.last_ms, time)
        self.events += 1

    def time_at(self, share: float) -> int:
        """The event time (ms) by which this share of the events has passed."""
        times = sorted(self._times)
        return times[min(int(share * len(times)), len(times) - 1)]

    def share_at(self, time: int) -> float:
        """The share of the events that has passed by an event time (ms)."""
        return bisect_right(sorted(self._times), time) / len(self._times)


class History:
    """Files, each of its format. `directory` takes what has to be sorted on disk; `now_ms` bounds how new events are.

    Raises EvaluationError when there is no event at all, SourceError (producers.source) for a file that cannot be read.
    """

    def __init__(
        self,
        files: Sequence[HistoryFile],
        *,
        now_ms: int,
        directory: Path,
        target: Target = "purchase",
        progress: Progress,
    ) -> None:
        self._files = list(files)
        self._now_ms = now_ms
        self._directory = directory
        self._target = target
        self.survey = Survey()
        for file in self._files:
            self._look_at(file, progress)
        if not self.survey.events:
            reasons = ", ".join(f"{reason} ×{count}" for reason, count in self.survey.rejected.most_common(3))
            names = ", ".join(str(file.path) for file in self._files)
            raise EvaluationError(f"got no event from {names} (rejected: {reasons or 'nothing, there are no rows'})")

    def events(self) -> Iterator[Event]:
        """All events by time; of one time, in the order of the files and of their rows."""
        streams = [self._file_events(file) for file in self._files]
        found: Iterable[Event] = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=event_time)
        return (as_target(event, self._target) for event in found)

    def _look_at(self, file: HistoryFile, progress: Progress) -> None:
        newest = 0
        with Source(file.path, file.format, now_ms=self._now_ms) as source:
            for count, row in enumerate(source):
                if not count % ROWS_PER_REPORT:
                    progress(f"reading {file.name}", source.read_bytes, source.size_bytes)
                if isinstance(row.result, Rejected):
                    self.survey.rejected[row.result.reason] += 1
                    continue
                time = event_time(row.result)
                if time < newest:
                    self.survey.unordered.add(file.path)
                newest = time
                self.survey.observe(time)
            progress(f"reading {file.name}", source.size_bytes, source.size_bytes)

    def _file_events(self, file: HistoryFile) -> Iterator[Event]:
        with Source(file.path, file.format, now_ms=self._now_ms) as source:
            if file.path in self.survey.unordered:
                yield from sorted_events(source, self._directory)
                return
            for row in source:
                if not isinstance(row.result, Rejected):
                    yield row.result


def event_time(event: Event) -> int:
    """An event's time in ms, which adapters have made a number."""
    assert isinstance(event.event_time, int)
    return event.event_time


def ticks(events: Iterable[Event], *, freshness_ms: int, cuts: Sequence[int], events_max: int) -> Iterator[list[Event]]:
    """Cut a stream into runs of less than `freshness_ms`, that do not reach across a time in `cuts` (ms, rising)."""
    tick: list[Event] = []
    end = 0
    ahead = list(reversed(cuts))
    for event in events:
        time = event_time(event)
        if tick and (time >= end or len(tick) >= events_max):
            yield tick
            tick = []
        if not tick:
            while ahead and ahead[-1] <= time:
                ahead.pop()
            end = min(time + freshness_ms, ahead[-1]) if ahead else time + freshness_ms
        tick.append(event)
    if tick:
        yield tick
