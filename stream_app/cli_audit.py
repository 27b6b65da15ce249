"""`stream-app audit`: whether what was processed is exact, proved from the topics and Redis."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import click

from stream_app.cli_options import with_settings
from stream_app.cli_table import show_table
from stream_app.core.audit.report import Check, Report
from stream_app.settings import Settings

#: Of an audit that could not be made; 1 says that it was made and found something.
_NOT_POSSIBLE: Final = 2


@click.command("audit")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@with_settings()
def audit_command(as_json: bool, settings: Settings) -> None:
    """Prove that no event was lost and none counted twice: in outputs, states and model.

    Reads all topics and Redis, folds the input anew, and compares. Nothing is changed. Run it while the workers are
    idle or stopped, with their settings: what had been processed by then is audited, by the committed offsets.

    \b
    Exit codes: 0 clean, 1 violations, 2 it could not be done.
    What each line proves: docs/audit.md
    """
    from stream_app.audit import NotPossibleError, audit

    try:
        report = asyncio.run(audit(settings, progress=lambda text: None))
    except NotPossibleError as error:
        refused = click.ClickException(str(error))
        refused.exit_code = _NOT_POSSIBLE
        raise refused from None
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _show(report)
    if not report.clean:
        click.get_current_context().exit(1)


def _show(report: Report) -> None:
    columns = ("check", "partition", "expected", "found", "repeated", "ahead", "gone", "violations", "note")
    show_table(columns, [_row(check) for check in report.checks])
    for violation in report.violations:
        click.echo(f"VIOLATION {violation}")
    for text in report.unchecked:
        click.echo(f"not checked: {text}")
    for partition, count in report.behind.items():
        click.echo(f"not processed yet: {count} input records of partition {partition}")
    repeated = ", ".join(f"{count} {name}" for name, count in report.repeated.items() if count) or "none"
    click.echo(f"{report.guarantee}: {report.events} events and {report.labels} labels audited; repeated: {repeated}")
    if report.clean:
        click.echo("Clean." if not report.unchecked else "Clean, as far as it could be checked.")
    else:
        count = report.violation_count
        click.echo(f"{count} violation{'' if count == 1 else 's'}.")


def _row(check: Check) -> tuple[str, ...]:
    partition = "all" if check.partition < 0 else str(check.partition)
    counts = (check.expected, check.found, check.repeated, check.ahead, check.gone, check.violations)
    return check.name, partition, *(str(count) for count in counts), check.note
