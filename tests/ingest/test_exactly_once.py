"""On a real Kafka: processes that die at every step, and one that comes back from the dead; each event is there once.

Readers of committed records are asked, and nothing else: what was aborted was never there.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from producers.sink import partition_of
from stream_app import topics
from stream_app.settings import Settings
from tests.faults.launcher import Fault, Plan
from tests.ingest.raw import ga4
from tests.ingest.running import Message, create, read, read_events, send, start, until_taken_in
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka

pytestmark = [pytest.mark.real_kafka]

_PARTITIONS = 3
_RECORDS = 1_500
_SECONDS = 60.0
_TIME_MS = 1_769_884_205_250

_PRODUCER = "stream_app.backends.clients:TransactionalProducer"
_LOG = "stream_app.ingest.raw_log:RawLog"

#: Of every ten records the last is broken, each time in another way; reason → value.
_BROKEN: tuple[tuple[str, bytes], ...] = (
    ("not_json", b'{"client_id"'),
    ("wrong_type", b"[1]"),
    ("missing_field", b'{"events":[{"name":"page_view"}]}'),
    ("time_out_of_range", ga4("c", "page_view", time_ms=1_769_884_205)),
    ("empty_value", b""),
)

#: Steps of a batch, in their order. The calls are counted over three partitions: they come in mid-stream.
_STEPS: dict[str, Fault] = {
    "fenced": Fault(f"{_PRODUCER}.start", "kill", when="after", call=2),
    "taken over": Fault(f"{_LOG}.take_over", "kill", when="after", call=3),
    "read": Fault(f"{_LOG}.poll", "kill", when="after", call=6),
    "begun": Fault(f"{_PRODUCER}.begin_transaction", "kill", when="after", call=3),
    "half sent": Fault(f"{_PRODUCER}.send_batch", "kill", when="after", call=9),
    "offset sent": Fault(f"{_PRODUCER}.send_offsets_to_transaction", "kill", when="after", call=4),
    "about to commit": Fault(f"{_PRODUCER}.commit_transaction", "kill", call=3),
    "committed": Fault(f"{_PRODUCER}.commit_transaction", "kill", when="after", call=3),
}


@pytest.fixture
def servers_of_kafka(real_kafka: RealKafka) -> Servers:
    return Servers(real_kafka.bootstrap, "redis://127.0.0.1:1/0", "real")


def messages(first: int = 0, last: int = _RECORDS) -> list[Message]:
    """Bodies of one visitor each, in turn over the partitions, with a key that is not the visitor's."""
    made = []
    for number in range(first, last):
        value = ga4(f"c-{number % 40}", "page_view", "search", time_ms=_TIME_MS + 100 * number)
        if number % 10 == 9:
            value = _BROKEN[number // 10 % len(_BROKEN)][1]
        made.append(Message(value, key=b"key %d" % number, partition=number % _PARTITIONS))
    return made


async def left_exactly_once(settings: Settings, topic: str) -> None:
    """Every event once, under its visitor's key where that belongs; every broken record one dead letter, unchanged."""
    found = await read_events(settings)
    good = [number for number in range(_RECORDS) if number % 10 != 9]
    expected = Counter(
        (f"c-{number % 40}", event_type, _TIME_MS + 100 * number)
        for number in good
        for event_type in ("page_view", "search")
    )
    assert Counter((one["visitor_id"], one["event_type"], one["event_time"]) for _, one in found) == expected
    assert len({one["event_id"] for _, one in found}) == len(found) == 2 * len(good)
    for written, event in found:
        assert written.key == event["visitor_id"].encode()
        assert written.partition == partition_of(written.key, settings.topic_partitions)
    letters = await read(settings, topics.DEAD_LETTERS)
    reasons = Counter(one.headers["reason"].decode() for one in letters)
    assert reasons == {reason: _RECORDS // 10 // len(_BROKEN) for reason, _ in _BROKEN}
    places = {(one.headers["source_partition"], one.headers["source_offset"]) for one in letters}
    assert len(places) == len(letters) == _RECORDS // 10
    for one in letters:
        offset, partition = int(one.headers["source_offset"]), int(one.headers["source_partition"])
        number = _PARTITIONS * offset + partition
        assert one.key == b"key %d" % number
        assert one.value == messages(number, number + 1)[0].value
        assert one.headers["source_topic"] == topic.encode()


async def taken_in(process: Process) -> None:
    await asyncio.to_thread(
        wait_for, f"{process.name} at the end", lambda: process.ready()[1].startswith("taking in"), seconds=_SECONDS
    )


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(["half sent", "about to commit", "committed"], id="a few"),
        pytest.param(list(_STEPS), id="all", marks=pytest.mark.long),
    ],
)
async def test_processes_that_die_one_after_the_other_each_at_another_step_leave_every_event_once(
    servers_of_kafka: Servers, names: Names, tmp_path: Path, steps: list[str]
) -> None:
    topic = f"{names.topic_prefix}raw"
    async with Deployment(servers_of_kafka, names) as deployment:
        settings = deployment.settings
        await create(settings, topic, _PARTITIONS)
        share = _RECORDS // (len(steps) + 1)
        for number, step in enumerate(steps):
            await send(settings, topic, messages(number * share, (number + 1) * share))
            # Each begins where the last one died, under its name: the group need not wait for a session to time out.
            doomed = start(
                deployment, topic, "--format", "ga4", logs=tmp_path, plan=Plan([_STEPS[step]]), worker_id="phoenix",
                batch_records_max=20,
            )  # fmt: skip
            assert await asyncio.to_thread(doomed.wait, _SECONDS) == -signal.SIGKILL, step
        await send(settings, topic, messages(len(steps) * share))
        last = start(deployment, topic, "--format", "ga4", logs=tmp_path, worker_id="phoenix")
        await until_taken_in(settings, topic)
        await left_exactly_once(settings, topic)
        assert await asyncio.to_thread(last.terminate) == 0
        assert "Traceback" not in last.said()


async def test_a_zombie_that_wakes_after_another_has_taken_its_partitions_writes_nothing(
    servers_of_kafka: Servers, names: Names, tmp_path: Path
) -> None:
    topic = f"{names.topic_prefix}raw"
    async with Deployment(servers_of_kafka, names) as deployment:
        settings = deployment.settings
        await create(settings, topic, _PARTITIONS)
        await send(settings, topic, messages(0, 600))
        # It stops itself with a transaction half sent.
        stops = Fault(f"{_PRODUCER}.send_offsets_to_transaction", "pause", when="before", call=5)
        zombie = start(deployment, topic, "--format", "ga4", logs=tmp_path, plan=Plan([stops]), batch_records_max=30)
        await asyncio.to_thread(wait_for, "its stop", lambda: _is_stopped(zombie.pid), seconds=_SECONDS)
        successor = start(deployment, topic, "--format", "ga4", logs=tmp_path, batch_records_max=30)
        await taken_in(successor)
        assert successor.ready() == (True, f"taking in {_PARTITIONS} partitions")
        zombie.resume()
        await send(settings, topic, messages(600))
        await asyncio.to_thread(
            wait_for, "both at work",
            lambda: zombie.ready()[0] and successor.ready()[0] and not _has_all(zombie) and not _has_all(successor),
            seconds=_SECONDS,
        )  # fmt: skip
        await until_taken_in(settings, topic)
        await left_exactly_once(settings, topic)
        said = zombie.said()
        assert "fenced" in said or "kafka_error" in said
        assert [process.terminate() for process in (zombie, successor)] == [0, 0]


async def test_a_backlog_of_partitions_of_unequal_size_comes_out_in_the_order_in_which_it_happened(
    servers_of_kafka: Servers, names: Names, tmp_path: Path
) -> None:
    # Ten minutes: 900 records in partitions 0 and 2, 30 in partition 1, of which a single batch would be all of it.
    times = {0: range(0, 600_000, 667), 1: range(0, 600_000, 20_000), 2: range(0, 600_000, 667)}
    topic = f"{names.topic_prefix}raw"
    async with Deployment(servers_of_kafka, names) as deployment:
        settings = deployment.settings
        await create(settings, topic, _PARTITIONS)
        backlog = [
            Message(ga4(f"c-{number % 40}", "page_view", time_ms=_TIME_MS + after_ms), partition=partition)
            for partition, found in times.items()
            for number, after_ms in enumerate(found)
        ]
        await send(settings, topic, backlog)
        start(deployment, topic, logs=tmp_path, batch_records_max=100, grace_ms=60_000)
        await until_taken_in(settings, topic)
        newest, behind = dict.fromkeys(range(settings.topic_partitions), 0), 0
        for written, event in await read_events(settings):
            newest[written.partition] = max(newest[written.partition], event["event_time"])
            behind = max(behind, newest[written.partition] - event["event_time"])
        # Half of the grace is how far one may be ahead of another: none of it is late for the worker.
        assert 0 < behind <= 30_000


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _has_all(process: Process) -> bool:
    return process.ready()[1] == f"taking in {_PARTITIONS} partitions"
