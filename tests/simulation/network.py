"""What lies between the processes and their servers: latency, and the ways in which a request can go wrong.

A request that is under way belongs to nobody: it is carried out though its sender has died, or long after the sender
has given up. Which of it happens, and when, is drawn from the run's one source of chance.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from tests.simulation.loop import Process, SimulatedLoop, process_now, world

#: How a request may fail, weighed by `Faults`: not carried out; carried out and not acknowledged; carried out after the
#: sender was told that it had failed; held up for seconds; never answered.
FATES: Final = ("refused", "lost", "late", "stalled", "unanswered")


#: How much more likely a crash is at a commit than at any other request.
_FINAL_STEP: Final = 4

#: How many of its steps a worker becomes a zombie at, and how much longer the request takes by which one is woken.
_ZOMBIES: Final = 0.2
_LAST_WORDS_S: Final = 0.05


class Zombies(NamedTuple):
    """Processes that are stopped at a request, and go on when somebody else makes another; told by how they begin.

    By luck a former owner's last words fall between two steps of its successor once in hundreds of runs.
    """

    #: in half of all cases before it is sent
    stopped_at: str
    #: somebody else's, which takes so long that what they still have to say arrives first
    woken_by: str


@dataclass
class Faults:
    """How often what goes wrong, per request; 0 for a calm run. Each run draws some of them (`draw`)."""

    refused: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    stalled: float = 0.0
    unanswered: float = 0.0
    #: the process dies, or stops for a while, at the request
    crash: float = 0.0
    stop: float = 0.0
    #: the broker refuses one batch of a produce request
    batch_refused: float = 0.0
    #: a transaction's markers take long
    slow_markers: float = 0.0

    def __post_init__(self) -> None:
        #: of the fates, and whether there is any danger at all
        self.rates = [(name, getattr(self, name)) for name in FATES]
        self.any = bool(self.crash or self.stop or any(rate for _, rate in self.rates))

    @classmethod
    def draw(cls, chance: random.Random) -> Faults:
        """Some faults often, others never: runs that differ find more than runs that are all alike."""
        rates = {
            "refused": 0.05,
            "lost": 0.06,
            "late": 0.06,
            "stalled": 0.01,
            "unanswered": 0.01,
            "crash": 0.012,
            "stop": 0.006,
            "batch_refused": 0.02,
            "slow_markers": 0.5,
        }
        return cls(**{name: rate * chance.random() for name, rate in rates.items() if chance.random() < 0.45})


class Network:
    """Carries requests. `crash` and `stop` are what to do with a process whose time has come."""

    def __init__(
        self,
        loop: SimulatedLoop,
        chance: random.Random,
        faults: Faults,
        *,
        note: Callable[[str, str], None],
        crash: Callable[[Process, str], None],
        stop: Callable[[Process, str], None],
    ) -> None:
        self.loop, self.chance, self.faults, self.note = loop, chance, faults, note
        self._crash, self._stop = crash, stop
        self._world = world()
        #: what waits for an answer that will not come
        self._hanging: dict[asyncio.Future[Any], Exception] = {}
        #: the broker does not answer until then
        self.down_until = 0.0
        #: and what lets stopped processes go on
        self.zombies: Zombies | None = None
        self.wake: Callable[[], None] = lambda: None

    @property
    def dangerous(self) -> bool:
        """Whether a process may meet its end where it waits."""
        return bool(self.faults.crash or self.faults.stop)

    def heal(self) -> None:
        """From now on nothing goes wrong; connections that hang are reset."""
        self.faults, self.zombies = Faults(), None
        self.down_until = 0.0
        for answer, error in self._hanging.items():
            self._later_error(answer, self.latency(), error)

    @property
    def down(self) -> bool:
        """Whether the broker is away."""
        return self.loop.time() < self.down_until

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        """Let something happen that no process can stop."""
        self.loop.call_later(delay, callback, context=self._world)

    def latency(self) -> float:
        """Of one way, in seconds."""
        return 0.0005 + 0.003 * self.chance.random()

    async def hazard(self, what: str) -> None:
        """A place where the process may die or be stopped; nothing else happens here."""
        process, faults = process_now(), self.faults
        if process is None:
            return
        drawn = self.chance.random()
        if drawn < faults.crash:
            self._crash(process, f"at {what}")
            await self.loop.create_future()
        elif drawn < faults.crash + faults.stop:
            self._stop(process, f"at {what}")
            await asyncio.sleep(0)

    async def call(
        self,
        what: str,
        carry_out: Callable[[], Any],
        *,
        timeout_s: float,
        broken: Callable[[str], Exception] = KafkaConnectionError,
        timed_out: Callable[[], Exception] = RequestTimedOutError,
        reachable: Callable[[], bool] | None = None,
    ) -> Any:
        """Send a request and wait for its answer. A future as the answer is waited for at the server."""
        process, chance = process_now(), self.chance
        fate, held_s = self._fate(what), 0.0
        if self.zombies and what.startswith(self.zombies.woken_by):
            self.wake()
            held_s = _LAST_WORDS_S
        if fate == "crash":
            assert process is not None
            sent = chance.random() < 0.6
            self._crash(process, f"{'after' if sent else 'before'} sending {what}")
            if not sent:
                await self.loop.create_future()
        elif fate == "stop":
            assert process is not None
            self._stop(process, f"at {what}")
            if chance.random() < 0.5:
                await asyncio.sleep(0)  # it is sent only when the process goes on
        answer = self.loop.create_future()
        delay = self.latency() + held_s
        if fate in FATES:
            self.note("network", f"{process.name if process else 'world'}: {what} is {fate}")
        if fate == "refused":
            self._later_error(answer, delay, broken("simulated: refused"))
        else:
            if fate == "late":
                self._later_error(answer, delay, broken("simulated: the connection broke; the request is under way"))
                delay = 0.02 + chance.random() ** 3 * 6.0
            elif fate == "stalled":
                delay = 0.5 + chance.random() ** 2 * 20.0
            self.loop.call_later(delay, self._arrive, answer, carry_out, fate, broken, reachable, context=self._world)
        if fate not in ("stalled", "unanswered"):
            return await answer
        timer = self.loop.call_later(timeout_s, _fail, answer, timed_out(), context=self._world)
        self._hanging[answer] = broken("simulated: the connection is reset")
        try:
            return await answer
        finally:
            timer.cancel()
            self._hanging.pop(answer, None)

    def _fate(self, what: str) -> str:
        faults = self.faults
        if self.zombies and what.startswith(self.zombies.stopped_at) and self.chance.random() < _ZOMBIES:
            return "stop"
        if not faults.any:
            return ""
        drawn = self.chance.random()
        for name, rate in faults.rates:
            if drawn < rate:
                return name
            drawn -= rate
        if process_now() is None:
            return ""
        # Where a step becomes final is where a crash says most.
        if drawn < faults.crash * (_FINAL_STEP if what.startswith("commit") else 1):
            return "crash"
        return "stop" if drawn < faults.crash + faults.stop else ""

    def _arrive(
        self,
        answer: asyncio.Future[Any],
        carry_out: Callable[[], Any],
        fate: str,
        broken: Callable[[str], Exception],
        reachable: Callable[[], bool] | None,
    ) -> None:
        if not (reachable() if reachable is not None else not self.down):
            self._later_error(answer, self.latency(), broken("simulated: the server is away"))
            return
        try:
            result = carry_out()
        except Exception as refusal:
            if fate != "unanswered":
                told = broken("simulated: lost") if fate == "lost" else refusal
                self._later_error(answer, self.latency(), told)
            return
        if fate == "unanswered":
            return
        if isinstance(result, asyncio.Future):
            result.add_done_callback(lambda done: self._answer(answer, done, fate, broken), context=self._world)
        elif fate == "lost":
            self._later_error(answer, self.latency(), broken("simulated: lost"))
        else:
            self.loop.call_later(self.latency(), _succeed, answer, result, context=self._world)

    def _answer(
        self,
        answer: asyncio.Future[Any],
        done: asyncio.Future[Any],
        fate: str,
        broken: Callable[[str], Exception],
    ) -> None:
        if done.cancelled() or fate == "lost":
            self._later_error(answer, self.latency(), broken("simulated: lost"))
        elif (error := done.exception()) is not None:
            self._later_error(answer, self.latency(), error)
        else:
            self.loop.call_later(self.latency(), _succeed, answer, done.result(), context=self._world)

    def _later_error(self, answer: asyncio.Future[Any], delay: float, error: BaseException) -> None:
        self.loop.call_later(delay, _fail, answer, error, context=self._world)


def _succeed(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
