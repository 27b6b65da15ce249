"""Redis as the workers see it: the memory twin of the view behind a network, with a memory that can be lost."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from stream_app.backends.memory import MemoryView
from stream_app.backends.ports import ViewError
from stream_app.core.effects import Position
from tests.simulation.network import Network

#: What the shipping client waits for an answer: `redis_timeout_ms`, tried twice.
_TIMEOUT_S = 1.0


class SimulatedView:
    """`View` of every process. `clear` is two commands, as Redis has it: other things happen between them."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.memory = MemoryView()
        self.down_until = 0.0
        self._copies: list[Any] = []

    # ---- what happens to it -----------------------------------------------------------------------------------------

    def wipe(self) -> None:
        """FLUSHALL."""
        self.memory.wipe()

    def remember(self) -> None:
        """Keep a copy to fall back to, as a dump does."""
        kept = copy.deepcopy((self.memory.positions, self.memory.blobs, self.memory.deadlines))
        self._copies.append(kept)

    def roll_back(self) -> bool:
        """Fall back to an older copy; False if there is none."""
        if not self._copies:
            return False
        kept = self._network.chance.choice(self._copies)
        self.memory.positions, self.memory.blobs, self.memory.deadlines = copy.deepcopy(kept)
        return True

    def states(self, partition: int) -> dict[str, bytes]:
        """What it has of a partition's visitors."""
        return {visitor: blob for (number, visitor), blob in self.memory.blobs.items() if number == partition}

    async def refuse_eviction(self) -> None:
        """As the shipping client: this Redis evicts nothing."""
        await self._call("ask for the policy", lambda: None)

    # ---- the View protocol ------------------------------------------------------------------------------------------

    async def load(self, partition: int, visitors: Sequence[str]) -> tuple[Position | None, list[bytes | None]]:
        """See `ports.View`."""
        found: tuple[Position | None, list[bytes | None]] = await self._call(
            "load", lambda: _now(self.memory.load(partition, visitors))
        )
        return found

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """See `ports.View`."""
        found: dict[str, int] = await self._call("open visitors", lambda: _now(self.memory.open_visitors(partition)))
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
        states, deadlines = dict(states), dict(deadlines)
        found: Position | None = await self._call(
            f"write seq {position.seq} of partition {partition}",
            lambda: _now(
                self.memory.write(
                    partition, expected_seq=expected_seq, position=position, states=states, deadlines=deadlines
                )
            ),
        )
        return found

    async def clear(self, partition: int) -> None:
        """See `ports.View`."""
        memory = self.memory

        def scan() -> tuple[list[tuple[int, str]], bool]:
            return [key for key in memory.blobs if key[0] == partition], bool(memory.deadlines.get(partition))

        keys, deadlines = await self._call("scan", scan)

        def unlink() -> None:
            # The position goes with every deletion, whether it was there or not: a late one is noticed by that.
            memory.positions.pop(partition, None)
            if deadlines:
                memory.deadlines.pop(partition, None)
            for key in keys:
                memory.blobs.pop(key, None)

        await self._call(f"unlink partition {partition}", unlink)

    async def close(self) -> None:
        """Nothing is left behind."""

    async def _call(self, what: str, carry_out: Any) -> Any:
        return await self._network.call(
            f"redis: {what}",
            carry_out,
            timeout_s=_TIMEOUT_S,
            broken=ViewError,
            timed_out=lambda: ViewError("simulated: no answer"),
            reachable=lambda: self._network.loop.time() >= self.down_until,
        )


def _now(coroutine: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the memory view has waited")
