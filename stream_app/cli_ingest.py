"""`stream-app ingest`: events from a raw topic, from files, or from standard input."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from producers import standard_input
from producers.cli_options import KAFKA_SETTINGS, as_json_option, one_line, print_summary, run
from producers.clock import SystemClock
from producers.detection import detect_stream
from producers.door_settings import DOOR_SETTINGS, door_of
from producers.format_option import AVRO, chosen_files, said_format, topic_format_options
from producers.formats import Format
from producers.history_files import HistoryFile
from producers.mapping_file import read_mapping
from producers.progress import RunProgress
from producers.sink import KafkaSink
from producers.source_error import SourceError
from producers.standard_input import StandardInput
from producers.summary import Summary
from producers.taking_in import Input, take_in
from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import UnusableError
from stream_app.cli_options import with_settings
from stream_app.cli_run import require_topics
from stream_app.ingest.target import find_target
from stream_app.schema_registry import RegistryError, SchemaRegistry
from stream_app.settings import Settings
from stream_app.topics import TOPICS

if TYPE_CHECKING:
    from stream_app.ingest.deployment import ReaderOf

#: What a process that takes a topic in can be told.
INGEST_SETTINGS: Final = (
    *KAFKA_SETTINGS, *DOOR_SETTINGS, "group_id", "session_timeout_ms", "worker_id", "check_crcs", "grace_ms",
    "batch_records_max", "schema_registry_url", "schema_registry_user", "schema_registry_password", "web_host",
    "web_port", "web_targets", "log_level", "log_format",
)  # fmt: skip


@click.command("ingest")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, metavar="[FILE|-]...")
@click.option("--topic", metavar="NAME", help="Take in this topic, by its full name, until stopped.")
@topic_format_options
@as_json_option
@with_settings(only=INGEST_SETTINGS)
def ingest_command(
    *,
    files: tuple[Path, ...],
    topic: str | None,
    format_name: str | None,
    mapping: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Take events of any format in: from a topic of any key, exactly once, or from FILEs or standard input (-).

    Every record becomes its events on clickstream.events.v1, keyed by visitor, or, unchanged and with the reason, a
    record on dead.letters.v1. Start as many processes on a topic as it has partitions; /metrics, /healthz and /readyz
    answer on the web port. Files are sent as they stand, at once: `produce replay` sorts and paces them.

    \b
    Examples:
      stream-app ingest --topic raw.clicks
      stream-app ingest --topic raw.clicks --mapping kiosk.toml --web-port 8092
      stream-app ingest --topic raw.clicks --format avro --schema-registry-url http://registry:8081
      stream-app ingest export-1.jsonl.gz export-2.csv
      some-exporter | stream-app ingest - --format segment
    """
    if (topic is None) == (not files):
        raise click.UsageError("expected files (- is standard input), or --topic, and not both")
    if topic is not None:
        if as_json:
            raise click.UsageError("got --json with --topic, which has no summary: its figures are on /metrics")
        _take_topic_in(topic, format_name, mapping, settings)
        return
    if format_name == AVRO:
        raise click.UsageError(f"got --format {AVRO} with files, expected --topic: it is what records of Kafka are")
    with one_line(), RunProgress(quiet=as_json) as progress:
        # What is wrong with the command is told at once, not after a wait for Kafka.
        door = door_of(settings)
        inputs, told = _inputs(files, format_name, mapping)

        async def job(sink: KafkaSink, stop: asyncio.Event) -> Summary:
            return await take_in(
                inputs, sink, door=door, stop=stop,
                progress=lambda phase, done, total: progress.show(phase, done, total or None),
            )  # fmt: skip

        summary = run(job, settings)
    summary.notes[:0] = told
    print_summary(summary, as_json=as_json)


def _take_topic_in(topic: str, format_name: str | None, mapping: Path | None, settings: Settings) -> None:
    if topic in {settings.topic(spec.name) for spec in TOPICS}:
        raise click.UsageError(f"got --topic {topic}, which is one of our own: what is written would be read again")
    with one_line():
        said, reader_of = _said_of_topic(format_name, mapping, settings)
        require_topics(settings)
        try:
            asyncio.run(find_target(settings, topic, KafkaClients(settings)))
            if reader_of is not None:
                asyncio.run(_ask_registry(settings))
        except (UnusableError, RegistryError) as error:
            raise click.ClickException(str(error)) from None
        # Faust takes a second to import: not before it is known that there is something to run on.
        from stream_app.ingest.deployment import create_app
        from stream_app.process import run as run_services

        deployment = create_app(settings, topic, said, reader_of=reader_of)
    click.get_current_context().exit(run_services(deployment))


def _said_of_topic(
    format_name: str | None, mapping: Path | None, settings: Settings
) -> tuple[tuple[Format, str] | None, ReaderOf | None]:
    """The format that the options say, and, of Avro, what makes that of each batch."""
    if format_name != AVRO:
        return said_format(format_name, mapping), None
    if not settings.schema_registry_url:
        raise click.UsageError(
            f"got --format {AVRO} without a schema registry, expected --schema-registry-url http://…: "
            "records name their schema by its number there"
        )
    try:
        from stream_app.ingest.avro_records import AvroRecords, unread
    except ImportError:
        raise SourceError(f"--format {AVRO} takes more than is installed: pip install '.[avro]'") from None
    inner = None if mapping is None else read_mapping(mapping)
    return (unread(inner), "as --format says"), lambda settings, observer: AvroRecords(settings, inner, observer)


async def _ask_registry(settings: Settings) -> None:
    """Once at the start, so that a wrong address or password is told at once and not by records that wait."""
    async with SchemaRegistry(settings) as registry:
        await registry.check()


def _inputs(paths: Sequence[Path], format_name: str | None, mapping: Path | None) -> tuple[list[Input], list[str]]:
    """What is named, in that order, and in words which formats were found."""
    if paths.count(standard_input.NAME) > 1:
        raise click.UsageError("got - twice, expected standard input once")
    inputs, told = [], []
    for path in paths:
        if path == standard_input.NAME:
            format, why = _standard_input(stream := StandardInput(), said_format(format_name, mapping))
            inputs.append(Input(HistoryFile(path, "standard input", format), stream))
            told += [f"standard input is {format.name}: {why}"] if format_name is None and mapping is None else []
            continue
        chosen = chosen_files([path], format_name, mapping)
        inputs += [Input(file) for file in chosen.files]
        told += chosen.found
    for one in inputs:
        if one.stream is None:
            one.open(SystemClock().now_ms()).close()
    return inputs, told


def _standard_input(stream: StandardInput, said: tuple[Format, str] | None) -> tuple[Format, str]:
    """The format that was said, or that the stream's beginning tells."""
    if said is None:
        disk = stream.opened()
        try:
            found = detect_stream(disk, standard_input.NAME)
        finally:
            disk.detach()  # or it would close the stream when it is forgotten
        if found.format is None:
            raise SourceError(f"standard input: {found.why}; {found.advice}")
        said = found.format, found.why
    stream.rewind()
    return said
