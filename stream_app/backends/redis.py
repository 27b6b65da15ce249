"""The view in Redis or Valkey: blobs, deadlines and position of each partition, all under one hash tag.

    {<prefix><group>:<partition>}:position      the position, JSON
    {<prefix><group>:<partition>}:v:<visitor>   a visitor's blob
    {<prefix><group>:<partition>}:open          sorted set: visitors with something open, by deadline

Every key has a time to live, so that nothing stays for ever. Redis is never asked to remember what Kafka does not know:
it can be wiped at any time and is rebuilt from the changelog.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError
from redis.typing import EncodableT

from stream_app.backends.ports import UnusableError, ViewError
from stream_app.backends.redis_script import RedisScript
from stream_app.core.effects import Position, decode_position, encode_position
from stream_app.settings import Settings

#: Keys of one MGET or one script call: bounds how long Redis, which runs one command at a time, is held.
KEYS_PER_CALL: Final = 5_000

#: The view's only script.
WRITE_VIEW: Final = "write_view"

#: Redis answers in under a millisecond; one repetition covers a dropped connection, more would hold a batch up.
_RETRIES: Final = 1


#: Every way in which a call fails: asyncio says RuntimeError when a connection is closed under a write, and what a
#: cluster's client says when it reaches none of the nodes is no RedisError.
FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)


def connect_by(settings: Settings, *, timeout_ms: int | None = None) -> Redis:
    """A client of the Redis of the settings, by their user and certificates; `timeout_ms` instead of theirs.

    Every client of the program is made here, so that none goes another way.
    """
    url = settings.redis_url.get_secret_value()
    options: dict[str, Any] = {}
    if settings.redis_username:
        options["username"] = settings.redis_username
    if settings.redis_password.get_secret_value():
        options["password"] = settings.redis_password.get_secret_value()
    if url.startswith("rediss://"):
        # redis-py makes the context anew for each connection: certificates are renewed while we run.
        options |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            "ssl_ca_certs": settings.redis_ca_file or None,
            "ssl_certfile": settings.redis_client_cert_file or None,
            "ssl_keyfile": settings.redis_client_key_file or settings.redis_client_cert_file or None,
        }
    timeout_ms = timeout_ms or settings.redis_timeout_ms
    return connect(url, timeout_ms=timeout_ms, cluster=settings.redis_cluster, **options)


def connect(url: str, *, timeout_ms: int, cluster: bool = False, **options: Any) -> Redis:
    """A client with short time-outs: the library's own wait and retry for a minute, beyond any session time-out.

    `cluster`: the address is one of a Redis Cluster's nodes, which tells the others.
    """
    options |= {
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        # It would tell its name with each connection, for which a user needs one more right.
        "driver_info": None,
        "retry": Retry(NoBackoff(), _RETRIES),
        "health_check_interval": 0,
    }
    if cluster:
        # Commands and pipelines are those of a single server, as long as each keeps to one slot: ours do.
        return cast(Redis, RedisCluster.from_url(url, **options))
    client = Redis.from_url(url, **options)
    pool = client.connection_pool
    # Whatever the URL asks for: plain, TLS or a socket file.
    pool.connection_class = type("PackedConnection", (_Packed, pool.connection_class), {})
    return client


async def _eviction_policies(client: Redis) -> set[str]:
    """That of the server, or those of all masters of a cluster."""
    if not isinstance(client, RedisCluster):
        return {(await client.info("memory")).get("maxmemory_policy", "noeviction")}
    masters = client.get_primaries()
    told = [await client.info("memory", target_nodes=master) for master in masters]
    return {info.get("maxmemory_policy", "noeviction") for info in told}


class _Packed:
    """The part of a connection that packs commands by hiredis, as redis-py's blocking client does.

    Its asynchronous one does it in Python, argument by argument: of a batch's thousands that was a sixth of the time in
    which the worker's interpreter was busy.
    """

    def pack_command(self, *arguments: EncodableT) -> list[bytes]:
        return HiredisRespSerializer().pack(*arguments)  # type: ignore[arg-type,no-any-return]  # its types say lists


def hash_tag(prefix: str, partition: int) -> str:
    """What all keys of a partition begin with."""
    return f"{{{prefix}:{partition}}}"


class RedisView:
    """`View` on Redis. `prefix` is topic prefix and group id; `ttl_ms` of every key."""

    def __init__(self, client: Redis, *, prefix: str, ttl_ms: int) -> None:
        self._redis = client
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._script = RedisScript("stream_app.backends", WRITE_VIEW)

    async def refuse_eviction(self) -> None:
        """Make sure that Redis drops no state to make room: a visitor's history would be gone, and nobody told.

        Raises
        ------
        UnusableError
            If its policy is another than `noeviction`, or may not be asked for.
        ViewError
            If it does not answer.
        """
        try:
            policies = await _eviction_policies(self._redis)
        except NoPermissionError as error:
            raise UnusableError(
                f"got a Redis that does not say its maxmemory-policy ({error}), expected noeviction: give this user "
                "the command INFO; `stream-app acls redis --role worker` prints all that it needs"
            ) from error
        except FAILURES as error:
            raise ViewError(f"asking for the eviction policy: {_said(error)}") from error
        if evicting := sorted(policies - {"noeviction"}):
            raise UnusableError(
                f"got a Redis with maxmemory-policy {evicting[0]}, expected noeviction: it would drop states to make "
                "room, and a visitor would look new; run `redis-cli config set maxmemory-policy noeviction`"
            )

    async def load(self, partition: int, visitors: Sequence[str]) -> tuple[Position | None, list[bytes | None]]:
        """See `ports.View`."""
        tag = hash_tag(self._prefix, partition)
        position: Position | None = None
        blobs: list[bytes | None] = []
        try:
            for chunk in _chunks(visitors, KEYS_PER_CALL):
                stored, *values = await self._redis.mget([f"{tag}:position", *(f"{tag}:v:{v}" for v in chunk)])
                position = decode_position(stored)
                blobs.extend(value if isinstance(value, bytes) else None for value in values)
        except FAILURES as error:
            raise ViewError(f"reading {len(visitors)} states: {_said(error)}") from error
        return position, blobs

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """See `ports.View`."""
        key = f"{hash_tag(self._prefix, partition)}:open"
        found: dict[str, int] = {}
        try:
            async for member, deadline in self._redis.zscan_iter(key, count=KEYS_PER_CALL):
                found[member.decode()] = int(deadline)
        except FAILURES as error:
            raise ViewError(f"reading the deadlines: {_said(error)}") from error
        return found

    async def write(
        self,
        partition: int,
        *,
        expected_seq: int,
        position: Position,
        states: Mapping[str, bytes | None],
        deadlines: Mapping[str, int | None],
    ) -> Position | None:
        """See `ports.View`."""
        tag = hash_tag(self._prefix, partition)
        keys = [f"{tag}:position", f"{tag}:open", *(f"{tag}:v:{visitor}" for visitor in states)]
        arguments: list[str | bytes | int] = [expected_seq, encode_position(position), self._ttl_ms]
        arguments.extend(blob or b"" for blob in states.values())
        for visitor, deadline in deadlines.items():
            arguments += ["" if deadline is None else deadline, visitor]
        try:
            answer = await self._script.run(self._redis, keys, arguments)
        except FAILURES as error:
            raise ViewError(f"writing {len(states)} states: {_said(error)}") from error
        if answer == b"":
            return None
        return decode_position(answer) or Position(seq=-1)

    async def clear(self, partition: int) -> None:
        """See `ports.View`."""
        # glob characters in a prefix or group id would match too much; settings allow none of them
        tag = hash_tag(self._prefix, partition)
        position = f"{tag}:position"
        try:
            # The position goes with every part, seen or not: a call that arrives late, when another owner has written
            # the view anew, must not leave one that claims what is gone.
            await self._redis.unlink(position)
            keys = [key async for key in self._redis.scan_iter(match=f"{tag}:*", count=KEYS_PER_CALL)]
            for start in range(0, len(keys), KEYS_PER_CALL):
                await self._redis.unlink(position, *keys[start : start + KEYS_PER_CALL])
        except FAILURES as error:
            raise ViewError(f"clearing: {_said(error)}") from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, max(1, len(items)), size):
        yield items[start : start + size]


def _said(error: Exception) -> str:
    """The error's kind and words: redis-py's own `repr` leaves the server's words out."""
    return f"{type(error).__name__} {error}"
