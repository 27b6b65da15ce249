"""The view in Redis or Valkey: blobs, deadlines and position of each partition, all under one hash tag.

    {<prefix><group>:<partition>}:position      the position, JSON
    {<prefix><group>:<partition>}:v:<visitor>   a visitor's blob
    {<prefix><group>:<partition>}:open          sorted set: visitors with something open, by deadline

Every key has a time to live, so that nothing stays for ever. Redis is never asked to remember what Kafka does not know:
it can be wiped at any time and is rebuilt from the changelog.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from stream_app.backends.ports import UnusableError, ViewError
from stream_app.core.effects import Position, decode_position, encode_position

#: Keys of one MGET or one script call: bounds how long Redis, which runs one command at a time, is held.
KEYS_PER_CALL: Final = 5_000

#: Redis answers in under a millisecond; one repetition covers a dropped connection, more would hold a batch up.
_RETRIES: Final = 1


#: Every way in which a call fails: asyncio says RuntimeError when a connection is closed under a write.
_FAILURES: Final = (RedisError, OSError, TimeoutError, RuntimeError)


def connect(url: str, *, timeout_ms: int) -> Redis:
    """A client with short time-outs: the library's own wait and retry for a minute, beyond any session time-out."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        retry=Retry(NoBackoff(), _RETRIES),
        health_check_interval=0,
    )


def hash_tag(prefix: str, partition: int) -> str:
    """What all keys of a partition begin with."""
    return f"{{{prefix}:{partition}}}"


class RedisView:
    """`View` on Redis. `prefix` is topic prefix and group id; `ttl_ms` of every key."""

    def __init__(self, client: Redis, *, prefix: str, ttl_ms: int) -> None:
        self._redis = client
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._script = resources.files("stream_app.backends").joinpath("lua/write_view.lua").read_text()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()

    async def refuse_eviction(self) -> None:
        """Make sure that Redis drops no state to make room: a visitor's history would be gone, and nobody told.

        Raises
        ------
        UnusableError
            If its policy is another than `noeviction`.
        ViewError
            If it does not answer.
        """
        try:
            policy = (await self._redis.info("memory")).get("maxmemory_policy", "noeviction")
        except _FAILURES as error:
            raise ViewError(f"asking for the eviction policy: {_said(error)}") from error
        if policy != "noeviction":
            raise UnusableError(
                f"got a Redis with maxmemory-policy {policy}, expected noeviction: it would drop states to make room, "
                "and a visitor would look new; run `redis-cli config set maxmemory-policy noeviction`"
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
        except _FAILURES as error:
            raise ViewError(f"reading {len(visitors)} states: {_said(error)}") from error
        return position, blobs

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """See `ports.View`."""
        key = f"{hash_tag(self._prefix, partition)}:open"
        found: dict[str, int] = {}
        try:
            async for member, deadline in self._redis.zscan_iter(key, count=KEYS_PER_CALL):
                found[member.decode()] = int(deadline)
        except _FAILURES as error:
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
            answer = await self._run(keys, arguments)
        except _FAILURES as error:
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
        except _FAILURES as error:
            raise ViewError(f"clearing: {_said(error)}") from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _run(self, keys: list[str], arguments: list[str | bytes | int]) -> bytes:
        """EVALSHA; EVAL, which brings the script, where Redis does not have it (first use, restart, SCRIPT FLUSH)."""
        try:
            return await self._redis.evalsha(self._sha, len(keys), *keys, *arguments)  # type: ignore[no-any-return]
        except NoScriptError:
            # One command: between SCRIPT LOAD and a second EVALSHA it could be forgotten again.
            return await self._redis.eval(self._script, len(keys), *keys, *arguments)  # type: ignore[no-any-return]


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, max(1, len(items)), size):
        yield items[start : start + size]


def _said(error: Exception) -> str:
    """The error's kind and words: redis-py's own `repr` leaves the server's words out."""
    return f"{type(error).__name__} {error}"
