"""A worker's small batches are published together: one request for all partitions instead of one for each.

    partition 0   poll, fold ─┐             ┌─ poll, fold ─┐
    partition 1   poll, fold ─┼─ outputs, ──┼─ poll, fold ─┼─ outputs, changelog
    partition 2   poll ─ fold ┘  changelog  └─ (nothing)   │
    partition 3        (nothing)        poll, fold ────────┘

At some hundred events a second each batch has a handful, and a request costs client and broker more than what is in it.
The producer sends what lies ready for a broker in one request, so it is enough that partitions meet before they send.
Large batches do not wait: there the requests of one partition overlap the folding of another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from stream_app.beside import LARGE

#: In seconds, how long a batch waits for the others at the most: one whose broker is away must not hold them up.
WAIT_S_MAX: Final = 0.02


#: In seconds, how long whoever waits gives those whose batch was just acknowledged to take their next records.
GATHER_S: Final = 0.001


class Together:
    """One worker's."""

    def __init__(self) -> None:
        self._folding = self._publishing = 0
        self._ready: list[asyncio.Future[None]] = []

    @contextlib.contextmanager
    def batch(self, records: int) -> Iterator[Turn]:
        """A batch of so many records, from its folding to its publication."""
        turn = Turn(self, waits=records < LARGE)
        try:
            yield turn
        finally:
            turn.end()

    def _let_go(self) -> None:
        if not self._folding and not self._publishing:
            for turn in self._ready:
                turn.set_result(None)
            self._ready.clear()


class Turn:
    """One batch's part in it."""

    def __init__(self, together: Together, *, waits: bool) -> None:
        self._together, self._waits = together, waits
        self._publishes = False
        together._folding += waits

    async def come(self) -> None:
        """Folded: wait until the others are, and until what was sent before has been acknowledged."""
        if not self._waits:
            return
        together, loop = self._together, asyncio.get_running_loop()
        together._folding -= 1
        self._waits = False
        ready = loop.create_future()
        together._ready.append(ready)
        # Not at once: who comes last would send while the others wake up, and they after it.
        loop.call_soon(together._let_go)
        await asyncio.wait({ready}, timeout=WAIT_S_MAX)
        if not ready.done():
            together._ready.remove(ready)
        self._publishes = True
        together._publishing += 1

    def end(self) -> None:
        """Published, or given up."""
        together = self._together
        together._folding -= self._waits
        together._publishing -= self._publishes
        self._waits = self._publishes = False
        if together._ready:
            asyncio.get_running_loop().call_later(GATHER_S, together._let_go)
