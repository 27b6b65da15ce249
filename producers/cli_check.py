"""`stream-app produce check`: what a file would come to, without sending it."""

from __future__ import annotations

from pathlib import Path

import click

from producers.checking import check
from producers.cli_options import one_line
from producers.clock import SystemClock
from producers.format_option import chosen_format, format_options
from producers.progress import RunProgress
from producers.source import Source


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@format_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Stop after so many events and rejected rows [default: all].",
)
@click.option("--samples", type=click.IntRange(0, 100), default=3, show_default=True, help="First events to show.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON for programs.")
def check_command(
    file: Path, format_name: str | None, mapping: Path | None, limit: int | None, samples: int, as_json: bool
) -> None:
    """Say what FILE would come to, and send nothing: events by type, rejected rows by reason with an example of each.

    Without --format the format is told from the file, with why. Ids are shown as short hashes and addresses without
    their query, so that the output can be shown around. The exit code is 1 if there is no event in the file.

    \b
    Examples:
      stream-app produce check export.jsonl.gz
      stream-app produce check mine.jsonl --mapping mine.toml --limit 1000
      stream-app produce check events.parquet --json
    """
    with one_line(), RunProgress(quiet=as_json) as progress:
        format, why = chosen_format(file, format_name, mapping)
        with Source(file, format, now_ms=SystemClock().now_ms()) as source:
            found = check(source, why=why, limit=limit, samples=samples, progress=progress.show)
    click.echo(found.to_json() if as_json else found.to_text())
    if not found.events:
        raise click.exceptions.Exit(1)
