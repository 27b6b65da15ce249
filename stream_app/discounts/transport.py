"""Faust's way to Kafka with the members that the rest of this program has.

Left alone, Faust's consumer reads records of transactions that were given up (`read_uncommitted`), deals partitions out
so that one process gets a partition's moments and another its closed sessions (round robin), and commits what the
client's own time-outs allow. `KafkaClients.member` says why it is made as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from mode import Service

from stream_app.backends.clients import KafkaClients

#: How long a fetch waits for new records, in ms: a moment is acted on at once.
_FETCH_WAIT_MS = 100


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread in which Faust's consumer lives, with heartbeats that no computation here delays."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        conf = self.app.conf
        # Faust's own code asks for it; equal partitions of equally many topics go to the same member.
        self._assignor = RangePartitionAssignor
        return self.app.clients.member(conf.id, client_id=conf.id, fetch_wait_ms=_FETCH_WAIT_MS)  # type: ignore[no-any-return]


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @property
    def client(self) -> AIOKafkaConsumer | None:
        """The client itself, for whoever watches over it."""
        found: AIOKafkaConsumer | None = self._thread._consumer
        return found


class _Producer(driver.Producer):
    """Faust's own, which connects although nothing is sent by it; it has to be let in as the others are."""

    def _settings_auth(self) -> dict[str, Any]:
        return self.app.clients.security()  # type: ignore[no-any-return]


class Transport(driver.Transport):
    """What an application is given as `transport`."""

    Producer: ClassVar[type[_Producer]] = _Producer
    Consumer: ClassVar[type[_Consumer]] = _Consumer


class DiscountApp(faust.App):
    """A Faust application whose consumers are made by `clients`."""

    #: started with the application and stopped with it; Faust's own decorator only takes classes
    deployed: Sequence[Service] = ()

    def __init__(self, name: str, *, clients: KafkaClients, **options: Any) -> None:
        self.clients = clients
        super().__init__(name, **options)

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer[0:1], self)

    def _create_directories(self) -> None:
        """None: Faust's directories are for tables on disk, and there are none; the current one may be read-only."""

    async def on_started_init_extra_services(self) -> None:
        """Start `deployed`."""
        await super().on_started_init_extra_services()
        for service in self.deployed:
            await self.add_runtime_dependency(service)
