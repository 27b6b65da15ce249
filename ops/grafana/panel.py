"""What a dashboard is made of, in our own words: boards of rows of panels of queries. `drawing.py` makes Grafana of it.

A query names our metrics bare (`intent_lag_records{partition=~"$partition"}`): the selection of job and instance, which
every query needs and one would be forgotten in, is put in by `selected`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

#: `lines` and `stack` over time, `stat` one number, `bars` one bar per series, `columns` one group per row of a table,
#: `heatmap` of a histogram's buckets over time, `states` over time, `table` of label values, `text`.
Kind = Literal["lines", "stack", "stat", "bars", "columns", "heatmap", "states", "table", "text"]

#: From this value on, this colour; the first colour begins at −∞.
Step = tuple[float, str]

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"

_METRIC: Final = re.compile(r"\b(intent_[a-z0-9_]+)(\{)?")
_OF: Final = 'job=~"$job", instance=~"$instance"'


class Query(NamedTuple):
    """An expression, and how its series are called: text with `{{label}}` in it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Parameters
    ----------
    title, why
        What it shows; the question that it answers and what to do about the answer.
    queries
        Drawn together, in one unit. None for a text, whose words are `why`.
    unit
        One of Grafana's unit ids (`grafana_foundation_sdk.models.units`).
    kind, width, height
        Width in twenty-fourths of the page, height in rows of 30 pixels.
    minimum, maximum, decimals
        Of the axis or the bar; None lets Grafana choose.
    steps
        Where it turns from good to bad. Without any it is not a matter of good and bad.
    states
        Number → word and colour, for what is a state and not a quantity.
    runbook
        The alert that fires when this is bad: its section of `docs/runbook.md` says what to do.
    logarithmic
        Whether the axis, or a heatmap's colour, spans orders of magnitude.
    """

    title: str
    why: str
    queries: tuple[Query, ...] = ()
    unit: str = "none"
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    steps: tuple[Step, ...] = ()
    states: tuple[tuple[int, str, str], ...] = ()
    runbook: str = ""
    logarithmic: bool = False


class Row(NamedTuple):
    """Panels below a heading; they fill lines of 24."""

    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """A dashboard. `uid` is its file's name and its address; `variables` are those of `variables.py` that it uses."""

    uid: str
    title: str
    description: str
    variables: tuple[str, ...]
    rows: tuple[Row, ...]


def selected(expr: str) -> str:
    """The expression with the chosen job and instance in each selector of one of our metrics."""
    return _METRIC.sub(lambda found: f"{found[1]}{{{_OF}" + (", " if found[2] else "}"), expr)


def query(expr: str, legend: str = "") -> Query:
    """A query whose selectors are completed."""
    return Query(selected(expr), legend)


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Expression of a quantile of what a histogram has seen lately, for each value of the label `by`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[$__rate_interval])))"


def quantiles(histogram: str, *shares: float) -> tuple[Query, ...]:
    """A query for each, called p50, p99 and so on."""
    return tuple(query(quantile(share, histogram), f"p{share * 100:g}") for share in shares)
