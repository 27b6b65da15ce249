"""Redis over TLS with an access list: what is allowed works, what is not is refused, and what is missing is named."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError

from stream_app import redis_acls
from stream_app.backends.ports import UnusableError, ViewError
from stream_app.backends.redis import RedisView, connect_by
from stream_app.core.effects import Position
from stream_app.settings import load
from tests.security.certificates import Authority
from tests.security.secured_redis import ADMIN_PASSWORD, SecuredRedis
from tests.support.fixtures import skip_or_fail
from tests.support.redis_cluster import RealRedisCluster
from tests.support.servers import UnavailableError

pytestmark = pytest.mark.real_redis

GROUP = "shop"
POSITION = Position(seq=1)


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[SecuredRedis]:
    settings = load(flags={"group_id": GROUP})
    users = {role: redis_acls.line(role, role, settings) for role in redis_acls.ROLES}
    try:
        with SecuredRedis(authority, users) as server:
            yield server
    except UnavailableError as reason:
        skip_or_fail(reason)


@pytest.fixture
def administrator(server: SecuredRedis, authority: Authority) -> Iterator[BlockingRedis]:
    with BlockingRedis.from_url(
        server.url, username="admin", password=ADMIN_PASSWORD, ssl_ca_certs=str(authority.ca)
    ) as client:
        client.flushall()
        client.function_flush()
        client.acl_log_reset()
        yield client


@asynccontextmanager
async def _as(role: str, server: SecuredRedis, authority: Authority, **more: Any) -> AsyncIterator[Redis]:
    given = {
        "redis_url": server.url, "redis_ca_file": str(authority.ca), "redis_username": role,
        "redis_password": server.password(role), "redis_timeout_ms": 5_000, "group_id": GROUP,
    }  # fmt: skip
    client = connect_by(load(flags={**given, **more}))
    try:
        yield client
    finally:
        await client.aclose()


def _view(client: Redis, prefix: str = GROUP) -> RedisView:
    return RedisView(client, prefix=prefix, ttl_ms=60_000)


async def _write(view: RedisView) -> Position | None:
    return await view.write(0, expected_seq=0, position=POSITION, states={"v": b"state"}, deadlines={"v": 5})


async def test_the_view_works_with_its_list_once_the_functions_are_loaded(
    server: SecuredRedis, authority: Authority, administrator: BlockingRedis
) -> None:
    async with _as("worker", server, authority) as client:
        view = _view(client)
        with pytest.raises(
            ViewError, match=r"function stream_app_write_view_.* is not loaded: run `stream-app acls fun"
        ):
            await _write(view)
        for function in redis_acls.functions():
            administrator.function_load(function.library, replace=True)
        administrator.acl_log_reset()
        assert await _write(view) is None
        await view.refuse_eviction()
        assert await view.load(0, ["v", "w"]) == (POSITION, [b"state", None])
        assert await view.open_visitors(0) == {"v": 5}
        # The same again is told apart from another's, as the script does.
        assert await _write(view) is None
        again = Position(seq=7)
        assert await view.write(0, expected_seq=6, position=again, states={}, deadlines={}) == POSITION
        await view.clear(0)
        assert await view.load(0, ["v"]) == (None, [None])
    # Nothing was tried that the list does not allow.
    assert administrator.acl_log() == []


async def test_who_may_not_ask_whether_keys_are_dropped_is_told_what_to_grant(
    server: SecuredRedis, authority: Authority, administrator: BlockingRedis
) -> None:
    async with _as("worker", server, authority) as client:
        await _view(client).refuse_eviction()
        administrator.execute_command("ACL", "SETUSER", "worker", "-info")
        try:
            with pytest.raises(UnusableError, match="give this user the command INFO"):
                await _view(client).refuse_eviction()
        finally:
            administrator.execute_command("ACL", "SETUSER", "worker", "+info")


async def test_functions_are_the_scripts_letter_by_letter() -> None:
    for function in redis_acls.functions():
        assert function.text in function.library
        digest = hashlib.sha1(function.text.encode(), usedforsecurity=False).hexdigest()
        assert function.function.endswith(digest[:8])


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("worker", ["EVAL", "return 1", "0"]),
        ("worker", ["SCRIPT", "LOAD", "return 1"]),
        ("worker", ["FUNCTION", "FLUSH"]),
        ("worker", ["FLUSHALL"]),
        ("worker", ["CONFIG", "GET", "*"]),
        ("worker", ["KEYS", "*"]),
        ("worker", ["ACL", "LIST"]),
        ("worker", ["GET", "{another:0}:position"]),
        ("worker", ["GET", "{shop:discounts}:account"]),
        ("worker", ["SET", "elsewhere", "1"]),
        ("discounts", ["SET", "{shop:0}:v:somebody", "1"]),
        ("discounts", ["SET", "{another:discounts}:account", "1"]),
        ("forget", ["GET", "{shop:0}:v:somebody"]),
        ("forget", ["UNLINK", "{shop:0}:v:somebody"]),
        ("look", ["SET", "{shop:0}:v:somebody", "1"]),
        ("look", ["UNLINK", "{shop:0}:v:somebody"]),
        ("trainer", ["GET", "{shop:0}:position"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
async def test_what_a_role_does_not_need_is_refused(
    role: str, command: list[str], server: SecuredRedis, authority: Authority
) -> None:
    async with _as(role, server, authority) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


async def test_a_function_touches_no_other_keys_than_its_caller_may(
    server: SecuredRedis, authority: Authority, administrator: BlockingRedis
) -> None:
    for function in redis_acls.functions():
        administrator.function_load(function.library, replace=True)
    async with _as("worker", server, authority) as client:
        with pytest.raises(ViewError, match="NoPermissionError"):
            await _write(_view(client, prefix="another"))
    async with _as("look", server, authority) as client:
        with pytest.raises(ViewError, match="NoPermissionError"):
            await _write(_view(client))


async def test_a_wrong_password_and_a_certificate_that_is_not_trusted_are_told(
    server: SecuredRedis, authority: Authority
) -> None:
    async with _as("worker", server, authority, redis_password="wrong-password") as client:
        with pytest.raises(AuthenticationError) as refused:
            await client.info()
        assert "wrong-password" not in str(refused.value)
    async with _as("worker", server, authority, redis_ca_file="") as client:
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            await client.info()


async def test_a_name_that_the_certificate_does_not_have_is_not_trusted(authority: Authority) -> None:
    # `localhost` is in the certificate, 127.0.0.2 is not: who answers there may be anybody.
    settings = load(flags={"group_id": GROUP})
    with SecuredRedis(authority, {"worker": redis_acls.line("worker", "worker", settings)}) as server:
        for host, trusted in (("localhost", True), ("127.0.0.2", False)):
            url = server.url.replace("127.0.0.1", host)
            async with _as("worker", server, authority, redis_url=url) as client:
                if trusted:
                    await client.info()
                else:
                    with pytest.raises(ConnectionError, match="IP address mismatch"):
                        await client.info()


async def test_a_server_that_asks_for_certificates_gets_ours(authority: Authority) -> None:
    settings = load(flags={"group_id": GROUP})
    pair = authority.client("worker")
    users = {"worker": redis_acls.line("worker", "worker", settings)}
    with SecuredRedis(authority, users, mutual=True) as server:
        given = {"redis_client_cert_file": str(pair.cert), "redis_client_key_file": str(pair.key)}
        async with _as("worker", server, authority, **given) as client:
            assert (await client.info())["redis_version"]
        async with _as("worker", server, authority) as client:
            with pytest.raises(ConnectionError):
                await client.info()


async def test_a_list_is_enough_in_a_cluster_as_well(real_redis_cluster: RealRedisCluster) -> None:
    given: dict[str, Any] = {"redis_url": real_redis_cluster.url, "redis_cluster": "yes", "group_id": "shop-with-users"}
    everywhere: dict[str, Any] = {"target_nodes": "primaries"}
    anybody = connect_by(load(flags={**given, "redis_timeout_ms": 5_000}))
    settings = load(
        flags={**given, "redis_username": "worker", "redis_password": "of-worker", "redis_timeout_ms": 5_000}
    )
    client = connect_by(settings)
    try:
        words = redis_acls.line("worker", "worker", settings).split()
        await anybody.execute_command("ACL SETUSER", *words, ">of-worker", **everywhere)
        await anybody.execute_command("ACL LOG", "RESET", **everywhere)
        for function in redis_acls.functions():
            await anybody.function_load(function.library, replace=True)
        view = _view(client, prefix=settings.namespace)
        for partition in range(8):
            states = {"v": b"state"}
            written = await view.write(partition, expected_seq=0, position=POSITION, states=states, deadlines={"v": 5})
            assert written is None
            assert await view.load(partition, ["v"]) == (POSITION, [b"state"])
            await view.clear(partition)
        told = await anybody.execute_command("ACL LOG", **everywhere)
        assert not any(told.values() if isinstance(told, dict) else told), told
    finally:
        await client.aclose()
        await anybody.execute_command("ACL DELUSER", "worker", **everywhere)
        await anybody.execute_command("FUNCTION FLUSH", **everywhere)
        await anybody.aclose()
