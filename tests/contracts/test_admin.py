"""Topics are created and checked, and the doctor finds what is wrong, on an embedded and on a real Kafka and Redis."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app import doctor as doctor_module
from stream_app.admin import KafkaUnreachableError, check_topics, create_topics, topic_facts
from stream_app.doctor import Finding, doctor
from stream_app.settings import Settings, load
from stream_app.topics import CHANGELOG, DEAD_LETTERS, EVENTS, LABELS, SCORES, SNAPSHOTS, TOPICS
from tests.support.fixtures import Names, Servers


def _settings(servers: Servers, names: Names, **more: Any) -> Settings:
    return load(flags={**_where(servers, names), **more})


def _where(servers: Servers, names: Names) -> dict[str, str]:
    return {
        "kafka_bootstrap": servers.bootstrap,
        "redis_url": servers.redis_url,
        "topic_prefix": names.topic_prefix,
        "group_id": names.group_id,
    }


async def test_missing_topics_are_reported_then_created_then_fit(servers: Servers, names: Names) -> None:
    settings = _settings(servers, names)

    before = await check_topics(settings)
    assert {status.outcome for status in before} == {"missing"}
    assert {status.name for status in before} == {settings.topic(spec.name) for spec in TOPICS}
    assert "topics create" in before[0].what_to_do

    created = await create_topics(settings)
    assert {status.outcome for status in created} == {"created"}, created

    again = await create_topics(settings)
    assert again == await check_topics(settings)
    assert {status.outcome for status in again} == {"ok"}, again


async def test_topics_have_ids_that_change_when_a_topic_is_made_again(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names)
    await create_topics(settings)
    name = settings.topic(SCORES)
    before = await topic_facts(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=real_servers.bootstrap)
    await admin.start()
    await admin.delete_topics([name])
    await admin.close()
    await _eventually_missing(settings, name)
    await create_topics(settings)
    after = await topic_facts(settings)

    ids = [topic.topic_id for topic in before.values()]
    assert None not in ids
    assert len(set(ids)) == len(TOPICS)
    assert {n for n in before if before[n].topic_id != after[n].topic_id} == {name}


async def test_embedded_topics_have_ids_too(embedded_servers: Servers, names: Names) -> None:
    settings = _settings(embedded_servers, names)
    await create_topics(settings)
    assert None not in {topic.topic_id for topic in (await topic_facts(settings)).values()}


async def test_checking_creates_nothing(servers: Servers, names: Names) -> None:
    settings = _settings(servers, names)
    await check_topics(settings)
    assert not any(topic.exists for topic in (await topic_facts(settings)).values())


async def test_a_wrong_partition_count_is_reported_and_left_as_it_is(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names)
    await _make(settings, (EVENTS, 4, {}), (LABELS, 3, {}), (SNAPSHOTS, 2, {"cleanup.policy": "compact"}))

    found = {status.name: status for status in await create_topics(settings)}

    labels, snapshots = found[settings.topic(LABELS)], found[settings.topic(SNAPSHOTS)]
    assert (labels.outcome, labels.fine) == ("wrong", False)
    assert labels.got.startswith("3 partitions")
    assert labels.expected.startswith(f"4 partitions as {settings.topic(EVENTS)} has")
    assert "one partition" in labels.what_to_do
    assert snapshots.outcome == "wrong"
    assert snapshots.expected.startswith("1 partition")
    assert found[settings.topic(SCORES)].outcome == "created"
    assert (await topic_facts(settings))[labels.name].partitions == 3


async def test_missing_topics_follow_the_partition_count_of_the_events(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names, topic_partitions="2")
    await _make(settings, (EVENTS, 3, {}))
    assert all(status.fine for status in await create_topics(settings))
    facts = await topic_facts(settings)
    assert facts[settings.topic(SCORES)].partitions == facts[settings.topic(CHANGELOG)].partitions == 3
    assert facts[settings.topic(SNAPSHOTS)].partitions == 1


async def test_a_changelog_that_forgets_or_compacts_too_soon_or_never_compacts_is_wrong(
    real_servers: Servers, names: Names
) -> None:
    settings = _settings(real_servers, names, history_ttl_ms="86400000")
    week_and_day = 8 * 86_400_000
    hour = 3_600_000
    for config, complaint in [
        ({"min.compaction.lag.ms": str(hour - 1)}, f"min.compaction.lag.ms={hour}"),
        ({"cleanup.policy": "compact,delete", "retention.ms": str(week_and_day - 1)}, f"retention.ms={week_and_day}"),
        ({"cleanup.policy": "delete", "retention.ms": str(week_and_day)}, "cleanup.policy=[compact,delete]"),
        ({"cleanup.policy": "delete,compact", "retention.ms": str(week_and_day)}, ""),
        ({"cleanup.policy": "compact,delete", "retention.ms": "-1"}, ""),
    ]:
        tried = settings.model_copy(update={"topic_prefix": f"{names.topic_prefix}{abs(hash(str(config)))}."})
        fine = {"cleanup.policy": "compact,delete", "retention.ms": "-1", "min.compaction.lag.ms": str(hour)}
        await _make(tried, (CHANGELOG, 4, {**fine, **config}))
        status = next(s for s in await check_topics(tried) if s.name == tried.topic(CHANGELOG))
        assert status.outcome == ("wrong" if complaint else "ok")
        assert complaint in status.what_to_do


async def test_dead_letters_that_cannot_hold_the_largest_input_are_wrong(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names)
    await _make(settings, (DEAD_LETTERS, 1, {"max.message.bytes": "1048588"}))
    status = next(s for s in await create_topics(settings) if s.name == settings.topic(DEAD_LETTERS))
    assert status.outcome == "wrong"
    assert status.what_to_do.endswith("--add-config max.message.bytes=2097152")


async def test_a_refused_creation_is_reported_with_the_brokers_reason(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names, topic_replication="3")
    statuses = await create_topics(settings)
    assert {status.outcome for status in statuses} == {"failed"}
    assert "InvalidReplicationFactorError" in statuses[0].got


async def test_two_that_create_at_once_both_succeed(servers: Servers, names: Names) -> None:
    settings = _settings(servers, names)
    for statuses in await asyncio.gather(create_topics(settings), create_topics(settings)):
        assert all(status.fine for status in statuses), statuses


async def test_a_dead_kafka_is_one_clear_error(names: Names) -> None:
    settings = load(flags={"kafka_bootstrap": "127.0.0.1:1"})
    with pytest.raises(KafkaUnreachableError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await check_topics(settings)


async def test_a_healthy_deployment_has_no_problems(servers: Servers, names: Names) -> None:
    settings = _settings(servers, names)
    await create_topics(settings)
    findings = await doctor(settings)
    assert [finding for finding in findings if finding.level == "problem"] == []
    assert {finding.name for finding in findings} >= {
        "python", "assertions", "libraries", "kafka", "topics", "group", "lag",
        "redis", "redis memory", "redis persistence", "clock", "snapshot key",
    }  # fmt: skip


async def test_missing_topics_and_absent_workers_are_findings(real_servers: Servers, names: Names) -> None:
    findings = _by_name(await doctor(_settings(real_servers, names)))
    assert (findings["topics"].level, findings["topics"].what_to_do[:4]) == ("problem", "run ")
    assert (findings["group"].level, findings["lag"].level) == ("warning", "ok")


async def test_lag_counts_what_is_not_committed_yet(servers: Servers, names: Names) -> None:
    settings = _settings(servers, names)
    await create_topics(settings)
    topic = settings.topic(EVENTS)
    async with AIOKafkaProducer(bootstrap_servers=servers.bootstrap) as producer:
        for partition in (0, 0, 0, 2):
            await producer.send_and_wait(topic, b"{}", partition=partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers.bootstrap, group_id=names.group_id, enable_auto_commit=False)
    async with consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): 1})
        lag = _by_name(await doctor(settings))["lag"]
    assert f"{topic} 3 records (0: 2, 1: 0, 2: 1, 3: 0)" in lag.found


async def test_running_workers_are_seen(real_servers: Servers, names: Names) -> None:
    settings = _settings(real_servers, names)
    await create_topics(settings)
    consumer = AIOKafkaConsumer(
        settings.topic(EVENTS), bootstrap_servers=real_servers.bootstrap, group_id=names.group_id
    )
    async with consumer:
        await asyncio.wait_for(_assigned(consumer), 10)
        group = _by_name(await doctor(settings))["group"]
    assert (group.level, group.found) == ("ok", f"{names.group_id} is Stable with 1 members")


async def test_dead_servers_are_findings_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # A doctor who waited for every time-out of the clients in turn would take minutes.
    settings = load(flags={"kafka_bootstrap": "127.0.0.1:1", "redis_url": "redis://u:secret@127.0.0.1:1"})
    findings = _by_name(await asyncio.wait_for(doctor(settings), 30))
    for name in ("kafka", "redis"):
        assert findings[name].level == "problem"
        assert findings[name].found.startswith("127.0.0.1:1 does not answer")
        assert findings[name].what_to_do
    assert "secret" not in str(findings)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_servers_that_accept_and_say_nothing_are_findings_in_time(silent_port: int) -> None:
    silent = f"127.0.0.1:{silent_port}"
    settings = load(flags={"kafka_bootstrap": silent, "redis_url": f"redis://{silent}"})
    findings = _by_name(await asyncio.wait_for(doctor(settings), 30))
    assert (findings["kafka"].level, findings["redis"].level) == ("problem", "problem")


async def test_an_evicting_redis_is_a_problem(servers: Servers, names: Names) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            memory = _by_name(await doctor(_settings(servers, names)))["redis memory"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert (memory.level, "noeviction" in memory.what_to_do) == ("problem", True)


def test_a_read_only_or_ancient_redis_is_found() -> None:
    assert doctor_module._redis_server("r:1", {"redis_version": "7.0.0", "role": "slave"}).level == "problem"
    assert doctor_module._redis_server("r:1", {"redis_version": "5.0.14", "role": "master"}).level == "warning"
    failing = {"rdb_last_bgsave_status": "err", "rdb_last_save_time": 1}
    assert doctor_module._redis_persistence("r:1", failing).level == "problem"


@pytest.mark.parametrize(
    ("theirs", "asked", "answered", "level"),
    [
        (100.0, 100.0, 100.0, "ok"),
        (101.5, 100.0, 100.0, "warning"),
        (98.5, 100.0, 100.0, "warning"),
        # The server looked at its clock somewhere within a slow round trip: no proof of a difference.
        (101.5, 100.0, 102.0, "ok"),
    ],
)
def test_a_clock_difference_beyond_doubt_is_a_warning(theirs: float, asked: float, answered: float, level: str) -> None:
    assert doctor_module._clock(theirs, asked, answered).level == level


@pytest.mark.parametrize(
    ("bootstrap", "level"),
    [
        ("127.0.0.1:9092", "ok"),
        ("localhost:9092,[::1]:9092", "ok"),
        ("kafka:9092", "warning"),
        ("127.0.0.1:9092,10.0.0.7:9092", "warning"),
    ],
)
def test_the_development_key_is_a_warning_away_from_loopback(bootstrap: str, level: str) -> None:
    assert doctor_module._snapshot_key(load(flags={"kafka_bootstrap": bootstrap})).level == level
    own = load(flags={"kafka_bootstrap": bootstrap, "snapshot_key": "own"})
    assert doctor_module._snapshot_key(own).level == "ok"


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def _make(settings: Settings, *topics: tuple[str, int, dict[str, str]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    await admin.create_topics(
        [NewTopic(settings.topic(name), count, 1, topic_configs=config) for name, count, config in topics]
    )
    await admin.close()
    for name, _, _ in topics:
        while not (await topic_facts(settings))[settings.topic(name)].exists:  # noqa: ASYNC110 (a broker tells nobody)
            await asyncio.sleep(0.02)


async def _eventually_missing(settings: Settings, name: str) -> None:
    while (await topic_facts(settings))[name].exists:  # noqa: ASYNC110 (a broker tells nobody)
        await asyncio.sleep(0.02)


async def _assigned(consumer: AIOKafkaConsumer) -> None:
    while not consumer.assignment():  # noqa: ASYNC110 (the client tells a listener only)
        await asyncio.sleep(0.05)


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}
