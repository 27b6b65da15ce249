"""Plots as the values that Plotly draws: traces, layout, a title that says what is seen, and how to read it.

Plotly takes a little HTML in texts. Names come from the file, so every text that holds one goes through `plain`: it is
shown as it is, and never read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final, NamedTuple

from stream_app.report.figures.plain import Number, Share
from stream_app.report.pages.words import told

Trace = dict[str, Any]

#: Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a00", "#000000")
#: Of what is there for comparison, or is too little to say much.
GREY: Final = "#999999"

#: From blue for −1 by white to orange for 1, and from white to blue: readable without red and green.
DIVERGING: Final = [[0.0, "#0072b2"], [0.5, "#ffffff"], [1.0, "#d55e00"]]
RISING: Final = [[0.0, "#ffffff"], [1.0, "#0072b2"]]


class Plot(NamedTuple):
    """One plot. `read` says what a point, a bar, a shade is, `few` what is too little to trust."""

    title: str
    read: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    few: str = ""
    wide: bool = False


def plain(text: str) -> str:
    """A text that Plotly shows as it is."""
    return escape(text, quote=False)


def axis(title: str, *, percent: bool = False, **more: Any) -> dict[str, Any]:
    """An axis with its unit in the title."""
    shown = {"tickformat": ".1%", "hoverformat": ".2%", "rangemode": "tozero"} if percent else {}
    return {"title": {"text": title}, **shown, **more}


def colour(number: int) -> str:
    """Of the n-th series."""
    return COLOURS[number % len(COLOURS)]


def line(name: str, x: Sequence[Any], y: Sequence[Number], *, number: int = 0, **more: Any) -> Trace:
    """A line, broken where nothing is known."""
    style = {"color": colour(number), "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "name": plain(name), "x": x, "y": y, "line": style, **more}


def band(x: Sequence[float], low: Sequence[Number], high: Sequence[Number], *, number: int, group: str) -> Trace:
    """The interval around a line of the same group, where it is known."""
    there = [n for n in range(len(x)) if low[n] is not None and high[n] is not None]
    forth = [(x[n], high[n]) for n in there]
    back = [(x[n], low[n]) for n in reversed(there)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [px for px, _ in forth + back],
        "y": [py for _, py in forth + back],
        "fill": "toself",
        "fillcolor": _faint(colour(number)),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": plain(group),
    }


def shares(
    name: str, x: Sequence[Any], found: Sequence[Share], *, number: int = 0, kind: str = "lines+markers", **more: Any
) -> Trace:
    """Shares with their intervals as whiskers; pointing at one tells how many of how many."""
    there = [(at, one) for at, one in zip(x, found, strict=True) if one.share is not None]
    values = [one.share or 0.0 for _, one in there]
    whiskers = {
        "type": "data",
        "symmetric": False,
        "array": [one.high - value for (_, one), value in zip(there, values, strict=True)],
        "arrayminus": [value - one.low for (_, one), value in zip(there, values, strict=True)],
        "color": colour(number),
        "thickness": 1,
        "width": 2,
    }
    return {
        "type": "bar" if kind == "bar" else "scatter",
        **({} if kind == "bar" else {"mode": kind}),
        "name": plain(name),
        "x": [at for at, _ in there],
        "y": values,
        "error_y": whiskers,
        "text": [told(one) for _, one in there],
        "textposition": "none",
        "hovertemplate": "%{text}",
        "marker": {"color": colour(number)},
        **more,
    }


def lying(trace: Trace) -> Trace:
    """A trace of shares turned on its side: long names stand before their bars."""
    turned = {"x": trace["y"], "y": trace["x"], "error_x": trace["error_y"], "orientation": "h"}
    return {**{name: value for name, value in trace.items() if name != "error_y"}, **turned}


def bars(name: str, x: Sequence[Any], y: Sequence[Any], *, number: int = 0, **more: Any) -> Trace:
    """Bars of numbers."""
    return {"type": "bar", "name": plain(name), "x": x, "y": y, "marker": {"color": colour(number)}, **more}


def heat(
    columns: Sequence[str], rows: Sequence[str], values: Sequence[Sequence[Number]], text: Sequence[Sequence[str]],
    **more: Any,
) -> Trace:  # fmt: skip
    """A table of shades, first row on top if the axis is reversed; `text` is told of each cell."""
    return {
        "type": "heatmap",
        "x": [plain(column) for column in columns],
        "y": [plain(row) for row in rows],
        "z": values,
        "text": text,
        "hovertemplate": "%{y} · %{x}<br>%{text}<extra></extra>",
        "xgap": 1,
        "ygap": 1,
        **more,
    }


def categories(title: str = "") -> dict[str, Any]:
    """An axis of names, in the order given, first on top; all of them are written down."""
    return {
        "title": {"text": title}, "type": "category", "autorange": "reversed", "automargin": True, "dtick": 1,
    }  # fmt: skip


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
