"""Commands for operators: `topics create|check`, `doctor`, `settings`. Exit code 0 when all is fine, 1 when not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.admin import KafkaUnreachableError, TopicStatus, check_topics, create_topics
from stream_app.cli_options import Sources, with_settings, with_sources
from stream_app.doctor import Finding, doctor
from stream_app.settings import Settings

_STYLES: Final = {
    "ok": "green",
    "created": "green",
    "warning": "yellow",
    "missing": "red",
    "wrong": "red",
    "failed": "red",
    "problem": "bold red",
}
#: In columns: where the output is not a terminal, so that a log keeps one line per finding readable.
_PLAIN_WIDTH: Final = 160
#: What a command about the servers alone needs; the rest comes from file and environment.
_KAFKA: Final = ("kafka_bootstrap", "topic_prefix")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group("topics")
def topics_group() -> None:
    """Create or check the Kafka topics."""


@topics_group.command("create")
@_as_json
@with_settings(only=(*_KAFKA, "topic_partitions", "topic_replication", "history_ttl_ms"))
def topics_create(settings: Settings, as_json: bool) -> None:
    """Create the missing topics, then check all.

    What exists is never changed. Topics that exist with another shape are reported with what to do about it, and the
    exit code is 1.
    """
    _report_topics(_ask(create_topics, settings), as_json)


@topics_group.command("check")
@_as_json
@with_settings(only=(*_KAFKA, "topic_partitions", "history_ttl_ms"))
def topics_check(settings: Settings, as_json: bool) -> None:
    """Compare the topics with what they must be, creating none."""
    _report_topics(_ask(check_topics, settings), as_json)


@click.command("doctor")
@_as_json
@with_settings()
def doctor_command(settings: Settings, as_json: bool) -> None:
    """Find out what is wrong: Kafka, topics, lag, Redis, libraries, clock, keys; and what to do.

    Nothing is changed anywhere. A server that does not answer costs 5 seconds at most.
    """
    findings = asyncio.run(doctor(settings))
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        _print_table(
            ("", "what", "found", "what to do"),
            [(finding.level, finding.name, finding.found, finding.what_to_do) for finding in findings],
        )
        click.echo(_summary(findings))
    _exit(any(finding.level == "problem" for finding in findings))


@click.command("settings")
@_as_json
@with_sources()
def settings_command(sources: Sources, as_json: bool) -> None:
    """Show every setting: its value, unit, where it came from, and why it is there.

    Rising priority: default, environment STREAM_APP_*, TOML file, flag. Secrets are masked.
    """
    lines = sources.explain()
    if as_json:
        _print_json([line._asdict() for line in lines])
        return
    _print_table(
        ("setting", "value", "unit", "source", "reason"),
        [(line.name, line.value, line.unit, line.source, line.reason) for line in lines],
    )


def _ask(question: Any, settings: Settings) -> list[TopicStatus]:
    try:
        statuses: list[TopicStatus] = asyncio.run(question(settings))
    except KafkaUnreachableError as error:
        raise click.ClickException(str(error)) from None
    return statuses


def _report_topics(statuses: list[TopicStatus], as_json: bool) -> None:
    if as_json:
        _print_json([status._asdict() for status in statuses])
    else:
        _print_table(
            ("", "topic", "got", "expected", "what to do"),
            [(s.outcome, s.name, s.got, "" if s.fine else s.expected, s.what_to_do) for s in statuses],
        )
    _exit(not all(status.fine for status in statuses))


def _summary(findings: list[Finding]) -> str:
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if not problems and not warnings:
        return "All fine."
    return f"{problems} problem{'' if problems == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}."


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    click.echo(_render(console, columns, rows))


def _render(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Values are data, never markup: a `[…]` in a broker's message stays as it is. Empty columns are left out."""
    kept = [n for n in range(len(columns)) if any(row[n] for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for n in kept:
        # The first two columns name the line: breaking a topic's name would make it useless to copy.
        table.add_column(columns[n], no_wrap=n < 2, overflow="fold")
    for row in rows:
        style = _STYLES.get(row[0], "")
        table.add_row(*(Text(row[n], style=style if n == 0 else "") for n in kept))
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _exit(bad: bool) -> None:
    if bad:
        click.get_current_context().exit(1)
