"""Room for requests in hand: a bound on the bytes that are read, or wait for Kafka, at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stream_app.collect.core.refusal import RefusalError

#: In seconds: requests are through within milliseconds while Kafka keeps up.
_RETRY_AFTER_S: Final = 1.0


class Hold:
    """What one request has of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def add(self, size: int) -> None:
        """Hold so many more. Raises RefusalError (503) where they are not left."""
        self._room.require(size)
        self._room.bytes += size
        self.bytes += size


class Room:
    """So many bytes, taken as they come: who only says that it is going to send much takes nothing from others."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        #: held now
        self.bytes = 0

    def require(self, size: int) -> None:
        """Raise RefusalError (503) where so many are not left."""
        if self.bytes + size > self._bytes_max:
            raise RefusalError(
                503,
                "busy",
                got=f"a request while {self.bytes} bytes of others wait",
                expected=f"at most {self._bytes_max} together",
                do="send it again later",
                retry_after_s=_RETRY_AFTER_S,
            )

    @contextmanager
    def held(self) -> Iterator[Hold]:
        """A hold that is given back at the end."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.bytes -= hold.bytes
