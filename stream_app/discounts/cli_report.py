"""`stream-app discounts report`: what the offers did, as far as it can be known by now."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec

from stream_app.cli_options import with_settings
from stream_app.cli_table import show_table
from stream_app.discounts.core.confidence import PLANNED_MAX, PLANNED_MIN, PLANNED_UNITS
from stream_app.settings import Settings

if TYPE_CHECKING:  # River takes a second to import: not for `--help`
    from stream_app.discounts.core.reporting import DifferenceReport, Report

#: What it takes to read the topics.
KAFKA: Final = ("kafka_bootstrap", "topic_prefix", "check_crcs")

#: Between two reports of --follow, in seconds, at the least.
_FOLLOW_S: Final = 5.0


@click.command("report")
@click.option("--experiment", metavar="ID", help="Only this one [default: all that are kept].")
@click.option(
    "--planned",
    type=click.IntRange(PLANNED_MIN, PLANNED_MAX),
    metavar="VISITORS",
    help="Make sequential intervals narrowest at so many, of both arms, as chosen before [default: the policy's].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs: one line for each report.")
@click.option("--follow", is_flag=True, help="Report again when something was added, until Ctrl-C.")
@with_settings(only=KAFKA)
def report_command(
    experiment: str | None, planned: int | None, as_json: bool, follow: bool, settings: Settings
) -> None:
    """Compare who was offered something with who was held out: conversion, revenue and profit per visitor.

    Only visitors whose window and delay are over count. Intervals hold however often one looks (`sequential`), or at a
    single look that was planned (`fixed`). How to read it: docs/discounts-measuring.md

    \b
    Examples:
      stream-app discounts report
      stream-app discounts report --experiment first --json
      stream-app discounts report --planned 1500
      stream-app discounts report --follow
    """
    from stream_app.backends.ports import LogError

    try:
        asyncio.run(_report(settings, experiment, planned=planned, as_json=as_json, follow=follow))
    except LogError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    except KeyboardInterrupt:
        return


async def _report(
    settings: Settings, experiment: str | None, *, planned: int | None, as_json: bool, follow: bool
) -> None:
    from stream_app.discounts.core.reporting import report
    from stream_app.discounts.outcome_reading import read_figures

    async with aclosing(read_figures(settings, follow=follow, every_s=_FOLLOW_S)) as reading:
        async for figures in reading:
            wanted = [
                report(each, planned=planned)
                for each in figures.experiments.values()
                if experiment in (None, each.experiment)
            ]
            if not wanted and not follow:
                known = ", ".join(figures.experiments) or "no experiment at all"
                raise click.ClickException(
                    f"no exposures of {experiment or 'any experiment'} in discount.exposures.v1; there is {known}"
                )
            for each in wanted:
                if as_json:
                    click.echo(msgspec.json.encode(each).decode())
                else:
                    _show(each)


def _show(told: Report) -> None:
    click.echo(f"Experiment {told.experiment}: exposures from {_time(told.from_ms)} to {_time(told.to_ms)}, window "
               f"{told.window_ms / 3_600_000:g} h, settled to {_time(told.settled_to_ms)}")  # fmt: skip
    for sentence in told.conclusions:
        click.echo(f"* {sentence}")
    if told.planned != PLANNED_UNITS:
        click.echo(f"* Sequential intervals are made to be narrowest at {told.planned:,} visitors.")
    click.echo()
    show_table(
        ("arm", "visitors", "open", "settled", "ordered", "conversion", "revenue", "profit"),
        [
            (
                name,
                *(str(count) for count in (arm.visitors, arm.open, arm.settled, arm.converted)),
                _share(arm.conversion),
                _money(arm.revenue),
                _money(arm.profit),
            )
            for name, arm in told.arms.items()
        ],
    )
    click.echo()
    rows = [_row("all", measure, difference) for measure, difference in told.differences.items()]
    enough = [each for each in told.slices if any(found.sequential for found in each.differences.values())]
    for each in enough:
        rows += [_row(f"{each.kind} {each.name}", name, found) for name, found in each.differences.items()]
    if rows:
        columns = ("visitors", "measure", "difference", "sequential 95 %", "fixed 95 %", "relative", "sequential 95 %")
        show_table(columns, rows)
        click.echo()
    if few := len(told.slices) - len(enough):
        click.echo(f"of {few} of {len(told.slices)} bands and categories too few have ordered to say anything (--json)")
    if told.sample_ratio is not None:
        ratio = told.sample_ratio
        verdict = "NOT as planned" if ratio.mismatch else "as planned"
        click.echo(f"shares of the arms: {verdict} (p {ratio.p_value:.3g}, holdout {ratio.expected['holdout']:.0%})")
    levels = ", ".join(f"{level} %: {profit:.3f}" for level, profit in told.level_profit.items())
    if levels:
        click.echo(f"profit per visitor to be expected by level: {levels}")
    if told.unused:
        click.echo("not used: " + ", ".join(f"{count} {reason}" for reason, count in told.unused.items()))
    click.echo()


def _row(who: str, measure: str, told: DifferenceReport) -> tuple[str, ...]:
    number = _points if measure == "conversion" else _signed
    return (
        who,
        measure,
        number(told.value),
        *(f"{number(one[0])} … {number(one[1])}" if one else "not enough yet" for one in (told.sequential, told.fixed)),
        f"{told.relative:+.1%}" if told.relative is not None else "–",
        f"{told.relative_sequential[0]:+.1%} … {told.relative_sequential[1]:+.1%}" if told.relative_sequential else "–",
    )


def _points(value: float) -> str:
    return f"{100.0 * value:+.2f} points"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _money(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _time(ms: int) -> str:
    return "never" if ms < 0 else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
