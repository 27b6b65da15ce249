"""Looks at the positions in Redis all through a run: they may only grow."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream_app.backends.redis import hash_tag
from stream_app.core.effects import decode_position
from stream_app.settings import Settings


class ViewWatch:
    """Asks every 20 ms. A position that is missing for a moment is a view being rebuilt, not one that went back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._over = False
        #: (partition, seq before, seq after)
        self.went_back: list[tuple[int, int, int]] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="view-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Asked, not cancelled: before Python 3.12 `asyncio.wait_for`, in the client, may swallow a cancellation.
        self._over = True
        assert self._task is not None
        await self._task

    async def _watch(self) -> None:
        settings = self._settings
        prefix = f"{settings.topic_prefix}{settings.group_id}"
        keys = [f"{hash_tag(prefix, partition)}:position" for partition in range(settings.topic_partitions)]
        newest = [0] * len(keys)
        client = Redis.from_url(settings.redis_url.get_secret_value())
        try:
            while not self._over:
                with contextlib.suppress(RedisError):
                    for partition, stored in enumerate(await client.mget(keys)):
                        position = decode_position(stored)
                        if position is None:
                            continue
                        if position.seq < newest[partition]:
                            self.went_back.append((partition, newest[partition], position.seq))
                        newest[partition] = position.seq
                await asyncio.sleep(0.02)
        finally:
            await client.aclose()
