"""The examples as their READMEs say to start them, on a real broker: each committed record, once, and none lost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.examples.example import Example
from tests.examples.published import Published, publish
from tests.support.fixtures import Servers, skip_or_fail
from tests.support.npm import NODE_EXAMPLE, installed
from tests.support.servers import UnavailableError, program

EXAMPLES = Path(__file__).parents[2] / "examples"
THROWS_ONCE = Path(__file__).parent / "throws_once.mjs"

COMMANDS = {
    "aiokafka_consumer": [sys.executable, "consumer.py"],
    "faust_agent": [sys.executable, "app.py", "worker", "-l", "warn"],
    "nodejs_consumer": ["node", "consumer.js"],
}

#: Of what is printed until the work fails: the lines of a third of the records.
PRINTED_MAX = 160_000

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


@pytest.fixture(scope="module")
def published(real_servers: Servers) -> Published:
    return asyncio.run(publish(real_servers))


def start(
    name: str, published: Published, *, group: str, options: tuple[str, ...] = (), bytes_max: int | None = None
) -> Example:
    directory, command = EXAMPLES / name, COMMANDS[name]
    if name == "nodejs_consumer":
        try:
            program("node", "apt-get install nodejs")
            directory = installed(NODE_EXAMPLE)
        except UnavailableError as reason:
            skip_or_fail(reason)
        command = [command[0], *options, *command[1:]]
    return Example(command, directory=directory, settings=published.settings, group=group, bytes_max=bytes_max)


def committed(published: Published, group: str) -> dict[tuple[str, int], int]:
    async def ask() -> dict[tuple[str, int], int]:
        client = AIOKafkaAdminClient(bootstrap_servers=published.settings.kafka_bootstrap)
        await client.start()
        try:
            found = await client.list_consumer_group_offsets(group)
        finally:
            await client.close()
        return {(place.topic, place.partition): stored.offset for place, stored in found.items()}

    return asyncio.run(ask())


def assert_all_was_read_once(lines: list[tuple[str, str]], published: Published) -> None:
    assert set(lines) == published.expected
    assert len(lines) == len(published.expected)


@pytest.mark.parametrize("name", ["aiokafka_consumer", "faust_agent"])
def test_work_that_fails_ends_the_program_and_the_next_one_reads_on_without_a_gap(
    name: str, published: Published
) -> None:
    group = f"{published.settings.group_id}-{name}"
    with start(name, published, group=group, bytes_max=PRINTED_MAX) as failing:
        code = failing.wait()
        assert code != 0, failing.said
        done = failing.lines
    assert 1_000 < len(done) < len(published.expected) - 1_000, failing.said
    reached = committed(published, group)
    with start(name, published, group=group) as example:
        example.until_read(len(published.expected) - len(done))
        assert example.terminate() == 0, example.said
    assert set(done) | set(example.lines) == published.expected
    # Each of the two prints a record once; both print what the first had no time to commit.
    assert len(set(done)) == len(done)
    assert len(set(example.lines)) == len(example.lines)
    assert sum(reached.values()) > 0
    assert_it_has_come_to_the_end(published, group)


def test_the_nodejs_consumer_reads_each_record_once_and_tries_work_that_fails_again(published: Published) -> None:
    group = f"{published.settings.group_id}-nodejs"
    options = ("--import", str(THROWS_ONCE))
    with start("nodejs_consumer", published, group=group, options=options) as example:
        example.until_read(len(published.expected))
        assert example.terminate() == 0, example.said
    assert "the 500th line" in example.said
    assert_all_was_read_once(example.lines, published)
    assert_it_has_come_to_the_end(published, group)


def assert_it_has_come_to_the_end(published: Published, group: str) -> None:
    reached = committed(published, group)
    assert {place: offset for place, offset in published.last.items() if reached.get(place, -1) <= offset} == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_is_short_and_its_readme_has_three_commands(name: str) -> None:
    (file,) = [path for path in (EXAMPLES / name).iterdir() if path.suffix in (".py", ".js")]
    assert len(file.read_text().splitlines()) < 80
    shown = [line for line in (EXAMPLES / name / "README.md").read_text().splitlines() if line.startswith("$ ")]
    assert len(shown) == 3
