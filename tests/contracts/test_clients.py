"""What we rely on in the Kafka client and cannot ask it for: private names, and checks that are asserts."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from unittest import mock

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.structs import OffsetAndMetadata

from stream_app.backends import clients
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.ports import LogError
from stream_app.settings import load


def test_the_clients_wait_between_transactions_is_still_called_so() -> None:
    # Setting a name that nobody reads any more would go unnoticed, and each transaction take 20 ms longer.
    assert "return BACKOFF_OVERRIDE" in inspect.getsource(sender.AddPartitionsToTxnHandler.handle_response)


async def test_a_transactional_producer_waits_shortly_and_watches_its_requests() -> None:
    producer = clients.KafkaClients(load()).transactional_producer("shop-0", client_id="test")
    assert sender.BACKOFF_OVERRIDE == 0.002
    assert not producer.unanswered
    assert not producer.fenced
    assert producer.client.send.__name__ == "watched"
    await producer.stop()


def test_nothing_starts_without_the_asserts_that_the_client_checks_its_state_with() -> None:
    start = (
        "from stream_app import bootstrap, settings; bootstrap.create_app(settings.load(), worker=True, trainer=False)"
    )
    refused = subprocess.run(
        [sys.executable, "-O", "-c", start], capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert "RuntimeError: python -O takes away checks" in refused.stderr


def test_only_what_the_client_left_behind_is_no_news() -> None:
    left = {"message": "Future exception was never retrieved", "exception": ProducerFenced()}
    assert clients.is_told_elsewhere(left)
    assert clients.is_told_elsewhere({**left, "message": "Exception in callback MessageAccumulator._pop_batch"})
    assert not clients.is_told_elsewhere({**left, "exception": ValueError("ours")})
    assert not clients.is_told_elsewhere({**left, "message": "Task exception was never retrieved"})
    assert not clients.is_told_elsewhere({"message": "anything"})
    batch = mock.Mock(spec=MessageBatch)
    given_up = {"message": "Task exception was never retrieved", "exception": KeyError(batch)}
    assert clients.is_told_elsewhere(given_up)
    assert not clients.is_told_elsewhere({**given_up, "exception": KeyError("ours")})


class _SlowMember:
    """A consumer whose commits take for ever until they are let go."""

    def __init__(self) -> None:
        self.place = TopicPartition("events", 0)
        self.asked: list[dict[TopicPartition, OffsetAndMetadata]] = []
        self.go = asyncio.Event()

    def assignment(self) -> set[TopicPartition]:
        return {self.place}

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.asked.append(offsets)
        await self.go.wait()


async def test_commits_that_come_while_one_is_under_way_go_together_and_are_given_up_with_the_partitions() -> None:
    member = _SlowMember()
    commits = GroupCommits(member)  # type: ignore[arg-type]
    first, second, third = (
        asyncio.create_task(commits.commit({member.place: OffsetAndMetadata(offset, "")})) for offset in (1, 2, 3)
    )
    await asyncio.sleep(0.01)
    assert [offsets[member.place].offset for offsets in member.asked] == [3]  # all three came before it was sent
    late = asyncio.create_task(commits.commit({member.place: OffsetAndMetadata(4, "")}))
    await asyncio.sleep(0.01)
    await commits.drop()
    results = await asyncio.gather(first, second, third, late, return_exceptions=True)
    assert all(isinstance(result, LogError) for result in results), results
    member.go.set()
    await commits.commit({member.place: OffsetAndMetadata(5, "")})
    assert member.asked[-1][member.place].offset == 5
    with pytest.raises(LogError, match="not ours any more"):
        await commits.commit({TopicPartition("events", 1): OffsetAndMetadata(1, "")})
