"""One partition's owner in this process, on real servers, without Faust: handed moments by the test."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from stream_app.backends.clients import KafkaClients
from stream_app.backends.redis import RedisView, connect
from stream_app.discounts.activity import Activity
from stream_app.discounts.beginning import group_id
from stream_app.discounts.budget import Budget
from stream_app.discounts.clock import WallClock
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Moment, encode
from stream_app.discounts.core.timing import Window
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.partition import Handed, Partition, Shared
from stream_app.discounts.policy_watch import PolicyWatch
from stream_app.discounts.reopening import Reopening
from stream_app.discounts.restoring import Restoring
from stream_app.discounts.writing import DecisionWriter
from stream_app.metrics import Metrics
from stream_app.settings import Settings

#: In seconds, for anything to happen.
PATIENCE_S = 20.0


class NothingLearned:
    """No window is known."""

    def window(self, policy: Policy, category: str | None) -> Window | None:
        return None


class Owner:
    """A process' worth of objects around one partition; `acknowledged` are the offsets that were."""

    def __init__(self, settings: Settings, number: int = 0, *, wall_s: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        observer = DiscountObserver(Metrics(self.registry, discounts=True), self.registry)
        self.policy = PolicyWatch(settings.discount_policy, observer)
        clients = KafkaClients(settings)
        self._redis = connect(settings.redis_url.get_secret_value(), timeout_ms=settings.redis_timeout_ms)
        self.budget = Budget(self._redis, settings)
        self.shared = Shared(
            budget=self.budget,
            reopening=Reopening(settings, clients, self.budget, reopened=observer.budget_opened),
            observer=observer,
            in_force=lambda: self.policy.current,
            chooser=lambda: None,
            windows=NothingLearned(),
            gap_ms=settings.session_gap_ms,
            fenced_pause_s=1.0,
        )
        writer = DecisionWriter(settings, number, clients=clients)
        restoring = Restoring(
            settings, number, clients=clients, writer=writer, budget=self.budget, group_id=group_id(settings)
        )
        self.partition = Partition(
            number,
            shared=self.shared,
            writer=writer,
            restoring=restoring,
            clock=WallClock(wall_s),
            activity=Activity(RedisView(self._redis, prefix=settings.namespace, ttl_ms=60_000), number),
        )
        self.acknowledged: list[int] = []
        self._offsets = itertools.count()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.partition.run())
        return self

    async def ready(self) -> Self:
        """Once it has taken over: a moment that is made from now on is young when it comes."""
        await self.until(lambda: self.partition.state == "ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self.partition.stop()
        await self._task
        await self.close()

    async def close(self) -> None:
        """Give the connections to Redis back."""
        await self._redis.aclose()

    async def hand(self, moments: Iterable[Moment]) -> list[int]:
        """Hand moments in as an agent does; their offsets."""
        return [await self.raw(encode(each)) for each in moments]

    async def raw(self, value: bytes, *, moment: bool = True) -> int:
        """Hand in what may be none; or a closed session."""
        offset = next(self._offsets)
        await self.partition.take(Handed(moment, value, offset, lambda: self.acknowledged.append(offset)))
        return offset

    async def decided(self, moments: Iterable[Moment]) -> None:
        """Hand moments in and wait until all of them are acknowledged."""
        offsets = set(await self.hand(moments))
        await self.until(lambda: offsets <= set(self.acknowledged))

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
        """Wait for something; the partition must not have crashed meanwhile."""
        assert self._task is not None
        async with asyncio.timeout(seconds):
            while not condition():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, labels) or 0.0
