"""The twin of `stream_app.backends.clients.KafkaClients`: the same five methods, clients that live in memory."""

from __future__ import annotations

from typing import Any, Final

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_app.backends import clients as shipping
from stream_app.settings import Settings
from tests.simulation.broker import Broker
from tests.simulation.consumer import SimulatedConsumer
from tests.simulation.producer import SimulatedProducer

_REQUEST_TIMEOUT_S: Final = shipping.REQUEST_TIMEOUT_MS / 1000
_TRANSACTION_REQUEST_TIMEOUT_S: Final = shipping.TRANSACTION_REQUEST_TIMEOUT_MS / 1000
#: A member's requests are given up a second after its session (`clients.KafkaClients.member`).
_MEMBER_MARGIN_S: Final = 1.0


class SimulatedAdmin:
    """aiokafka's admin client, as far as it is used: it tries once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        """Connect."""
        await self._broker.network.call("connect", lambda: None, timeout_s=_REQUEST_TIMEOUT_S)

    async def close(self) -> None:
        """Nothing is left behind."""

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """What is committed now, whatever a transaction has pending."""
        found: dict[TopicPartition, OffsetAndMetadata] = await self._broker.network.call(
            "fetch offsets", lambda: self._broker.group(group_id).fetch(partitions), timeout_s=_REQUEST_TIMEOUT_S
        )
        return found


class SimulatedClients:
    """Makes clients of the simulated broker. `patience` and `batch_records_max` are the run's."""

    def __init__(self, broker: Broker, settings: Settings, *, patience: float, batch_records_max: int) -> None:
        self._broker, self._settings = broker, settings
        self._patience, self._batch_records_max = patience, batch_records_max

    def admin(self) -> Any:
        """As `KafkaClients.admin`."""
        return SimulatedAdmin(self._broker)

    def reader(self, *, fetch_wait_ms: int = 500, committed_only: bool = True) -> Any:
        """As `KafkaClients.reader`."""
        return SimulatedConsumer(
            self._broker,
            request_timeout_s=_REQUEST_TIMEOUT_S,
            patience=self._patience,
            committed_only=committed_only,
        )

    def member(self, group_id: str, *, client_id: str, fetch_wait_ms: int = 500) -> Any:
        """As `KafkaClients.member`."""
        timeout_s = self._settings.session_timeout_ms / 1000
        return SimulatedConsumer(
            self._broker,
            group_id=group_id,
            instance=self._settings.worker_id or None,
            session_timeout_s=timeout_s,
            heartbeat_s=shipping.heartbeat_ms(self._settings) / 1000,
            request_timeout_s=timeout_s + _MEMBER_MARGIN_S,
            patience=self._patience,
        )

    def producer(self, *, client_id: str) -> Any:
        """As `KafkaClients.producer`."""
        return SimulatedProducer(
            self._broker, request_timeout_s=_REQUEST_TIMEOUT_S, batch_records_max=self._batch_records_max
        )

    def transactional_producer(self, transactional_id: str, *, client_id: str) -> Any:
        """As `KafkaClients.transactional_producer`."""
        return SimulatedProducer(
            self._broker,
            request_timeout_s=_TRANSACTION_REQUEST_TIMEOUT_S,
            batch_records_max=self._batch_records_max,
            transactional_id=transactional_id,
            transaction_timeout_s=shipping.TRANSACTION_TIMEOUT_MS / 1000,
        )
