"""Events of one key, as far as they belong together: what episodes and sessions have in common.

Each event becomes a row of its own. Together with the open rows they are sorted by key, cut where something else
begins, and each stretch is added up to one row. Adding up gives the same whether a stretch comes at once or in pieces,
so that events may come in blocks of any size.

**Memory** holds the open rows alone, those of the time-out's last minutes. Should they be more than `open_max` all the
same, those quiet for longest are ended, `closed_by` says `memory`, and `flushed` counts them: whatever comes for them
later begins another row. What a row says is true then, too; it may only be less than all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from stream_app.analytics.block import Block
from stream_app.analytics.table import Flags, Hashes, Integers, Table

#: Why a row is told: its purchase, the time-out, the bound on open rows, or the end of the events before any of these.
ClosedBy = Literal["purchase", "time-out", "memory", "end"]
CLOSED_BY: Final[tuple[str, ...]] = get_args(ClosedBy)

#: By code of `CLOSED_BY`: whether it may not have been over, so that its outcome is not known.
CUT_OFF: Final = np.array([reason in ("end", "memory") for reason in CLOSED_BY])

#: Open rows at most: 1 million are about 500 MB, and what a shop of 500 events a second has in half an hour.
OPEN_MAX: Final = 1_000_000

#: Of a time: it did not happen.
NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Stretch(Table):
    """Rows with a key (hash), the first and the last event's time (ms UTC), and a code of `CLOSED_BY`."""

    key: Hashes
    first_ms: Integers
    active_ms: Integers
    closed_by: npt.NDArray[np.int8]

    @property
    def last_ms(self) -> Integers:
        """When each ended."""
        return self.active_ms

    @property
    def ends_itself(self) -> Flags:
        """Whether each was ended by something in it, a purchase."""
        return np.zeros(len(self), bool)


Rows = TypeVar("Rows", bound=Stretch)


class Stretches(ABC, Generic[Rows]):
    """Takes events in the order of their times, and gives the rows that are over.

    Parameters
    ----------
    timeout_ms
        Without an event for longer than this, a row is over.
    open_max
        Open rows at most.

    Attributes
    ----------
    closed
        Rows told, by reason.
    flushed
        Rows ended by the bound on open ones, bought or not.
    """

    def __init__(self, *, timeout_ms: int, open_max: int = OPEN_MAX) -> None:
        if timeout_ms < 1 or open_max < 1:
            raise ValueError(f"got timeout_ms {timeout_ms} and open_max {open_max}, expected at least 1 each")
        self._timeout_ms = timeout_ms
        self._open_max = open_max
        self._open: Rows | None = None
        self.closed: Counter[str] = Counter()
        self.flushed = 0

    def __len__(self) -> int:
        """Open rows."""
        return 0 if self._open is None else len(self._open)

    def feed(self, block: Block, *, watermark_ms: int) -> Rows:
        """Take events in, and give the rows over by the watermark: no later event may lie before it."""
        single = self._singles(block)
        rows = single if self._open is None else type(single).concat([self._open, single])
        rows = rows.take(np.argsort(rows.key, kind="stable"))
        if len(rows):
            rows = self._added_up(rows, np.flatnonzero(self._begins(rows)))
        newest = np.append(rows.key[1:] != rows.key[:-1], True)[: len(rows)]
        goes_on = newest & (rows.active_ms + self._timeout_ms >= watermark_ms)
        over = [_closed(rows.take(~goes_on), "time-out")]
        self._open = rows.take(goes_on)
        excess = len(self._open) - self._open_max
        if excess > 0:
            over.append(self._flush(self._open, excess))
        return self._told(type(single).concat(over))

    def close(self) -> Rows | None:
        """End those that are open, as there are no more events; None if nothing was ever fed."""
        if self._open is None:
            return None
        over, self._open = self._open, self._open.take(np.zeros(len(self._open), bool))
        return self._told(_closed(over, "end"))

    @abstractmethod
    def _singles(self, block: Block) -> Rows:
        """Each event that belongs to a row, as a row of its own."""

    @abstractmethod
    def _begins(self, rows: Rows) -> Flags:
        """Where a row begins something, of rows sorted by key and time."""

    @abstractmethod
    def _added_up(self, rows: Rows, starts: npt.NDArray[np.intp]) -> Rows:
        """One row for each stretch that begins at `starts`. Its first row may be an open one, no other."""

    def _after_pause(self, rows: Rows) -> Flags:
        """Where the key is another, or was quiet for longer than the time-out."""
        begins = np.ones(len(rows), bool)
        pause = rows.first_ms[1:] - rows.active_ms[:-1]
        begins[1:] = (rows.key[1:] != rows.key[:-1]) | (pause > self._timeout_ms)
        return begins

    def _flush(self, rows: Rows, excess: int) -> Rows:
        chosen = np.zeros(len(rows), bool)
        chosen[np.argpartition(rows.active_ms, excess - 1)[:excess]] = True
        self._open = rows.take(~chosen)
        self.flushed += excess
        return _closed(rows.take(chosen), "memory")

    def _told(self, rows: Rows) -> Rows:
        """In an order that blocks do not change: by end, start and key."""
        counts = np.bincount(rows.closed_by, minlength=len(CLOSED_BY))
        self.closed.update({name: int(count) for name, count in zip(CLOSED_BY, counts, strict=True) if count})
        return rows.take(np.lexsort((rows.key, rows.first_ms, rows.last_ms)))


def further_lines(order: Hashes, after_purchase: Flags, is_purchase: Flags) -> Flags:
    """Which rows are a further line of the purchase just before them; `after_purchase` says whether one is.

    It is one of the same order or, where either says nothing of its order, any: as in the scorer's fold
    (`core.session.is_same_checkout`).
    """
    before = np.append(np.uint64(0), order[:-1])
    same_order = (order == before) | (order == 0) | (before == 0)
    lines: Flags = after_purchase & is_purchase & same_order
    return lines


def _closed(rows: Rows, reason: ClosedBy) -> Rows:
    codes = np.where(rows.ends_itself, CLOSED_BY.index("purchase"), CLOSED_BY.index(reason)).astype(np.int8)
    return replace(rows, closed_by=codes)
