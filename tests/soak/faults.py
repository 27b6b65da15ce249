"""What befalls a soak: one fault after the other, each kind as often as the others, all from a seed.

For the last two thirds of a run one worker and one trainer are spared from being killed, though from nothing else: they
are to grow old, as memory that leaks shows with age only.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis

from stream_app.backends.child_process import ServerError
from tests.soak.stage import SESSION_TIMEOUT_MS, Stage
from tests.soak.traffic import Traffic

#: Between two faults, in seconds.
PAUSE_S: Final = (10.0, 30.0)

#: How long a frozen worker sleeps: past its session, so that it wakes up as a zombie.
_FROZEN_S: Final = SESSION_TIMEOUT_MS / 1000 + 4.0

#: How long the killed stay dead, in seconds: sometimes back before anybody has noticed, sometimes not.
_DEAD_S: Final = (0.0, SESSION_TIMEOUT_MS / 1000 + 3.0)
_SERVER_DEAD_S: Final = (0.2, 4.0)

BURST_TIMES: Final = 5.0
BURST_S: Final = 20.0

#: For the other trainer to be elected, in seconds: within the session time-out, and a machine's that is busy.
_ELECTED_S_MAX: Final = 30.0


class Faults:
    """`run` them until the given number of seconds is over. `spare_after_s` is when the spared begin to be."""

    def __init__(
        self, stage: Stage, traffic: Traffic, *, seed: int, spare_after_s: float, say: Callable[[str], None]
    ) -> None:
        self._stage, self._traffic, self._say = stage, traffic, say
        self._random = random.Random(seed)
        self._spare_after_s = spare_after_s
        self._started = time.monotonic()
        self._bursting: asyncio.Task[None] | None = None
        self._kinds: dict[str, Callable[[], Awaitable[str]]] = {
            "kill a worker": self._kill_worker,
            "restart a worker": self._restart_worker,
            "freeze a worker": self._freeze_worker,
            "kill the trainer": self._kill_trainer,
            "flush Redis": self._flush_redis,
            "kill Redis": self._kill_redis,
            "kill Kafka": self._kill_kafka,
            "overload": self._overload,
        }
        self.counts: Counter[str] = Counter()

    async def run(self, seconds: float, *, pause_s: tuple[float, float] = PAUSE_S) -> None:
        """Everything as often as anything else, in an order of its own each round."""
        deadline = time.monotonic() + seconds
        bag: list[str] = []
        while time.monotonic() + pause_s[0] < deadline:
            await asyncio.sleep(min(self._random.uniform(*pause_s), max(0.0, deadline - time.monotonic())))
            if not bag:
                bag = list(self._kinds)
                self._random.shuffle(bag)
            kind = bag.pop()
            begun = time.monotonic()
            what = await self._kinds[kind]()
            self.counts[kind] += 1
            self._say(f"fault {sum(self.counts.values())}: {kind}: {what} ({time.monotonic() - begun:.1f} s)")
        if self._bursting is not None:
            await self._bursting

    def _worker(self) -> str:
        """One that may be killed."""
        return self._random.choice(self._stage.workers[1 if self._sparing() else 0 :])

    def _sparing(self) -> bool:
        return time.monotonic() - self._started > self._spare_after_s

    async def _kill_worker(self) -> str:
        name, dead_s = self._worker(), self._random.uniform(*_DEAD_S)
        self._stage.processes[name].kill()
        await asyncio.sleep(dead_s)
        self._stage.start(name)
        return f"{name}, back after {dead_s:.1f} s"

    async def _restart_worker(self) -> str:
        name = self._worker()
        await self._stage.until_up(name)
        code = await asyncio.to_thread(self._stage.processes[name].terminate)
        self._stage.start(name)
        return f"{name}, which ended with {code}"

    async def _freeze_worker(self) -> str:
        name = self._random.choice(self._stage.workers)
        await self._stage.until_up(name)
        process = self._stage.processes[name]
        process.pause()
        try:
            await asyncio.sleep(_FROZEN_S)
        finally:
            process.resume()
        return f"{name} slept for {_FROZEN_S:g} s"

    async def _kill_trainer(self) -> str:
        learning = await self._stage.learning()
        name = self._stage.trainers[1] if self._sparing() else learning or self._random.choice(self._stage.trainers)
        role = "which learned" if name == learning else "which stood by"
        at_once = self._random.random() < 0.5
        self._stage.processes[name].kill()
        begun = time.monotonic()
        if not at_once and name == learning:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._elected(), _ELECTED_S_MAX)
        self._stage.start(name)
        return f"{name}, {role}; back {'at once' if at_once else f'after {time.monotonic() - begun:.1f} s'}"

    async def _elected(self) -> None:
        while not await self._stage.learning():  # noqa: ASYNC110 (another process': there is nothing to wait on)
            await asyncio.sleep(0.5)

    async def _flush_redis(self) -> str:
        async with Redis.from_url(self._stage.redis.url) as client:
            await client.flushall()
        return "FLUSHALL"

    async def _kill_redis(self) -> str:
        dead_s = self._random.uniform(*_SERVER_DEAD_S)
        with self._stage.server_down():
            self._stage.redis.kill()
            await asyncio.sleep(dead_s)
            await asyncio.to_thread(self._stage.redis.restart)
        return f"back, with nothing, after {dead_s:.1f} s"

    async def _kill_kafka(self) -> str:
        dead_s = self._random.uniform(*_SERVER_DEAD_S)
        with self._stage.server_down():
            self._stage.kafka.kill()
            await asyncio.sleep(dead_s)
            with contextlib.suppress(ServerError):
                await asyncio.to_thread(self._stage.kafka.restart)
            # On a machine that has much else to do a broker may need longer than a test has patience.
            if not self._stage.kafka.running:
                await asyncio.to_thread(self._stage.kafka.restart)
        return f"back on its files after {dead_s:.1f} s"

    async def _overload(self) -> str:
        if self._bursting is not None:
            await self._bursting
        # The others go on meanwhile.
        self._bursting = asyncio.create_task(self._traffic.burst(times=BURST_TIMES, seconds=BURST_S))
        return f"{BURST_TIMES:g} times the rate for {BURST_S:g} s"
