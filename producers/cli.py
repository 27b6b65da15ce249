"""`stream-app produce`: send a file of history, or what a synthetic shop does, to the input topics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from producers.cli_check import check_command
from producers.cli_options import KAFKA_SETTINGS, POSITIVE_OR_MAX, as_json_option, one_line, print_summary, run
from producers.cli_synthetic import synthetic_command
from producers.clock import SystemClock
from producers.door_settings import DOOR_SETTINGS, door_of
from producers.format_option import chosen_files, format_options
from producers.progress import RunProgress
from producers.replay import replay_files
from producers.replay_state import StateFile, content_of
from producers.sink import KafkaSink
from producers.source import Source
from producers.summary import Summary
from stream_app.cli_options import with_settings
from stream_app.settings import Settings


@click.group("produce")
def produce() -> None:
    """Send events to Kafka: a file of history, or a synthetic shop.

    Ctrl-C stops cleanly: what was taken is delivered, and the summary printed.
    """


@produce.command("replay")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PATH...")
@format_options
@click.option(
    "--speed",
    type=POSITIVE_OR_MAX,
    metavar="X|max",
    default="max",
    show_default=True,
    help="How many times faster than it happened: 1 is real time, 60 an hour a minute, max as fast as Kafka takes it.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Stop after so many events and rejected rows [default: all].",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="STATE",
    help="Keep in this file how far it is, and go on from there if it exists.",
)
@as_json_option
@with_settings(only=(*KAFKA_SETTINGS, *DOOR_SETTINGS))
def replay_command(
    *,
    paths: tuple[Path, ...],
    format_name: str | None,
    mapping: Path | None,
    speed: float | None,
    limit: int | None,
    resume: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Send the files at PATH again, in the order of their event times.

    A file is JSON lines, one JSON array, CSV, TSV or Parquet, plain, gzip or zstd, whatever its name says. Of a
    directory all files are taken, those in directories below it as well; files that overlap in time are read side by
    side. Every row becomes its events on clickstream.events.v1 or, unchanged and with the reason, a record on
    dead.letters.v1; `check` tells which without sending anything. A file that is not in time order is sorted in memory
    first. Records are stamped with the present time, for Kafka deletes by that stamp; the event's own time is in its
    value.

    With --resume a replay that was stopped or killed goes on where it was: nothing is missing, and what is sent twice
    is at most the last second's, under the same event ids. Files must be the same then, byte for byte.

    Addresses lose their query (but for utm_*), search terms their e-mail addresses and long numbers: see
    docs/formats.md, Privacy.

    \b
    Examples:
      stream-app produce replay 2019-Oct.csv.gz 2019-Nov.csv.gz
      stream-app produce replay export/ --resume export.state
      stream-app produce replay events.csv --format retailrocket --speed 3600
      stream-app produce replay mine.jsonl --mapping mine.toml --limit 1000 --json
    """
    with one_line(), RunProgress(quiet=as_json) as progress:
        # What is wrong with the command is told at once, not after a wait for Kafka.
        door = door_of(settings)
        files, told = chosen_files(paths, format_name, mapping)
        for file in files:
            Source(file.path, file.format, now_ms=SystemClock().now_ms()).close()
        same = {
            "--mapping": content_of(mapping) if mapping is not None else "",
            "--topic-prefix": settings.topic_prefix,
            "the door": door.check,
        }

        async def job(sink: KafkaSink, stop: asyncio.Event) -> Summary:
            return await replay_files(
                files, sink, speed=speed, limit=limit, door=door, kept=StateFile(resume) if resume else None,
                same=same, stop=stop, progress=progress.show,
            )  # fmt: skip

        summary = run(job, settings)
    summary.notes[:0] = told
    print_summary(summary, as_json=as_json)


produce.add_command(check_command)
produce.add_command(synthetic_command)
