"""`stream-app produce`: send a file of history, or what a synthetic shop does, to the input topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from producers.clock import SystemClock
from producers.formats import FORMATS
from producers.progress import RunProgress
from producers.replay import replay
from producers.run import Job, run_job
from producers.sink import KafkaSink, SinkError
from producers.source import Source, SourceError
from producers.summary import Summary
from producers.synthetic.feed import feed
from producers.synthetic.noise import Noise, disturb
from producers.synthetic.shop import Shop
from stream_app.cli_options import with_settings
from stream_app.settings import Settings

#: Of a file that is not what it should be: the code that click uses for a wrong command line.
_USAGE_EXIT_CODE: Final = 2

#: Where the shop's own time begins. Fixed, so that a seed alone fixes the stream; in the past, so that event time may
#: run faster than the clock for years before it catches up.
_START: Final = "2025-01-01"


class _PositiveOrMax(click.ParamType):
    """A number above 0, or `max` for no limit (None)."""

    name = "N|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value == "max":
            return None
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0.0 < number < float("inf"):
            self.fail(f"got {value!r}, expected a number above 0, or max", param, ctx)
        return number


_POSITIVE_OR_MAX: Final = _PositiveOrMax()
_SHARE: Final = click.FloatRange(0.0, 1.0)
_as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON for programs, and no progress."
)
_with_kafka = with_settings(only=("kafka_bootstrap", "topic_prefix"))


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
    type=_POSITIVE_OR_MAX,
    metavar="X|max",
    default="max",
    show_default=True,
    help="How many times faster than it happened: 1 is real time, 60 an hour a minute, max as fast as Kafka takes it.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Stop after this many rows [default: all].")
@_as_json
@_with_kafka
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

    with _one_line(), RunProgress(quiet=as_json) as progress:
        # A wrong file is told at once, not after a wait for Kafka.
        Source(file, format, now_ms=SystemClock().now_ms()).close()
        summary = _run(job, settings)
    _print(summary, as_json=as_json)


@produce.command("synthetic")
@click.option(
    "--rate",
    type=_POSITIVE_OR_MAX,
    metavar="N|max",
    default="1000",
    show_default=True,
    help="Events per second of wall-clock time; max is as fast as Kafka takes them.",
)
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="Stop after this many [default: at Ctrl-C].")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of everything random: the same seed sends the same events, another one is another shop.",
)
@click.option(
    "--sessions-per-hour",
    type=click.FloatRange(min=1.0),
    default=2_000.0,
    show_default=True,
    help="Visits in an average hour of the shop's own time, with about 4.5 events each.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    default=_START,
    show_default=True,
    metavar="DATE",
    help="Where the shop's own time begins (UTC).",
)
@click.option(
    "--labels", type=_SHARE, default=0.0, help="Share of checkouts that come as labels, from the order system."
)
@click.option("--duplicates", type=_SHARE, default=0.0, help="Share of events that are sent twice.")
@click.option("--late", type=_SHARE, default=0.0, help="Share of events that arrive up to two minutes late.")
@click.option("--broken", type=_SHARE, default=0.0, help="Share of events followed by a broken record.")
@click.option("--session-ids/--no-session-ids", default=True, help="Leave sessions to the inactivity gap with --no-….")
@_as_json
@_with_kafka
def synthetic_command(
    rate: float | None,
    events: int | None,
    seed: int,
    sessions_per_hour: float,
    start: datetime,
    labels: float,
    duplicates: float,
    late: float,
    broken: float,
    session_ids: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Send what the visitors of a made-up shop do: 3 to 4 % of the visits buy.

    The shop lives in its own time, which runs as fast as --rate needs: at 2,000 visits an hour (9,000 events) and
    1,000 events a second, an hour passes in 9 seconds, so that sessions end and labels arrive while you watch.

    \b
    Examples:
      stream-app produce synthetic
      stream-app produce synthetic --rate max --events 1000000 --seed 7
      stream-app produce synthetic --duplicates 0.02 --late 0.05 --broken 0.01 --labels 0.3
    """
    shop = Shop(
        seed=seed,
        start_ms=int(start.replace(tzinfo=UTC).timestamp()) * 1000,
        sessions_per_hour=sessions_per_hour,
        session_ids=session_ids,
        label_share=labels,
    )
    deliveries = disturb(shop, Noise(duplicates=duplicates, late=late, broken=broken), seed=seed)

    def show(sent: int, event_time: int) -> None:
        reached = datetime.fromtimestamp(event_time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        progress.show("events", sent, events, f"(shop's time {reached})")

    async def job(sink: KafkaSink, stop: asyncio.Event) -> Summary:
        return await feed(deliveries, sink, rate=rate, events=events, stop=stop, progress=show)

    with _one_line(), RunProgress(quiet=as_json) as progress:
        summary = _run(job, settings)
    _print(summary, as_json=as_json)


def _run(job: Job, settings: Settings) -> Summary:
    return asyncio.run(run_job(job, bootstrap=settings.kafka_bootstrap, topic_prefix=settings.topic_prefix))


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what can go wrong into `Error: …` and exit code 2 (the file) or 1 (Kafka)."""
    try:
        yield
    except SourceError as error:
        wrong = click.ClickException(str(error))
        wrong.exit_code = _USAGE_EXIT_CODE
        raise wrong from None
    except SinkError as error:
        raise click.ClickException(str(error)) from None


def _print(summary: Summary, *, as_json: bool) -> None:
    click.echo(summary.to_json() if as_json else summary.to_text())
