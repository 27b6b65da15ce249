"""What `make matrix` runs on every version beside the contracts: who is there, and one run with a kill.

The servers are those of the row (`TESTED_KAFKA`, the first redis-server on PATH), and say themselves of which version.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable

import pytest
import redis

from stream_app.core.native import native
from tests.faults.launcher import Fault, Plan
from tests.faults.run import Run
from tests.matrix.supported import StoreKind
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers
from tests.support.servers import KAFKA_VERSION, RealKafka, RealRedis

pytestmark = [pytest.mark.matrix, pytest.mark.real_kafka, pytest.mark.real_redis]

#: What the row is about, as `subject version`; nothing where the usual set is looked at.
_ROW = os.environ.get("TESTED_ROW", "")
_PATIENCE_S = 60.0


def test_what_runs_is_what_the_row_is_about(
    real_kafka: RealKafka, real_redis: RealRedis, record_testsuite_property: Callable[[str, object], None]
) -> None:
    wait_for("the broker to say its version", lambda: real_kafka.version, seconds=_PATIENCE_S)
    kind, store = _store(real_redis)
    ran = {"Python": platform.python_version(), "Kafka": real_kafka.version, kind: store}
    for subject, version in ran.items():
        record_testsuite_property(subject, version)
    subject, _, wanted = _ROW.partition(" ")
    assert not subject or ran[subject] == wanted or ran[subject].startswith(f"{wanted}.")
    assert real_kafka.version == KAFKA_VERSION
    assert native is not None, "the compiled engine is part of what is tried"


async def test_a_worker_killed_in_a_transaction_leaves_nothing_lost_nothing_twice_and_a_model_that_learned_it_all(
    real_servers: Servers, names: Names
) -> None:
    killed = Fault("stream_app.backends.clients:TransactionalProducer.commit_transaction", "kill", call=5)
    async with Run(real_servers, names, guarantee="exactly_once", calm=None, worker_id="phoenix") as run:
        run.start("trainer")
        doomed = run.start("worker", plan=Plan([killed]))
        await run.send(0.5)
        await run.until("the kill", lambda: doomed.exit_code is not None)
        assert doomed.exit_code == -signal.SIGKILL
        run.start("worker")
        await run.send()
        await run.finish(_ROW or "usual versions", model=True)


def _store(server: RealRedis) -> tuple[StoreKind, str]:
    with redis.Redis.from_url(server.url) as client:
        told = client.info("server")
    assert isinstance(told, dict)
    return ("Valkey", told["valkey_version"]) if "valkey_version" in told else ("Redis", told["redis_version"])
