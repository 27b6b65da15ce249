"""Access lists as tables of docs/security.md: `python -m ops.audit.acl_tables` prints them, a test compares them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stream_app import kafka_acls, redis_acls, topics
from stream_app.kafka_acls import Asked, Grant
from stream_app.settings import Settings

#: Names as a page can show them: of one partition, and of what only the reader knows.
_SETTINGS = Settings(topic_partitions=1, processing_guarantee="exactly_once")
_ASKED = Asked(group="GROUP", topics=("TOPIC",), partitions=1)
_ALL = frozenset(spec.name for spec in topics.TOPICS)


def kafka_table() -> Iterator[str]:
    """One row a role: what it looks at, reads and writes."""
    yield "| role | program | looks at | reads | writes | groups | transactional ids |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, role in kafka_acls.ROLES.items():
        given = kafka_acls.grants(name, _SETTINGS, _ASKED if name == "ingest" else Asked(group=_ASKED.group))
        cells = [f"`{name}`", role.about]
        looked = _names(given, "topic", ("DescribeConfigs", "Create"))
        created = any("Create" in grant.operations for grant in given)
        cells.append(f"{_told(looked)}{' and creates them' if created else ''}")
        cells += [_told(_names(given, "topic", ("Read",))), _told(_names(given, "topic", ("Write",)))]
        groups = [f"`{group}`" for group in _names(given, "group", ("Read",))]
        groups += [f"`{group}` (Describe)" for group in _names(given, "group", ("Describe",))]
        ids = [f"`{found.replace('-0', '-N')}`" for found in _names(given, "transactional-id", ("Write",))]
        yield f"| {' | '.join([*cells, _or_none(groups), _or_none(ids)])} |"


def redis_table() -> Iterator[str]:
    """One row a role: keys and commands."""
    yield "| role | program | keys it writes | keys it only reads | commands |"
    yield "| --- | --- | --- | --- | --- |"
    for name, role in redis_acls.ROLES.items():
        writes, reads = (
            [f"`{pattern % _SETTINGS.namespace}`" for pattern in found] for found in (role.writes, role.reads)
        )
        commands = " ".join(role.commands)
        yield f"| `{name}` | {role.about} | {_or_none(writes)} | {_or_none(reads)} | `{commands}` |"


def _names(given: Sequence[Grant], resource: str, operations: Sequence[str]) -> list[str]:
    return list(
        dict.fromkeys(
            name
            for grant in given
            if grant.resource == resource and set(operations) & set(grant.operations)
            for name in grant.names
        )
    )


def _told(names: Sequence[str]) -> str:
    return "all topics" if set(names) >= _ALL else _or_none([f"`{name}`" for name in names])


def _or_none(words: Sequence[str]) -> str:
    return ", ".join(words) or "–"


if __name__ == "__main__":
    for table in (kafka_table(), redis_table()):
        print("\n".join(table), end="\n\n")
