"""Create and check the topics: what exists is never changed, what differs is said with what to do about it.

Faust and aiokafka go on quietly when a topic is missing or has another shape, and a wrong partition count separates a
visitor's events from its labels: so this is asked before any loop starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    for_code,
)

from stream_app.backends.cluster_metadata import ClusterFacts, TopicFacts, describe
from stream_app.backends.embedded import EMBEDDED_CLUSTER_PREFIX
from stream_app.backends.kafka_access import access, why_turned_away
from stream_app.settings import Settings
from stream_app.topics import CHANGELOG, EVENTS, TOPICS, TopicSpec

#: Of one request, in ms. The client's own default of 40 s is longer than anyone watches a terminal.
REQUEST_TIMEOUT_MS: Final = 4_000
#: Until a created topic shows with all its partitions, in seconds; a controller needs about 0.1 s.
_VISIBLE_TIMEOUT_S: Final = 10.0
_VISIBLE_POLL_S: Final = 0.05
_WEEK_MS: Final = 7 * 24 * 3600 * 1000
_CLEANUP: Final = "cleanup.policy"
_RETENTION: Final = "retention.ms"
_RECORD_BYTES: Final = "max.message.bytes"
_COMPACTION_LAG: Final = "min.compaction.lag.ms"
_CHECKED: Final = (_CLEANUP, _RETENTION, _RECORD_BYTES, _COMPACTION_LAG)


class KafkaUnreachableError(ConnectionError):
    """No broker answered at the address given. Trying again later may help."""


class TopicStatus(NamedTuple):
    """One topic against what it must be; `what_to_do` is empty when it is fine.

    `outcome`: `ok`; `created` just now; `missing`; `wrong` shape; `failed` to be created or looked at.
    """

    name: str
    outcome: Literal["ok", "created", "missing", "wrong", "failed"]
    got: str
    expected: str
    what_to_do: str

    @property
    def fine(self) -> bool:
        """Whether the loops may use it."""
        return self.outcome in ("ok", "created")


async def create_topics(settings: Settings) -> list[TopicStatus]:
    """Make the topics that are missing, then check all of them; nothing that exists is changed.

    Missing co-partitioned topics get the partition count of those that exist (`clickstream.events.v1` first), and
    `topic_partitions` where none does. The embedded Kafka refuses to create: there, asking for a topic makes it.

    Raises KafkaUnreachableError when no broker answers.
    """
    async with _admin(settings) as admin:
        facts = await describe(admin._client, _names(settings))
        missing = [spec for spec in TOPICS if not _facts(facts, settings, spec).exists]
        embedded = facts.cluster_id.startswith(EMBEDDED_CLUSTER_PREFIX)
        refused: dict[str, str] = {}
        if embedded:
            await describe(admin._client, _names(settings), create=True)
        elif missing:
            count, _ = _copartition_count(facts, settings)
            refused = await _create(admin, settings, missing, count)
        made = {settings.topic(spec.name) for spec in missing} - set(refused)
        await _until_visible(admin, made)
        statuses = []
        for status in await _check(admin, settings):
            if status.name in refused:
                statuses.append(status._replace(outcome="failed", got=refused[status.name], what_to_do=_REFUSED))
            elif status.outcome == "ok" and status.name in made:
                statuses.append(status._replace(outcome="created"))
            else:
                statuses.append(status)
        return statuses


async def check_topics(settings: Settings) -> list[TopicStatus]:
    """Compare each topic with what it must be, creating none; KafkaUnreachableError when no broker answers."""
    async with _admin(settings) as admin:
        return await _check(admin, settings)


async def topic_facts(settings: Settings) -> dict[str, TopicFacts]:
    """Topic id, partition count and replication of every topic, by full name; KafkaUnreachableError as above."""
    async with _admin(settings) as admin:
        return (await describe(admin._client, _names(settings))).topics


def expected_config(spec: TopicSpec, settings: Settings) -> dict[str, str]:
    """The configuration of a topic, as `topics create` sets it."""
    if spec.name == CHANGELOG:
        # A visitor is forgotten after history_ttl_ms; a week more lets a worker that was down still restore from it.
        return {**spec.config, _RETENTION: str(settings.history_ttl_ms + _WEEK_MS)}
    return dict(spec.config)


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**access(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        # The client logs each address it could not reach; the error below says the same, once.
        with quiet("aiokafka"):
            await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        secured = settings.kafka_security_protocol != "PLAINTEXT"
        if secured and isinstance(error, KafkaConnectionError | NodeNotReadyError):
            with quiet("aiokafka"):
                reason = await why_turned_away(access(settings))
            raise KafkaUnreachableError(f"Kafka at {settings.kafka_bootstrap} does not let us in: {reason}") from None
        raise KafkaUnreachableError(
            f"Kafka at {settings.kafka_bootstrap} does not answer ({error or type(error).__name__}); "
            "is it running, and is --kafka-bootstrap right?"
        ) from None
    finally:
        await admin.close()


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keep a client library's log lines away while its failure is caught and told in our own words."""
    noisy = logging.getLogger(logger)
    before = noisy.level
    noisy.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        noisy.setLevel(before)


_MISSING: Final = "run `stream-app topics create`, or check --topic-prefix"
_DENIED: Final = "give this program the right to describe the topic (`stream-app acls kafka` prints what it needs)"
_REFUSED: Final = "mend what the broker says (rights, replication, quota), then run `stream-app topics create` again"


async def _create(
    admin: AIOKafkaAdminClient, settings: Settings, missing: Sequence[TopicSpec], count: int
) -> dict[str, str]:
    """Ask for the topics; the refusals by full name, with the broker's reason."""
    wanted = [
        NewTopic(
            settings.topic(spec.name),
            count if spec.copartitioned else spec.partitions,
            settings.topic_replication,
            topic_configs=expected_config(spec, settings),
        )
        for spec in missing
    ]
    response = await admin.create_topics(wanted)
    refused = {}
    for answer in response.to_object()["topic_errors"]:
        error = for_code(answer["error_code"])
        # Another worker may create them at the same moment: the check that follows sees what came out.
        if answer["error_code"] and error is not TopicAlreadyExistsError:
            refused[answer["topic"]] = f"{error.__name__}: {answer.get('error_message') or error.description}"
    return refused


async def _until_visible(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait, bounded, until brokers show the topics: the controller answers before they all know."""
    deadline = asyncio.get_running_loop().time() + _VISIBLE_TIMEOUT_S
    while names and asyncio.get_running_loop().time() < deadline:
        facts = await describe(admin._client, sorted(names))
        if all(topic.exists for topic in facts.topics.values()):
            return
        await asyncio.sleep(_VISIBLE_POLL_S)


async def _check(admin: AIOKafkaAdminClient, settings: Settings) -> list[TopicStatus]:
    facts = await describe(admin._client, _names(settings))
    configs = await _configs(admin, facts)
    count, origin = _copartition_count(facts, settings)
    embedded = facts.cluster_id.startswith(EMBEDDED_CLUSTER_PREFIX)
    statuses = []
    for spec in TOPICS:
        topic = _facts(facts, settings, spec)
        if spec.copartitioned:
            partitions, why = count, origin
        else:
            # The embedded Kafka gives every topic 4 partitions: those of ours with one use number 0 there.
            partitions, why = (topic.partitions if embedded and topic.exists else spec.partitions), ""
        statuses.append(_compare(spec, topic, partitions, why, configs.get(topic.name), settings))
    return statuses


def _compare(
    spec: TopicSpec, topic: TopicFacts, partitions: int, why: str, config: dict[str, str] | None, settings: Settings
) -> TopicStatus:
    wanted = expected_config(spec, settings)
    expected = [f"{_count(partitions)}{why if topic.partitions != partitions else ''}"]
    if topic.error not in (None, "UnknownTopicOrPartitionError"):
        return TopicStatus(topic.name, "failed", str(topic.error), expected[0], _DENIED)
    if not topic.exists:
        return TopicStatus(topic.name, "missing", "no such topic", expected[0], _MISSING)
    got, to_do = [_count(topic.partitions)], []
    if topic.partitions != partitions:
        to_do.append(
            "a visitor's records must meet in one partition: stop everything, make the topic again with "
            f"{_count(partitions)} (adding partitions would move visitors), or use another --topic-prefix"
        )
    for name, need, has, good in _config_facts(wanted, config):
        expected.append(f"{name} {need}")
        got.append(f"{name} {has}")
        if not good:
            value = f"[{need}]" if "," in need else need
            to_do.append(f"kafka-configs.sh --alter --topic {topic.name} --add-config {name}={value.split(' ')[-1]}")
    return TopicStatus(topic.name, "wrong" if to_do else "ok", ", ".join(got), ", ".join(expected), "; ".join(to_do))


def _config_facts(wanted: dict[str, str], config: dict[str, str] | None) -> Iterator[tuple[str, str, str, bool]]:
    """Name, needed, found, fits: of settings whose error loses data or stops us, as far as the broker tells."""
    if config is None:
        return
    policy = wanted.get(_CLEANUP, "delete")
    found = config.get(_CLEANUP, "delete")
    yield _CLEANUP, policy, found, set(policy.split(",")) == set(found.split(","))
    if "compact" in policy and _RETENTION in wanted:
        # A longer one costs disk only; a shorter one forgets visitors that are still remembered elsewhere.
        need, has = int(wanted[_RETENTION]), int(config.get(_RETENTION, "-1"))
        yield _RETENTION, f"at least {need}", str(has), has < 0 or has >= need
    if _COMPACTION_LAG in wanted:
        # Sooner, it might take the state that a former owner's late write has covered up, before that is put right.
        need, has = int(wanted[_COMPACTION_LAG]), int(config.get(_COMPACTION_LAG, "0"))
        yield _COMPACTION_LAG, f"at least {need}", str(has), has >= need
    if _RECORD_BYTES in wanted and _RECORD_BYTES in config:
        # A dead letter that the broker refuses would be written again for ever, and its partition stand still.
        need, has = int(wanted[_RECORD_BYTES]), int(config[_RECORD_BYTES])
        yield _RECORD_BYTES, f"at least {need}", str(has), has >= need


async def _configs(admin: AIOKafkaAdminClient, facts: ClusterFacts) -> dict[str, dict[str, str]]:
    """The configuration of existing topics by full name; those that the broker does not tell are left out."""
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_CHECKED))
        for name, topic in facts.topics.items()
        if topic.exists
    ]
    try:
        responses = await admin.describe_configs(asked) if asked else []
    except IncompatibleBrokerVersion:  # the embedded Kafka cannot answer, and has no compaction to get wrong
        return {}
    return {
        topic["resource_name"]: {entry["config_names"]: entry["config_value"] for entry in topic["config_entries"]}
        for response in responses
        for topic in response.to_object()["resources"]
        if not topic["error_code"]
    }


def _copartition_count(facts: ClusterFacts, settings: Settings) -> tuple[int, str]:
    """The one partition count of the co-partitioned topics, and whose it is where they exist already."""
    shared = sorted((spec for spec in TOPICS if spec.copartitioned), key=lambda spec: spec.name != EVENTS)
    for spec in shared:
        topic = _facts(facts, settings, spec)
        if topic.exists:
            return topic.partitions, f" as {topic.name} has"
    return settings.topic_partitions, ""


def _facts(facts: ClusterFacts, settings: Settings, spec: TopicSpec) -> TopicFacts:
    return facts.topics[settings.topic(spec.name)]


def _names(settings: Settings) -> list[str]:
    return [settings.topic(spec.name) for spec in TOPICS]


def _count(partitions: int) -> str:
    return f"{partitions} partition" if partitions == 1 else f"{partitions} partitions"
