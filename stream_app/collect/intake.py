"""One request's way: who sends, may it, what does it say, is it in Kafka. Each step may end it with a refusal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from producers.adapters.robots import declares_robot
from producers.door import Door
from stream_app.collect.core.addresses import client_address
from stream_app.collect.core.answer import Answer, answer_of
from stream_app.collect.core.body import opened
from stream_app.collect.core.buckets import Buckets
from stream_app.collect.core.reading import Expected, read
from stream_app.collect.core.refusal import RefusalError
from stream_app.collect.core.room import Hold, Room
from stream_app.collect.core.unpacking import is_packed, too_large, unpacked
from stream_app.collect.core.write_keys import key_given
from stream_app.collect.delivery import Delivery
from stream_app.collect.observe import CollectObserver
from stream_app.collect.senders import Senders
from stream_app.settings import Settings

#: How long a body may take, in seconds: 512 kB by a slow telephone.
READ_S_MAX: Final = 10.0

_CHUNK_BYTES: Final = 64 * 1024

#: What a body may be called. Browsers send `text/plain` without asking the server first; a beacon may have no type.
CONTENT_TYPES: Final = ("application/json", "text/plain", "application/octet-stream")


class Intake:
    """Takes requests, as many at once as there is room for.

    Parameters
    ----------
    wall
        Seconds since 1970: when events arrived.
    monotonic
        Seconds that never go back: what the limits count with.
    """

    def __init__(
        self,
        settings: Settings,
        delivery: Delivery,
        observer: CollectObserver,
        *,
        senders: Senders,
        door: Door,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._delivery, self._observer = delivery, observer
        self._keys, self._origins = senders
        self._door = door
        self._wall, self._monotonic = wall, monotonic
        self._proxies = settings.collect_proxies
        self._bytes_max = settings.collect_body_bytes_max
        self._of_address = Buckets(settings.collect_address_rate)
        self._of_key = Buckets(settings.collect_key_rate)
        self._room = Room(settings.collect_waiting_bytes_max)
        observer.waiting(lambda: self._room.bytes)

    async def take(self, request: web.Request, expected: Expected) -> Answer:
        """Take a request. When this returns, all of it is in Kafka. Raises RefusalError."""
        began, received_ms = self._monotonic(), int(self._wall() * 1000)
        self._origins.require(request.headers.get("Origin"), request.host)
        address = client_address(
            request.remote, ",".join(request.headers.getall("X-Forwarded-For", [])), proxies=self._proxies
        )
        self._one(self._of_address, address, "address_limit")
        given = key_given(request.headers.get("Authorization", ""), request.query)
        if given is not None:
            self._keys.name_of(given)  # before its body is read
        self._room.require(self._size(request))
        with self._room.held() as hold:
            body = opened(await self._read(request, hold))
            name = self._keys.name_of(given if given is not None else body.write_key)
            self._one(self._of_key, name, "key_limit")
            self._more(len(body.events) - 1, address, name)
            reading = read(
                body, expected=expected, received_ms=received_ms, door=self._door, by_robot=_is_by_robot(request)
            )
            # An order of twenty items is twenty events.
            self._more(len(reading.events) - len(body.events), address, name)
            await self._delivery.deliver(reading.events, reading.letters, source=f"collect {request.path}")
        self._observer.taken(reading, self._monotonic() - began, source=name, received_ms=received_ms)
        return answer_of(reading.results)

    def _one(self, buckets: Buckets, name: str, outcome: str) -> None:
        """Take a token. Raises RefusalError (429) if there is none."""
        now_s = self._monotonic()
        wait_s = buckets.wait_s(name, now_s)
        if wait_s > 0.0:
            raise RefusalError(
                429,
                outcome,
                got="more events than the limit",
                expected="fewer a second of one address and one write key",
                do="send the same again later",
                retry_after_s=wait_s,
            )
        buckets.take(name, 1, now_s)

    def _more(self, more: int, address: str, name: str) -> None:
        """Take the other events' tokens: how many there are was not known before."""
        now_s = self._monotonic()
        if more > 0:
            self._of_address.take(address, more, now_s)
            self._of_key.take(name, more, now_s)

    def _size(self, request: web.Request) -> int:
        """What it says, or the most where it does not say or is packed. Raises RefusalError."""
        if request.content_type not in CONTENT_TYPES:
            raise RefusalError(
                415,
                "unsupported",
                got=f"Content-Type {request.content_type[:40]!a}",
                expected="application/json or text/plain",
                do="send JSON as one of these",
            )
        length = request.content_length
        if length is not None and length > self._bytes_max:
            raise too_large(self._bytes_max, "to come")
        is_known = length is not None and not is_packed(request.headers.get("Content-Encoding", ""))
        return length if is_known and length is not None else self._bytes_max

    async def _read(self, request: web.Request, hold: Hold) -> bytes:
        packed = is_packed(request.headers.get("Content-Encoding", ""))
        data = bytearray()
        try:
            async with asyncio.timeout(READ_S_MAX):
                async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
                    hold.add(len(chunk))
                    data += chunk
                    if len(data) > self._bytes_max:
                        raise too_large(self._bytes_max, "")
        except TimeoutError:
            raise RefusalError(
                408,
                "too_slow",
                got=f"{len(data)} bytes within {READ_S_MAX:g} s",
                expected="the whole body in that time",
                do="send fewer events at once",
                retry_after_s=1.0,
            ) from None
        except (web.RequestPayloadError, OSError):
            raise RefusalError(
                400, "broken", got="a body that is cut off", expected="all of it", do="send it again"
            ) from None
        if not packed:
            return bytes(data)
        found = unpacked(bytes(data), most=self._bytes_max)
        hold.add(max(0, len(found) - len(data)))
        return found


def _is_by_robot(request: web.Request) -> bool:
    """Whether a page in a declared robot's browser sends it.

    Only of a request by a page (browsers say of which, as `Origin`) the user agent is a visitor's: a shop's server has
    one of its own, whoever it speaks of.
    """
    return "Origin" in request.headers and declares_robot(request.headers.get("User-Agent", ""))
