"""The report as tables on a terminal, or as plain text where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from stream_app.evaluation.report import Report

_PLAIN_WIDTH: Final = 170


class Table(NamedTuple):
    """A key to ask for it by, a title, names of columns, and rows of text; the first column names the row."""

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(report: Report) -> str:
    """All tables."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    with console.capture() as capture:
        for table in tables(report):
            console.print(_drawn(table))
            console.print()
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def tables(report: Report) -> Iterator[Table]:
    """Everything that is told in tables, in order."""
    yield _models(report)
    yield _bounds(report)
    yield _sampled(report)
    yield _confusion(report)
    names = list(report["models"])
    yield Table(
        "parts",
        "ROC AUC by part of the test",
        ("part", "rows", "base rate", *names),
        [_part(name, part, "roc_auc") for name, part in report["slices"].items()],
    )
    yield Table(
        "parts_log_loss",
        "log-loss by part of the test",
        ("part", "rows", "base rate", *names),
        [_part(name, part, "log_loss") for name, part in report["slices"].items()],
    )
    if len(report["folds"]) > 1:
        yield from _folds(report)
    yield _third(report)
    yield _delays(report)
    yield from _mistakes(report)


def to_markdown(table: Table) -> str:
    """A table for a document."""
    rule = "| --- |" + " ---: |" * (len(table.columns) - 1)
    lines = [[*table.columns], *table.rows]
    head, *rows = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n".join((f"*{table.title}*", "", head, rule, *rows))


def _models(report: Report) -> Table:
    history = report["history"]
    return Table(
        "models",
        f"{history['events']:,} events, {history['first']} to {history['last']}; judged from "
        f"{report['folds'][0]['start']} to {history['judged_until']}",
        (
            "model", "ROC AUC", "95 % interval", "less the first", "PR AUC", "log-loss", "skill", "ECE", "by chance",
            "Brier", "F1", "F1 best",
        ),
        [_overall(name, figures) for name, figures in report["models"].items()],
    )  # fmt: skip


def _bounds(report: Report) -> Table:
    first = next(iter(report["models"].values()))
    return Table(
        "bounds",
        "what they are to be compared with",
        ("rows", "bought", "base rate", "log-loss of the base rate", "F1 of calling all positive"),
        [
            [
                f"{first['rows']:,}", f"{first['positives']:,}", share(first["base_rate"]),
                decimal(first["log_loss_constant"]), decimal(first["f1_all_positive"], 3),
            ]
        ],
    )  # fmt: skip


def _sampled(report: Report) -> Table:
    return Table(
        "sampled",
        "each learned row once: at most K of an episode, so that long sessions do not outweigh the others",
        ("model", "ROC AUC", "PR AUC", "log-loss", "skill", "ECE", "Brier", "F1", "F1 best", "base rate"),
        [
            [
                name, decimal(figures["roc_auc"]), decimal(figures["pr_auc"]), decimal(figures["log_loss"]),
                decimal(figures["skill"]), decimal(figures["ece"]), decimal(figures["brier"]),
                decimal(figures["f1"], 3), decimal(figures["f1_best"], 3), share(figures["base_rate"]),
            ]
            for name, figures in report["models_by_sampled_row"].items()
        ],
    )  # fmt: skip


def _confusion(report: Report) -> Table:
    first = next(iter(report["models"].values()))
    return Table(
        "confusion",
        "called a buyer or not, at the threshold fixed on the past: shares of all events (calling nobody one has an "
        f"accuracy of {share(first['accuracy_constant'])})",
        (
            "model", "rightly a buyer", "wrongly a buyer", "missed", "rightly none", "accuracy", "precision", "recall",
            "F1",
        ),
        [
            [
                name,
                *(
                    share(figures[figure])
                    for figure in (
                        "true_positive", "false_positive", "false_negative", "true_negative", "accuracy", "precision",
                        "recall",
                    )
                ),
                decimal(figures["f1"], 3),
            ]
            for name, figures in report["models"].items()
        ],
    )  # fmt: skip


def _folds(report: Report) -> Iterator[Table]:
    names = list(report["models"])
    for figure, title in (("roc_auc", "ROC AUC"), ("pr_auc", "PR AUC"), ("log_loss", "log-loss"), ("ece", "ECE")):
        yield Table(
            f"folds_{figure}",
            f"{title} by fold: trained on all before, tested on it",
            ("fold from", "rows", "base rate", *names),
            [_part(fold["start"][:16], fold["models"], figure) for fold in report["folds"]],
        )
    yield Table(
        "folds_f1",
        "F1 by fold, at the threshold fixed on the past",
        ("fold from", "rows", "all positive", *names),
        [_f1(fold) for fold in report["folds"]],
    )


def _third(report: Report) -> Table:
    return Table(
        "third",
        "third event: F1 as on a test with as many buyers as others (calling all positive gives 0.667)",
        ("model", "ROC AUC", "F1 balanced", "95 % interval", "F1 balanced, best", "base rate"),
        [
            [
                name, decimal(third["roc_auc"]), decimal(third["f1_balanced"], 3),
                between(third, "interval", "f1_balanced"), decimal(third["f1_balanced_best"], 3),
                share(third["base_rate"]),
            ]
            for name, third in report["third_event"].items()
        ],
    )  # fmt: skip


def _delays(report: Report) -> Table:
    delays = {name: found for name, found in report["label_delay_s"].items() if found}
    quantiles = list(next(iter(delays.values()), {}))
    return Table(
        "delays",
        "label delay in seconds: quantiles",
        ("outcome", *quantiles),
        [[name.replace("_", " "), *(f"{found[q]:,.0f}" for q in quantiles)] for name, found in delays.items()],
    )


def _mistakes(report: Report) -> Iterator[Table]:
    model = report["mistakes"]["model"]
    for kind, groups in report["mistakes"]["groups"].items():
        if len(groups) > 1:
            yield Table(
                f"mistakes_{kind.replace(' ', '_')}",
                f"where {model} loses more than it expects, by {kind}",
                (kind, "rows", "of all events", "bought", "mean score", "log-loss above expectation"),
                [
                    [
                        group["name"], f"{group['rows']:,}", share(group["share"]), share(group["bought"]),
                        share(group["mean_score"]), f"{group['excess_log_loss']:+.4f}",
                    ]
                    for group in groups
                ],
            )  # fmt: skip


def _overall(name: str, figures: dict[str, Any]) -> list[str]:
    return [
        name, decimal(figures["roc_auc"]), between(figures, "interval", "roc_auc"),
        between(figures, "less_first", "roc_auc", signed=True), decimal(figures["pr_auc"]),
        decimal(figures["log_loss"]),
        decimal(figures["skill"]), decimal(figures["ece"]), decimal(figures["ece_by_chance"]),
        decimal(figures["brier"]), decimal(figures["f1"], 3), decimal(figures["f1_best"], 3),
    ]  # fmt: skip


def _part(name: str, models: dict[str, Any], figure: str) -> list[str]:
    first = next(iter(models.values()))
    return [
        name,
        f"{first['rows']:,}",
        share(first["base_rate"]),
        *(decimal(figures[figure]) for figures in models.values()),
    ]


def _f1(fold: dict[str, Any]) -> list[str]:
    models = fold["models"]
    first = next(iter(models.values()))
    return [
        fold["start"][:16],
        f"{first['rows']:,}",
        decimal(first["f1_all_positive"], 3),
        *(decimal(figures["f1"], 3) for figures in models.values()),
    ]


def decimal(value: float | None, digits: int = 4) -> str:
    """A figure for people."""
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.2f} %"


def between(figures: dict[str, Any], what: str, figure: str, *, signed: bool = False) -> str:
    """An interval for people; empty without one."""
    low, high = figures.get(what, {}).get(figure, (None, None))
    if low is None or high is None:
        return ""
    sign = "+" if signed else ""
    return f"{low:{sign}.3f} … {high:{sign}.3f}"


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for n, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if n == 0 else "right", no_wrap=n == 0, overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn
