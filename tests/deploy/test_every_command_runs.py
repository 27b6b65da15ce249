"""Every command line and health check that our deployment files contain, run as it is written, on real servers.

Docker, Kubernetes and systemd are not there: what they would do with a file, `Role` and its readers do. Grafana is not,
either; its dashboards are tested in tests/ops.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.deploy import compose, manifests, units
from tests.deploy.role import Here, Process, Role, answers, posted
from tests.deploy.third_parties import ComposedKafka, ComposedRedis, prometheus_gets_healthy
from tests.scenarios.process import wait_for
from tests.support.fixtures import skip_or_fail
from tests.support.unavailable import UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.timeout(600)]

WRITE_KEY = "0123456789abcdef"
EVENT = {"event_id": "e1", "event_type": "page_view", "event_time": 1_767_225_600_000, "visitor_id": "v1"}
DEMO = compose.env_file(compose.REPOSITORY / "deploy" / "compose" / "demo.env")


class Place(NamedTuple):
    """The servers of docker-compose.yml, running here, and secrets as a person would have made them."""

    kafka: ComposedKafka
    redis: ComposedRedis
    secrets: Path

    def here(self, group: str, **words: str) -> Here:
        """For one deployment, apart from all others on these servers; `words` by what files call them."""
        common = {
            "0.0.0.0": "127.0.0.1",
            "/run/secrets": str(self.secrets),
            "/etc/stream-app/secrets": str(self.secrets),
            "/etc/stream-app/policy": str(manifests.BASE),
            "%d": str(self.secrets),
            "redis://redis:6379/0": self.redis.url,
            "redis://redis.example:6379/0": self.redis.url,
            "kafka-1.example:9092,kafka-2.example:9092": self.kafka.bootstrap,
            "kafka:9092": self.kafka.bootstrap,
        }
        # One broker holds one copy of a topic.
        own = {
            "STREAM_APP_GROUP_ID": group,
            "STREAM_APP_TOPIC_PREFIX": f"{group}.",
            "STREAM_APP_TOPIC_REPLICATION": "1",
        }
        return Here({**common, **words}, own)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    services = compose.compose({})["services"]
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "snapshot_key").write_text("a long random text\n")
    (secrets / "write_keys").write_text(f"shop={WRITE_KEY}\n")
    with ExitStack() as stack:
        try:
            kafka = stack.enter_context(ComposedKafka(services["kafka"], tmp_path_factory.mktemp("kafka")))
            redis = stack.enter_context(ComposedRedis(services["redis"], tmp_path_factory.mktemp("redis")))
        except UnavailableError as reason:
            skip_or_fail(reason)
        yield Place(kafka, redis, secrets)


def test_kafka_knows_every_setting_that_it_is_given(place: Place) -> None:
    async def known() -> dict[str, Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka.bootstrap)
        await admin.start()
        try:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")])
        finally:
            await admin.close()
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}

    found = asyncio.run(known())
    assert {name: found.get(name) for name in place.kafka.given} == place.kafka.given


def test_containers_and_this_machine_are_each_told_the_address_that_they_came_by(place: Place) -> None:
    async def told(port: int) -> set[int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
        await admin.start()
        try:
            return {broker["port"] for broker in (await admin.describe_cluster())["brokers"]}
        finally:
            await admin.close()

    for door in ("9092", "9094"):
        assert asyncio.run(told(place.kafka.port(door))) == {place.kafka.port(door)}


def test_prometheus_runs_by_what_is_mounted(tmp_path: Path) -> None:
    try:
        prometheus_gets_healthy(compose.compose({})["services"]["prometheus"], tmp_path)
    except UnavailableError as reason:
        skip_or_fail(reason)


def test_docker_compose(place: Place, tmp_path: Path) -> None:
    group = f"compose-{uuid.uuid4().hex[:8]}"
    raw = f"{group}.raw"
    asyncio.run(make_raw_topic(place.kafka.bootstrap, raw))
    parsed = compose.compose({**DEMO, "RAW_TOPIC": raw})
    policies = parsed["services"]["discounts"]["volumes"][0].split(":")
    here = place.here(group, **{policies[1]: str(compose.REPOSITORY / policies[0])})
    roles = compose.ours(parsed)
    created(roles.pop("topics"), here, tmp_path)
    with running(roles, here, tmp_path) as processes:
        url = processes["collect"].url("8080") + "/v1/events"
        assert posted(url, WRITE_KEY, EVENT) == {
            "accepted": 1, "rejected": 0, "ignored": 0, "results": [{"outcome": "accepted", "event_ids": ["e1"]}],
        }  # fmt: skip
        # A health check says "alive"; these are in their groups and have restored, and the shop's events are scored.
        for name in compose.SERVES:
            until_ready(processes[name])
        wait_for("a score", lambda: scores(processes["worker"].url("8088")) > 1, seconds=120)


def test_kubernetes(place: Place, tmp_path: Path) -> None:
    here = place.here(f"kubernetes-{uuid.uuid4().hex[:8]}")
    roles = manifests.roles()
    created(roles.pop("topics"), here, tmp_path)
    with running(roles, here, tmp_path) as processes:
        assert set(processes) == {"worker", "trainer", "discounts", "collect"}


def test_systemd(place: Place, tmp_path: Path) -> None:
    targets = tmp_path / "targets"
    here = place.here(f"systemd-{uuid.uuid4().hex[:8]}", **{"/run/stream-app/targets": str(targets)})
    roles = units.roles("1")
    created(roles["worker"]._replace(arguments=["topics", "create"]), here, tmp_path)
    with running(roles, here, tmp_path) as processes:

        def told() -> list[str]:
            files = targets.glob("*.json")
            return [target for file in files for entry in json.loads(file.read_text()) for target in entry["targets"]]

        wait_for("all target files", lambda: len(told()) == len(processes), seconds=120)
        for target in told():
            wait_for(f"{target}/readyz", lambda target=target: answers(f"http://{target}/readyz"), seconds=120)  # type: ignore[misc]
        for process in processes.values():
            for port in process.role.ports:
                assert answers(process.url(port) + ("/openapi.json" if port == "8080" else "/healthz"))


class running:  # noqa: N801 (read as `with running(…)`)
    """All roles, each until its checks pass; afterwards none has written anything to where it was started."""

    def __init__(self, roles: dict[str, Role], here: Here, directory: Path) -> None:
        self._processes = {name: Process(role, here, directory) for name, role in roles.items()}
        self._stack = ExitStack()

    def __enter__(self) -> dict[str, Process]:
        with ExitStack() as stack:
            for process in self._processes.values():
                stack.enter_context(process)
            for process in self._processes.values():
                process.until_healthy()
            self._stack = stack.pop_all()
        return self._processes

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for process in self._processes.values():
            assert list(process.directory.iterdir()) == []


def created(topics: Role, here: Here, directory: Path) -> None:
    """Run the command that makes topics."""
    done = Process(topics._replace(name="topics"), here, directory).done()
    assert done.returncode == 0, done.stdout + done.stderr


def until_ready(process: Process) -> None:
    """Wait until its web port says so."""
    wait_for(f"{process.role.name} to be ready", lambda: answers(process.url("8088") + "/readyz"), seconds=120)


def scores(url: str) -> float:
    """What a worker has scored so far."""
    with urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^intent_scores_total\{[^}]*\} (\S+)", text, re.MULTILINE))


async def make_raw_topic(bootstrap: str, name: str) -> None:
    """A topic of one partition with one event, by which its format is told."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(name, json.dumps(EVENT).encode())
    finally:
        await producer.stop()
