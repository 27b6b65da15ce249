"""Servers for tests, started once per run: embedded twins everywhere, real ones where the machine has them."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from stream_app.backends.embedded import EmbeddedKafka, EmbeddedValkey
from stream_app.settings import ENV_PREFIX
from tests.support.redis_cluster import RealRedisCluster
from tests.support.servers import RealKafka, RealRedis, UnavailableError


class Servers(NamedTuple):
    """Where a Kafka and a Redis listen; `kind` is `embedded` or `real`."""

    bootstrap: str
    redis_url: str
    kind: str


class Names(NamedTuple):
    """Of one test alone, so that tests share servers and never records."""

    topic_prefix: str
    group_id: str


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[Servers]:
    """librdkafka's mock cluster and a Valkey out of a wheel: need nothing but pip."""
    with EmbeddedKafka() as kafka, EmbeddedValkey() as valkey:
        yield Servers(kafka.bootstrap, valkey.url, "embedded")


@pytest.fixture(scope="session")
def real_kafka() -> Iterator[RealKafka]:
    """An Apache Kafka broker of the whole run: do not kill this one, start your own."""
    with ExitStack() as stack:
        try:
            kafka = stack.enter_context(RealKafka())
        except UnavailableError as reason:
            skip_or_fail(reason)
        yield kafka


@pytest.fixture(scope="session")
def real_redis() -> Iterator[RealRedis]:
    """A redis-server of the whole run: do not kill this one, start your own."""
    with ExitStack() as stack:
        try:
            redis = stack.enter_context(RealRedis())
        except UnavailableError as reason:
            skip_or_fail(reason)
        yield redis


@pytest.fixture(scope="session")
def real_redis_cluster() -> Iterator[RealRedisCluster]:
    """Three masters of the whole run: do not kill them, start your own."""
    cluster = RealRedisCluster()
    try:
        cluster.start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def real_servers(real_kafka: RealKafka, real_redis: RealRedis) -> Servers:
    """The real pair."""
    return Servers(real_kafka.bootstrap, real_redis.url, "real")


@pytest.fixture(
    params=["embedded", pytest.param("real", marks=[pytest.mark.real_kafka, pytest.mark.real_redis])],
)
def servers(request: pytest.FixtureRequest) -> Servers:
    """Both pairs, one after the other: a test with this fixture runs twice."""
    found = request.getfixturevalue(f"{request.param}_servers")
    assert isinstance(found, Servers)
    return found


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Names:
    """A fresh topic prefix and group id; the test's name is in them, for whoever looks at a server by hand."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.lower()).strip("-")[:24]
    unique = uuid.uuid4().hex[:8]
    return Names(f"{test}-{unique}.", f"{test}-{unique}")


def skip_or_fail(reason: Exception) -> NoReturn:
    """Skip loudly on a laptop; in CI a missing server is a failure, else the real thing goes untested unseen."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"CI must have the real servers: {reason}", pytrace=False)
    pytest.skip(f"real server not available: {reason}")


@pytest.fixture
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither environment nor a settings file: in a folder of the test's own."""
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
