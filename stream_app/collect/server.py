"""The port that takes events: paths, CORS, refusals as JSON, the snippet and the OpenAPI document.

A port of its own, apart from the web port: metrics and readiness are for operators, this one is for everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from importlib import resources
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from mode import Service

from stream_app.collect.core.reading import Expected
from stream_app.collect.core.refusal import RefusalError
from stream_app.collect.intake import Intake
from stream_app.collect.observe import CollectObserver
from stream_app.collect.openapi import document
from stream_app.collect.paths import OPENAPI_PATH, PATHS, SNIPPET_PATH
from stream_app.collect.senders import Senders
from stream_app.settings import Settings
from stream_app.tls import server_context

_LOG: Final = logging.getLogger("stream_app")

#: How long requests in hand may take when the server stops, in seconds: the longest waits ten for Kafka, and a
#: supervisor kills after ten.
_SHUTDOWN_S: Final = 6.0

#: An idle connection is closed after this, in seconds: a page's next event mostly comes sooner.
_KEEP_ALIVE_S: Final = 75.0

#: How long browsers keep what a preflight said, in seconds; Chromium keeps nothing for longer than two hours.
_PREFLIGHT_S: Final = 7_200

#: Nothing here is a page, and other sites' pages are meant to ask for it.
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "cross-origin"}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CollectServer(Service):  # type: ignore[misc]
    """Listens until stopped, and then answers what it has in hand. `port` is the real one once started.

    Raises OSError from `start`, with what to do, when the port is taken.
    """

    def __init__(
        self, settings: Settings, intake: Intake, observer: CollectObserver, *, senders: Senders, **options: Any
    ) -> None:
        super().__init__(**options)
        self._host, self._wanted = settings.collect_host, settings.collect_port
        self._cert_file, self._key_file = settings.collect_cert_file, settings.collect_key_file
        self._intake, self._observer = intake, observer
        self._keys, self._origins = senders
        self._snippet = _Kept(resources.files("stream_app.collect").joinpath("static", "snippet.js").read_bytes())
        self._openapi = _Kept(msgspec.json.format(msgspec.json.encode(document()), indent=2))
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, `http[s]://host:port`."""
        scheme = "https" if self._cert_file else "http"
        return f"{scheme}://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def ready(self) -> tuple[bool, str]:
        """Whether it listens."""
        return (True, f"listening on {self.url}") if self.port else (False, "not listening")

    async def on_start(self) -> None:
        """Listen."""
        tls = server_context(cert_file=self._cert_file, key_file=self._key_file) if self._cert_file else None
        app = web.Application(middlewares=[self._guard])
        for path, expected in PATHS.items():
            app.router.add_post(path, self._taking(expected))
            app.router.add_options(path, self._preflight)
        app.router.add_get(SNIPPET_PATH, self._give_snippet)
        app.router.add_get(OPENAPI_PATH, self._give_openapi)
        # Unpacking is ours: the server's own would not stop at our bound.
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_HttpErrors(self._observer),
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._wanted, ssl_context=tls).start()
        except OSError as error:
            await self._close()
            raise OSError(
                f"port {self._host}:{self._wanted} cannot be used ({error.strerror or error}); "
                "give another with --collect-port, or 0 for any free one"
            ) from None
        self.port = runner.addresses[0][1]
        self._observer.listening(self.url, keys=len(self._keys), origins=len(self._origins))

    async def on_stop(self) -> None:
        """Take no more, and answer what is in hand."""
        self.port = 0
        await self._close()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refusals as JSON; and a page of an allowed origin may read every answer, refusals as well."""
        try:
            response = await handler(request)
        except RefusalError as refusal:
            self._observer.refused(refusal.outcome)
            response = _refused(refusal)
        except web.HTTPException as wrong:
            # Of the router: no such path, or not by this method.
            self._observer.refused("unknown")
            response = _refused(_unknown(request, wrong))
            if "Allow" in wrong.headers:
                response.headers["Allow"] = wrong.headers["Allow"]
        except Exception as error:
            self._observer.failed(error)
            response = _refused(_failed())
        origin = request.headers.get("Origin")
        if origin is not None and self._origins.allows(origin, request.host):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
        response.headers["Vary"] = "Origin"
        return response

    def _taking(self, expected: Expected) -> _Handler:
        async def handle(request: web.Request) -> web.Response:
            answer = await self._intake.take(request, expected)
            return _json(answer, status=answer.status)

        return handle

    async def _preflight(self, request: web.Request) -> web.Response:
        self._origins.require(request.headers.get("Origin"), request.host)
        return web.Response(
            status=204,
            headers={
                **_HEADERS,
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "authorization, content-type, content-encoding",
                "Access-Control-Max-Age": str(_PREFLIGHT_S),
            },
        )

    async def _give_snippet(self, request: web.Request) -> web.Response:
        return self._snippet.answer(request, "text/javascript")

    async def _give_openapi(self, request: web.Request) -> web.Response:
        return self._openapi.answer(request, "application/json")


class _HttpErrors:
    """Instead of aiohttp's logger, which writes a traceback, with what was sent, of each request that is no HTTP."""

    def __init__(self, observer: CollectObserver) -> None:
        self._observer = observer

    def exception(self, *_: object, exc_info: BaseException | None = None, **__: object) -> None:
        """Count what is the sender's, tell what is ours."""
        if isinstance(exc_info, HttpProcessingError):
            self._observer.refused("broken")
        else:
            self._observer.failed(exc_info)

    def debug(self, *_: object, **__: object) -> None:
        """Nothing: clients that go away."""


class _Kept:
    """A file that browsers may keep for an hour."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._etag = f'"{blake2b(data, digest_size=8).hexdigest()}"'

    def answer(self, request: web.Request, content_type: str) -> web.Response:
        """The file, or 304 where it is known."""
        headers = {**_HEADERS, "Cache-Control": "public, max-age=3600", "ETag": self._etag}
        if self._etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=self._data, content_type=content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response


def _json(body: msgspec.Struct, *, status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={**_HEADERS, "Cache-Control": "no-store"},
    )


def _refused(refusal: RefusalError) -> web.Response:
    response = _json(refusal.refused, status=refusal.status)
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = refusal.retry_after
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (408, 413):
        response.force_close()  # the rest of its body is not waited for
    return response


def _failed() -> RefusalError:
    return RefusalError(
        500, "failed", got="a mistake of ours", expected="none", do="send the same again later", retry_after_s=5.0
    )


def _unknown(request: web.Request, wrong: web.HTTPException) -> RefusalError:
    return RefusalError(
        wrong.status,
        "unknown",
        got=f"{request.method[:10]} {request.path[:60]!a}",
        expected=f"POST {next(iter(PATHS))}",
        do=f"see {OPENAPI_PATH}",
    )
