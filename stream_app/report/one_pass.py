"""Files → what is gathered of them: in one pass where they are in order, sorted on disk first where they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream_app.block_files.history import BlockHistory
from stream_app.evaluation.history import Progress
from stream_app.report.figures.reading import Reading
from stream_app.report.gathering import Gathering


def gather(
    history: BlockHistory, begin: Callable[[], Gathering], *, directory: Path, progress: Progress
) -> tuple[Gathering, Reading]:
    """Read a history through; `directory` takes a copy of its rows where they have to be sorted.

    Raises
    ------
    SourceError
        If a file cannot be read.
    """
    gathered = begin()
    blocks = history.as_they_come(progress)
    for block in blocks:
        gathered.add(block)
        if gathered.order.late:
            break
    if not gathered.order.late:
        gathered.close()
        return gathered, Reading(dict(history.rejected), late=0, sorted_first=False)
    # To the end all the same, without the analyses: how many are late is one of the figures.
    order = gathered.order
    for block in blocks:
        order.feed(block)
    gathered = begin()
    for block in history.in_order(directory, progress):
        gathered.add(block)
    gathered.close()
    return gathered, Reading(dict(history.rejected), late=order.late, sorted_first=True)
