"""When to look at which visitor again, and which visitors' states are at hand: two bounded memories of an owner."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from zlib import crc32


def rank(visitor_id: str) -> int:
    """A visitor's place among those with the same deadline, as in the positions of what then ends (`emission.py`)."""
    return crc32(visitor_id.encode())


class ExpirySchedule:
    """Visitor → the event time (ms) at which something of it may be over.

    Deadlines are lazy: a session that goes on does not touch its entry; when the entry comes up the state tells whether
    it is really over or has to be looked at later. One entry per visitor with an open session.
    """

    def __init__(self) -> None:
        #: read them, do not change them
        self.deadlines: dict[str, int] = {}
        #: deadline, rank, visitor
        self._heap: list[tuple[int, int, str]] = []

    def __len__(self) -> int:
        return len(self.deadlines)

    def __contains__(self, visitor_id: str) -> bool:
        return visitor_id in self.deadlines

    def get(self, visitor_id: str) -> int | None:
        """The visitor's deadline, None without one."""
        return self.deadlines.get(visitor_id)

    def replace(self, deadlines: Mapping[str, int]) -> None:
        """Forget everything and start from these."""
        self.deadlines = dict(deadlines)
        self._heap = [(deadline, rank(visitor), visitor) for visitor, deadline in deadlines.items()]
        heapq.heapify(self._heap)

    def update(self, changes: Mapping[str, int | None]) -> None:
        """Apply changed deadlines; None forgets the visitor."""
        for visitor, deadline in changes.items():
            if deadline is None:
                self.deadlines.pop(visitor, None)
            elif self.deadlines.get(visitor) != deadline:
                self.deadlines[visitor] = deadline
                heapq.heappush(self._heap, (deadline, rank(visitor), visitor))
        # Every reschedule leaves its old entry behind; rebuild before those outnumber the live ones.
        if len(self._heap) > 2 * len(self.deadlines) + 1024:
            self.replace(self.deadlines)

    def due(self, watermark: int, limit: int) -> list[str]:
        """At most `limit` visitors whose deadline has come by the watermark, by deadline and rank. Changes nothing."""
        popped: list[tuple[int, int, str]] = []
        found: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= watermark and len(found) < limit:
            entry = heapq.heappop(self._heap)
            if self.deadlines.get(entry[2]) == entry[0] and entry[2] not in found:
                found[entry[2]] = None
                popped.append(entry)
        for entry in popped:
            heapq.heappush(self._heap, entry)
        return list(found)

    def next_deadline(self) -> int | None:
        """The earliest deadline, None if nothing is scheduled."""
        while self._heap and self.deadlines.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class BlobCache:
    """The most recently used visitors' blobs, at most `limit`; None remembers that a visitor has none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blobs: OrderedDict[str, bytes | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, visitor_id: str) -> bool:
        return visitor_id in self._blobs

    def missing(self, visitors: Iterable[str]) -> list[str]:
        """The visitors whose blob is not at hand."""
        return [visitor for visitor in visitors if visitor not in self._blobs]

    def get(self, visitor_id: str) -> bytes | None:
        """The blob of a visitor known to be here."""
        self._blobs.move_to_end(visitor_id)
        return self._blobs[visitor_id]

    def put(self, blobs: Mapping[str, bytes | None]) -> None:
        """Add or replace blobs, then drop the least recently used past the limit."""
        for visitor, blob in blobs.items():
            self._blobs[visitor] = blob
            self._blobs.move_to_end(visitor)
        while len(self._blobs) > self._limit:
            self._blobs.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._blobs.clear()
