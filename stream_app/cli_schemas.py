"""`stream-app schemas`: the records as JSON Schema, AsyncAPI and Avro, for those who write or read the topics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from stream_app.cli_options import with_settings
from stream_app.settings import Settings
from stream_app.topics import TOPICS

_REGISTRY_SETTINGS: Final = (
    "schema_registry_url", "schema_registry_user", "schema_registry_password", "topic_prefix",
)  # fmt: skip


@click.group("schemas", invoke_without_command=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write the files into; made if it is not there.",
)
@click.option("--avro", is_flag=True, help="Write an Avro schema (.avsc) of each record instead.")
@click.pass_context
def schemas_group(ctx: click.Context, *, out: Path | None, avro: bool) -> None:
    """Write JSON Schema (2020-12) of every public record and of the discount policy, and AsyncAPI 3.0 of all topics.

    They are made from the types that write and read them. What each field means is in docs/records.md, too; how an
    editor uses the policy's is in docs/discounts-policy.md, and who needs Avro is told in docs/formats.md.

    \b
    Examples:
      stream-app schemas --out schemas
      stream-app schemas --avro --out schemas
      stream-app schemas check schemas
    """
    if ctx.invoked_subcommand is not None:
        if out is not None or avro:
            raise click.UsageError(f"got --out or --avro with {ctx.invoked_subcommand}, which writes no files")
        return
    if out is None:
        raise click.UsageError("expected --out DIR, or one of the commands: --help lists them")
    from stream_app.schemas.avro import avro_documents
    from stream_app.schemas.documents import documents, write

    try:
        written = write(out, avro_documents() if avro else documents())
    except OSError as error:
        raise click.ClickException(f"got {error}, expected a directory that can be written to") from None
    for path in written:
        click.echo(path)


@schemas_group.command("check")
@click.argument("release", type=click.Path(path_type=Path, file_okay=False))
def check_command(release: Path) -> None:
    """What this version breaks for who writes or reads the topics since a RELEASE: its directory of schemas.

    That is what `stream-app schemas --out RELEASE` of that version wrote. By the rules of docs/records.md: fields are
    added with a default, never changed. Exit code 1 if something breaks.

    \b
    Example:
      stream-app schemas check docs/schemas/released
    """
    from stream_app.cli_refusal import refusing
    from stream_app.schemas.released import ReleaseError, breaches, released_records

    with refusing(ReleaseError):
        found = breaches(release)
        compared = len(released_records(release))
    for breach in found:
        click.echo(f"{breach.record}: {breach.what}\n  the rule: {breach.rule}")
    if found:
        raise click.ClickException(f"got {len(found)} breaks since {release}, expected none: see above")
    click.echo(f"{compared} records are compatible with those of {release}, both ways where they are read by others")


@schemas_group.command("register")
@click.argument("record", metavar="RECORD")
@click.option("--topic", required=True, metavar="NAME", help="The topic that carries it as Avro, by its full name.")
@click.option("--check", "check_only", is_flag=True, help="Only ask whether the registry would take it.")
@with_settings(only=_REGISTRY_SETTINGS)
def register_command(*, record: str, topic: str, check_only: bool, settings: Settings) -> None:
    """Register a RECORD's Avro schema for a topic of yours that carries it as Avro, under the subject NAME-value.

    RECORD is one of docs/records.md by its topic here, such as intent.scores.v1. Our own topics carry JSON, so that
    NAME is none of them. The subject is held to what docs/records.md promises: FULL_TRANSITIVE for what we write,
    BACKWARD_TRANSITIVE for what shops write. Exit code 1 if the registry refuses it.

    \b
    Examples:
      stream-app schemas register intent.scores.v1 --topic scores.avro --schema-registry-url http://registry:8081
      stream-app schemas register clickstream.events.v1 --topic raw.events.avro
    """
    from stream_app.schema_registry import IncompatibleError, RegistryError
    from stream_app.schemas.avro import avro_records
    from stream_app.schemas.registering import register

    known = {each.topic: each for each in avro_records()}
    if record not in known:
        raise click.UsageError(f"got the record {record}, expected one of {', '.join(known)}")
    if topic in {settings.topic(spec.name) for spec in TOPICS}:
        raise click.UsageError(f"got --topic {topic}, which is one of our own and carries JSON, expected one of yours")
    if not settings.schema_registry_url:
        raise click.UsageError("got no schema registry, expected --schema-registry-url http://…")
    try:
        told = asyncio.run(register(settings, known[record], topic=topic, check_only=check_only))
    except (RegistryError, IncompatibleError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(told)
