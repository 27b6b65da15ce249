"""The web port's token and TLS, and the collector's TLS, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream_app.backends.child_process import ChildProcess, free_port, port_answers
from stream_app.histogram import HistogramSeries
from stream_app.settings import load
from stream_app.targets import TargetFile
from stream_app.tls import client_context
from stream_app.web.health import Health
from stream_app.web.live_feed import LiveFeed
from stream_app.web.live_routes import LiveRoutes
from stream_app.web.server import WebServer
from tests.security.certificates import Authority
from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError, program

#: In seconds: machines are busy.
PATIENCE_S = 60.0
_PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
TOKEN = "a-token-of-24-characters"


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@asynccontextmanager
async def _served(**given: Any) -> AsyncIterator[WebServer]:
    settings = load(flags={"web_port": "0", **given})
    health = Health()
    health.register("worker", ready=lambda: (True, "fine"))
    feed = LiveFeed(settings, health, worker=None, trainer=None, latency=HistogramSeries((1.0,)), longest_wait=float)
    server = WebServer(settings, CollectorRegistry(), health, LiveRoutes(settings, feed))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _get(url: str, *, tls: ssl.SSLContext | bool = True, **headers: str) -> tuple[int, dict[str, str], str]:
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url, ssl=tls) as response:
        return response.status, dict(response.headers), await response.text()


@pytest.mark.parametrize(
    "path", ["/metrics", "/", "/sessions/x", "/static/live.js", "/api/stats", "/api/live", "/none"]
)
async def test_everything_but_health_asks_for_the_token(path: str) -> None:
    async with _served(web_token=TOKEN) as server:
        for headers in (
            {},
            {"Authorization": "Bearer another-token-of-some-length"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": TOKEN},
            {"Authorization": "Basic nonsense"},
            {"Authorization": _basic(TOKEN, "")},
            {"Authorization": "Bearer \udcff"},
        ):
            status, answered, text = await _get(f"{server.url}{path}", **headers)
            assert (status, answered["WWW-Authenticate"]) == (401, 'Basic realm="stream-app", charset="UTF-8"')
            assert json.loads(text)["error"]["do"] == "ask whoever runs this for it"
            assert TOKEN not in text


async def test_health_does_not() -> None:
    async with _served(web_token=TOKEN) as server:
        assert (await _get(f"{server.url}/healthz"))[0] == 200
        assert (await _get(f"{server.url}/readyz"))[0] == 200


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", _basic("anybody", TOKEN)])
async def test_with_it_all_is_as_ever(authorization: str) -> None:
    async with _served(web_token=TOKEN) as server:
        for path, kind in (("/metrics", "text/plain"), ("/", "text/html"), ("/api/stats", "application/json")):
            status, answered, _ = await _get(f"{server.url}{path}", Authorization=authorization)
            assert (status, answered["Content-Type"].partition(";")[0]) == (200, kind)


async def test_tls_is_spoken_with_a_certificate_and_nothing_else(authority: Authority, tmp_path: Path) -> None:
    pair = authority.server()
    given = {"web_cert_file": str(pair.cert), "web_key_file": str(pair.key), "web_token": TOKEN}
    async with _served(**given) as server:
        assert server.url.startswith("https://127.0.0.1:")
        trusting = client_context(ca_file=str(authority.ca))
        status, _, _ = await _get(f"{server.url}/metrics", tls=trusting, Authorization=f"Bearer {TOKEN}")
        assert status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await _get(f"{server.url}/healthz")
        with pytest.raises(aiohttp.ClientError):
            await _get(f"{server.url}/healthz".replace("https", "http"))
        # A Prometheus of this machine is told to speak it, too.
        target = TargetFile(load(flags={"web_targets": str(tmp_path)}), server, role="worker")
        await target.start()
        (found,) = json.loads(target.path.read_text())
        assert (found["targets"], found["labels"]["__scheme__"]) == ([f"127.0.0.1:{server.port}"], "https")
        await target.stop()
        assert not target.path.exists()


async def test_a_prometheus_configured_as_the_page_says_scrapes_it(authority: Authority, tmp_path: Path) -> None:
    try:
        binary = program("prometheus", "apt-get install prometheus")
    except UnavailableError as reason:
        skip_or_fail(reason)
    (told,) = re.findall(r"For Prometheus:\n\n```yaml\n(.*?)```", _PAGE, re.DOTALL)
    configuration = yaml.safe_load(told)
    (job,) = configuration["scrape_configs"]
    (tmp_path / "token").write_text(TOKEN)
    job["authorization"]["credentials_file"] = str(tmp_path / "token")
    job["tls_config"]["ca_file"] = str(authority.ca)
    del job["dns_sd_configs"]
    pair, port = authority.server(), free_port()
    given = {"web_cert_file": str(pair.cert), "web_key_file": str(pair.key), "web_token": TOKEN}
    async with _served(**given) as server:
        job["static_configs"] = [{"targets": [server.url.removeprefix("https://")]}]
        configuration["global"] = {"scrape_interval": "1s"}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        child = ChildProcess(
            "Prometheus",
            [
                binary, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )  # fmt: skip
        try:
            child.start(lambda: port_answers(port), timeout_s=PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                while (target := await _target(port)).get("health") not in ("up", "down"):  # noqa: ASYNC110 (asked)
                    await asyncio.sleep(0.2)
            assert (target["health"], target["lastError"]) == ("up", "")
        finally:
            child.stop()


async def _target(port: int) -> dict[str, Any]:
    """What it says of its only target; nothing while it starts."""
    try:
        _, _, text = await _get(f"http://127.0.0.1:{port}/api/v1/targets")
        found: list[dict[str, Any]] = json.loads(text)["data"]["activeTargets"]
    except (aiohttp.ClientError, ValueError, LookupError, TypeError):
        return {}
    return found[0] if found else {}
