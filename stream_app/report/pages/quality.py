"""How good the models are on this file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_app.evaluation.tables import tables
from stream_app.report.figures.figures import Figures
from stream_app.report.figures.quality import Quality
from stream_app.report.pages.plots import GREY, Plot, Trace, axis, colour, line
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import count, decimal, percent

Report = dict[str, Any]


def section(figures: Figures) -> Section:
    """Discrimination, calibration and their course, by model; or why there is none."""
    quality = figures.quality
    return Section(
        "quality",
        "How good the models are",
        "models that learn as labels come, judged on what they had not seen",
        list(_parts(quality)),
    )


def _parts(quality: Quality) -> Iterator[Part]:
    if quality.report is None:
        yield Note(
            f"No evaluation: {quality.refused}"
            if quality.refused
            else "No evaluation was asked for (--evaluate-events 0)."
        )
        return
    report = quality.report
    part = "all" if quality.whole else "the first"
    yield Note(
        f"On {part} {count(quality.events)} events. Every event is scored before anything of its outcome is known, "
        "and outcomes are learned when they would have been known; the first fifth is not judged. Batch models are "
        "fitted at the start of each fold to all before it. As `stream-app evaluate` has it, where all is explained."
    )
    for leak in report["checks"]["leaks"]:
        yield Note(f"Do not believe these figures, something knows too much: {leak['column']} {leak['found']}")
    names = list(report["models"])
    yield _auc(report, names)
    yield _reliability(report, names)
    yield _windows(report, names)
    yield _slices(report, names)
    yield _curves(report, names)
    for table in tables({**report, "mistakes": {**report["mistakes"], "sessions": []}}):
        yield Table(table.title, table.columns, table.rows, folded=table.key not in ("models", "bounds"))


def _auc(report: Report, names: list[str]) -> Plot:
    found = [(name, report["models"][name]) for name in names if report["models"][name]["roc_auc"] is not None]
    best = max(found, key=lambda each: each[1]["roc_auc"], default=None)
    values = [figures["roc_auc"] for _, figures in found]
    ends = [figures["interval"]["roc_auc"] for _, figures in found]
    whiskers = {
        "type": "data", "symmetric": False, "color": "#1d2329",
        "array": [(end[1] or value) - value for value, end in zip(values, ends, strict=True)],
        "arrayminus": [value - (end[0] or value) for value, end in zip(values, ends, strict=True)],
    }  # fmt: skip
    title = (
        "No model could be judged"
        if best is None
        else f"{best[0]} has the highest ROC AUC, {decimal(best[1]['roc_auc'])}"
    )
    rows = next(iter(report["models"].values()))
    return Plot(
        title,
        "A point is how well a model's scores tell events of sessions that went on to buy from others (0.5: a coin), "
        f"with a 95 % interval over drawn sessions. {count(rows['rows'])} scored rows, {count(rows['positives'])} of "
        "buyers.",
        [{"type": "scatter", "mode": "markers", "x": [name for name, _ in found], "y": values, "error_y": whiskers,
          "marker": {"size": 9, "color": [colour(n) for n in range(len(found))]},
          "hovertemplate": "%{x}: %{y:.4f}<extra></extra>"}],
        {"xaxis": {"type": "category"}, "yaxis": axis("ROC AUC")},
        "Intervals that overlap do not tell the models apart: the tables below have the differences.",
    )  # fmt: skip


def _reliability(report: Report, names: list[str]) -> Plot:
    traces: list[Trace] = [
        line(name, [score for _, score, _ in report["reliability"][name]],
             [bought for _, _, bought in report["reliability"][name]], number=n, mode="lines+markers",
             hovertemplate="score %{x:.2%}: %{y:.2%} bought")
        for n, name in enumerate(names)
    ]  # fmt: skip
    end = max((score for name in names for _, score, _ in report["reliability"][name]), default=1.0)
    traces.append(
        line("as promised", [0, end], [0, end], line={"color": GREY, "dash": "dot", "width": 1}, hoverinfo="skip")
    )
    return Plot(
        "Of those with a score, how many bought",
        "A point is a twentieth of the rows, by score: across its mean score, up the share that bought. On the "
        "dotted line the scores are what they say, above it too low, below too high.",
        traces,
        {"xaxis": axis("mean score", percent=True), "yaxis": axis("share that bought", percent=True)},
    )


def _windows(report: Report, names: list[str]) -> Plot:
    windows = report["windows"]
    until = [window["until"] for window in windows]
    traces = [
        line(name, until, [window["log_loss"][name] for window in windows], number=n, hovertemplate="%{y:.4f}")
        for n, name in enumerate(names)
    ]
    constant = [window["log_loss_constant"] for window in windows]
    traces.append(line("the window's base rate", until, constant, line={"color": GREY, "dash": "dot"}))
    # A model that is broken for a while would leave the others no room.
    known = [value for value in constant if value is not None]
    worst = max((value for trace in traces for value in trace["y"] if value is not None), default=0.3)
    top = 1.05 * min(worst, 3 * max(known, default=worst))
    return Plot(
        "Log-loss as labels came",
        "A line is a model's mean log-loss over a window of rows (lower is better); the dotted one is that of a "
        "constant that knows the window's own base rate. Below it, scores are of use.",
        traces,
        {"xaxis": {"title": {"text": "until (UTC)"}, "type": "date"}, "yaxis": axis("log-loss", range=[0, top])},
    )


def _slices(report: Report, names: list[str]) -> Plot:
    parts = {name: part for name, part in report["slices"].items() if name.startswith("event")}
    return Plot(
        "How well they tell at each event of a session",
        "A point is the ROC AUC among events of that place in their session: what is known grows from event to event.",
        [
            line(name, list(parts), [part[name]["roc_auc"] for part in parts.values()], number=n, mode="lines+markers",
                 hovertemplate="%{y:.3f}")
            for n, name in enumerate(names)
        ],
        {"xaxis": {"type": "category"}, "yaxis": axis("ROC AUC")},
        _few_slices(parts),
    )  # fmt: skip


def _few_slices(parts: dict[str, Report]) -> str:
    few = [name for name, part in parts.items() if next(iter(part.values()))["positives"] < 30]
    return f"Fewer than 30 rows of buyers: {', '.join(few)}." if few else ""


def _curves(report: Report, names: list[str]) -> Plot:
    base = next(iter(report["models"].values()))["base_rate"] or 0.0
    traces = [
        # The first few rows make a precision of anything.
        line(name, [found for _, found, _ in report["curves"][name] if found > 0.01],
             [right for _, found, right in report["curves"][name] if found > 0.01], number=n,
             hovertemplate="of buyers %{x:.1%} found, %{y:.1%} right")
        for n, name in enumerate(names)
    ]  # fmt: skip
    traces.append(line("everybody", [0, 1], [base, base], line={"color": GREY, "dash": "dot"}, hoverinfo="skip"))
    return Plot(
        "How many buyers are found, and how many of those called so are",
        "Along a line the threshold falls: across, the share of buyers' rows above it, up, how many of the rows "
        f"above it are buyers'. Calling everybody a buyer is right in {percent(base)}.",
        traces,
        {"xaxis": axis("recall", percent=True), "yaxis": axis("precision", percent=True)},
    )
