"""A TCP proxy on loopback, to put between a process and its server: passes, holds, delays, closes or resets.

It runs an event loop in a thread of its own, so that a test that waits does not hold up the traffic. What a lossy
network does to a connection, TCP mends by sending again: a one-way loss is a `stall` of that direction, and bytes are
never thrown away in the middle of a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

#: `up`: from the client to the server; `down`: back.
Direction = Literal["up", "down"]
BOTH: Final[tuple[Direction, ...]] = ("up", "down")

#: One read; small enough that a delay or a reset meets a request in its middle now and then.
_CHUNK: Final = 64 * 1024
#: A control call of a test waits no longer than this for the proxy's thread, in seconds.
_CONTROL_S: Final = 10.0

_T = TypeVar("_T")


class Proxy:
    """Listens on `port` and connects each client to `target_port` of this machine. Start it once; `heal` undoes all.

    Subclasses may look at the traffic: `_connect` moves one connection's bytes.
    """

    def __init__(self, target_port: int = 0) -> None:
        #: may be set later, as a server that advertises this proxy starts after it
        self.target_port = target_port
        self.port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # until started
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing: dict[Direction, asyncio.Event] = {}
        self._delay_s = 0.0
        self._refusing = False
        self._reset_share = 0.0
        self._random = random.Random(0)

    def start(self) -> Self:
        """Listen."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        """Close everything."""
        if self._thread is None:
            return
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONTROL_S)
        self._loop.close()
        self._thread = None

    # ---- what a network may do --------------------------------------------------------------------------------------

    def stall(self, *directions: Direction) -> None:
        """Hold all bytes (of both directions unless told): connections stay open and silent, new ones as well."""

        async def hold() -> None:
            for direction in directions or BOTH:
                self._flowing[direction].clear()

        self._call(hold())

    def delay(self, ms: int) -> None:
        """Hold every chunk for so long, in each direction."""

        async def slow() -> None:
            self._delay_s = ms / 1000

        self._call(slow())

    def cut(self) -> None:
        """Close every connection and each new one at once: a server that is gone."""

        async def refuse() -> None:
            self._refusing = True
            for writer in list(self._open):
                writer.close()

        self._call(refuse())

    def reset(self) -> None:
        """Send RST on every open connection; new ones are served."""

        async def reset_all() -> None:
            for writer in list(self._open):
                _reset(writer)

        self._call(reset_all())

    def reset_some(self, share: float, *, seed: int) -> None:
        """From now on a share of the chunks is answered by RST in their place."""

        async def flaky() -> None:
            self._random = random.Random(seed)
            self._reset_share = share

        self._call(flaky())

    def heal(self) -> None:
        """Let everything pass again, what was held first."""

        async def mend() -> None:
            self._delay_s, self._refusing, self._reset_share = 0.0, False, 0.0
            for flowing in self._flowing.values():
                flowing.set()

        self._call(mend())

    # ---- the traffic ------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        for direction in BOTH:
            self._flowing[direction] = asyncio.Event()
            self._flowing[direction].set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.close()
            return
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            down, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._open.add(upstream)
            await self._connect(reader, writer, down, upstream)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or we are being closed: the client sees its connection end
        finally:
            for side in (writer, upstream):
                if side is not None:
                    self._open.discard(side)
                    side.close()

    async def _connect(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        down: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """Move both directions until one of them ends; a connection that is half closed is of no use to anybody."""
        pumps = [
            asyncio.ensure_future(self._pump("up", reader, upstream)),
            asyncio.ensure_future(self._pump("down", down, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._pass(direction, data, writer)

    async def _pass(self, direction: Direction, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._flowing[direction].wait()
        if self._reset_share and self._random.random() < self._reset_share:
            _reset(writer)
            raise ConnectionResetError("reset by the proxy")
        writer.write(data)
        await writer.drain()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CONTROL_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: a linger of zero seconds throws away what is not sent."""
    plain: Any = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
