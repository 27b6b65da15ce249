"""Which history a command reads: files, or what the events topic keeps (`--live`)."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from producers.adapters import canonical
from producers.format_option import chosen_files, format_options
from producers.formats import FORMATS
from producers.history_files import HistoryFile
from producers.source_error import SourceError
from stream_app.block_files.history import BlockHistory
from stream_app.cli_refusal import refusing
from stream_app.evaluation.history import Progress
from stream_app.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: What it takes to read the topic.
LIVE_SETTINGS: Final = ("kafka_bootstrap", "topic_prefix", "check_crcs")

_HOUR_MS: Final = 3_600_000


class AskedHistory(NamedTuple):
    """What the command line said: files, or (`live`) the topic and how far back."""

    files: list[HistoryFile]
    live: bool
    since_hours: float | None

    def open(self, settings: Settings, *, directory: Path, progress: Progress) -> BlockHistory:
        """The files; of the topic, a copy in `directory`.

        Raises
        ------
        SourceError
            If there is no event in the topic.
        click.ClickException
            If Kafka does not answer, or there is no such topic.
        """
        now_ms = time.time_ns() // 1_000_000
        if self.live:
            return self._copied(settings, now_ms=now_ms, directory=directory, progress=progress)
        return BlockHistory(self.files, now_ms=now_ms)

    def _copied(self, settings: Settings, *, now_ms: int, directory: Path, progress: Progress) -> BlockHistory:
        # The Kafka client takes a while to import: not for files, and not for `--help`.
        from stream_app.admin import quiet
        from stream_app.backends.ports import LogError
        from stream_app.block_files.topic_copy import TopicCopy

        since_ms = None if self.since_hours is None else now_ms - round(self.since_hours * _HOUR_MS)
        copying = TopicCopy(settings, since_ms=since_ms, progress=progress)
        try:
            with quiet("aiokafka"):
                path = asyncio.run(copying.copy(directory))
        except LogError as error:
            raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
        name = copying.topic if self.since_hours is None else f"{copying.topic}, the last {self.since_hours:g} h"
        if not copying.events:
            reasons = ", ".join(f"{reason} ×{count}" for reason, count in copying.rejected.most_common(3))
            raise SourceError(f"got no event from {name} (rejected: {reasons or 'nothing, there are no records'})")
        return BlockHistory(
            [HistoryFile(path, name, FORMATS[canonical.NAME])],
            # What was accepted by its record's time is so again.
            now_ms=max(now_ms, copying.newest_ms),
            refused=copying.rejected,
        )


def asked_history(command: _Command) -> _Command:
    """Give a command FILE..., --format, --mapping, --live and --since-hours; it is called with `asked`.

    Its settings have to include `LIVE_SETTINGS`. What does not go together is refused before, and what is no history.
    """

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        files: tuple[Path, ...],
        format_name: str | None,
        mapping: Path | None,
        live: bool,
        since_hours: float | None,
        **options: Any,
    ) -> Any:
        _check(files, format_name, mapping, live=live, since_hours=since_hours)
        found: list[HistoryFile] = []
        if not live:
            with refusing(SourceError):
                chosen = chosen_files(files, format_name, mapping)
            chosen.say()
            found = chosen.files
        return command(*args, asked=AskedHistory(found, live, since_hours), **options)

    decorated: Any = click.option(
        "--since-hours",
        type=click.FloatRange(min=0, min_open=True),
        metavar="N",
        help="With --live: only what has arrived in the last N hours.",
    )(wrapped)
    decorated = click.option(
        "--live",
        is_flag=True,
        help="Instead of FILE...: what clickstream.events.v1 keeps, to its end at the start; it is copied first.",
    )(decorated)
    decorated = format_options(decorated)
    return click.argument("files", type=click.Path(path_type=Path), nargs=-1, metavar="[FILE...]")(decorated)  # type: ignore[no-any-return]


def _check(
    files: tuple[Path, ...], format_name: str | None, mapping: Path | None, *, live: bool, since_hours: float | None
) -> None:
    """Raise click.UsageError for what does not go together."""
    if live:
        if files:
            raise click.UsageError("got FILE... and --live, expected one of them")
        for option, value in (("--format", format_name), ("--mapping", mapping)):
            if value is not None:
                raise click.UsageError(f"got {option} and --live: the topic's events are of our own format")
        return
    if since_hours is not None:
        raise click.UsageError("got --since-hours without --live: files are read whole")
    if not files:
        raise click.UsageError("got neither FILE... nor --live, expected one of them")
