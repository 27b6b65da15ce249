"""A running `stream-app collect` beside a deployment, and requests to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from stream_app import topics
from stream_app.backends.child_process import free_port
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers

#: Of tests that are not about keys, and one that is not known.
KEY, OTHER_KEY, WRONG_KEY = "0123456789abcdef", "fedcba9876543210", "ffffffffffffffff"
#: An allowed page.
ORIGIN = "https://shop.example"

#: In seconds, of one request: above every bound of the collector's own.
_ANSWER_S = 30.0

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """In a thread of its own: Playwright's loop may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcomes(self) -> list[str]:
        return [result["outcome"] for result in self.json["results"]]


class Collector:
    """`stream-app collect` as a process of the deployment."""

    def __init__(self, deployment: Deployment, *, port: int = 0, **flags: Any) -> None:
        self.deployment = deployment
        self.port = port or free_port()
        self.flags = {"collect_write_keys": f"shop={KEY},app={OTHER_KEY}", "collect_origins": ORIGIN, **flags}
        self.process: Process = deployment.start("collect", collect_port=self.port, **self.flags)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until_ready(self) -> Collector:
        wait_for("the collector", lambda: self.process.ready()[0], seconds=60)
        return self

    def again(self) -> Collector:
        """Another process on the same port, after this one has ended."""
        return Collector(self.deployment, port=self.port, **self.flags)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """One request on a connection of its own; OSError if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/v1/events", *, key: str | None = KEY, **headers: str) -> Reply:
        """Send JSON, or bytes as they are."""
        given = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key is not None else {})
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), given)

    def events(self) -> list[tuple[int, dict[str, Any]]]:
        """What is on the events topic: partition and value."""
        return [(partition, value) for partition, value, _ in run(self.deployment.read(topics.EVENTS))]

    def letters(self) -> list[tuple[bytes, dict[str, str]]]:
        """What is on the dead letters' topic: bytes and headers."""
        return [(value, headers) for _, value, headers in run(self.deployment.read(topics.DEAD_LETTERS))]


@contextmanager
def deployed(servers: Servers, names: Names, **flags: Any) -> Iterator[Deployment]:
    """Topics of a test's own, and whatever is started in there stopped at the end."""
    deployment = Deployment(servers, names, **flags)
    run(deployment.__aenter__())
    try:
        yield deployment
    finally:
        run(deployment.__aexit__(None, None, None))


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    """A page view of now."""
    found = {"event_id": event_id, "event_type": "page_view", "visitor_id": f"visitor of {event_id}", **fields}
    return {"event_time": int(time.time() * 1000), **found}
