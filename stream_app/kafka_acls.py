"""What each role must be allowed in Kafka, and no more: for access lists (`stream-app acls kafka`, docs/security.md).

A test runs every role on a real broker that denies all else, and takes rights away to see what is said then.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from stream_app import topics
from stream_app.settings import Settings

#: Kafka's names, as `kafka-acls.sh` takes them.
Operation = Literal["Read", "Write", "Describe", "DescribeConfigs", "Create"]
Resource = Literal["topic", "group", "transactional-id"]


class Grant(NamedTuple):
    """Operations on resources of one kind, by their full names. Read and Write imply Describe."""

    resource: Resource
    names: tuple[str, ...]
    operations: tuple[Operation, ...]


class Asked(NamedTuple):
    """What beside the settings rights depend on: the subscriber's group, the topics that it or ingest reads.

    `partitions` is how many the widest of ingest's topics has: each has a transactional id.
    """

    group: str = ""
    topics: tuple[str, ...] = ()
    partitions: int = 0


#: What the pages of a worker and a trainer read beside their own work.
_SHOWN: Final = (topics.CLOSED, topics.EXAMPLES, topics.OFFERS)
_SCORED: Final = (topics.SCORES, topics.FEATURES, topics.EXAMPLES, topics.CLOSED, topics.MOMENTS, topics.DEAD_LETTERS)
_SUBSCRIBED: Final = (topics.SCORES, topics.MOMENTS, topics.OFFERS)


def grants(role: str, settings: Settings, asked: Asked = Asked()) -> list[Grant]:  # noqa: B008 (immutable)
    """What a role needs with these settings. Raises KeyError for a role that there is not."""
    merged: dict[tuple[Resource, tuple[Operation, ...]], list[str]] = {}
    for grant in ROLES[role].needs(settings, asked):
        merged.setdefault((grant.resource, grant.operations), []).extend(grant.names)
    return [
        Grant(resource, tuple(dict.fromkeys(names)), operations)
        for (resource, operations), names in merged.items()
        if names
    ]


def lines(principal: str, given: Sequence[Grant], *, bootstrap: str) -> Iterator[str]:
    """Shell commands, one for each grant. `principal` as Kafka has it: `User:worker`."""
    for grant in given:
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "admin.properties", "--add"]
        words += ["--allow-principal", principal]
        for operation in grant.operations:
            words += ["--operation", operation]
        for name in grant.names:
            words += [f"--{grant.resource}", name]
        yield shlex.join(words)


def _worker(settings: Settings, asked: Asked) -> list[Grant]:
    return [
        _looks_at_all(settings),
        _topics(settings, "Read", topics.EVENTS, topics.LABELS, topics.CHANGELOG, topics.SNAPSHOTS, *_SHOWN),
        _topics(settings, "Write", topics.CHANGELOG, *_SCORED),
        Grant("group", (settings.group_id,), ("Read",)),
        _transactions(settings.processing_guarantee, [f"{settings.namespace}-{n}" for n in _partitions(settings)]),
    ]


def _trainer(settings: Settings, asked: Asked) -> list[Grant]:
    return [
        _looks_at_all(settings),
        _topics(settings, "Read", topics.SNAPSHOTS, *_SHOWN),
        _topics(settings, "Write", topics.SNAPSHOTS),
        Grant("group", (f"{settings.namespace}-trainer",), ("Read",)),
        Grant("transactional-id", (f"{settings.namespace}-trainer",), ("Write",)),
    ]


def _run(settings: Settings, asked: Asked) -> list[Grant]:
    return [*_worker(settings, asked), *_trainer(settings, asked)[1:]]


def _discounts(settings: Settings, asked: Asked) -> list[Grant]:
    own = (topics.OFFERS, topics.EXPOSURES, topics.OUTCOMES)
    read = (topics.MOMENTS, topics.CLOSED, topics.EVENTS, topics.LABELS, topics.EXAMPLES)
    ids = tuple(f"{settings.namespace}-discounts-{number}" for number in _partitions(settings))
    return [
        _looks_at_all(settings),
        _topics(settings, "Read", *read, *own),
        _topics(settings, "Write", *own),
        Grant("group", (f"{settings.group_id}-discounts",), ("Read",)),
        Grant("transactional-id", ids, ("Write",)),
    ]


def _ingest(settings: Settings, asked: Asked) -> list[Grant]:
    groups = [f"{settings.namespace}-ingest-{topic}" for topic in asked.topics]
    ids = tuple(f"{group}-{number}" for group in groups for number in range(asked.partitions))
    return [
        _looks_at_all(settings),
        Grant("topic", asked.topics, ("Read",)),
        _topics(settings, "Write", topics.EVENTS, topics.DEAD_LETTERS),
        Grant("group", tuple(groups), ("Read",)),
        Grant("transactional-id", ids, ("Write",)),
    ]


def _collect(settings: Settings, asked: Asked) -> list[Grant]:
    return [_looks_at_all(settings), _topics(settings, "Write", topics.EVENTS, topics.DEAD_LETTERS)]


def _producer(settings: Settings, asked: Asked) -> list[Grant]:
    return [_topics(settings, "Write", topics.EVENTS, topics.LABELS, topics.DEAD_LETTERS)]


def _subscriber(settings: Settings, asked: Asked) -> list[Grant]:
    names = asked.topics or tuple(settings.topic(name) for name in _SUBSCRIBED)
    return [Grant("topic", names, ("Read",)), Grant("group", (asked.group,) if asked.group else (), ("Read",))]


def _forget(settings: Settings, asked: Asked) -> list[Grant]:
    return [
        _looks_at_all(settings),
        _topics(settings, "Write", topics.EVENTS),
        Grant("group", (settings.group_id,), ("Describe",)),
    ]


def _models(settings: Settings, asked: Asked) -> list[Grant]:
    """A command is a record among the snapshots, signed with their key."""
    return [
        _looks_at_all(settings),
        _topics(settings, "Read", topics.SNAPSHOTS),
        _topics(settings, "Write", topics.SNAPSHOTS),
    ]


def _audit(settings: Settings, asked: Asked) -> list[Grant]:
    """Also `doctor`, `session`, `explain`, `report --live`: whoever looks, and changes nothing."""
    return [
        _looks_at_all(settings),
        _topics(settings, "Read", *(spec.name for spec in topics.TOPICS)),
        Grant("group", (settings.group_id,), ("Describe",)),
    ]


def _topics_admin(settings: Settings, asked: Asked) -> list[Grant]:
    every = [spec.name for spec in topics.TOPICS]
    return [_topics(settings, "Create", *every), _looks_at_all(settings)]


class Role(NamedTuple):
    """A program, and what it needs."""

    about: str
    needs: Callable[[Settings, Asked], list[Grant]]


ROLES: Final[dict[str, Role]] = {
    "topics": Role("`topics create` and `topics check`: once, and after an upgrade", _topics_admin),
    "worker": Role("`worker`", _worker),
    "trainer": Role("`trainer`", _trainer),
    "run": Role("`run`: worker and trainer in one", _run),
    "discounts": Role("`discounts run`", _discounts),
    "ingest": Role("`ingest`: give `--topic` and `--partitions`", _ingest),
    "collect": Role("`collect`", _collect),
    "producer": Role("`produce`, and the shop's own producers", _producer),
    "subscriber": Role("who reads scores, moments and offers: give `--group`", _subscriber),
    "forget": Role("`forget`", _forget),
    "models": Role("`models status`, `promote` and `rollback`", _models),
    "look": Role("`doctor`, `audit`, `session`, `explain`, `report --live`", _audit),
}


def _looks_at_all(settings: Settings) -> Grant:
    """At its start a program makes sure that every topic fits: shapes and settings, no records."""
    return Grant("topic", _full(settings, [spec.name for spec in topics.TOPICS]), ("Describe", "DescribeConfigs"))


def _topics(settings: Settings, operation: Operation, *names: str) -> Grant:
    return Grant("topic", _full(settings, names), (operation,))


def _full(settings: Settings, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(settings.topic(name) for name in names))


def _partitions(settings: Settings) -> range:
    return range(settings.topic_partitions)


def _transactions(guarantee: str, ids: Sequence[str]) -> Grant:
    """Only `exactly_once` has transactions of partitions."""
    return Grant("transactional-id", tuple(ids) if guarantee == "exactly_once" else (), ("Write",))
