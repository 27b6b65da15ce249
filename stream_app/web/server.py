"""The web port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps us running, `/` for people, who
see the shop live (`live_routes.py`).

Our own small server and not Faust's: that one comes with pages that change tables, and binds all interfaces.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from aiohttp import web
from mode import Service
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream_app.metrics import Shown
from stream_app.settings import Settings
from stream_app.tls import server_context
from stream_app.web.health import Health, Report
from stream_app.web.token import guard

#: How long open requests may take when the server stops, in seconds: a scrape takes milliseconds.
_SHUTDOWN_S: Final = 1.0


class Pages(Protocol):
    """What people see on this port, `LiveRoutes` where a worker or a trainer runs."""

    def add_to(self, app: web.Application) -> None:
        """Take the paths, before the server listens."""

    def start(self) -> None:
        """The server listens."""

    async def stop(self) -> None:
        """The server is about to stop: no answer may go on."""


class WebServer(Service):
    """Serves until stopped. `port` is the real one once started, also where the setting is 0.

    Without `pages` there are only metrics and health. With `web_token` all but health asks for it; with `web_cert_file`
    it speaks HTTPS.

    Raises OSError from `start`, with what to do, when the port is taken, and TlsFileError when a certificate's file is
    not what it was any more.
    """

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, health: Health, pages: Pages | None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._host = settings.web_host
        self._wanted = settings.web_port
        self._token = settings.web_token.get_secret_value()
        self._cert_file, self._key_file = settings.web_cert_file, settings.web_key_file
        self._shown = Shown(registry)
        self._health = health
        self._pages = pages
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, `http[s]://host:port`; an address of all interfaces is shown as this machine's own."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        scheme = "https" if self._cert_file else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def on_start(self) -> None:
        """Listen."""
        tls = server_context(cert_file=self._cert_file, key_file=self._key_file) if self._cert_file else None
        app = web.Application(middlewares=[guard(self._token)] if self._token else [])
        if self._pages is not None:
            self._pages.add_to(app)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._wanted, ssl_context=tls).start()
        except OSError as error:
            await self._close()
            raise OSError(
                f"web port {self._host}:{self._wanted} cannot be used ({error.strerror or error}); "
                "give another with --web-port, or 0 for any free one"
            ) from None
        self.port = runner.addresses[0][1]
        if self._pages is not None:
            self._pages.start()

    async def on_stop(self) -> None:
        """Close the port; who looks is told to come back."""
        if self._pages is not None:
            await self._pages.stop()
        await self._close()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = web.Response(body=encode(self._shown), headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def _healthz(self, request: web.Request) -> web.Response:
        return _answer("alive", self._health.alive())

    async def _readyz(self, request: web.Request) -> web.Response:
        return _answer("ready", self._health.ready())


def _answer(name: str, report: Report) -> web.Response:
    fine, components = report
    body = {name: fine, "components": components}
    return web.json_response(body, status=200 if fine else 503, headers={"Cache-Control": "no-store"})
