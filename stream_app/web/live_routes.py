"""The live page and the JSON behind it, read-only: docs/live-page.md describes every field."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from stream_app.live.checkouts import CHECKOUTS_MAX
from stream_app.live.offers import OFFERS_MAX
from stream_app.live.sessions import ORDERS
from stream_app.settings import Settings
from stream_app.web.answers import API_HEADERS, ProblemError, choice, json_answer, problem_answer, whole_number
from stream_app.web.live_feed import LiveFeed
from stream_app.web.static_files import StaticFiles
from stream_app.web.visitor_page import visitor_page

#: A viewer that takes nothing for so long is dropped, in seconds; its page connects again when it can.
SLOW_S: Final = 5.0

#: Kernel's buffer of one viewer: without a bound a sleeping laptop would be sent megabytes before anybody notices.
_SEND_BUFFER_BYTES: Final = 64 * 1024

#: Sessions in one answer.
_SESSIONS_MAX: Final = 200

_BANDS: Final = ["all", "unlikely", "on_the_fence", "likely"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LiveRoutes:
    """Answers for the page; `stop` ends the streams, so that the server can."""

    def __init__(self, settings: Settings, feed: LiveFeed, *, slow_s: float = SLOW_S) -> None:
        self._settings, self._feed, self._slow_s = settings, feed, slow_s
        self._files = StaticFiles()
        self._streams: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None

    def add_to(self, app: web.Application) -> None:
        """Take the paths."""
        get = app.router.add_get
        get("/", _answered(self._index))
        get("/sessions/{visitor}", _answered(self._session_page))
        get("/static/{name}", _answered(self._static))
        get("/api/stats", _answered(self._stats))
        get("/api/sessions", _answered(self._sessions))
        get("/api/sessions/{visitor}", _answered(self._session))
        get("/api/checkouts", _answered(self._checkouts))
        get("/api/offers", _answered(self._offers))
        get("/api/shop", _answered(self._shop))
        get("/api/model", _answered(self._model))
        get("/api/live", _answered(self._live))
        get("/api/{rest:.*}", _answered(self._unknown))

    def start(self) -> None:
        """Begin to feed."""
        self._feeding = asyncio.create_task(self._feed.run(), name="live-page")

    async def stop(self) -> None:
        """End the streams and the feed."""
        tasks = {*self._streams, *([self._feeding] if self._feeding is not None else [])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return self._files.answer(request, "index.html")

    async def _session_page(self, request: web.Request) -> web.StreamResponse:
        return self._files.answer(request, "session.html")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return self._files.answer(request, request.match_info["name"])

    async def _stats(self, request: web.Request) -> web.StreamResponse:
        await self._feed.look()
        return json_answer(self._feed.stats())

    async def _sessions(self, request: web.Request) -> web.StreamResponse:
        order, band = self._list(request)
        limit = whole_number(request, "limit", default=50, most=_SESSIONS_MAX)
        await self._feed.look()
        rows = self._feed.rows(order, band=band, limit=limit)
        return json_answer({"order": order, "band": band, "sessions": rows})

    async def _session(self, request: web.Request) -> web.StreamResponse:
        await self._feed.look()
        return json_answer(await visitor_page(self._feed, self._settings, request.match_info["visitor"]))

    async def _checkouts(self, request: web.Request) -> web.StreamResponse:
        limit = whole_number(request, "limit", default=CHECKOUTS_MAX, most=CHECKOUTS_MAX)
        await self._feed.look()
        return json_answer({"seen": self._feed.shop.checkouts.seen, "checkouts": self._feed.checkouts(limit)})

    async def _offers(self, request: web.Request) -> web.StreamResponse:
        limit = whole_number(request, "limit", default=OFFERS_MAX, most=OFFERS_MAX)
        await self._feed.look()
        await self._feed.ask_offers()
        return json_answer(self._feed.offers(limit))

    async def _shop(self, request: web.Request) -> web.StreamResponse:
        await self._feed.look()
        return json_answer(self._feed.known_of_the_shop())

    async def _model(self, request: web.Request) -> web.StreamResponse:
        await self._feed.look()
        await self._feed.ask_quality()
        return json_answer(self._feed.model())

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        raise ProblemError(
            404,
            got=request.path[:80],
            expected="/api/stats, /api/sessions, /api/sessions/{visitor}, /api/checkouts, /api/offers, /api/shop, "
            "/api/model or /api/live",
            do="see docs/live-page.md",
        )

    # ---- the stream -------------------------------------------------------------------------------------------------

    async def _live(self, request: web.Request) -> web.StreamResponse:
        order, band = self._list(request)
        if len(self._streams) >= self._settings.web_viewers_max:
            raise ProblemError(
                503,
                got=f"viewer {len(self._streams) + 1}",
                expected=f"at most {self._settings.web_viewers_max} open live pages",
                do="close one, or raise the setting web_viewers_max",
            )
        response = web.StreamResponse(headers={**API_HEADERS, "Content-Type": "text/event-stream; charset=utf-8"})
        if request.transport is not None:
            sending = request.transport.get_extra_info("socket")
            if sending is not None:
                sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        # A task of its own, since the server is not to wait for it when it stops.
        stream = asyncio.create_task(self._send(request, response, order, band), name="live-viewer")
        self._streams.add(stream)
        try:
            await asyncio.wait({stream})
        finally:
            self._streams.discard(stream)
            stream.cancel()
        if not stream.cancelled():
            stream.result()
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, order: str, band: str | None) -> None:
        """Messages, two a second: they are the heartbeat as well. Whoever does not take them is dropped."""
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            await self._feed.look()
            number = 0
            while True:
                number, message = await self._feed.next_message(order, band, number)
                async with asyncio.timeout(self._slow_s):
                    await response.write(b"id: %d\ndata: %b\n\n" % (number, message))
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # gone

    def _list(self, request: web.Request) -> tuple[str, str | None]:
        order = choice(request, "order", list(ORDERS), "score")
        band = choice(request, "band", _BANDS, "all")
        return order, None if band == "all" else band


def _answered(handler: _Handler) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ProblemError as problem:
            return problem_answer(problem)

    return answer
