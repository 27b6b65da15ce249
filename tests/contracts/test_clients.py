"""What we rely on in the Kafka client and cannot ask it for: private names, and checks that are asserts."""

from __future__ import annotations

import inspect
import subprocess
import sys

from aiokafka.errors import ProducerFenced
from aiokafka.producer import sender

from stream_app.backends import clients
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
    assert not clients.is_told_elsewhere({**left, "exception": ValueError("ours")})
    assert not clients.is_told_elsewhere({**left, "message": "Task exception was never retrieved"})
    assert not clients.is_told_elsewhere({"message": "anything"})
