"""What the commands of `produce` share: types of options, the way to Kafka, and errors of one line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from producers.run import Job, run_job
from producers.shop_parts import PartError
from producers.sink import SinkError
from producers.source import SourceError
from producers.summary import Summary
from producers.synthetic.witness import TruthFileError
from stream_app.backends.ports import LogError
from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.settings import Settings


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


POSITIVE_OR_MAX: Final = _PositiveOrMax()
SHARE: Final = click.FloatRange(0.0, 1.0)
as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON for programs, and no progress."
)
#: What a command needs to send.
KAFKA_SETTINGS: Final = ("kafka_bootstrap", "topic_prefix")
with_kafka = with_settings(only=KAFKA_SETTINGS)


def run(job: Job, settings: Settings) -> Summary:
    """Run a job against the Kafka of the settings."""
    return asyncio.run(run_job(job, settings))


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what can go wrong into `Error: …` and exit code 2 (the file) or 1 (Kafka)."""
    try:
        with refusing(SourceError, TruthFileError):
            yield
    except (SinkError, LogError, PartError) as error:
        raise click.ClickException(str(error)) from None


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """For people, or for programs."""
    click.echo(summary.to_json() if as_json else summary.to_text())
