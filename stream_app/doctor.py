"""What is wrong with a deployment and what to do: `stream-app doctor` asks Kafka, Redis, the libraries and itself.

Every question has a time limit, a dead server is a finding like any other, and nothing is changed anywhere.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, IncompatibleBrokerVersion, KafkaError

from stream_app.admin import REQUEST_TIMEOUT_MS, KafkaUnreachableError, check_topics, quiet
from stream_app.backends.cluster_metadata import describe
from stream_app.backends.kafka_access import access, denied_hint, why_turned_away
from stream_app.backends.redis import FAILURES, connect_by
from stream_app.discounts.core.policy_file import PolicyError, read_policy
from stream_app.discounts.policy_text import policy_text
from stream_app.security_rules import in_the_clear, is_loopback
from stream_app.settings import DEVELOPMENT_KEY, Settings
from stream_app.topics import EVENTS, LABELS

Level = Literal["ok", "warning", "problem"]
_T = TypeVar("_T")

#: For all questions to one server, in seconds: after that a person wants to know that it does not answer.
_SERVER_TIMEOUT_S: Final = 5.0
#: In seconds: beyond it two machines disagree visibly about when an idle partition's sessions end.
_CLOCK_DIFFERENCE_MAX_S: Final = 1.0
#: The oldest Redis still maintained when this was written; older ones lack fixes in the Lua engine.
_REDIS_VERSION_MIN: Final = (7, 0)
#: The libraries that decide about correctness, with the versions that pyproject.toml asks for.
_LIBRARIES: Final = {
    "aiokafka": (0, 14, 0),
    "faust-streaming": (0, 15, 3),
    "redis": (8, 1, 0),
    "river": (0, 26, 1),
    "msgspec": (0, 20),
    "numpy": (1, 26),
    "pandas": (2, 2),
    "prometheus-client": (0, 21),
}


class Finding(NamedTuple):
    """One thing looked at; `what_to_do` is empty when it is fine."""

    name: str
    level: Level
    found: str
    what_to_do: str = ""


async def doctor(settings: Settings) -> list[Finding]:
    """Look at everything; the servers are asked side by side, for 5 s at most each. Raises nothing."""
    kafka, view = await asyncio.gather(
        _bounded("kafka", _kafka(settings), "is the broker reachable and is --kafka-bootstrap right?"),
        _bounded("redis", _redis(settings), "is the server reachable and is --redis-url right?"),
    )
    return [*_program(), *kafka, *view, _transport(settings), _snapshot_key(settings), _policy(settings)]


async def _bounded(name: str, findings: AsyncIterator[Finding], what_to_do: str) -> list[Finding]:
    """Findings until the time is up; those made so far are kept."""
    seen: list[Finding] = []
    try:
        async with asyncio.timeout(_SERVER_TIMEOUT_S):
            async for finding in findings:
                seen.append(finding)  # noqa: PERF401 (a comprehension would lose them at the time-out)
    except TimeoutError:
        seen.append(Finding(name, "problem", f"no answer within {_SERVER_TIMEOUT_S:g} s", what_to_do))
    return seen


def _program() -> Iterator[Finding]:
    """Python, the libraries, and the mode they run in."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()}")
    if sys.flags.optimize:
        yield Finding(
            "assertions",
            "problem",
            "Python runs with -O: aiokafka's checks of a producer's state are assertions, and they are off",
            "start without -O and without PYTHONOPTIMIZE",
        )
    else:
        yield Finding("assertions", "ok", "on")
    shown, old = [], []
    for name, least in _LIBRARIES.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            old.append(f"{name} is not installed")
            continue
        shown.append(f"{name} {found}")
        if _numbers(found) < least:
            old.append(f"{name} {found} is older than {'.'.join(map(str, least))}")
    if old:
        yield Finding("libraries", "problem", "; ".join(old), "install again: pip install --upgrade stream-app")
    else:
        yield Finding("libraries", "ok", ", ".join(shown))


async def _kafka(settings: Settings) -> AsyncIterator[Finding]:
    admin = AIOKafkaAdminClient(**access(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)
    with quiet("aiokafka"):
        try:
            try:
                await admin.start()
                facts = await describe(admin._client, [])
            except (KafkaError, OSError) as error:
                secured = settings.kafka_security_protocol != "PLAINTEXT"
                said = await why_turned_away(access(settings)) if secured else error or type(error).__name__
                yield Finding(
                    "kafka",
                    "problem",
                    f"{settings.kafka_bootstrap} does not answer: {said}",
                    "start the broker, or give the right --kafka-bootstrap and kafka_security_protocol",
                )
                return
            brokers = ", ".join(facts.brokers)
            yield Finding("kafka", "ok", f"cluster {facts.cluster_id}, {brokers}; {_api_versions(admin)}")
            async for finding in _topics(settings):
                yield finding
            for question in (_group, _lag):
                try:
                    yield await question(admin, settings)
                except (KafkaError, OSError) as error:
                    name = question.__name__.strip("_")
                    text = f"could not be asked: {type(error).__name__}: {error}{denied_hint(error)}"
                    yield Finding(name, "warning", text, "look again; if it stays, look at the broker's log")
        finally:
            await admin.close()


def _api_versions(admin: AIOKafkaAdminClient) -> str:
    """The requests that tell old brokers from new ones, as the first connection negotiated them."""
    names = {0: "Produce", 1: "Fetch", 3: "Metadata", 22: "InitProducerId", 28: "TxnOffsetCommit"}
    for connection in admin._client._conns.values():
        versions = connection._versions
        return "newest " + ", ".join(f"{name} v{versions[key][1]}" for key, name in names.items() if key in versions)
    return "api versions unknown"


async def _topics(settings: Settings) -> AsyncIterator[Finding]:
    try:
        statuses = await check_topics(settings)
    except KafkaUnreachableError as error:
        yield Finding("topics", "problem", str(error), "look again")
        return
    bad = [status for status in statuses if not status.fine]
    missing = [status for status in bad if status.outcome == "missing"]
    if len(missing) == len(statuses):
        prefix = f" with prefix {settings.topic_prefix!r}" if settings.topic_prefix else ""
        yield Finding("topics", "problem", f"none of {len(statuses)} exist{prefix}", missing[0].what_to_do)
        return
    for status in bad:
        text = f"{status.name}: got {status.got}, expected {status.expected}"
        yield Finding("topics", "problem", text, status.what_to_do)
    if not bad:
        yield Finding("topics", "ok", f"all {len(statuses)} fit, {statuses[0].got.split(',')[0]} each where shared")


async def _group(admin: AIOKafkaAdminClient, settings: Settings) -> Finding:
    try:
        (response,) = await _when_coordinated(lambda: admin.describe_consumer_groups([settings.group_id]))
    except IncompatibleBrokerVersion:
        return Finding("group", "ok", "the embedded Kafka does not tell")
    (group,) = response.to_object()["groups"]
    found = f"{settings.group_id} is {group['state'] or 'unknown'} with {len(group['members'])} members"
    if group["members"]:
        return Finding("group", "ok", found)
    return Finding("group", "warning", found, "no worker is running: start one with `stream-app worker`")


async def _lag(admin: AIOKafkaAdminClient, settings: Settings) -> Finding:
    """How many records of each input partition wait to be scored."""
    facts = await describe(admin._client, [settings.topic(EVENTS), settings.topic(LABELS)])
    partitions = [TopicPartition(name, n) for name, topic in facts.topics.items() for n in range(topic.partitions)]
    if not partitions:
        return Finding("lag", "ok", "no input topics yet")
    committed = await _when_coordinated(
        lambda: admin.list_consumer_group_offsets(settings.group_id, partitions=partitions)
    )
    async with AIOKafkaConsumer(**access(settings), request_timeout_ms=REQUEST_TIMEOUT_MS) as consumer:
        start = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
    waiting = {}
    for partition in partitions:
        done = committed[partition].offset if partition in committed else -1
        # Nothing committed yet: everything there is waits.
        waiting[partition] = end[partition] - max(done, start[partition])
    texts = []
    for name in facts.topics:
        of_topic = {p.partition: lag for p, lag in sorted(waiting.items()) if p.topic == name}
        each = ", ".join(f"{n}: {lag}" for n, lag in of_topic.items())
        texts.append(f"{name} {sum(of_topic.values())} records ({each})")
    return Finding("lag", "ok", "; ".join(texts))


async def _when_coordinated(ask: Callable[[], Awaitable[_T]]) -> _T:
    """A fresh cluster makes its offsets topic at the first question and has no coordinator until then."""
    while True:
        try:
            return await ask()
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.2)  # bounded by the time-out of all Kafka questions


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    client = connect_by(settings)
    kwargs = client.connection_pool.connection_kwargs
    where = kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
    try:
        info = await client.info()
        asked = time.time()
        seconds, micros = await client.time()
        answered = time.time()
    except FAILURES as error:
        text = f"{where} does not answer: {error or type(error).__name__}"
        yield Finding("redis", "problem", text, "start the server, or give the right --redis-url")
        return
    finally:
        await client.aclose()
    for look in (_redis_server, _redis_memory, _redis_persistence):
        yield look(where, info)
    yield _clock(seconds + micros / 1e6, asked, answered)


def _redis_server(where: str, info: dict[str, Any]) -> Finding:
    valkey = info.get("valkey_version")
    found = f"{where} is {'Valkey ' + str(valkey) if valkey else 'Redis ' + str(info.get('redis_version', '?'))}"
    mode = f"{found}, {info.get('redis_mode', 'standalone')}, {info.get('role', 'master')}"
    if info.get("role") == "slave":
        return Finding("redis", "problem", f"{mode}: it refuses writes", "give the address of the primary")
    if _numbers(str(info.get("redis_version", "0"))) < _REDIS_VERSION_MIN:
        least = ".".join(map(str, _REDIS_VERSION_MIN))
        return Finding("redis", "warning", mode, f"use {least} or later: older ones are not tried with this")
    return Finding("redis", "ok", mode)


def _redis_memory(where: str, info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    found = f"{policy}, {info.get('used_memory_human', '?')} used of {info.get('maxmemory_human', '?')} (0B: no limit)"
    if policy == "noeviction":
        return Finding("redis memory", "ok", found)
    return Finding(
        "redis memory",
        "problem",
        f"{found}: single visitors' states may vanish unseen",
        "set maxmemory-policy noeviction (redis-cli config set maxmemory-policy noeviction, and in redis.conf)",
    )


def _redis_persistence(where: str, info: dict[str, Any]) -> Finding:
    parts = ["append-only file" if info.get("aof_enabled") else "no append-only file"]
    saved = info.get("rdb_last_save_time")
    # A server reports its own start as the last save when it never saved: the state of the last one is what tells.
    parts.append(f"last snapshot {info.get('rdb_last_bgsave_status', 'unknown')}" if saved else "no snapshot")
    if info.get("rdb_last_bgsave_status", "ok") != "ok" or info.get("aof_last_write_status", "ok") != "ok":
        text = ", ".join(parts) + ": the server cannot write to its disk and may refuse ours"
        return Finding("redis persistence", "problem", text, "look at the disk of the Redis server and its log")
    return Finding("redis persistence", "ok", ", ".join(parts) + "; whatever it loses is rebuilt from the changelog")


def _clock(theirs: float, asked: float, answered: float) -> Finding:
    """Times in seconds since 1970; half of the round trip is the best guess of when the server looked at its clock."""
    difference = theirs - (asked + answered) / 2
    text = f"Redis is {abs(difference):.3f} s {'ahead' if difference > 0 else 'behind'}"
    if abs(difference) - (answered - asked) / 2 <= _CLOCK_DIFFERENCE_MAX_S:
        return Finding("clock", "ok", text)
    return Finding("clock", "warning", text, "run NTP on both machines: idle partitions are advanced by this clock")


def _transport(settings: Settings) -> Finding:
    """What of the ways to Kafka and Redis, and of the web port, others on the network could read or use."""
    open_ways = list(in_the_clear(settings))
    if not open_ways:
        return Finding("transport", "ok", "encrypted, or on this machine")
    return Finding(
        "transport", "warning", "; ".join(open_ways), "use TLS, and a token for the web port: docs/security.md"
    )


def _snapshot_key(settings: Settings) -> Finding:
    keys = settings.snapshot_keys
    if DEVELOPMENT_KEY.encode() not in keys:
        return Finding("snapshot key", "ok", "set" if len(keys) == 1 else f"set, and {len(keys) - 1} more accepted")
    if all(is_loopback(address.strip().rpartition(":")[0]) for address in settings.kafka_bootstrap.split(",")):
        return Finding("snapshot key", "ok", "the development key, on loopback")
    return Finding(
        "snapshot key",
        "warning",
        "the development key, while Kafka is not on this machine: whoever may write there may replace the model",
        "set STREAM_APP_SNAPSHOT_KEY to one long random text on all workers and the trainer",
    )


def _policy(settings: Settings) -> Finding:
    path = Path(settings.discount_policy) if settings.discount_policy else None
    try:
        policy = read_policy(policy_text(path), where=str(path or "the default policy"))
    except PolicyError as error:
        return Finding("discount policy", "problem", str(error), "mend it; `stream-app discounts check` tells more")
    told = f"{path or 'the default one'}, version {policy.version}"
    if not policy.enabled:
        return Finding("discount policy", "warning", f"{told}, is switched off", "enabled = true, to make offers again")
    return Finding("discount policy", "ok", told)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 8.1.0rc1 is (8, 1, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
