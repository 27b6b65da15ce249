"""Every role does its work on real servers with what the lists of `stream-app acls` allow, and with nothing more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from redis import Redis

from stream_app import kafka_acls, topics
from stream_app.backends.child_process import free_port
from stream_app.tls import client_context
from tests.scenarios.process import wait_for
from tests.security.deployment import RAW, SUBSCRIBERS, SecuredServers
from tests.security.secured_redis import ADMIN_PASSWORD

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

_EXAMPLE = Path(__file__).parents[2] / "examples" / "aiokafka_consumer" / "consumer.py"
WRITE_KEY = "a-write-key-of-this-test"
#: In seconds, for anything here: machines are busy.
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def prepared(secured: SecuredServers) -> SecuredServers:
    """Lists, functions and topics, as docs/security.md tells an administrator to make them."""
    for role in kafka_acls.ROLES:
        secured.allow(role)
    done = secured.command("topics", "topics", "create")
    assert done.returncode == 0, done.stdout + done.stderr
    admin = {"redis_username": "admin", "redis_password": ADMIN_PASSWORD}
    loaded = secured.command("look", "acls", "functions", **admin)
    assert loaded.returncode == 0, loaded.stderr
    client = secured.kafka.admin()  # with a name: else it ends before it has answered
    for future in client.create_topics([NewTopic(RAW, 1, 1)]).values():
        future.result(timeout=30)
    return secured


@pytest.fixture
def administrator(secured: SecuredServers) -> Iterator[Redis]:
    with Redis.from_url(
        secured.redis.url, username="admin", password=ADMIN_PASSWORD, ssl_ca_certs=str(secured.authority.ca)
    ) as client:
        yield client


def test_every_role_works_with_its_list_and_asks_for_nothing_more(
    prepared: SecuredServers, administrator: Redis
) -> None:
    administrator.acl_log_reset()
    port = free_port()
    with prepared.stopped_at_the_end():
        services = {
            "worker": prepared.start("worker", "worker"),
            "trainer": prepared.start("trainer", "trainer"),
            "discounts": prepared.start("discounts", "discounts", "run"),
            "ingest": prepared.start("ingest", "ingest", "--topic", RAW, "--format", "canonical"),
            "collect": prepared.start("collect", "collect", **_with_tls(prepared, port)),
        }
        for name, process in services.items():
            wait_for(name, lambda p=process: p.exit_code is not None or p.ready()[0], seconds=PATIENCE_S)
            assert process.exit_code is None, name

        sent = prepared.command("producer", "produce", "synthetic", "--events", "300", "--seed", "1")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        _post(prepared, port, _event("collected"))
        raw = Producer(prepared.kafka.options("admin", "set-up-and-nothing-else"))
        raw.produce(RAW, json.dumps(_event("ingested")))
        raw.flush(30)
        told = _subscribed(prepared, 302)
        assert {"collected", "ingested"} <= {record["id"] for record in told}

        trainer = services["trainer"]
        wait_for("a snapshot", lambda: trainer.metric("intent_snapshots_published_total") > 0, seconds=PATIENCE_S)
        worker = services["worker"]
        wait_for("following it", lambda: worker.metric("intent_snapshots_followed_total") > 0, seconds=PATIENCE_S)
        assert worker.get("/api/stats")[0] == 200
        looked = prepared.command("look", "doctor", "--json")
        findings = {found["name"]: found for found in json.loads(looked.stdout)}
        assert looked.returncode == 0, findings
        assert findings["topics"]["level"] == findings["group"]["level"] == findings["lag"]["level"] == "ok", findings
        assert prepared.command("look", "session", "visitor-of-collected").returncode == 0
        forgotten = prepared.command("forget", "forget", "visitor-of-collected")
        assert forgotten.returncode == 0, forgotten.stdout + forgotten.stderr
        assert prepared.command("look", "session", "visitor-of-collected").returncode == 1
        assert [process.terminate() for process in services.values()] == [0] * len(services)

    denied = {role: prepared.kafka.denied(role) for role in kafka_acls.ROLES}
    assert denied == {role: set() for role in kafka_acls.ROLES}
    assert [entry for entry in administrator.acl_log() if entry["object"] != "AUTH"] == []


def _event(name: str) -> dict[str, Any]:
    return {
        "event_id": name,
        "event_type": "view_item",
        "event_time": int(time.time() * 1000),
        "visitor_id": f"visitor-of-{name}",
        "item_id": "item-1",
    }


def _with_tls(servers: SecuredServers, port: int) -> dict[str, Any]:
    pair = servers.authority.server()
    return {
        "collect_port": port, "collect_cert_file": pair.cert, "collect_key_file": pair.key,
        "collect_write_keys": f"shop={WRITE_KEY}",
    }  # fmt: skip


def _post(servers: SecuredServers, port: int, event: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/v1/events", json.dumps(event).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {WRITE_KEY}"},
    )  # fmt: skip
    tls = client_context(ca_file=str(servers.authority.ca))
    with urllib.request.urlopen(request, timeout=PATIENCE_S, context=tls) as answer:
        assert answer.status == 200


def _subscribed(servers: SecuredServers, count: int) -> list[dict[str, Any]]:
    """What the example for subscribers prints of the scores, as a user of its own."""
    environment = {
        **os.environ, "STREAM_APP_KAFKA_BOOTSTRAP": servers.kafka.sasl, "GROUP": SUBSCRIBERS,
        "STREAM_APP_KAFKA_CA_FILE": str(servers.authority.ca), "STREAM_APP_KAFKA_USERNAME": "subscriber",
        "STREAM_APP_KAFKA_PASSWORD": servers.password("subscriber"),
    }  # fmt: skip
    output = servers.directory / "subscriber.jsonl"
    with output.open("wb") as file:
        example = subprocess.Popen(
            [sys.executable, str(_EXAMPLE)], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        # At least once: an event may be told twice.
        wait_for(f"{count} scores", lambda: len({*output.read_text().splitlines()}) >= count, seconds=PATIENCE_S)
    finally:
        example.terminate()
        code = example.wait(PATIENCE_S)
    assert code == 0, output.read_text()[-2000:]
    found = [json.loads(line) for line in output.read_text().splitlines()]
    return [record for record in found if record["topic"] == topics.SCORES]


# ---- one right less -------------------------------------------------------------------------------------------------

#: Role, its command, the grant that is taken away (kind, operation), and what it then says.
TAKEN = [
    ("worker", ("worker",), ("topic", "Describe"), "give this program the right to describe the topic (`stream-app"),
    ("worker", ("worker",), ("topic", "Read"), "TopicAuthorizationFailedError"),
    ("worker", ("worker",), ("topic", "Write"), "AuthorizationFailed"),
    ("worker", ("worker",), ("group", "Read"), "GroupAuthorizationFailedError"),
    ("trainer", ("trainer",), ("transactional-id", "Write"), "TransactionalIdAuthorizationFailed"),
    ("trainer", ("trainer",), ("topic", "Read"), "TopicAuthorizationFailedError"),
    ("discounts", ("discounts", "run"), ("group", "Read"), "GroupAuthorizationFailedError"),
    ("discounts", ("discounts", "run"), ("transactional-id", "Write"), "TransactionalIdAuthorizationFailed"),
    ("ingest", ("ingest", "--topic", RAW, "--format", "canonical"), ("group", "Read"), "GroupAuthorizationFailedError"),
    ("producer", ("produce", "synthetic", "--events", "10"), ("topic", "Write"), "does not let us look at topic"),
    ("topics", ("topics", "check"), ("topic", "Describe"), "TopicAuthorizationFailedError"),
    # It is its only topic to write to: without one a producer is not given an id to count its records by.
    ("forget", ("forget", "somebody"), ("topic", "Write"), "ClusterAuthorizationFailedError"),
    ("forget", ("forget", "somebody"), ("group", "Describe"), "GroupAuthorizationFailedError"),
    ("look", ("doctor",), ("group", "Describe"), "GroupAuthorizationFailedError"),
]


SERVICES = ("worker", "trainer", "discounts", "ingest")
#: Each takes seconds; one of every kind of right is enough for CI.
_SHORT = {("worker", "topic", "Write"), ("worker", "group", "Read"), ("trainer", "transactional-id", "Write")}
_SHORT |= {("producer", "topic", "Write"), ("worker", "topic", "Describe")}


@pytest.mark.parametrize(
    ("role", "words", "taken", "said"),
    [
        pytest.param(
            *case, marks=() if (case[0], *case[2]) in _SHORT else pytest.mark.long, id=f"{case[0]}-{'-'.join(case[2])}"
        )
        for case in TAKEN
    ],
)
def test_without_one_right_a_role_says_what_is_missing(
    role: str, words: tuple[str, ...], taken: tuple[str, str], said: str, prepared: SecuredServers
) -> None:
    asked = kafka_acls.Asked(group=SUBSCRIBERS, topics=(RAW,) if role == "ingest" else (), partitions=1)
    every = kafka_acls.grants(role, prepared.settings(role), asked)
    (without,) = [grant for grant in every if (grant.resource, grant.operations[0]) == taken]
    prepared.allow(role, without=without)
    try:
        with prepared.stopped_at_the_end():
            process = prepared.start(role, *words) if role in SERVICES else None
            if process is not None:
                if taken == ("topic", "Write"):
                    # An idle worker writes nothing: it takes an event.
                    sent = prepared.command("producer", "produce", "synthetic", "--events", "5", "--seed", "2")
                    assert sent.returncode == 0, sent.stderr
                wait_for("its words", lambda: said in process.said(), seconds=PATIENCE_S)
                told = process.said()
                # What fails is waited out for some seconds before it is said there, too.
                wait_for("readiness to say so", lambda: not process.ready()[0], seconds=PATIENCE_S)
            else:
                done = prepared.command(role, *words)
                told = done.stdout + done.stderr
        assert said in " ".join(told.split()), told
        assert "stream-app acls kafka" in " ".join(told.split()), told
    finally:
        prepared.allow(role)
