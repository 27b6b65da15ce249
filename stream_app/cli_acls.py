"""`stream-app acls`: what to allow whom in Kafka and Redis, printed to be run by an administrator."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from stream_app import kafka_acls, redis_acls
from stream_app.backends.redis import FAILURES, connect_by
from stream_app.cli_options import with_settings
from stream_app.settings import Settings

_NAMES: Final = ("kafka_bootstrap", "topic_prefix", "group_id", "topic_partitions", "processing_guarantee")


def _choice(roles: dict[str, kafka_acls.Role] | dict[str, redis_acls.Role]) -> click.Choice[str]:
    return click.Choice(list(roles))


@click.group("acls")
def acls_group() -> None:
    """What each role needs in Kafka and Redis, and no more: lines for their access lists (docs/security.md)."""


@acls_group.command("kafka")
@click.option("--role", required=True, type=_choice(kafka_acls.ROLES), help="The program that is to be let in.")
@click.option("--principal", required=True, help="Its name as Kafka has it, such as User:worker.")
@click.option("--group", default="", help="The group of a subscriber.")
@click.option("--topic", "names", multiple=True, help="A topic that ingest or a subscriber reads, by its full name.")
@click.option(
    "--partitions", type=click.IntRange(min=1), help="How many the topic that ingest reads has, of several the most."
)
@with_settings(only=_NAMES)
def acls_kafka(
    settings: Settings, role: str, principal: str, group: str, names: tuple[str, ...], partitions: int | None
) -> None:
    """Print kafka-acls.sh lines for a role.

    \b
    Example:
      stream-app acls kafka --role worker --principal User:worker | sh
      stream-app acls kafka --role ingest --principal User:ingest --topic raw.clicks --partitions 12 | sh
    """
    if role == "ingest" and not (names and partitions):
        raise click.UsageError(
            "--role ingest needs --topic, the one that it reads, and --partitions, how many that has"
        )
    given = kafka_acls.grants(role, settings, kafka_acls.Asked(group, names, partitions or 0))
    for line in kafka_acls.lines(principal, given, bootstrap=settings.kafka_bootstrap):
        click.echo(line)


@acls_group.command("redis")
@click.option("--role", required=True, type=_choice(redis_acls.ROLES), help="The program that is to be let in.")
@click.option("--user", required=True, help="Its name in Redis.")
@with_settings(only=("topic_prefix", "group_id", "redis_cluster"))
def acls_redis(settings: Settings, role: str, user: str) -> None:
    """Print the ACL SETUSER line of a role, for redis-cli; add a password (`>PASSWORD`) or `nopass` with mTLS.

    Its users run no scripts: load the functions first (`stream-app acls functions`).
    """
    click.echo(f"ACL SETUSER {redis_acls.line(user, role, settings)}")


@acls_group.command("functions")
@with_settings(only=("redis_url", "redis_cluster", "redis_username", "redis_password", "redis_timeout_ms"))
def acls_functions(settings: Settings) -> None:
    """Load the functions that users of these access lists call, as an administrator of Redis; once for each version.

    They stay over restarts, where Redis writes anything to its disk, and replicas get them.
    """
    try:
        names = asyncio.run(_load(settings))
    except FAILURES as error:
        raise click.ClickException(
            f"the functions were not loaded ({type(error).__name__}: {error}); "
            "is --redis-url right, and may this user FUNCTION LOAD?"
        ) from None
    for name in names:
        click.echo(name)


async def _load(settings: Settings) -> list[str]:
    client = connect_by(settings)
    try:
        functions = redis_acls.functions()
        for function in functions:
            await client.function_load(function.library, replace=True)
    finally:
        await client.aclose()
    return [function.function for function in functions]
