"""`sessions` and `report` with --live: what the events topic says is what a file of the same events says."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result

from producers.sink import KafkaSink
from stream_app import topics
from stream_app.admin import create_topics
from stream_app.backends.child_process import free_port
from stream_app.block_files.topic_copy import TopicCopy
from stream_app.cli import main
from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.settings import Settings, load
from tests.analytics.small import event
from tests.report.shop_file import synthetic_events, written
from tests.support.fixtures import Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

HOUR_MS = 3_600_000


class Topic(NamedTuple):
    """An events topic of its own, and the flags with which it is read."""

    settings: Settings
    flags: list[str]

    async def write(self, records: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Write (time of arrival in ms, key, value)."""
        name = self.settings.topic(topics.EVENTS)
        async with AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap) as producer:
            sent = [await producer.send(name, value, key=key, timestamp_ms=ms) for ms, key, value in records]
            await asyncio.gather(*sent)

    def ask(self, command: str, out: Path, *more: str) -> Result:
        return CliRunner().invoke(main, [command, "--live", *self.flags, "--out", str(out), *more])


def new_topic(servers: Servers) -> Topic:
    flags = {"kafka_bootstrap": servers.bootstrap, "topic_prefix": f"live-{uuid.uuid4().hex[:8]}.", "check_crcs": "no"}
    settings = load(flags=flags)
    asyncio.run(create_topics(settings))
    return Topic(settings, [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)])


@pytest.fixture
def topic(embedded_servers: Servers) -> Topic:
    return new_topic(embedded_servers)


@pytest.fixture(scope="module")
def shop(embedded_servers: Servers) -> tuple[Topic, list[Event]]:
    """Some days of a shop as its producers send them, and one record that is no event."""
    events = synthetic_events(1_500)
    filled = new_topic(embedded_servers)

    async def fill() -> None:
        async with KafkaSink(embedded_servers.bootstrap, topic_prefix=filled.settings.topic_prefix) as sink:
            for one in events:
                await sink.send_event(one)
            await sink.send_raw(b"{", key="a")
            await sink.flush()

    asyncio.run(fill())
    return filled, events


def test_rows_are_those_of_the_file(shop: tuple[Topic, list[Event]], tmp_path: Path) -> None:
    topic, events = shop
    file = written(tmp_path / "events.jsonl", events, rubbish=True)
    live = topic.ask("sessions", tmp_path / "live.csv", "--json")
    options = ["--format", "canonical", "--out", str(tmp_path / "file.csv"), "--json"]
    whole = CliRunner().invoke(main, ["sessions", str(file), *options])
    assert (live.exit_code, whole.exit_code) == (0, 0), live.output + whole.output
    assert (tmp_path / "live.csv").read_text() == (tmp_path / "file.csv").read_text()
    told, expected = json.loads(live.stdout), json.loads(whole.stdout)
    assert told.pop("records of the topic rejected: not_json") == 1
    assert expected.pop("rows of the files rejected: not_json") == 1
    assert told == expected
    assert told["events taken in"] == len(events)


def test_figures_are_those_of_the_file(shop: tuple[Topic, list[Event]], tmp_path: Path) -> None:
    topic, events = shop
    file = written(tmp_path / "events.jsonl", events, rubbish=True)
    asked = ["--json", "-", "--evaluate-events", "1200", "--models", "newton"]
    live = topic.ask("report", tmp_path / "live.html", *asked)
    options = ["--format", "canonical", "--out", str(tmp_path / "file.html")]
    whole = CliRunner().invoke(main, ["report", str(file), *options, *asked])
    assert (live.exit_code, whole.exit_code) == (0, 0), live.output + whole.output
    told, expected = json.loads(live.stdout), json.loads(whole.stdout)
    assert told["setting"].pop("files") == [topic.settings.topic(topics.EVENTS)]
    assert expected["setting"].pop("files") == ["events.jsonl"]
    assert (told["data"]["events"]["rejected"], told["data"]["events"]["sorted_first"]) == ({"not_json": 1}, False)
    assert told["quality"]["report"]["history"]["events"] == 1_200
    assert told == expected
    assert f"Report: {topic.settings.topic(topics.EVENTS)}" in (tmp_path / "live.html").read_text()


def test_partitions_are_merged_in_the_order_of_arrival_whatever_the_events_say(topic: Topic, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    # One clock runs a day ahead, the others are anywhere within an hour.
    minutes = [random.Random(3).uniform(0, 60) for _ in range(300)]
    events = [event(f"v{n % 17}", "x", "view", minute + 1_440 * (n % 17 == 3)) for n, minute in enumerate(minutes)]
    asyncio.run(topic.write([(now - 300 + n, one.visitor_id.encode(), encode(one)) for n, one in enumerate(events)]))
    told: list[tuple[str, int, int | None]] = []
    copying = TopicCopy(topic.settings, since_ms=None, progress=lambda *phase: told.append(phase))
    path = asyncio.run(copying.copy(tmp_path))
    assert path.read_bytes().splitlines() == [encode(one) for one in events]
    assert [left.name for left in tmp_path.iterdir()] == [path.name]
    assert (copying.events, copying.newest_ms) == (300, now - 1)
    assert told[-1] == (f"reading {topic.settings.topic(topics.EVENTS)}", 300, 300)


def test_of_one_millisecond_the_earlier_event_comes_first(topic: Topic, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    events = [event(f"v{n}", "x", "view", n) for n in range(40)]
    asyncio.run(topic.write([(now, one.visitor_id.encode(), encode(one)) for one in events]))
    path = asyncio.run(TopicCopy(topic.settings, since_ms=None, progress=lambda *phase: None).copy(tmp_path))
    assert path.read_bytes().splitlines() == [encode(one) for one in events]


def test_only_what_has_arrived_since_and_what_the_worker_would_accept(servers: Servers, tmp_path: Path) -> None:
    # A real broker is asked for the offsets of a time, which the embedded one does not know.
    topic = new_topic(servers)
    now = time.time_ns() // 1_000_000
    old, young, stray = (event(name, "x", "view", 0) for name in ("old", "young", "stray"))
    # Spread over lines, as no file of ours could have it.
    spread = json.dumps(json.loads(encode(event("spread", "x", "view", 1))), indent=1).encode()
    records = [(now - 2 * HOUR_MS, b"old", encode(old)), (now, b"young", encode(young)), (now, b"spread", spread)]
    asyncio.run(topic.write([*records, (now, b"somebody", encode(stray)), (now, b"k", b"")]))
    told = []
    for more in ((), ("--since-hours", "1")):
        result = topic.ask("sessions", tmp_path / "rows.csv", "--json", *more)
        assert result.exit_code == 0, result.output
        told.append(json.loads(result.stdout))
    assert [one["events taken in"] for one in told] == [3, 2]
    assert [one["records of the topic rejected: wrong_key"] for one in told] == [1, 1]
    assert [one["records of the topic rejected: empty_value"] for one in told] == [1, 1]


def test_a_topic_without_events_is_told_with_what_is_in_it(topic: Topic, tmp_path: Path) -> None:
    asyncio.run(topic.write([(time.time_ns() // 1_000_000, b"k", b"{")]))
    for command, more in (("sessions", ()), ("report", ("--since-hours", "5"))):
        result = topic.ask(command, tmp_path / "out.csv", *more)
        name = topic.settings.topic(topics.EVENTS) + (", the last 5 h" if more else "")
        assert result.exit_code == 2
        assert f"got no event from {name} (rejected: not_json ×1)" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["sessions", "report"])
def test_no_such_topic_and_no_kafka_are_said_in_one_line(
    command: str, embedded_servers: Servers, tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path / "out.csv")]
    nowhere = f"127.0.0.1:{free_port()}"
    for bootstrap, said in (
        (
            embedded_servers.bootstrap,
            "topic no-such.clickstream.events.v1 does not exist: run `stream-app topics create`",
        ),
        (nowhere, f"Kafka at {nowhere}: reading no-such.clickstream.events.v1: KafkaConnectionError"),
    ):
        flags = ["--kafka-bootstrap", bootstrap, "--topic-prefix", "no-such."]
        result = CliRunner().invoke(main, [command, "--live", *flags, *out])
        assert (result.exit_code, said in result.output) == (1, True), result.output
        assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["sessions", "report"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["events.jsonl", "--format", "canonical", "--live"], "got FILE... and --live, expected one of them"),
        ([], "got neither FILE... nor --live, expected one of them"),
        (["--format", "canonical", "--live"], "got --format and --live"),
        (["--mapping", "mine.toml", "--live"], "got --mapping and --live"),
        (["events.jsonl", "--format", "canonical", "--mapping", "mine.toml"], "got --format and --mapping"),
        (["events.jsonl"], "events.jsonl: No such file or directory"),
        (["events.jsonl", "--format", "canonical", "--since-hours", "2"], "got --since-hours without --live"),
        (["--live", "--since-hours", "0"], "0.0 is not in the range"),
    ],
)
def test_what_does_not_go_together_is_refused(command: str, asked: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [command, *asked, "--out", str(tmp_path / "out.csv")])
    assert (result.exit_code, said in result.output) == (2, True), result.output
