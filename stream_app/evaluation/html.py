"""The report as one HTML file: tables and charts, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

from stream_app.evaluation.report import Report
from stream_app.evaluation.svg import Line, chart
from stream_app.evaluation.tables import Table, tables

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-size: 13px; }
td, th { padding: .15em .7em; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .3em 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1em; }
svg { width: 100%; height: auto; font: 10px system-ui, sans-serif; }
svg .title { font-size: 13px; font-weight: 600; } svg .axis { fill: #666; }
.wrong { color: #a00; font-weight: 600; }
"""


def to_html(report: Report) -> str:
    """One self-contained page."""
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>stream-app evaluate</title>',
            f"<style>{_STYLE}</style></head><body><h1>How good the scores are</h1>",
            *(f'<p class="wrong">{escape(leak["column"])} {escape(leak["found"])}</p>' for leak in _leaks(report)),
            '<div class="charts">',
            *_charts(report),
            "</div>",
            *map(_table, tables(report)),
            *_sessions(report),
            "</body></html>",
        )
    )


def _leaks(report: Report) -> list[dict[str, str]]:
    found: list[dict[str, str]] = report["checks"]["leaks"]
    return found


def _charts(report: Report) -> Iterator[str]:
    names = list(report["models"])
    windows, times = report["windows"], [window["until"][5:16] for window in report["windows"]]
    constant = Line("its base rate", [(n, window["log_loss_constant"]) for n, window in enumerate(windows)])
    yield chart(
        "Log-loss as labels came",
        [*(_over(windows, "log_loss", name) for name in names), constant],
        x="until", y="log-loss of the window", x_labels=times,
    )  # fmt: skip
    yield chart(
        "ROC AUC as labels came",
        [_over(windows, "roc_auc", name) for name in names],
        x="until", y="ROC AUC of the window", x_labels=times,
    )  # fmt: skip
    yield chart(
        "Reliability: of those with a score, how many bought",
        [Line(name, [(score, bought) for _, score, bought in report["reliability"][name]]) for name in names],
        x="mean score", y="share that bought", diagonal=True,
    )  # fmt: skip
    curves = report["curves"]
    yield chart(
        "ROC", [Line(name, [(wrong, found) for wrong, found, _ in curves[name]]) for name in names],
        x="false-positive rate", y="recall", diagonal=True,
    )  # fmt: skip
    yield chart(
        "Precision and recall",
        # The first few rows make a precision of anything.
        [Line(name, [(found, right) for _, found, right in curves[name] if found > 0.01]) for name in names],
        x="recall", y="precision",
    )  # fmt: skip
    parts = {name: part for name, part in report["slices"].items() if name.startswith("event")}
    yield chart(
        "ROC AUC by event of the session",
        [Line(name, [(n, part[name]["roc_auc"]) for n, part in enumerate(parts.values())]) for name in names],
        x="", y="ROC AUC", x_labels=list(parts),
    )  # fmt: skip
    if len(report["folds"]) > 1:
        yield chart(
            "ROC AUC by fold, with 95 % intervals",
            [_by_fold(report["folds"], name, 0.12 * n / len(names)) for n, name in enumerate(names)],
            x="fold from", y="ROC AUC", x_labels=[fold["start"][5:16] for fold in report["folds"]],
        )  # fmt: skip


def _over(windows: Sequence[dict[str, Any]], figure: str, name: str) -> Line:
    return Line(name, [(n, window[figure][name]) for n, window in enumerate(windows)])


def _by_fold(folds: Sequence[dict[str, Any]], name: str, aside: float) -> Line:
    figures = [fold["models"][name] for fold in folds]
    return Line(
        name,
        [(n + aside, figure["roc_auc"]) for n, figure in enumerate(figures)],
        [figure.get("interval", {}).get("roc_auc", (None, None)) for figure in figures],
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{rows}</table>"


def _sessions(report: Report) -> Iterator[str]:
    yield f"<h2>Sessions about which {escape(report['mistakes']['model'])} was most wrong</h2>"
    for session in report["mistakes"]["sessions"]:
        yield f"<h3>visitor {escape(session['visitor_id'])}, session {escape(session['session_id'])}</h3><ol>"
        for event in session["events"]:
            bought = "bought" if event["label"] else "did not buy"
            yield (
                f'<li value="{event["event"]}">{escape(event["type"])} ({escape(event["category"])}): '
                f"score {event['score']}, {bought}</li>"
            )
        yield "</ol>"
