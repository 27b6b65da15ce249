"""`stream-app forget` on real servers and real workers: before, while and after they run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream_app import topics
from stream_app.cli import main
from stream_app.core.events import Event
from tests.faults.stream import EVENTS, SHOP
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers


def of(run: Deployment, *arguments: str) -> list[str]:
    settings = run.settings
    return [
        *arguments, "--kafka-bootstrap", settings.kafka_bootstrap, "--redis-url", settings.redis_url.get_secret_value(),
        "--topic-prefix", settings.topic_prefix, "--group-id", settings.group_id,
        "--redis-cluster", str(settings.redis_cluster),
    ]  # fmt: skip


async def invoke(run: Deployment, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, of(run, *arguments))


async def changelog(run: Deployment, visitor: str) -> list[bool]:
    """Whether each of the visitor's records in the changelog has a state: a tombstone has none."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        bootstrap_servers=run.settings.kafka_bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        places = await run._places(consumer, topics.CHANGELOG)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: list[bool] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value is not None for record in records if record.key == visitor.encode()]
        return found
    finally:
        await consumer.stop()


def busiest(events: list[Event]) -> str:
    counts: dict[str, int] = {}
    for event in events:
        counts[event.visitor_id] = counts.get(event.visitor_id, 0) + 1
    return max(counts, key=lambda visitor: counts[visitor])


async def audited(run: Deployment) -> dict[str, Any]:
    settings = run.settings
    result = await invoke(run, "audit", "--json", "--processing-guarantee", settings.processing_guarantee)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def test_a_visitor_is_forgotten_while_the_worker_that_holds_it_runs(
    embedded_servers: Servers, names: Names
) -> None:
    await forgotten_while_a_worker_runs(embedded_servers, names, "at_least_once")


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_visitor_is_forgotten_in_a_transaction(real_servers: Servers, names: Names) -> None:
    """The embedded Kafka does not show what a transaction has committed for a group."""
    await forgotten_while_a_worker_runs(real_servers, names, "exactly_once")


async def forgotten_while_a_worker_runs(servers: Servers, names: Names, guarantee: str) -> None:
    async with Deployment(servers, names, processing_guarantee=guarantee) as run:
        worker = run.start("worker")
        first = list(SHOP[: EVENTS // 3])
        visitor = busiest(first)
        await run.send(first)
        await run.until_all_scored(len(first))
        await run.until_caught_up()
        before = await run.states()
        assert visitor in {name for _, name in before}
        done = await invoke(run, "forget", visitor, "--json")
        assert done.exit_code == 0, done.output
        facts = json.loads(done.stdout)
        assert (facts["waiting_for_partitions"], facts["known_again"]) == ([], [])
        after = await run.states()
        assert {place for place in before if place[1] != visitor} == set(after)
        assert all(after[place] == before[place] for place in after)
        found = await changelog(run, visitor)
        assert found[-1] is False
        assert await changelog(run, "somebody else") == [False] * 0
        # It comes back: the worker remembers nothing of it.
        again = [event for event in SHOP[EVENTS // 3 :] if event.visitor_id == visitor][:1]
        template = again[0] if again else first[-1]
        back = Event("back", "view_item", template.event_time, visitor, item_id="i1")
        await run.send([back])
        await run.until_all_scored(len(first) + 1)
        await run.until_caught_up()
        (score,) = [record for _, record, _ in await run.read(topics.SCORES) if record["event_id"] == "back"]
        assert score["events"] == 1
        told = await invoke(run, "forget", "somebody-else", "--wait", "20")
        assert told.exit_code == 0, told.output
        assert "forgotten: somebody-else" in told.stdout
        assert "clickstream.events.v1: 7 days" in told.stdout
        # What a killed worker would have had in its hands is gone as well, and the run stays provably exact.
        worker.kill()
        run.start("worker")
        await run.send([Event("later", "view_item", template.event_time, "x-later")])
        await run.until_all_scored(len(first) + 2)
        await run.until_caught_up()
        report = await audited(run)
        assert report["clean"], report
        assert not [headers for _, _, headers in await run.read(topics.DEAD_LETTERS)]


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_without_a_worker_it_is_done_when_one_comes(real_servers: Servers, names: Names) -> None:
    async with Deployment(real_servers, names) as run:
        worker = run.start("worker")
        await run.send(SHOP[:300])
        visitor = busiest(list(SHOP[:300]))
        await run.until_all_scored(300)
        await run.until_caught_up()
        worker.kill()
        asked = await invoke(run, "forget", visitor, "--wait", "0.5")
        assert asked.exit_code == 1
        assert "have not come to it yet" in asked.stdout
        assert visitor in {name for _, name in await run.states()}
        run.start("worker")
        done = await invoke(run, "forget", visitor, "--wait", "60", "--json")
        assert done.exit_code == 0, done.output
        assert visitor not in {name for _, name in await run.states()}


async def test_pseudonyms_are_forgotten_under_each_key(embedded_servers: Servers, names: Names) -> None:
    from producers.pseudonym_keys import key_in

    secret = "k1:" + "QUJD" * 11
    name = key_in(secret).names_of("jane@shop.example")[0]
    async with Deployment(embedded_servers, names) as run:
        run.start("worker")
        await run.send([Event("e1", "view_item", 1_735_689_600_000, name)])
        await run.until_all_scored(1)
        await run.until_caught_up()
        done = await invoke(run, "forget", "jane@shop.example", "--pseudonym-key", secret, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["visitors"] == [name]
        assert await run.states() == {}
        assert not any("jane" in str(record) for _, record, _ in await run.read(topics.EVENTS))


def test_no_kafka_is_one_line_and_code_1() -> None:
    refused = CliRunner().invoke(main, ["forget", "v1", "--kafka-bootstrap", "127.0.0.1:1"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: asking to forget")
    assert len(refused.stderr.splitlines()) == 1
