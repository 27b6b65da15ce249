"""`stream-app health` asks a real web port, in the clear and by TLS, by the settings alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from stream_app.backends.child_process import free_port
from stream_app.cli import main
from stream_app.settings import load
from stream_app.web.health import Health
from stream_app.web.server import WebServer
from tests.security.certificates import Authority

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


@asynccontextmanager
async def served(*, alive: bool = True, ready: bool = True, **given: Any) -> AsyncIterator[WebServer]:
    health = Health()
    health.register("worker", ready=lambda: (ready, "reading"), alive=lambda: (alive, "stuck"))
    server = WebServer(load(flags={"web_port": "0", **given}), CollectorRegistry(), health, None)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def asked(port: int, *words: str, **given: str) -> tuple[int, str]:
    """Exit code and what was said. In a thread: the server answers in this one."""
    variables = {f"STREAM_APP_{name.upper()}": value for name, value in given.items()}
    environment = {**variables, "STREAM_APP_WEB_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    done = await asyncio.to_thread(CliRunner().invoke, main, ["health", *words], env=environment)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("alive", "ready", "words", "code"),
    [(True, True, (), 0), (True, False, (), 0), (True, False, ("--ready",), 1), (False, False, (), 1)],
)
async def test_alive_and_ready_are_told_apart(alive: bool, ready: bool, words: tuple[str, ...], code: int) -> None:
    async with served(alive=alive, ready=ready) as server:
        found, said = await asked(server.port, *words)
    assert found == code, said
    assert "worker" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1"])
async def test_a_port_of_all_interfaces_is_asked_on_this_machine(host: str) -> None:
    async with served(web_host=host) as server:
        assert (await asked(server.port, web_host=host))[0] == 0


async def test_nobody_there_is_not_healthy() -> None:
    code, said = await asked(free_port())
    assert code == 1
    assert "does not answer" in said


async def test_with_a_certificate_tls_is_spoken_whatever_names_are_in_it(authority: Authority) -> None:
    pair = authority.server(dns="web.shop.example", address=None)
    given = {"web_cert_file": str(pair.cert), "web_key_file": str(pair.key)}
    async with served(**given) as server:
        assert (await asked(server.port, **given))[0] == 0
        code, said = await asked(server.port)
        assert (code, "does not answer" in said) == (1, True), said


async def test_a_port_with_another_certificate_is_somebody_elses(authority: Authority) -> None:
    ours, other = (authority.server(dns=name, address=None) for name in ("ours", "other"))
    async with served(web_cert_file=str(other.cert), web_key_file=str(other.key)) as server:
        code, said = await asked(server.port, web_cert_file=str(ours.cert), web_key_file=str(ours.key))
    assert code == 1
    assert "certificate" in said
