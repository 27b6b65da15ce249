"""Which of a process's raw partitions may go on: time is to pass in all of them together.

Partitions of a backlog are read at their own pace, and a raw topic's key need not keep a visitor's records together.
Let go, one partition would soon be hours ahead, and whatever is in the others would be late for the worker, for which
time passes with the majority of what it reads (docs/adr/0015). So a partition waits while its next events are more than
`slack_ms` younger than another's next ones. A partition at its end holds nobody up.

Without I/O; only waiting for others to move needs the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Final

#: A partition that has not moved for so long, in seconds, is not waited for: it fails, or its leader is away. Well
#: above a fetch and a transaction of a busy broker.
PATIENCE_S: Final = 5.0

#: Not known: the partition is being taken over, or is about to be read.
_UNKNOWN: Final = -math.inf


class Alignment:
    """The times at which a process's partitions stand, in ms since the epoch. `monotonic` gives seconds."""

    def __init__(self, *, slack_ms: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._slack_ms = slack_ms
        self._monotonic = monotonic
        #: partition → time of what it does next, and since when it stands there
        self._heads: dict[int, tuple[float, float]] = {}
        self._moved = asyncio.Event()

    def at(self, partition: int, time_ms: int) -> None:
        """The partition's next events are of this time, also while they are being written."""
        self._set(partition, time_ms)

    def unknown(self, partition: int) -> None:
        """What the partition has next is about to be seen: the others wait, for a while."""
        self._set(partition, _UNKNOWN)

    def nothing(self, partition: int) -> None:
        """The partition has nothing, or is not ours: nobody waits for it."""
        if self._heads.pop(partition, None) is not None:
            self._wake()

    def horizon_ms(self, partition: int) -> float:
        """Up to which time the partition may go on; infinite if nobody is to be waited for."""
        patient_since = self._monotonic() - PATIENCE_S
        others = (
            head for number, (head, since) in self._heads.items() if number != partition and since > patient_since
        )
        return min(others, default=math.inf) + self._slack_ms

    async def moved(self, seconds: float) -> None:
        """Wait until another partition has moved, this long at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), seconds)

    def _set(self, partition: int, head: float) -> None:
        before = self._heads.get(partition)
        if before is None or before[0] != head:
            self._heads[partition] = (head, self._monotonic())
            self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
