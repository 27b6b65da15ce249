"""The web port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps us running, `/` for people.

Our own small server and not Faust's: that one comes with pages that change tables, and binds all interfaces.
"""

from __future__ import annotations

import html
from typing import Any, Final

from aiohttp import web
from mode import Service
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream_app import __version__
from stream_app.metrics import Shown
from stream_app.settings import Settings
from stream_app.web.health import Health, Report

#: How long open requests may take when the server stops, in seconds: a scrape takes milliseconds.
_SHUTDOWN_S: Final = 1.0

_PAGES: Final = (
    ("/metrics", "all metrics, for Prometheus; what each means is in docs/metrics.md"),
    ("/readyz", "200 when assigned, restored and caught up or making progress; else 503, with the reason"),
    ("/healthz", "200 while the process works; 503 says: restart it"),
)


class WebServer(Service):
    """Serves until stopped. `port` is the real one once started, also where the setting is 0.

    Raises OSError from `start`, with what to do, when the port is taken.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry, health: Health, **options: Any) -> None:
        super().__init__(**options)
        self._host = settings.web_host
        self._wanted = settings.web_port
        self._shown = Shown(registry)
        self._health = health
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, `http://host:port`; an address of all interfaces is shown as this machine's own."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def on_start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._wanted).start()
        except OSError as error:
            await self._close()
            raise OSError(
                f"web port {self._host}:{self._wanted} cannot be used ({error.strerror or error}); "
                "give another with --web-port, or 0 for any free one"
            ) from None
        self.port = runner.addresses[0][1]

    async def on_stop(self) -> None:
        """Close the port."""
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

    async def _index(self, request: web.Request) -> web.Response:
        links = "".join(f'<li><a href="{path}">{path}</a> {html.escape(about)}</li>' for path, about in _PAGES)
        page = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>stream-app</title>"
            f"<h1>stream-app {html.escape(__version__)}</h1><ul>{links}</ul></html>"
        )
        return web.Response(text=page, content_type="text/html")


def _answer(name: str, report: Report) -> web.Response:
    fine, components = report
    body = {name: fine, "components": components}
    return web.json_response(body, status=200 if fine else 503, headers={"Cache-Control": "no-store"})
