"""The evaluation of the models on the beginning of the files: `stream_app.evaluation`, as its own command runs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from producers.adapters import canonical
from producers.formats import FORMATS
from producers.history_files import HistoryFile
from producers.source import Source
from stream_app.core.codec import Rejected, encode
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.evaluate import evaluate
from stream_app.evaluation.history import ROWS_PER_REPORT, History, Progress
from stream_app.evaluation.question import Question
from stream_app.evaluation.report import DRAWS
from stream_app.report.figures.quality import Quality


class _Beginning(NamedTuple):
    """The first events of a history as a file of their own, how many they are, and whether these are all."""

    file: HistoryFile
    events: int
    whole: bool


def measure(
    files: Sequence[HistoryFile],
    *,
    question: Question,
    events_max: int,
    now_ms: int,
    directory: Path,
    progress: Progress,
) -> Quality:
    """Evaluate on the first events of the files, at most `events_max`, in the order of the files.

    Raises
    ------
    SourceError
        If a file cannot be read.
    """
    begun = _beginning(files, events_max=events_max, now_ms=now_ms, directory=directory, progress=progress)
    report: dict[str, Any] | None = None
    refused: str | None = None
    try:
        history = History([begun.file], now_ms=now_ms, directory=directory, progress=progress)
        report = evaluate(question, history, directory, drawn=DRAWS, progress=progress)
    except EvaluationError as error:
        refused = str(error).replace(str(begun.file.path), "the files")
    if report is not None:
        # A report is shown around: it tells of many sessions, never of one.
        del report["mistakes"]["sessions"]
        # NumPy's numbers are among those of Python; once through JSON they are all what they look like.
        report = json.loads(json.dumps(report))
    return Quality(events_max=events_max, events=begun.events, whole=begun.whole, refused=refused, report=report)


def _beginning(
    files: Sequence[HistoryFile], *, events_max: int, now_ms: int, directory: Path, progress: Progress
) -> _Beginning:
    # As our own events: so the evaluation reads them whatever the format was, and needs no other way to stop.
    beginning = HistoryFile(directory / "beginning.jsonl", "beginning.jsonl", FORMATS[canonical.NAME])
    events = 0
    with beginning.path.open("wb") as written:
        for file in files:
            with Source(file.path, file.format, now_ms=now_ms) as source:
                for row in source:
                    if isinstance(row.result, Rejected):
                        continue
                    if events == events_max:
                        return _Beginning(beginning, events, whole=False)
                    written.write(encode(row.result) + b"\n")
                    events += 1
                    if not events % ROWS_PER_REPORT:
                        progress("events to evaluate", events, events_max)
    return _Beginning(beginning, events, whole=True)
