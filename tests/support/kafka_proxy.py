"""A proxy that knows where Kafka's requests begin and end, so that a test can lose one answer or hold one request.

A frame is its length (4 bytes) and the body; a request's body begins with API key and version (2 bytes each) and the
correlation id (4 bytes), a response's with the correlation id.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import Final, Literal

from tests.support.proxy import Proxy

#: API keys by name: the requests that faults are about.
PRODUCE: Final = 0
FETCH: Final = 1
OFFSET_COMMIT: Final = 8
INIT_PRODUCER_ID: Final = 22
ADD_PARTITIONS_TO_TXN: Final = 24
END_TXN: Final = 26
WRITE_TXN_MARKERS: Final = 27
TXN_OFFSET_COMMIT: Final = 28

_HEADER: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhi")


class Trap:
    """One kind of frame to catch: the next `times` of the API key, after letting `skip` pass."""

    def __init__(self, api_key: int, action: Literal["lose", "hold"], *, skip: int, times: int) -> None:
        self.api_key, self.action = api_key, action
        self.skip, self.times = skip, times
        #: set when the first frame is caught; frames caught so far
        self.caught = threading.Event()
        self.count = 0
        self._released = threading.Event()

    def take(self, api_key: int) -> bool:
        """Whether this frame is ours."""
        if api_key != self.api_key or self.count >= self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.count += 1
        self.caught.set()
        return True

    def release(self) -> None:
        """Let held requests go on to the server, late, whatever has become of their client."""
        self._released.set()

    async def released(self) -> None:
        """Wait for `release`."""
        while not self._released.is_set():  # noqa: ASYNC110 (set by another thread)
            await asyncio.sleep(0.01)


class KafkaProxy(Proxy):
    """A `Proxy` with traps. A held request keeps its connection to the server, also when its client has given up."""

    def __init__(self, target_port: int = 0) -> None:
        super().__init__(target_port)
        self._traps: list[Trap] = []

    def lose_response(self, api_key: int, *, skip: int = 0, times: int = 1) -> Trap:
        """Let the server do what is asked, and never say so."""
        return self._set(Trap(api_key, "lose", skip=skip, times=times))

    def hold_request(self, api_key: int, *, skip: int = 0, times: int = 1) -> Trap:
        """Keep a request back until the trap's `release`."""
        return self._set(Trap(api_key, "hold", skip=skip, times=times))

    def heal(self) -> None:
        """Let everything pass again."""
        for trap in self._traps:
            trap.times = 0
            trap.release()
        super().heal()

    def _set(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap

    async def _connect(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        down: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        lost: set[int] = set()
        up = asyncio.ensure_future(self._requests(reader, upstream, lost))
        back = asyncio.ensure_future(self._responses(down, writer, lost))
        try:
            # Not the first of both: when a client gives up, what it has asked may still have to arrive.
            await asyncio.wait([up])
        finally:
            for pump in (up, back):
                pump.cancel()
            await asyncio.gather(up, back, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: set[int]) -> None:
        while True:
            frame = await _frame(reader)
            api_key, _, correlation = _REQUEST.unpack_from(frame, 4)
            trap = next((trap for trap in self._traps if trap.action == "hold" and trap.take(api_key)), None)
            if trap is not None:
                await trap.released()
            elif any(trap.action == "lose" and trap.take(api_key) for trap in self._traps):
                lost.add(correlation)
            await self._pass("up", frame, writer)

    async def _responses(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: set[int]) -> None:
        try:
            while True:
                frame = await _frame(reader)
                (correlation,) = _HEADER.unpack_from(frame, 4)
                # Answers come in the order of the requests: where one is lost, so is all that comes after it.
                if correlation in lost:
                    await asyncio.Future()
                await self._pass("down", frame, writer)
        finally:
            # The server has closed: so must the client's side be, or it would wait for ever.
            writer.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame with its length; the connection's end shows as a ConnectionError."""
    try:
        length = await reader.readexactly(4)
        return length + await reader.readexactly(_HEADER.unpack(length)[0])
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("closed") from error
