"""The partitions that this process has: begun and ended as the group says, watched over, and given what agents read.

Faust tells of a rebalance and awaits what is done about it, and the group waits as well: so beginning a partition only
starts a task, and ending one is bounded. Agents only pass records on, so nothing that fails in a partition is theirs.
A partition whose task ends, an agent that ends, and a client that reads nothing any more end the process: whoever keeps
it running starts it anew, and everything is found in the topics.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.backends.clients import ended, next_offset
from stream_app.backends.ports import ViewError
from stream_app.discounts.budget import AccountLostError
from stream_app.discounts.partition import Handed, Partition, Shared
from stream_app.owned_partitions import OwnedPartitions
from stream_app.patience import DEAD_S, STUCK_S, WAITING_S

#: Between two looks at what is left of the budget, for its metrics, in seconds.
_BUDGET_S: Final = 5.0


class Owners:
    """Starts `make(number)` for each partition that is given to this process, until stopped."""

    def __init__(
        self,
        make: Callable[[int], Partition],
        shared: Shared,
        *,
        topics: Collection[str],
        client: Callable[[], AIOKafkaConsumer | None],
        session_timeout_ms: int,
    ) -> None:
        self._make, self._shared, self._topics, self._client = make, shared, set(topics), client
        self._owned = OwnedPartitions[Partition](session_timeout_ms=session_timeout_ms, may_end=False)
        self._stopping = asyncio.Event()
        #: partitions assigned without their twin: nothing of theirs may be decided
        self._alone: set[int] = set()
        self._agents_ended = ""
        #: place → (offset to read next, since when), for the watch over what is read
        self._unread: dict[TopicPartition, tuple[int, float]] = {}
        self._budget_looked = 0.0

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """Those that this process owns, by number."""
        return self._owned.by_number

    # ---- what Faust tells -------------------------------------------------------------------------------------------

    async def assigned(self, places: Collection[TopicPartition]) -> None:
        """Begin to take partitions over. Those that are kept go on as they are."""
        if self._stopping.is_set():
            return
        topics: dict[int, set[str]] = defaultdict(set)
        for place in places:
            topics[place.partition].add(place.topic)
        self._alone = {number for number, found in topics.items() if found != self._topics}
        for number in sorted(set(topics) - self._alone):
            if number not in self.partitions:
                partition = self._make(number)
                self._shared.observer.own(partition)
                self._owned.start(number, partition, name="discounts")
        self._owned.joined = True
        self._unread.clear()

    async def revoked(self, places: Collection[TopicPartition]) -> None:
        """Finish what is being written, with a bound; what is not done then is found in Kafka by the next owner."""
        self._owned.left()
        await self._give_back(sorted({place.partition for place in places}))

    async def take(self, number: int, handed: Handed) -> None:
        """Give a partition a record; one that is not ours any more will come to its owner."""
        partition = self.partitions.get(number)
        if partition is not None:
            await partition.take(handed)

    def agent_ended(self, name: str, error: BaseException | None) -> None:
        """An agent reads no more. Faust would start it anew, from a stream that may have lost records."""
        if not self._stopping.is_set():
            self._agents_ended = f"the agent of {name} ended: {error!r}"

    # ---- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until stopped. Raises RuntimeError when only a restart helps."""
        try:
            while not self._stopping.is_set():
                self._watch()
                await self._look_at_the_budget()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 1.0)
        finally:
            self._stopping.set()
            try:
                await self._give_back(list(self.partitions))
            finally:
                await self._owned.closed()

    def stop(self) -> None:
        """Finish what is being written and end."""
        self._stopping.set()

    def _watch(self) -> None:
        if self._agents_ended:
            raise RuntimeError(self._agents_ended)
        self._owned.check()
        client = self._client()
        if client is not None and (reason := ended(client)):
            raise RuntimeError(f"the Kafka client's {reason}")
        fine, words = self.alive()
        if not fine:
            raise RuntimeError(words)

    def ready(self) -> tuple[bool, str]:
        """In the group, every partition taken over, and neither Redis nor Kafka waited for."""
        if joining := self._owned.joining():
            return False, joining
        if self._alone:
            return False, f"partitions {sorted(self._alone)} came without their twin of the other topic"
        now = time.monotonic()
        for number, partition in sorted(self.partitions.items()):
            since = partition.waiting_since
            if since is not None and now - since > WAITING_S:
                return False, f"partition {number} has waited for Redis for {now - since:.0f} s: {partition.problem}"
        if still := self._owned.unready() or self._unread_for(STUCK_S):
            return False, still
        return True, f"deciding in {len(self.partitions)} partitions"

    def alive(self) -> tuple[bool, str]:
        """Whether anything but a restart can help."""
        alive, words = self._owned.alive()
        still = "" if not alive else self._unread_for(DEAD_S)
        return alive and not still, still or words

    def _unread_for(self, seconds: float) -> str:
        """A place where records wait that the client does not read; empty without one."""
        client = self._client()
        if client is None or not self._owned.joined:
            return ""
        now = time.monotonic()
        for place in client.assignment():
            at, end = next_offset(client, place), client.highwater(place)
            partition = self.partitions.get(place.partition)
            waits = partition is not None and (partition.sizes[0] > 0 or partition.state != "ready")
            if at is None or end is None or at >= end or waits:
                self._unread.pop(place, None)
                continue
            before, since = self._unread.get(place, (-1, now))
            self._unread[place] = (at, since if before == at else now)
            if now - self._unread[place][1] > seconds:
                return f"{place.topic}-{place.partition} was not read for {seconds:.0f} s, from {at} to {end}"
        return ""

    async def _look_at_the_budget(self) -> None:
        if time.monotonic() - self._budget_looked < _BUDGET_S or not self.partitions:
            return
        self._budget_looked = time.monotonic()
        shared = self._shared
        partition = next(iter(self.partitions.values()))
        with contextlib.suppress(ViewError, AccountLostError):
            spent = await shared.budget.spent(await shared.budget.account(), partition.now_ms())
            limits = shared.in_force().policy.budget
            shared.observer.budget(
                hour=spent.hour,
                day=spent.day,
                hour_left=max(0.0, limits.per_hour - spent.hour),
                day_left=max(0.0, limits.per_day - spent.day),
            )

    async def _give_back(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in self.partitions:
                self._shared.observer.disown(self.partitions[number])
        for error in await self._owned.give_back(numbers):
            raise RuntimeError("a partition crashed while it was given back") from error
