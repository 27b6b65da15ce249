"""One run: a shop's input, processes that work on it, and everything that happens to them, all drawn from one seed.

    faults, for as long as the input comes and a little longer → calm → everything settles → the promises are checked

What works is the shipping `Worker` and `Trainer`, with all that is behind them; what is simulated is the client
library, Redis, and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from aiokafka.structs import TopicPartition

from stream_app import admin, partition, topics, worker
from stream_app.core import contender, serving
from stream_app.settings import Settings
from stream_app.trainer import Trainer
from stream_app.worker import Worker, rules_of
from tests.simulation.broker import Broker
from tests.simulation.checks import Checks, has_open_session, newest_head, newest_states
from tests.simulation.clients import SimulatedClients
from tests.simulation.history import History, NotingObserver
from tests.simulation.log import Message
from tests.simulation.loop import Process, SimulatedLoop, StuckError, collect
from tests.simulation.network import Faults, Network, Zombies
from tests.simulation.reference import Violation
from tests.simulation.shop import GAP_MS, GRACE_MS, LAST_EVENT_ID, QUIET_MS, Arrival, draw_input, last_event
from tests.simulation.view import SimulatedView

GUARANTEES: Final = ("exactly_once", "at_least_once")

#: In seconds of simulated time: how long everything may take to settle once nothing goes wrong any more. Session
#: time-outs, a transaction's time-out, requests that are held up for 20 s and a session gap lie within.
SETTLED_S_MAX: Final = 150.0

#: In seconds of simulated time, for the changelog's `min.compaction.lag.ms`: longer than nobody has a partition here.
COMPACTION_LAG_S: Final = 20.0


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    guarantee: str
    violation: str
    digest: str
    history: History
    simulated_s: float
    steps: int
    counts: dict[str, int] = field(default_factory=dict)


class _Life:
    """A worker's or trainer's place, in which one process follows another."""

    def __init__(self, name: str, role: str) -> None:
        self.name, self.role = name, role
        self.wanted = True
        self.generation = 0
        self.process: Process | None = None
        self.service: Any = None


@dataclass(frozen=True)
class Climate:
    """What is certain to happen, whatever the seed draws: for what happens by itself once in thousands of runs."""

    faults: dict[str, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    static: bool = False
    overtaking: bool = False
    zombies: Zombies | None = None
    #: of the events, in per cent
    broken: int = 3


class Run:
    """A seed with a guarantee."""

    def __init__(self, seed: int, guarantee: str, climate: Climate | None = None) -> None:
        self.seed, self.guarantee, self.climate = seed, guarantee, climate or Climate()
        self.chance = random.Random(f"{seed} {guarantee}")
        self.loop = SimulatedLoop()
        self.history = History(self.loop.time)
        chance = self.chance
        self.partitions = chance.choice((1, 1, 2, 3))
        self.settings = self._draw_settings()
        self.rules = rules_of(self.settings)
        self.network = Network(
            self.loop,
            chance,
            replace(Faults.draw(chance) if chance.random() < 0.95 else Faults(), **self.climate.faults),
            note=self.history.note,
            crash=self._crash,
            stop=self._stop,
        )
        self.network.zombies, self.network.wake = self.climate.zombies, self._wake
        self.broker = Broker(
            self.network,
            chance,
            {self.settings.topic(spec.name): self.partitions if spec.copartitioned else 1 for spec in topics.TOPICS},
        )
        self.broker.overtaking = self.climate.overtaking
        self.view = SimulatedView(self.network)
        self.given = draw_input(
            chance,
            partitions=self.partitions,
            events_topic=self.settings.topic(topics.EVENTS),
            labels_topic=self.settings.topic(topics.LABELS),
            broken=self.climate.broken / 100,
        )
        self.patience = chance.choice((1.0, 2.0, 4.0))
        self.batch_records_max = chance.choice((3, 100, 100))
        workers = chance.choice((1, 1, 2, 2, 3)) + (self.climate.zombies is not None)
        self.lives = [_Life(f"worker-{n}", "worker") for n in range(workers)]
        self.lives += [_Life(f"trainer-{n}", "trainer") for n in range(chance.choice((1, 1, 2)))]
        #: whether members have names of their own, by which the group knows them again
        self.static = chance.random() < 0.3 or self.climate.static
        self.counts: dict[str, int] = {}
        self._calm = False

    def _draw_settings(self) -> Settings:
        chance = self.chance
        given = Settings(
            processing_guarantee=self.guarantee,  # type: ignore[arg-type]
            session_gap_ms=GAP_MS,
            grace_ms=GRACE_MS,
            quiet_ms=QUIET_MS,
            idle_after_ms=500,
            history_ttl_ms=3_600_000,
            batch_records_max=chance.randint(1, 8),
            reservoir_size=chance.choice((2, 4, 8)),
            session_timeout_ms=chance.choice((3_000, 5_000, 6_000)),
            snapshot_interval_ms=chance.choice((300, 1_000, 2_500)),
            topic_partitions=self.partitions,
        )
        # A cache as small as this is not allowed to a shop: every state is loaded again and again.
        return given.model_copy(update={"cache_visitors_max": chance.choice((1, 2, 100))})

    # ---- the whole --------------------------------------------------------------------------------------------------

    def execute(self, planted: AbstractContextManager[None]) -> Outcome:
        """Run it, with a planted bug, and check it without."""
        violation = ""
        with self._world():
            try:
                with planted:
                    self.loop.run_until_complete(self._main())
                Checks(self.settings, self.rules, self.broker, self.view, self.given).run()
            except (Violation, StuckError) as error:
                violation = str(error)
            finally:
                self.history.close()
                self.loop.dispose()
        return Outcome(
            self.seed,
            self.guarantee,
            violation,
            self.history.digest(),
            self.history,
            self.loop.time(),
            self.loop.steps,
            self.counts,
        )

    @contextlib.contextmanager
    def _world(self) -> Iterator[None]:
        """The clocks, and what the shipping code takes from its surroundings."""
        small = {"WARM_POSITIVES_MIN": 2, "WARM_NEGATIVES_MIN": 3} if self.chance.random() < 0.5 else {}
        facts = {
            name: SimpleNamespace(name=name, exists=True, partitions=count, topic_id=f"id of {name}")
            for name, count in self.broker.topics.items()
        }

        async def topic_facts(settings: Settings) -> Any:
            await self.network.call(
                "topic facts", lambda: None, timeout_s=4.0, broken=ConnectionError, timed_out=ConnectionError
            )
            return facts

        late = {name: lambda: time.monotonic() for name in ("monotonic", "boottime")} | {"now": lambda: time.time()}
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.loop.clocks())
            for module in (contender, serving):
                for name, value in small.items():
                    stack.enter_context(mock.patch.object(module, name, value))
            defaults = partition.Partition.__init__.__kwdefaults__
            stack.enter_context(mock.patch.dict(defaults, {name: late[name] for name in late if name in defaults}))
            stack.enter_context(mock.patch.object(admin, "topic_facts", topic_facts))
            stack.enter_context(mock.patch.object(worker, "KafkaClients", self._clients))
            stack.enter_context(mock.patch.object(worker, "connect_by", return_value=None))
            stack.enter_context(mock.patch.object(worker, "TimedView", return_value=self.view))
            yield

    def _clients(self, settings: Settings) -> Any:
        return SimulatedClients(self.broker, settings, patience=self.patience, batch_records_max=self.batch_records_max)

    async def _main(self) -> None:
        for life in self.lives:
            self.network.later(self.chance.random() * 0.3, lambda life=life: self._start(life))
        for arrival in self.given.arrivals:
            self.network.later(arrival.time, lambda arrival=arrival: self._arrive(arrival))
        last = self.given.arrivals[-1].time
        await self._let_happen(last + self.chance.uniform(0.5, 4.0) + (10.0 if self.climate.zombies else 0.0))
        self._begin_calm()
        await self._settle()

    def _arrive(self, arrival: Arrival) -> None:
        log = self.broker.log(TopicPartition(arrival.topic, arrival.partition))
        log.append([Message(arrival.key, arrival.value, arrival.timestamp)])

    # ---- processes --------------------------------------------------------------------------------------------------

    def _start(self, life: _Life) -> None:
        if not life.wanted or (life.process is not None and life.process.alive):
            return
        life.generation += 1
        process = life.process = Process(self.loop, life.name)
        observer: Any = NotingObserver(self.history, life.name)
        settings = self.settings.model_copy(update={"worker_id": life.name if self.static else ""})
        if life.role == "worker":
            service: Any = Worker(settings, observer)
        else:
            service = Trainer(settings, observer, self._clients(settings))
        life.service = service
        self.history.note(life.name, f"starts for the {life.generation}. time")
        process.start(self._live(life, process, service.run()))

    async def _live(self, life: _Life, process: Process, run: Coroutine[Any, Any, None]) -> None:
        """What supervises a service: one that ends by itself ends the process, which is started again."""
        try:
            await run
        except Exception as error:
            self.history.note(life.name, f"ends: {error!r}")
        else:
            self.history.note(life.name, "ends")
        self._end(life, process)

    def _end(self, life: _Life, process: Process) -> None:
        process.kill()
        delay = 0.05 + self.chance.random() ** 2 * 3.0
        self.network.later(delay, lambda: self._start(life))

    def _crash(self, process: Process, where: str) -> None:
        if self._calm or not process.alive:
            return
        self._count("crash")
        self.history.note(process.name, f"is killed {where}")
        self._end(self._life_of(process), process)

    def _stop(self, process: Process, where: str) -> None:
        if self._calm or not process.alive or process.stopped:
            return
        self._count("stop")
        seconds = 0.1 + self.chance.random() ** 2 * 12.0
        if self.climate.zombies:
            seconds += self.settings.session_timeout_ms / 1000
        self.history.note(process.name, f"is stopped for {seconds:.2f} s {where}")
        process.stop()
        self.network.later(seconds, lambda: self._go_on(process))

    def _go_on(self, process: Process) -> None:
        if process.alive and process.stopped:
            self.history.note(process.name, "goes on")
            process.go_on()

    def _wake(self) -> None:
        for life in self.lives:
            if life.process is not None:
                self._go_on(life.process)

    def _life_of(self, process: Process) -> _Life:
        return next(life for life in self.lives if life.process is process or life.name == process.name)

    # ---- what happens -----------------------------------------------------------------------------------------------

    async def _let_happen(self, until: float) -> None:
        """Things happen to processes and servers, at any time."""
        chance = self.chance
        kinds: dict[str, Callable[[], None]] = {
            "kill": lambda: self._to_some(lambda process: self._crash(process, "at some time")),
            "pause": lambda: self._to_some(lambda process: self._stop(process, "at some time")),
            "hand over": self._hand_over,
            "join": self._join,
            "broker away": self._broker_away,
            "redis away": self._redis_away,
            "redis wiped": self._redis_wiped,
            "redis copied": self.view.remember,
            "redis rolled back": self._redis_rolled_back,
            "snapshot lost": self._snapshot_lost,
            "compaction": self._compact,
        }
        chosen = [name for name in kinds if chance.random() < 0.5 or name in self.climate.events]
        pause = chance.choice((0.5, 1.0, 2.0, 5.0))
        while self.loop.time() < until:
            await asyncio.sleep(min(chance.expovariate(1 / pause), max(0.01, until - self.loop.time())))
            if chosen and self.loop.time() < until:
                name = chance.choice(chosen)
                self._count(name)
                kinds[name]()

    def _to_some(self, do: Callable[[Process], None]) -> None:
        alive = [life.process for life in self.lives if life.process is not None and life.process.alive]
        if alive:
            do(self.chance.choice(alive))

    def _hand_over(self) -> None:
        """SIGTERM: it finishes, leaves, and is started again."""
        alive = [life for life in self.lives if life.process is not None and life.process.alive]
        if alive:
            life = self.chance.choice(alive)
            self.history.note(life.name, "is asked to stop")
            life.service.stop()

    def _join(self) -> None:
        if len(self.lives) < 6:
            role = self.chance.choice(("worker", "worker", "trainer"))
            life = _Life(f"{role}-{len(self.lives)}", role)
            self.lives.append(life)
            self._start(life)

    def _broker_away(self) -> None:
        seconds = 0.2 + self.chance.random() ** 3 * 6.0
        self.history.note("broker", f"is away for {seconds:.2f} s")
        self.network.down_until = self.loop.time() + seconds

    def _redis_away(self) -> None:
        seconds = 0.2 + self.chance.random() ** 3 * 6.0
        self.history.note("redis", f"is away for {seconds:.2f} s")
        self.view.down_until = self.loop.time() + seconds

    def _redis_wiped(self) -> None:
        self.history.note("redis", "is wiped")
        self.view.wipe()

    def _redis_rolled_back(self) -> None:
        if self.view.roll_back():
            self.history.note("redis", "is rolled back to an older copy")

    def _snapshot_lost(self) -> None:
        """The newest head is damaged where it lies: it will be refused, and what is before it counts."""
        log = self.broker.log(TopicPartition(self.settings.topic(topics.SNAPSHOTS), 0))
        for entry in reversed(log.entries[: log.stable_end]):
            message = entry.message
            if message.key is not None and message.key.startswith(b"head/") and message.value is not None:
                self.history.note("broker", f"snapshot at offset {entry.offset} is damaged")
                entry.message = message._replace(value=message.value[:-1] + b"\x00")
                return

    def _compact(self) -> None:
        for place, log in self.broker.logs.items():
            if place.topic == self.settings.topic(topics.CHANGELOG):
                log.compact(before=self.loop.time() - COMPACTION_LAG_S)

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _begin_calm(self) -> None:
        self.history.note("world", "nothing goes wrong any more")
        self._calm = True
        # The shop goes on: what became of Redis since the last batch is noticed with the next one.
        for number in range(self.partitions):
            self.given.events[number].add(LAST_EVENT_ID)
            topic, clock = self.settings.topic(topics.EVENTS), self.given.clocks[number]
            self._arrive(last_event(topic, number, self.loop.time(), clock))
        self.network.heal()
        self.view.down_until = 0.0
        self._wake()

    async def _settle(self) -> None:
        deadline = self.loop.time() + SETTLED_S_MAX
        told = ""
        while (problem := self._unsettled()) != "":
            if problem != told:
                self.history.note("world", f"waits: {problem}")
                told = problem
            if self.loop.time() > deadline:
                raise Violation(f"not settled after {SETTLED_S_MAX:g} s without faults: {problem}")
            await asyncio.sleep(0.4)

    def _unsettled(self) -> str:
        """What is still to be waited for."""
        settings = self.settings
        committed = self.broker.group(settings.group_id).offsets
        for name in (topics.EVENTS, topics.LABELS):
            for number in range(self.partitions):
                place = TopicPartition(settings.topic(name), number)
                found = committed[place].offset if place in committed else 0
                if found < self.broker.log(place).end:
                    return f"{name}-{number} is read up to {found} of {self.broker.log(place).end}"
        for number in range(self.partitions):
            newest = newest_states(self.broker.log(TopicPartition(settings.topic(topics.CHANGELOG), number)))
            if any(has_open_session(blob) for blob in newest.values()):
                return f"partition {number} has open sessions"
            if newest != self.view.states(number):
                return f"partition {number} has states that the view does not know"
        return self._unlearned()

    def _unlearned(self) -> str:
        """Whether the newest snapshot that will be believed has all examples."""
        settings = self.settings
        if self.broker.transactions.open():
            return "transactions are open"
        head = newest_head(settings, self.broker)
        reached = dict(head.state["offsets"]) if head is not None else {}
        for number in range(self.partitions):
            log = self.broker.log(TopicPartition(settings.topic(topics.EXAMPLES), number))
            records = log.committed()
            if records and reached.get(number, 0) <= records[-1].offset:
                return f"the model has not learned partition {number}"
        return ""


def simulate(
    seed: int,
    guarantee: str,
    planted: AbstractContextManager[None] | None = None,
    *,
    climate: Climate | None = None,
) -> Outcome:
    """Run a seed. Garbage is collected when it is over: when it would be found meanwhile is chance, and costs time."""
    enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        return Run(seed, guarantee, climate).execute(planted or contextlib.nullcontext())
    finally:
        collect()
        gc.unfreeze()
        if enabled:
            gc.enable()
