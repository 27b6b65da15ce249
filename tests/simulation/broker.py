"""The simulated broker: topics, transactions and groups, behind a network."""

from __future__ import annotations

import random
from collections.abc import Mapping

from aiokafka.errors import KafkaError, UnknownError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from tests.simulation.groups import Group
from tests.simulation.log import Log, Message
from tests.simulation.network import Network
from tests.simulation.transactions import MARKER_S, Transactional, TransactionCoordinator


class Broker:
    """One broker that coordinates everything. `topics` gives partition counts."""

    def __init__(self, network: Network, chance: random.Random, topics: Mapping[str, int]) -> None:
        self.network, self.chance = network, chance
        self.topics = dict(topics)
        self.logs = {TopicPartition(name, p): Log(name, p) for name, count in topics.items() for p in range(count)}
        self.groups: dict[str, Group] = {}
        #: see `Group.commit`
        self.overtaking = False
        self._producer_ids = 0
        self._members = 0
        self.transactions = TransactionCoordinator(
            complete=self._complete,
            later=network.later,
            marker_s=self._marker_s,
            new_producer_id=self.new_producer_id,
        )

    def new_producer_id(self) -> int:
        """Never given before."""
        self._producer_ids += 1
        return self._producer_ids

    def log(self, place: TopicPartition) -> Log:
        """A partition's log."""
        found = self.logs.get(place)
        if found is None:
            raise UnknownTopicOrPartitionError(str(place))
        return found

    def group(self, group_id: str) -> Group:
        """A group; it begins empty."""
        found = self.groups.get(group_id)
        if found is None:
            found = self.groups[group_id] = Group(
                group_id,
                partitions=lambda topic: self.topics[topic],
                later=self.network.later,
                now=self.network.loop.time,
                member_id=self._member_id,
                note=lambda text: self.network.note("broker", text),
            )
            found.overtaking = self.overtaking
        return found

    def produce(
        self,
        batches: Mapping[TopicPartition, tuple[int, list[Message]]],
        producer: int,
        epoch: int,
        transactional_id: str | None,
    ) -> dict[TopicPartition, int | KafkaError]:
        """A produce request: each partition's batch is taken or refused by itself."""
        found: dict[TopicPartition, int | KafkaError] = {}
        for place, (sequence, messages) in batches.items():
            refused = self.network.faults.batch_refused
            if refused and self.chance.random() < refused:
                self.network.note("broker", f"refuses a batch for {place.topic}-{place.partition}")
                found[place] = UnknownError("simulated: refused batch")
                continue
            try:
                if transactional_id is not None:
                    self.transactions.check_produce(transactional_id, producer, epoch, place)
                found[place] = self.log(place).produce(
                    producer, epoch, sequence, messages, transactional=transactional_id is not None
                )
            except KafkaError as error:
                found[place] = error
        return found

    def _complete(self, transactional: Transactional, commit: bool) -> None:
        for place in transactional.partitions:
            self.log(place).end_transaction(transactional.producer, transactional.epoch, commit=commit)
        if commit:
            for group_id, offsets in transactional.offsets.items():
                self.group(group_id).take(offsets)
        verb = "committed" if commit else "aborted"
        self.network.note("broker", f"transaction {transactional.number} of {transactional.name} is {verb}")

    def _marker_s(self) -> float:
        if self.chance.random() < self.network.faults.slow_markers:
            return 0.02 + self.chance.random() ** 2 * 4.0
        return MARKER_S * self.chance.random()

    def _member_id(self) -> str:
        self._members += 1
        return f"member-{self.chance.randrange(1000):03}-{self._members}"
