"""`stream-app sessions FILE...|--live`: a history as one row for each episode of a visitor with an item."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from producers.progress import RunProgress
from producers.source import SourceError
from stream_app.analytics.block import Block
from stream_app.analytics.episodes import Episodes, consolidated
from stream_app.analytics.stretches import OPEN_MAX
from stream_app.analytics.time_order import TimeOrder
from stream_app.block_files.history import BlockHistory
from stream_app.block_files.writing import WritingError, open_rows
from stream_app.cli_history import LIVE_SETTINGS, AskedHistory, asked_history
from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.cli_table import show_table
from stream_app.settings import Settings
from stream_app.unfinished import unfinished

#: What events were in files.
_ROWS: Final = "rows of the files"


@click.command("sessions")
@asked_history
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Rows go here: .csv or .parquet."
)
@click.option(
    "--open-max",
    type=click.IntRange(min=1),
    default=OPEN_MAX,
    show_default=True,
    help="Open episodes in memory at most; those quiet for longest are ended when there are more, and counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON, without a progress bar.")
@with_settings(only=("session_gap_ms", "grace_ms", *LIVE_SETTINGS))
def sessions_command(asked: AskedHistory, out: Path, open_max: int, as_json: bool, settings: Settings) -> None:
    """Write one row for each episode of a visitor with an item in FILE..., parts of one shop's history, which may be
    directories. With --live, in the events topic.

    An episode ends at its purchase, or by --session-gap-ms without an event about the item: view, view, add_to_cart,
    purchase, view is two rows. Memory holds the open episodes alone. Files that are out of order by more than
    --grace-ms are sorted on disk first.

    \b
    Examples:
      stream-app sessions 2019-Oct.csv.gz --out rows.parquet
      stream-app sessions mine.jsonl --mapping mine.toml --out rows.csv --session-gap-ms 86400000
      stream-app sessions --live --since-hours 24 --out yesterday.csv
    """
    kind = out.suffix.removeprefix(".")
    if kind not in ("csv", "parquet"):
        raise click.BadParameter(f"got {out.name}, expected a name that ends in .csv or .parquet", param_hint="--out")
    with (
        refusing(SourceError, WritingError, OSError),
        unfinished(out) as path,
        RunProgress(quiet=as_json) as progress,
        tempfile.TemporaryDirectory(prefix="stream-app-") as scratch,
    ):
        history = asked.open(settings, directory=Path(scratch), progress=progress.show)
        work = Consolidation(history, settings, open_max, rows="records of the topic" if asked.live else _ROWS)
        if not work.run(history.as_they_come(progress.show), path, kind, stop_if_late=True):
            work.run(history.in_order(Path(scratch), progress.show), path, kind, stop_if_late=False)
    if as_json:
        click.echo(json.dumps(work.told, indent=1))
    else:
        show_table(("what", "count"), [(name, f"{count:,}") for name, count in work.told.items()])


class Consolidation:
    """One reading of the files, or a second one if they turn out to be out of order; `told` is what was found.

    `rows` is what the events were, in words.
    """

    def __init__(self, history: BlockHistory, settings: Settings, open_max: int, *, rows: str = _ROWS) -> None:
        self.history = history
        self.told: dict[str, Any] = {}
        self._rows = rows
        self._settings = settings
        self._open_max = open_max

    def run(self, blocks: Iterator[Block], out: Path, kind: str, *, stop_if_late: bool) -> bool:
        """Write the rows; False as soon as an event comes too late for its row, where that is to stop it.

        Sorted ones can be late, too: after millions of one visitor, whose clock alone moves no watermark.
        """
        order = TimeOrder(lateness_ms=self._settings.grace_ms)
        episodes = Episodes(timeout_ms=self._settings.session_gap_ms, open_max=self._open_max)
        with open_rows(out, kind=kind) as writer:
            for rows in consolidated(blocks, order=order, episodes=episodes):
                writer.write(rows)
                if order.late and stop_if_late:
                    return False
        self._tell(order, episodes)
        return True

    def _tell(self, order: TimeOrder, episodes: Episodes) -> None:
        ended = episodes.closed
        self.told = {
            "rows": ended.total(),
            **{f"rows ended by {name}": count for name, count in sorted(ended.items())},
            "events taken in": order.released,
            "events twice": order.duplicates,
            "events too late, left out": order.late,
            "events without an item": episodes.without_item,
            "purchases without an item": episodes.purchases_without_item,
            "refunds": episodes.refunds,
            **{f"{self._rows} rejected: {reason}": count for reason, count in sorted(self.history.rejected.items())},
        }
