"""Files of one shop's history → blocks: as they come, or sorted on disk first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from producers.history_files import HistoryFile
from stream_app.analytics.block import Block
from stream_app.block_files.reading import BlockSource
from stream_app.block_files.sorting import sorted_blocks
from stream_app.evaluation.history import Progress


class BlockHistory:
    """Files, each of its format; `rejected` is what the last reading did not accept, by reason.

    Reading raises SourceError (producers.source) for a file that cannot be read.

    Parameters
    ----------
    now_ms
        Bounds how new events may be, ms.
    refused
        What had been rejected before it came into the files, by reason: counted with the rest.
    """

    def __init__(
        self,
        files: Sequence[HistoryFile],
        *,
        now_ms: int,
        refused: Mapping[str, int] | None = None,
    ) -> None:
        self.files = list(files)
        self.now_ms = now_ms
        self.rejected: Counter[str] = Counter()
        self._refused = dict(refused or {})

    def as_they_come(self, progress: Progress) -> Iterator[Block]:
        """The files' blocks, one file after the other."""
        self._begin()
        for file in self.files:
            with BlockSource(file.path, file.format, now_ms=self.now_ms) as source:
                for block in source:
                    progress(f"reading {file.name}", source.read_bytes, source.size_bytes)
                    yield block
                self.rejected += source.rejected

    def in_order(self, directory: Path, progress: Progress) -> Iterator[Block]:
        """The same by time, by way of a directory that takes a copy of the rows."""
        self._begin()
        return sorted_blocks(
            self.files, now_ms=self.now_ms, directory=directory, rejected=self.rejected, progress=progress
        )

    def _begin(self) -> None:
        self.rejected.clear()
        self.rejected.update(self._refused)
