"""What a replay has to know of its files before it sends anything: when they begin, and how far an earlier run came.

Blocking: it reads every file once, or only its bytes where an earlier run has looked at it already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from producers.history_files import HistoryFile
from producers.replay_state import FileState, ReplayState, StateFile, content_of
from producers.sorting import Progress, Span, span_of
from producers.source import SourceError


class Survey(NamedTuple):
    """The state to go on from, the bytes of all files, and what a person should be told."""

    state: ReplayState
    size_bytes: int
    notes: list[str]


def survey(
    files: Sequence[HistoryFile],
    *,
    kept: StateFile | None,
    same: Mapping[str, str],
    now_ms: int,
    stop: asyncio.Event,
    progress: Progress,
) -> Survey:
    """Look at the files; where an earlier run's state is kept, refuse what is not as it was then.

    When `stop` is set it ends early, and nobody will use the answer.

    Raises
    ------
    SourceError
        If a file or the state cannot be read, or they do not fit each other.
    """
    sizes = [_size_of(file) for file in files]
    before = kept.read() if kept is not None else None
    if kept is not None and before is not None:
        kept.refuse_other(before, same)
        _refuse_changed(kept, files, before, sizes, stop, progress)
        return Survey(before, sum(sizes), [_taken_up(before)])
    state = ReplayState(now_ms=now_ms, same=dict(same), files=[])
    for file, size, told in zip(files, sizes, _by_file(sizes, "checking order", progress), strict=True):
        span = span_of(file.path, file.format, now_ms=now_ms, stop=stop, progress=told)
        state.files.append(_state_of(file, size, span, content=""))
    if kept is not None:
        contents = _contents(files, sizes, stop, progress)
        for one, content in zip(state.files, contents, strict=True):
            one.blake2b = content
    return Survey(state, sum(sizes), _unordered(state))


def _refuse_changed(
    kept: StateFile,
    files: Sequence[HistoryFile],
    before: ReplayState,
    sizes: Sequence[int],
    stop: asyncio.Event,
    progress: Progress,
) -> None:
    """By names and sizes first: to read all bytes of what does not fit anyway would only cost time."""
    unknown = [_state_of(file, size, Span(0, True), content="") for file, size in zip(files, sizes, strict=True)]
    for then, now in zip_longest(before.files, unknown):
        if then is None or now is None or (then.name, then.format, then.size) != (now.name, now.format, now.size):
            kept.refuse_changed(then, now)
    for then, now, content in zip(before.files, unknown, _contents(files, sizes, stop, progress), strict=True):
        now.blake2b = content
        if not stop.is_set():
            kept.refuse_changed(then, now)


def _state_of(file: HistoryFile, size: int, span: Span, *, content: str) -> FileState:
    return FileState(
        name=file.name, format=file.format.name, size=size, blake2b=content, first=span.first, in_order=span.in_order
    )


def _contents(files: Sequence[HistoryFile], sizes: Sequence[int], stop: asyncio.Event, progress: Progress) -> list[str]:
    tellers = _by_file(sizes, "checking content", progress)
    return [content_of(file.path, stop=stop, progress=told) for file, told in zip(files, tellers, strict=True)]


def _by_file(sizes: Sequence[int], phase: str, progress: Progress) -> list[Callable[[int], None]]:
    """For each file what tells the bytes read of it as a part of all."""
    total = sum(sizes)

    def teller(before: int) -> Callable[[int], None]:
        return lambda read_bytes: progress(phase, before + read_bytes, total)

    return [teller(sum(sizes[:place])) for place in range(len(sizes))]


def _size_of(file: HistoryFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror}") from None


def _unordered(state: ReplayState) -> list[str]:
    names = [file.name for file in state.files if not file.in_order]
    if not names:
        return []
    if len(names) == 1:
        return [f"{names[0]} is not in time order: its rows were sorted in memory before sending"]
    return [
        f"{len(names)} of {len(state.files)} files are not in time order ({', '.join(names[:3])}"
        f"{', …' if len(names) > 3 else ''}): the rows of each were sorted in memory before sending"
    ]


def _taken_up(before: ReplayState) -> str:
    if all(file.finished for file in before.files):
        return f"earlier runs have sent all of it: {before.sent:,} events"
    rows = sum(file.done for file in before.files)
    return f"taken up after {rows:,} rows, {before.sent:,} of them events, that earlier runs have sent"
