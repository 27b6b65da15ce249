"""Room for requests in hand: a bound on the bytes that are read, or wait for Kafka, at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stream_app.collect.core.refusal import RefusalError

#: In seconds: requests are through within milliseconds while Kafka keeps up.
_RETRY_AFTER_S: Final = 1.0


class Room:
    """So many bytes, reserved before a body is read."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        #: reserved now
        self.bytes = 0

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Hold `size` bytes. Raises RefusalError (503) where so many are not left."""
        if self.bytes + size > self._bytes_max:
            raise RefusalError(
                503,
                "busy",
                got=f"a request while {self.bytes} bytes of others wait",
                expected=f"at most {self._bytes_max} together",
                do="send it again later",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.bytes += size
        try:
            yield
        finally:
            self.bytes -= size
