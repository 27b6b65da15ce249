"""States of visitors as Redis has them, for whoever looks: read beside the worker, with a client of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from redis.asyncio import Redis

from stream_app.backends.redis import RedisView, connect_by
from stream_app.core import state
from stream_app.core.effects import Position
from stream_app.core.state import Visitor
from stream_app.settings import Settings


class Known(NamedTuple):
    """What Redis knows of a visitor, and how far the visitor's partition has come there."""

    visitor: Visitor
    partition: int
    watermark_ms: int


class VisitorReading:
    """Reads; nothing is changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Redis | None = None

    def _view(self) -> RedisView:
        settings = self._settings
        if self._client is None:
            self._client = connect_by(settings)
        prefix = settings.namespace
        return RedisView(self._client, prefix=prefix, ttl_ms=settings.history_ttl_ms)

    async def many(self, partition: int, visitors: list[str]) -> dict[str, Visitor]:
        """Those of these visitors that Redis knows. Raises ViewError, and ValueError for a blob that is not ours."""
        _, blobs = await self._view().load(partition, visitors)
        return {visitor: state.decode(blob) for visitor, blob in zip(visitors, blobs, strict=True) if blob is not None}

    async def find(self, visitor: str, partitions: Iterable[int]) -> Known | None:
        """A visitor in the first of these partitions that knows it; raises as `many`."""
        for partition in partitions:
            position, (blob,) = await self._view().load(partition, [visitor])
            if blob is not None:
                return Known(state.decode(blob), partition, self._watermark(position))
        return None

    def _watermark(self, position: Position | None) -> int:
        return position.watermark.time(grace_ms=self._settings.grace_ms) if position is not None else -1

    async def close(self) -> None:
        """Give the connections back."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
