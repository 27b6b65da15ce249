"""Plots of the results, as SVG. matplotlib is needed for nothing else: `pip install 'stream-app[bench]'`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
# The same results give the same bytes, and words stay words.
matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9, "figure.dpi": 100})
from matplotlib import pyplot as plt  # noqa: E402 - the backend first

#: Ours, and everybody else.
_OURS, _OTHERS = "#1b7f5c", "#8a94a6"


def draw(results: dict[str, Any], directory: Path) -> list[str]:
    """Write a plot for each section that is there; the files' names."""
    drawn = []
    for name, section, plot in (
        ("throughput", "throughput", _throughput),
        ("cpu", "throughput", _cpu),
        ("latency", "latency", _latency),
        ("state", "state", _state),
    ):
        if section in results:
            figure = plot(results[section]["found"])
            figure.savefig(directory / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)
            drawn.append(f"{name}.svg")
    return drawn


def _bars(found: dict[str, Any], figure_name: str, title: str, unit: str) -> Any:
    """Medians on a logarithmic axis, each round a dot."""
    rows = [(name, row) for name, row in found.items() if row["median"].get(figure_name)]
    rows.sort(key=lambda pair: pair[1]["median"][figure_name])
    figure, axes = plt.subplots(figsize=(7.0, 0.4 * len(rows) + 1.0))
    for n, (name, row) in enumerate(rows):
        value = row["median"][figure_name]
        axes.barh(n, value, color=_OURS if name.startswith("ours") else _OTHERS)
        each = [run[figure_name] for run in row["runs"] if run[figure_name]]
        axes.plot(each, [n] * len(each), ".", color="black", markersize=3)
        axes.text(value * 1.15, n, f"{value:,.0f}" if value >= 100 else f"{value:.1f}", va="center")
    axes.set_yticks(range(len(rows)), [row["label"] for _, row in rows])
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _throughput(found: dict[str, Any]) -> Any:
    return _bars(found, "events_per_second", "Events per second, median of the rounds (dots)", "events/s, logarithmic")


def _cpu(found: dict[str, Any]) -> Any:
    return _bars(found, "cpu_us_per_event", "Own CPU per event, median of the rounds (dots)", "µs, logarithmic")


def _latency(found: dict[str, Any]) -> Any:
    """One panel a rate; p50 to p99 as a line, p99.9 as a tick. Who fell behind is named without one."""
    rates = sorted({run["rate"] for row in found.values() for run in row["rates"]})
    figure, panels = plt.subplots(1, len(rates), figsize=(3.4 * len(rates), 0.4 * len(found) + 1.2), squeeze=False)
    for axes, rate in zip(panels[0], rates, strict=True):
        for n, (name, row) in enumerate(reversed(found.items())):
            run = next((run for run in row["rates"] if run["rate"] == rate), None)
            if run is None or run["behind"]:
                axes.text(1.2, n, "falls behind", va="center", color=_OTHERS, style="italic")
                continue
            colour = _OURS if name.startswith("ours") else _OTHERS
            axes.plot([run["p50_ms"], run["p99_ms"]], [n, n], color=colour, linewidth=4, solid_capstyle="butt")
            axes.plot([run["p999_ms"]], [n], "|", color=colour, markersize=9)
        axes.set_xscale("log")
        axes.set_xlim(1, 20_000)
        axes.set_ylim(-0.6, len(found) - 0.4)
        axes.set_xlabel("ms, logarithmic")
        axes.set_title(f"{rate:,} events/s", loc="left")
        axes.set_yticks(range(len(found)), [row["label"] for row in reversed(found.values())])
        axes.spines[["top", "right"]].set_visible(False)
        if axes is not panels[0][0]:
            axes.set_yticklabels([])
    figure.suptitle("From due to readable: p50 to p99 (bar), p99.9 (tick)", x=0.02, ha="left")
    figure.tight_layout()
    return figure


def _state(found: dict[str, Any]) -> Any:
    rows = sorted((row for size, row in found.items() if size.isdigit()), key=lambda row: row["sessions"])
    sizes = [row["sessions"] for row in rows]
    figure, (cost, start) = plt.subplots(1, 2, figsize=(7.0, 2.6))
    cost.plot(sizes, [row["zipf"]["cpu_us_per_event"] for row in rows], "o-", color=_OURS)
    cost.set_title("Own CPU per event, µs", loc="left")
    start.plot(sizes, [row["ready_from_redis_s"] for row in rows], "o-", color=_OURS, label="from Redis")
    start.plot(sizes, [row["ready_from_changelog_s"] for row in rows], "s--", color=_OTHERS, label="from the changelog")
    start.set_title("Start until ready, s", loc="left")
    start.legend(frameon=False)
    for axes in (cost, start):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("open sessions")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
