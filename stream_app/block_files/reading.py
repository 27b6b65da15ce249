"""One file → blocks of events, in the order of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np

from producers.formats import Format
from producers.source import Source
from stream_app.analytics.block import TEXT_COLUMNS, Block, block_of
from stream_app.block_files.plain_rows import PLAIN, PlainRows, cut, plain_rows
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

#: Rows of a block: 30 MB with everything. Larger ones are no faster, smaller ones pay NumPy's calls too often.
BLOCK_ROWS: Final = 65_536
#: … and of rows that are no history but something else, at most: one of them may have 256 kB.
BLOCK_BYTES: Final = 64 * 1024 * 1024


class ReadBlock(NamedTuple):
    """A block, and a line that stands for each of its events (`Source.parse`), in their order."""

    block: Block
    raw: list[bytes]


class BlockSource:
    """A file of a known format, read in blocks. Use it as a context manager; iterate once.

    The events are those of `producers.source.Source`, with the same acceptance of rows; `rejected` counts the others by
    reason. SourceError as there.
    """

    def __init__(self, path: Path, format: Format, *, now_ms: int, block_rows: int = BLOCK_ROWS) -> None:
        self.rejected: Counter[str] = Counter()
        self._now_ms = now_ms
        self._block_rows = block_rows
        self._has_ids = format.has_ids
        self._source = Source(path, format, now_ms=now_ms)
        self._columns: tuple[str, ...] = TEXT_COLUMNS
        self._plain: PlainRows | None = None
        if format.name in PLAIN:
            # The same columns whatever kind of file it is: what is the same event must be it in another file, too.
            plain, self._columns = PLAIN[format.name]
            # A header with one name twice has fewer than the rows have fields.
            self._names = tuple(dict.fromkeys(self._source.columns))
            self._wanted = format.columns
            self._plain = plain if self._source.separator == "," else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    @property
    def read_bytes(self) -> int:
        """How much of `size_bytes` has been read."""
        return self._source.read_bytes

    @property
    def size_bytes(self) -> int:
        """Of the file as it lies on disk."""
        return self._source.size_bytes

    def __iter__(self) -> Iterator[Block]:
        return (read.block for read in self.with_rows())

    def with_rows(self) -> Iterator[ReadBlock]:
        """Blocks with the rows behind them, for who has to write these down."""
        part: list[bytes] = []
        size = 0
        for raw in self._lines():
            part.append(raw)
            size += len(raw)
            if len(part) == self._block_rows or size >= BLOCK_BYTES:
                yield self.understand(part)
                part, size = [], 0
        if part:
            yield self.understand(part)

    def _lines(self) -> Iterator[bytes]:
        """Lines of one event or rejection each."""
        if self._source.is_plain:
            yield from (raw for _, raw in self._source.rows())
            return
        for row in self._source:
            if isinstance(row.result, Rejected):
                self.rejected[row.result.reason] += 1
            else:
                yield row.raw

    def understand(self, rows: list[bytes]) -> ReadBlock:
        """Make a block of lines of this very file (its header is known): plain ones together, the others one by one."""
        certain = np.zeros(len(rows), bool)
        parts: list[Block] = []
        if self._plain is not None:
            plain = np.flatnonzero(plain_rows(rows, len(self._names) - 1))
            columns = cut([rows[n] for n in plain], self._names, self._wanted) if len(plain) else None
            if columns is not None:
                block, taken = self._plain(columns, now_ms=self._now_ms)
                certain[plain[taken]] = True
                parts.append(block)
        events, places = self._one_by_one(rows, np.flatnonzero(~certain).tolist())
        if events or not parts:
            parts.append(block_of(events, has_ids=self._has_ids, columns=self._columns))
        order = np.concatenate([np.flatnonzero(certain), np.array(places, np.intp)]).argsort(kind="stable")
        certain[places] = True
        accepted = rows if certain.all() else [rows[n] for n in np.flatnonzero(certain)]
        block = Block.concat(parts)
        return ReadBlock(block.take(order) if places else block, accepted)

    def _one_by_one(self, rows: list[bytes], places: list[int]) -> tuple[list[Event], list[int]]:
        events, accepted = [], []
        for place in places:
            result = self._source.parse(rows[place])
            if isinstance(result, Rejected):
                self.rejected[result.reason] += 1
            else:
                events.append(result)
                accepted.append(place)
        return events, accepted
