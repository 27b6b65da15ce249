"""`stream-app produce`: send a file of history, or what a synthetic shop does, to the input topics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from producers.cli_options import POSITIVE_OR_MAX, as_json_option, one_line, print_summary, run, with_kafka
from producers.cli_synthetic import synthetic_command
from producers.clock import SystemClock
from producers.formats import FORMATS
from producers.progress import RunProgress
from producers.replay import replay
from producers.sink import KafkaSink
from producers.source import Source
from producers.summary import Summary
from stream_app.settings import Settings


@click.group("produce")
def produce() -> None:
    """Send events to Kafka: a file of history, or a synthetic shop.

    Ctrl-C stops cleanly: what was taken is delivered, and the summary printed.
    """


@produce.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(sorted(FORMATS)),
    required=True,
    help="; ".join(f"{name}: {format.description}" for name, format in sorted(FORMATS.items())) + ".",
)
@click.option(
    "--speed",
    type=POSITIVE_OR_MAX,
    metavar="X|max",
    default="max",
    show_default=True,
    help="How many times faster than it happened: 1 is real time, 60 an hour a minute, max as fast as Kafka takes it.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Stop after this many rows [default: all].")
@as_json_option
@with_kafka
def replay_command(
    file: Path, format_name: str, speed: float | None, limit: int | None, as_json: bool, settings: Settings
) -> None:
    """Send FILE (plain or gzip) again, in the order of its event times.

    Every row becomes an event on clickstream.events.v1 or, unchanged and with the reason, a record on dead.letters.v1.
    A file that is not in time order is sorted in memory first. Records are stamped with the present time, for Kafka
    deletes by that stamp; the event's own time is in its value.

    \b
    Examples:
      stream-app produce replay 2019-Oct.csv.gz --format rees46
      stream-app produce replay events.csv --format retailrocket --speed 3600
      stream-app produce replay mine.jsonl --format canonical --limit 1000 --json
    """

    format = FORMATS[format_name]

    async def job(sink: KafkaSink, stop: asyncio.Event) -> Summary:
        return await replay(file, format, sink, speed=speed, limit=limit, stop=stop, progress=progress.show)

    with one_line(), RunProgress(quiet=as_json) as progress:
        # A wrong file is told at once, not after a wait for Kafka.
        Source(file, format, now_ms=SystemClock().now_ms()).close()
        summary = run(job, settings)
    print_summary(summary, as_json=as_json)


produce.add_command(synthetic_command)
