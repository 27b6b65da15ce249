"""`stream-app evaluate FILE...`: how good the models are on a shop's own history, without Kafka."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from producers.format_option import chosen_files, format_options
from producers.progress import RunProgress
from producers.source import SourceError
from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.core.plan import Rules
from stream_app.evaluation.batch_models import Resample
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.evaluate import evaluate
from stream_app.evaluation.grid import GRIDS, Grid
from stream_app.evaluation.history import History
from stream_app.evaluation.html import to_html
from stream_app.evaluation.question import DEFAULT_MODELS, Question, default_models, make_question
from stream_app.evaluation.report import DRAWS
from stream_app.evaluation.sanity import SANITIES, Sanity, sanity_outcomes
from stream_app.evaluation.tables import render
from stream_app.evaluation.target import TARGETS, Target
from stream_app.settings import Settings
from stream_app.unfinished import unfinished

#: The settings that decide what is scored and learned.
EVALUATION_SETTINGS: Final = (
    "session_gap_ms",
    "grace_ms",
    "history_ttl_ms",
    "cache_visitors_max",
    "base_rate",
    "reservoir_size",
    "label_hold_ms",
)


@click.command("evaluate")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@format_options
@click.option(
    "--models",
    "models",
    show_default=f"{DEFAULT_MODELS}; without scikit-learn those that are not batch models",
    metavar="A,B,…",
    help="Names of `stream-app models` and of batch models (batch-constant, -logistic, -bayes, -tree, -forest, "
    "-boosting; +under or +over resamples one); zoo and batch stand for all of a kind.",
)
@click.option("--target", type=click.Choice(TARGETS), default="purchase", show_default=True, help="What is foreseen.")
@click.option(
    "--burn-in",
    type=click.FloatRange(0.01, 0.95),
    default=0.2,
    show_default=True,
    help="Share of the events that is learned from before anything is judged.",
)
@click.option(
    "--folds",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    help="The rest is cut into so many: at the start of each, batch models are fitted to all before it.",
)
@click.option(
    "--train-until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    metavar="DATE",
    help="One fold that begins here (UTC): train on what is before, test on the rest, with frozen twins of the online "
    "models beside those that go on learning. Replaces --burn-in and --folds.",
)
@click.option("--frozen/--no-frozen", default=None, help="Frozen twins [default: with --train-until].")
@click.option(
    "--resample",
    type=click.Choice(["under", "over"]),
    multiple=True,
    help="Besides each batch model one with as many negatives as positives, by leaving out or by repeating.",
)
@click.option(
    "--grid",
    "grids",
    type=click.Choice(GRIDS),
    multiple=True,
    help="Besides each model its variants: features = on counts, + timing, + sequence, + priors, + visitor; settings = "
    "other settings of online models, each candidate of batch models.",
)
@click.option(
    "--freshness",
    type=click.FloatRange(min=0.001),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Of event time from a label to scores that have learned from it; more is quicker to compute.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=DRAWS,
    show_default=True,
    help="Of sessions, for the 95 % intervals; 0 leaves them out.",
)
@click.option(
    "--sanity",
    type=click.Choice(SANITIES),
    help="Do it wrong on purpose: with labels dealt out anew within each hour nobody may do better than a coin; labels "
    "learned before their time show what that would pretend. Keeps the examples in memory.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, allow_dash=True), help="Write all figures; - is stdout."
)
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write one page with all tables and charts.")
@with_settings(only=EVALUATION_SETTINGS)
def evaluate_command(
    files: tuple[Path, ...],
    format_name: str | None,
    mapping: Path | None,
    models: str | None,
    target: Target,
    burn_in: float,
    folds: int,
    train_until: datetime | None,
    frozen: bool | None,
    resample: tuple[Resample, ...],
    grids: tuple[Grid, ...],
    freshness: float,
    draws: int,
    sanity: Sanity | None,
    json_path: Path | None,
    html_path: Path | None,
    settings: Settings,
) -> None:
    """Measure models on FILE..., parts of one shop's history, which may be directories.

    Events are taken in the order of their times, through the very core that runs live; a label is learned when it would
    have been known, and every event is scored before. The first fifth is not judged. Nothing is sent anywhere.

    \b
    Examples:
      stream-app evaluate 2019-Oct.csv.gz 2019-Nov.csv.gz
      stream-app evaluate 2021-Jan.csv.gz --train-until 2021-01-22 --models newton,batch
      stream-app evaluate mine.jsonl --mapping mine.toml --json - | jq .models.newton.roc_auc
    """
    to_stdout = json_path is not None and str(json_path) == "-"
    if models is None:
        models = default_models()
        if models != DEFAULT_MODELS:
            click.echo("without batch models, which need scikit-learn: pip install '.[evaluate]'", err=True)
    with refusing(SourceError, EvaluationError), tempfile.TemporaryDirectory(prefix="stream-app-") as scratch:
        question = replace(
            question_of(settings, models, resample=resample, grids=grids),
            burn_in=burn_in,
            folds=folds,
            train_until_ms=None if train_until is None else int(train_until.replace(tzinfo=UTC).timestamp()) * 1000,
            frozen=frozen if frozen is not None else train_until is not None,
            freshness_ms=round(freshness * 1000),
        )
        chosen = chosen_files(files, format_name, mapping)
        chosen.say()
        with RunProgress(quiet=to_stdout) as progress:
            history = History(
                chosen.files,
                now_ms=time.time_ns() // 1_000_000,
                directory=Path(scratch),
                target=target,
                progress=progress.show,
            )
            if sanity is not None:
                outcomes = sanity_outcomes(sanity, history, question.rules, Path(scratch) / "sanity")
                question = replace(question, outcomes=outcomes)
            report = evaluate(question, history, Path(scratch), drawn=draws, progress=progress.show)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    click.echo(text if to_stdout else render(report))
    # Afterwards: an hour's figures are not lost to a directory that does not exist.
    with refusing(OSError):
        if html_path is not None:
            with unfinished(html_path) as path:
                path.write_text(to_html(report), encoding="utf-8")
        if json_path is not None and not to_stdout:
            with unfinished(json_path) as path:
                path.write_text(text + "\n", encoding="utf-8")
    for name, told in report["setting"]["broken_models"].items():
        click.echo(f"Warning: {name} is not to be judged by its figures, learning broke it: {told}", err=True)
    if leaks := report["checks"]["leaks"]:
        told = "; ".join(f"{leak['column']} {leak['found']}" for leak in leaks)
        raise click.ClickException(f"do not believe these figures, something knows too much: {told}")


def question_of(
    settings: Settings, models: str, *, resample: tuple[Resample, ...] = (), grids: tuple[Grid, ...] = ()
) -> Question:
    """What is asked of models by their names, where sessions, states and learning are as the settings have them.

    Raises
    ------
    EvaluationError
        For an unknown name, or batch models where their library is not installed.
    """
    return make_question(
        models,
        rules=_rules(settings),
        base_rate=settings.base_rate,
        hold_ms=settings.label_hold_ms,
        resample=resample,
        grids=grids,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        gap_ms=settings.session_gap_ms,
        grace_ms=settings.grace_ms,
        history_ttl_ms=settings.history_ttl_ms,
        # A history has no labels of its own: nothing can come late.
        late_label_ms=0,
        # … and nobody acts on it: no session is looked at to see whether it is quiet.
        quiet_ms=settings.session_gap_ms,
        reservoir_size=settings.reservoir_size,
        cache_visitors_max=settings.cache_visitors_max,
        band_fence_min=settings.band_fence_min,
        band_likely_min=settings.band_likely_min,
    )
