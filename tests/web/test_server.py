"""The web port on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from stream_app.histogram import HistogramSeries
from stream_app.metrics import METRICS, OF_COLLECTOR, OF_DISCOUNTS, OF_DOORS, OF_INGEST
from stream_app.observe import Observer
from stream_app.settings import Settings
from stream_app.web.health import Answer, Health
from stream_app.web.live_feed import LiveFeed
from stream_app.web.live_routes import LiveRoutes
from stream_app.web.server import WebServer


def web_server(settings: Settings, registry: CollectorRegistry, health: Health) -> WebServer:
    """Of a process without worker and trainer."""
    feed = LiveFeed(settings, health, worker=None, trainer=None, latency=HistogramSeries((1.0,)), longest_wait=float)
    return WebServer(settings, registry, health, LiveRoutes(settings, feed))


class _Process:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.health = Health()
        self.answer: Answer = (True, "4 partitions, at the end of the log")
        self.stuck: Answer = (True, "the loop turns")
        self.health.register("worker", ready=lambda: self.answer, alive=lambda: self.stuck)
        self.server = web_server(Settings(web_port=0), self.registry, self.health)

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self.server.url}{path}") as response,
        ):
            return response.status, response.headers["Content-Type"], await response.text()


@pytest.fixture
async def process() -> AsyncIterator[_Process]:
    process = _Process()
    await process.server.start()
    yield process
    await process.server.stop()


async def test_port_0_becomes_a_real_port_on_loopback(process: _Process) -> None:
    assert process.server.port > 0
    assert process.server.url == f"http://127.0.0.1:{process.server.port}"


async def test_metrics_are_the_registrys_in_the_classic_text_format(process: _Process) -> None:
    Observer(process.registry)
    status, content_type, text = await process.get("/metrics", Accept="*/*")
    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for spec in METRICS:
        name = spec.name.removesuffix("_total")
        if spec.name in OF_DISCOUNTS | OF_INGEST | OF_COLLECTOR | OF_DOORS:
            assert name not in families
            continue
        assert families[name].type == spec.kind, spec.name
        assert families[name].documentation == spec.moves_when
    assert "_created" not in text


async def test_prometheus_3_gets_the_format_it_asks_for(process: _Process) -> None:
    Counter("intent_things_total", "things", registry=process.registry).inc(3)
    asked = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
    status, content_type, text = await process.get("/metrics", Accept=asked)
    assert (status, content_type.split(";")[0]) == (200, "application/openmetrics-text")
    assert "intent_things_total 3.0" in text
    assert text.endswith("# EOF\n")


async def test_readiness_is_200_or_503_with_each_components_word(process: _Process) -> None:
    status, content_type, text = await process.get("/readyz")
    assert (status, content_type) == (200, "application/json; charset=utf-8")
    assert json.loads(text) == {
        "ready": True,
        "components": {"worker": {"ok": True, "is": "4 partitions, at the end of the log"}},
    }
    process.answer = (False, "partition 3 is restoring")
    status, _, text = await process.get("/readyz")
    assert status == 503
    assert json.loads(text)["components"]["worker"]["is"] == "partition 3 is restoring"
    assert (await process.get("/healthz"))[0] == 200


async def test_a_stuck_component_makes_the_process_not_alive(process: _Process) -> None:
    process.stuck = (False, "partition 0 has made no progress for 120 s")
    status, _, text = await process.get("/healthz")
    assert status == 503
    assert json.loads(text)["alive"] is False


async def test_the_page_leads_to_every_other_one_and_unknown_ones_are_404(process: _Process) -> None:
    status, content_type, text = await process.get("/")
    assert (status, content_type) == (200, "text/html; charset=utf-8")
    for path in ("/metrics", "/healthz", "/readyz"):
        assert f'href="{path}"' in text
        assert (await process.get(path))[0] == 200
    assert (await process.get("/admin"))[0] == 404


async def test_stopping_gives_the_port_back_even_with_a_connection_open() -> None:
    process = _Process()
    await process.server.start()
    port = process.server.port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        await process.server.stop()
    writer.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = web_server(Settings(web_port=port), CollectorRegistry(), Health())
        with pytest.raises(OSError, match=rf"web port 127.0.0.1:{port} cannot be used .*--web-port"):
            await server.start()
        await server.stop()
