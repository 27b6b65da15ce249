"""Events as they come → events in the order of their times, each once.

Events are held until the watermark has passed them: it trails what a majority of the latest few visitors have come to,
as the scorer's does in a replay (`core.watermark`), so that one visitor's wrong clock moves nothing. What comes for a
time before the watermark is late: it is counted and left out, since what it belongs to may be over.

A copy of an event has the event's own time. It is therefore either late or held beside the event, so that no memory of
past events is needed to know it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.block import Block
from stream_app.analytics.table import Flags
from stream_app.core.watermark import MAJORITY, UNKNOWN, VISITORS_ASKED

#: Events held at most. A watermark that does not move (all events of two visitors) would hold a whole history. Past it
#: the oldest are let go, and the watermark with them. 2 million are about 600 MB.
HELD_MAX: Final = 2_000_000


class TimeOrder:
    """Takes blocks in the order of arrival, and releases blocks whose times never go back.

    Attributes
    ----------
    watermark_ms
        All that is released lies before it, all that is still to be released at or after it; −1 not yet known.
    released
        Events given on.
    late, duplicates
        Events left out.
    hurried
        Events released before their time, since too many were held.
    """

    def __init__(self, *, lateness_ms: int, held_max: int = HELD_MAX) -> None:
        if lateness_ms < 0 or held_max < 1:
            raise ValueError(f"got lateness_ms {lateness_ms} and held_max {held_max}, expected ≥ 0 and ≥ 1")
        self._lateness_ms = lateness_ms
        self._held_max = held_max
        self._held: Block | None = None
        #: the latest visitors, the last one at the end, and the time of each one's last event
        self._recent: dict[int, int] = {}
        self.watermark_ms = UNKNOWN
        self.released = self.late = self.duplicates = self.hurried = 0

    def __len__(self) -> int:
        """Events held."""
        return 0 if self._held is None else len(self._held)

    def feed(self, block: Block) -> Block:
        """Take events in, and release those that the watermark has passed, in order."""
        in_time = block.time_ms >= self.watermark_ms
        self.late += len(block) - int(in_time.sum())
        self._held = block.take(in_time) if self._held is None else Block.concat([self._held, block.take(in_time)])
        self._ask(block)
        if len(self._recent) >= MAJORITY:
            reached = sorted(self._recent.values())[-MAJORITY]
            self.watermark_ms = max(self.watermark_ms, reached - self._lateness_ms)
        passed = self._held.time_ms < self.watermark_ms
        if len(passed) - int(passed.sum()) > self._held_max:
            passed = self._hurry(self._held, already=int(passed.sum()))
        return self._release(self._held, passed)

    def close(self) -> Block | None:
        """Release what is held; None if nothing was ever fed."""
        if self._held is None:
            return None
        if len(self._held):
            self.watermark_ms = max(self.watermark_ms, int(self._held.time_ms.max()) + 1)
        return self._release(self._held, np.ones(len(self._held), bool))

    def _ask(self, block: Block) -> None:
        """Remember the latest distinct visitors: those of this block, from its end, before those known already."""
        latest: dict[int, int] = {}
        visitors, times = block.visitor_hash, block.time_ms
        for place in range(len(block) - 1, -1, -1):
            latest.setdefault(int(visitors[place]), int(times[place]))
            if len(latest) == VISITORS_ASKED:
                break
        known = {visitor: time for visitor, time in self._recent.items() if visitor not in latest}
        merged = [*known.items(), *reversed(latest.items())]
        self._recent = dict(merged[-VISITORS_ASKED:])

    def _hurry(self, held: Block, *, already: int) -> Flags:
        """Move the watermark on until no more than may be are held."""
        excess = len(held) - self._held_max
        self.watermark_ms = int(np.partition(held.time_ms, excess - 1)[excess - 1]) + 1
        passed: Flags = held.time_ms < self.watermark_ms
        self.hurried += int(passed.sum()) - already
        return passed

    def _release(self, held: Block, passed: Flags) -> Block:
        self._held = held.take(~passed)
        places = np.flatnonzero(passed)
        places = places[np.argsort(held.time_ms[places], kind="stable")]
        _, first = np.unique(held.identity[places], return_index=True)
        self.duplicates += len(places) - len(first)
        self.released += len(first)
        return held.take(places[np.sort(first)])
