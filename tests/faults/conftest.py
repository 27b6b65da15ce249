"""Servers of the fault runs: started once, broken by every run, whole again for the next one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple, get_args

import pytest

from stream_app.settings import Settings
from tests.faults.run import Run
from tests.faults.stream import EVENTS, SHOP
from tests.scenarios.deployment import Deployment, Left
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.proxy import Proxy
from tests.support.servers import RealKafka, RealRedis, UnavailableError

#: All that the product offers.
GUARANTEES = get_args(Settings.model_fields["processing_guarantee"].annotation)

#: For runs that CI makes with the stricter guarantee only: minutes are few there, and `make faults` makes both.
EXACTLY_ONCE_IN_CI = pytest.mark.parametrize(
    "guarantee", [pytest.param("at_least_once", marks=pytest.mark.long), "exactly_once"], indirect=True
)


class Victims(NamedTuple):
    """The servers to be broken: Kafka has a proxy of its own for those who want one, Redis one before it."""

    kafka: RealKafka
    redis: RealRedis
    redis_proxy: Proxy

    @property
    def servers(self) -> Servers:
        """Both, without a proxy."""
        return Servers(self.kafka.bootstrap, self.redis.url, "real")

    @property
    def redis_through_proxy(self) -> str:
        """Redis' URL behind the proxy."""
        return f"redis://127.0.0.1:{self.redis_proxy.port}/0"

    def heal(self) -> None:
        """Undo whatever a run has done to them; what Redis has saved is forgotten."""
        assert self.redis.directory is not None
        (self.redis.directory / "dump.rdb").unlink(missing_ok=True)
        for server in (self.kafka, self.redis):
            if server.running:
                os.kill(server.pid, signal.SIGCONT)
            else:
                server.kill()  # it may have ended by itself: what is left of it goes
                server.restart()
        assert self.kafka.proxy is not None
        self.kafka.proxy.heal()
        self.redis_proxy.heal()


@pytest.fixture(scope="session")
def _victims() -> Iterator[Victims]:
    with ExitStack() as stack:
        try:
            kafka = stack.enter_context(RealKafka(proxied=True))
            redis = stack.enter_context(RealRedis(persistent=True))
        except UnavailableError as reason:
            skip_or_fail(reason)
        yield Victims(kafka, redis, stack.enter_context(Proxy(redis.port)))


@pytest.fixture
def victims(_victims: Victims) -> Iterator[Victims]:
    """A Kafka and a Redis that a test may break as it likes."""
    yield _victims
    _victims.heal()


@pytest.fixture(params=GUARANTEES)
def guarantee(request: pytest.FixtureRequest) -> str:
    """Each of the processing guarantees."""
    return str(request.param)


_CALM: list[Left] = []


@pytest.fixture
async def calm(victims: Victims, names: Names) -> Left:
    """What the stream leaves when nothing happens; run once for all."""
    if not _CALM:
        undisturbed = Names(f"{names.topic_prefix}calm.", f"{names.group_id}-calm")
        async with Deployment(victims.servers, undisturbed) as deployment:
            deployment.start("worker")
            await deployment.send(SHOP)
            await deployment.until_all_scored(EVENTS)
            await deployment.until_caught_up()
            _CALM.append(await deployment.left())
        assert _CALM[0].repeated == 0
        assert _CALM[0].closed
        assert _CALM[0].examples
    return _CALM[0]


@pytest.fixture
def fault_run(victims: Victims, names: Names, guarantee: str, calm: Left) -> Callable[..., Run]:
    """Makes the run; flags are settings of all its processes, `calm=False` leaves the proof to the audit alone."""
    undisturbed = calm

    def make(*, calm: bool = True, **flags: Any) -> Run:
        return Run(victims.servers, names, guarantee=guarantee, calm=undisturbed if calm else None, **flags)

    return make
