"""`stream-app report FILE...|--live`: what a history says of a shop, as one page that opens without a network."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from producers.progress import RunProgress
from producers.source import SourceError
from stream_app.analytics.stretches import OPEN_MAX
from stream_app.cli_evaluate import EVALUATION_SETTINGS, question_of
from stream_app.cli_history import LIVE_SETTINGS, AskedHistory, asked_history
from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.history import Progress
from stream_app.evaluation.question import default_models
from stream_app.report.errors import ReportError
from stream_app.report.figures.figures import Figures, Setting, make_figures
from stream_app.report.figures.quality import Quality
from stream_app.report.gathering import Gathering
from stream_app.report.measuring import measure
from stream_app.report.one_pass import gather
from stream_app.report.page_rules_file import read_page_rules
from stream_app.report.pages.page import to_html
from stream_app.settings import Settings
from stream_app.unfinished import unfinished

#: Events that models are measured on unless told otherwise: some minutes. More takes longer in proportion.
EVALUATED_MAX: Final = 100_000


class _UtcOffset(click.ParamType):
    """`+05:30` → minutes."""

    name = "±HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([+-])(\d{1,2}):([0-5]\d)", value)
        minutes = int(found[2]) * 60 + int(found[3]) if found else None
        if found is None or minutes is None or minutes > 14 * 60:
            self.fail(f"got {value!r}, expected an offset such as +02:00, at most 14 hours", param, ctx)
        return -minutes if found[1] == "-" else minutes


@click.command("report")
@asked_history
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="The page, HTML."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write all figures; - is stdout, without a progress bar.",
)
@click.option(
    "--page-rules",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What the shop's pages are, one rule a line: KIND PATTERN, such as item /sku-; the first that fits counts.",
)
@click.option(
    "--utc-offset",
    type=_UtcOffset(),
    default=0,
    metavar="±HH:MM",
    help="The shop's time, for hours, weekdays and days [default: UTC].",
)
@click.option(
    "--evaluate-events",
    type=click.IntRange(min=0),
    default=EVALUATED_MAX,
    show_default=True,
    metavar="N",
    help="Measure models on the first N events at most, as `stream-app evaluate` does; 0 leaves it out.",
)
@click.option(
    "--models",
    default=None,
    metavar="A,B,…",
    help="Which models, as for `stream-app evaluate` [default: its own, batch models where scikit-learn is installed].",
)
@click.option(
    "--open-max",
    type=click.IntRange(min=1),
    default=OPEN_MAX,
    show_default=True,
    help="Open episodes, and sessions, in memory at most; those quiet for longest end when there are more.",
)
@with_settings(only=(*EVALUATION_SETTINGS, *LIVE_SETTINGS))
def report_command(
    asked: AskedHistory,
    out: Path,
    json_path: Path | None,
    settings: Settings,
    **wanted: Any,
) -> None:
    """Tell as one page what the history in FILE..., parts of one shop's, which may be directories, says of the shop.
    With --live, the events topic.

    What the data is like, when purchases come, where visitors come from, which kinds of journeys there are, and how
    good the models are. The page has everything in it and asks nobody for anything. Memory does not grow with the
    history; files that are out of order by more than --grace-ms are sorted on disk first.

    \b
    Examples:
      stream-app report 2019-Oct.csv.gz --out october.html
      stream-app report mine.jsonl --mapping mine.toml --out shop.html --json shop.json --utc-offset +02:00
      stream-app report exports/ --out shop.html --json - | jq .data.sessions
      stream-app report --live --since-hours 168 --out week.html
    """
    to_stdout = json_path is not None and str(json_path) == "-"
    with refusing(SourceError, EvaluationError, ReportError, OSError), RunProgress(quiet=to_stdout) as progress:
        figures = _figures(asked, settings, progress=progress.show, **wanted)
        progress.show("writing the page", 0, None)
        with unfinished(out) as path:
            path.write_text(to_html(figures), encoding="utf-8")
        text = msgspec.json.encode(figures)
        if json_path is not None and not to_stdout:
            with unfinished(json_path) as path:
                path.write_bytes(text + b"\n")
    if to_stdout:
        click.echo(text.decode())
    else:
        click.echo(f"{out}: {figures.data.events.taken_in:,} events, {figures.data.sessions.sessions:,} sessions")


def _figures(
    asked: AskedHistory,
    settings: Settings,
    *,
    progress: Progress,
    page_rules: Path | None,
    utc_offset: int,
    evaluate_events: int,
    models: str | None,
    open_max: int,
) -> Figures:
    rules, rules_count = read_page_rules(page_rules)
    # Before the long reading: a name that is wrong is said at once.
    question = question_of(settings, models or default_models())

    def begin() -> Gathering:
        return Gathering(
            gap_ms=settings.session_gap_ms,
            grace_ms=settings.grace_ms,
            utc_offset_ms=utc_offset * 60_000,
            rules=rules,
            open_max=open_max,
        )

    with tempfile.TemporaryDirectory(prefix="stream-app-") as scratch:
        history = asked.open(settings, directory=Path(scratch), progress=progress)
        gathered, reading = gather(history, begin, directory=Path(scratch), progress=progress)
        if not gathered.order.released:
            reasons = ", ".join(f"{reason} ×{count}" for reason, count in sorted(reading.rejected.items())[:3])
            raise ReportError(f"got no event from the files (rejected: {reasons or 'nothing, there are no rows'})")
        quality = Quality(events_max=0, events=0, whole=False, refused=None, report=None)
        if evaluate_events:
            quality = measure(
                history.files, question=question, events_max=evaluate_events, now_ms=history.now_ms,
                directory=Path(scratch), progress=progress,
            )  # fmt: skip
    setting = Setting(
        files=[file.name for file in history.files],
        format=", ".join(dict.fromkeys(file.format.name for file in history.files)),
        session_gap_s=settings.session_gap_ms / 1000,
        grace_s=settings.grace_ms / 1000,
        utc_offset_minutes=utc_offset,
        page_rules=rules_count,
    )
    progress("the signal of the first events", 0, None)
    return make_figures(gathered, reading, setting, quality)
