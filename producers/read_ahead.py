"""Reading in a thread, a bounded way ahead: who waits for a line on standard input must not keep the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

#: Read and not taken, at most: some 10 ms of parsing, and 128 MB if every row has the largest size (256 KiB).
ITEMS_MAX: Final = 500


class ReadAhead(Generic[_T]):
    """Gives lists of what has been read by then, as soon as there is something.

    A thread that waits inside the iterable when nobody takes anything any more does not keep the process alive, but
    ends only with what it waits for.
    """

    def __init__(self, items: Iterable[_T], *, items_max: int = ITEMS_MAX) -> None:
        self._items, self._items_max = items, items_max
        self._found: deque[_T] = deque()
        self._room = threading.Condition()
        self._dropped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._finished = False

    async def lists(self) -> AsyncGenerator[list[_T], None]:
        """Yield what there is, once; what the iterable raises is raised at its place."""
        self._thread.start()
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                finished = self._finished  # asked first: what was found before it is taken below
                with self._room:
                    found = list(self._found)
                    self._found.clear()
                    self._room.notify()
                if found:
                    yield found
                if finished:
                    break
            if self._error is not None:
                raise self._error
        finally:
            with self._room:
                self._dropped = True
                self._room.notify()

    def _read(self) -> None:
        try:
            for item in self._items:
                with self._room:
                    self._room.wait_for(lambda: self._dropped or len(self._found) < self._items_max)
                    if self._dropped:
                        return
                    self._found.append(item)
                    is_first = len(self._found) == 1
                if is_first:
                    self._tell()
        except BaseException as error:  # whatever it is, it belongs to who iterates
            self._error = error
        finally:
            self._finished = True
            self._tell()

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._came.set)
