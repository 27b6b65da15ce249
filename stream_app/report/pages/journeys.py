"""Kinds of journeys, paths, and how each step leads to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from stream_app.report.figures.figures import Figures
from stream_app.report.figures.journeys import Journeys, Kind, Kinds
from stream_app.report.pages.graph import graph
from stream_app.report.pages.plots import RISING, Plot, Trace, axis, categories, heat, line, lying, plain, shares
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import count, interval, named, percent, short, told

_PATHS_PLOTTED: Final = 20

#: Sessions from which a kind or a path has a share worth a look: of a half, it is ± 0.17 then.
_ENOUGH: Final = 30

#: What of a prototype's numbers is told: name in the figures → heading.
_NUMBERS: Final = {"l1_steps": "steps", "l1_seconds": "seconds", "l1_item": "items looked at", "l1_list": "lists",
                   "l1_search": "searches", "l1_cart": "into cart", "l1_checkout": "checkout steps",
                   "l1_price_mean": "mean price"}  # fmt: skip


def section(figures: Figures) -> Section:
    """Kinds with their conversion and drift, frequent paths, transitions."""
    journeys = figures.journeys
    kinds = journeys.kinds
    parts: list[Part] = [Note("Too few sessions to tell kinds of journeys apart.")]
    if kinds is not None:
        parts = [_evidence(kinds), _conversion(kinds), _profiles(kinds), *_drift(kinds)]
    if any(path.steps and path.bought.cases >= _ENOUGH for path in journeys.paths):
        parts.append(_paths(journeys))
    if journeys.paths:
        parts.append(_path_table(journeys))
    if journeys.edges:
        parts += [_transitions(journeys), graph(journeys), _edges(journeys)]
    return Section(
        "journeys",
        "Journeys",
        "kinds of visits and how many of each buy, the commonest paths, and which step leads to a purchase",
        parts,
    )


def _name(number: int, kind: Kind) -> str:
    first, last = kind.names.get("first_step", ""), kind.names.get("last_step", "")
    steps = round(math.expm1(kind.numbers.get("l1_steps", 0.0)))
    path = first if first == last else f"{first} … {last}"
    price = math.expm1(kind.numbers.get("l1_price_mean", 0.0))
    return f"{number + 1}: {path}, {steps} step{'' if steps == 1 else 's'}" + (f", at {price:.0f}" if price else "")


def _evidence(kinds: Kinds) -> Plot:
    ks = [one.k for one in kinds.evidence]
    chosen = next(one for one in kinds.evidence if one.k == kinds.k)
    firm = chosen.stability >= kinds.stable_from
    return Plot(
        f"{kinds.k} kinds of journeys{'' if firm else ', which are not stable'}",
        "Blue: how much nearer sessions are to their own kind than to the next one (silhouette; 1 is best). Orange: "
        "whether two halves of the sessions give the same kinds (1: the same, 0: as by chance). Of the numbers of "
        f"kinds with at least {kinds.stable_from} the one with the best silhouette is taken. From a sample of the "
        f"first {count(kinds.begun_by)} sessions.",
        [
            line("silhouette", ks, [one.silhouette for one in kinds.evidence], mode="lines+markers"),
            line("stability", ks, [one.stability for one in kinds.evidence], number=1, mode="lines+markers"),
        ],
        {
            "xaxis": axis("number of kinds", dtick=1),
            "yaxis": axis("silhouette; agreement of halves"),
            "shapes": [{"type": "line", "x0": kinds.k, "x1": kinds.k, "yref": "paper", "y0": 0, "y1": 1,
                        "line": {"color": "#999999", "dash": "dot"}}],
        },
        "" if firm else "No number of kinds is stable: other sessions would give others. Take them as a description.",
    )  # fmt: skip


def _conversion(kinds: Kinds) -> Plot:
    labels = [_name(n, kind) for n, kind in enumerate(kinds.kinds)]
    # The best of those that say something, if any does.
    enough = [kind for kind in kinds.kinds if kind.sessions >= _ENOUGH] or kinds.kinds
    best = max(enough, key=lambda kind: kind.bought.share or 0.0)
    few = [str(n + 1) for n, kind in enumerate(kinds.kinds) if kind.sessions < _ENOUGH]
    return Plot(
        f"One kind, {percent(best.share, 1)} of the sessions, buys at {percent(best.bought.share, 1)}",
        "A bar is the share of a kind's sessions that bought, or had put something into the cart, with its 95 % "
        "interval. The kinds are told apart by what came before the purchase alone.",
        [
            lying(shares("bought", labels, [kind.bought for kind in kinds.kinds], kind="bar")),
            lying(shares("cart first", labels, [kind.carted for kind in kinds.kinds], number=1, kind="bar")),
        ],
        {"xaxis": axis("share of the kind's sessions", percent=True), "yaxis": categories()},
        f"Fewer than {_ENOUGH} sessions: kind {', '.join(few)}." if few else "",
    )


def _profiles(kinds: Kinds) -> Table:
    said = [name for name in ("source", "device", "country") if any(kind.names.get(name) for kind in kinds.kinds)]
    return Table(
        "What each kind is like",
        ("kind", "sessions", "share", "bought", "95 % interval", "cart first", *_NUMBERS.values(), "first step",
         "last step", *(f"commonest {name}" for name in said)),
        [
            [
                _name(n, kind), count(kind.sessions), percent(kind.share, 1), percent(kind.bought.share),
                interval(kind.bought), percent(kind.carted.share),
                *(f"{abs(math.expm1(kind.numbers.get(name, 0.0))):.1f}" for name in _NUMBERS),
                kind.names.get("first_step", ""), kind.names.get("last_step", ""),
                *(named(kind.names.get(name, "")) for name in said),
            ]
            for n, kind in enumerate(kinds.kinds)
        ],
        "Numbers are the kind's centre (a geometric mean, of 1 more than each), first and last step and the rest its "
        "commonest.",
    )  # fmt: skip


def _drift(kinds: Kinds) -> Iterator[Plot]:
    if len(kinds.days) < 2:
        return
    traces: list[Trace] = []
    for n, kind in enumerate(kinds.kinds):
        shown = [row[n] for row in kinds.drift]
        traces.append(line(_name(n, kind), kinds.days, shown, number=n, stackgroup="kinds",
                           line={"width": 0.5}, hovertemplate="%{y:.1%}"))  # fmt: skip
    yield Plot(
        "Which kinds came on which day",
        "The height of a colour is the share of the day's sessions (UTC) that are of the kind. Where colours widen "
        "or vanish, the shop or its visitors have changed.",
        traces,
        {"xaxis": {"title": {"text": "day"}}, "yaxis": axis("share of the sessions", percent=True, range=[0, 1]),
         "hovermode": "x unified"},
        wide=True,
    )  # fmt: skip


def _paths(journeys: Journeys) -> Plot:
    # Who buys at once has bought: that bar would only make the others small.
    firm = [path for path in journeys.paths if path.steps and path.bought.cases >= _ENOUGH]
    shown = firm[:_PATHS_PLOTTED]
    labels = [plain(short(_steps(path.steps))) for path in shown]
    # Two long paths may be cut to the same text, and would share a bar.
    labels = [f"{n + 1}. {label}" for n, label in enumerate(labels)]
    covered = sum(path.bought.cases for path in shown) / max(1, journeys.sessions)
    return Plot(
        f"{percent(covered, 0)} of the sessions take one of {len(shown)} paths",
        "A bar is how many of the sessions that took exactly this path, up to a purchase or their end, bought, with "
        "its 95 % interval; the commonest path is on top.",
        [lying(shares("bought", labels, [path.bought for path in shown], kind="bar"))],
        {"xaxis": axis("share that bought", percent=True), "yaxis": categories(), "height": 120 + 22 * len(shown)},
        f"Only paths of at least {_ENOUGH} sessions, and not the purchase at once.",
        wide=True,
    )


def _path_table(journeys: Journeys) -> Table:
    return Table(
        f"The {len(journeys.paths)} commonest paths",
        ("path", "sessions", "of all", "bought", "share", "95 % interval"),
        [
            [
                _steps(path.steps), count(path.bought.cases), percent(path.bought.cases / max(1, journeys.sessions)),
                count(path.bought.hits), percent(path.bought.share), interval(path.bought),
            ]
            for path in journeys.paths
        ],
        f"Only the first {journeys.steps_max} steps count; {count(journeys.cut)} sessions had more. Up to "
        f"{count(journeys.paths_missed)} sessions of a path may not be counted.",
        folded=True,
    )  # fmt: skip


def _transitions(journeys: Journeys) -> Plot:
    befores = list(dict.fromkeys(edge.before for edge in journeys.edges))
    afters = list(dict.fromkeys(edge.after for edge in journeys.edges))
    of = {before: sum(edge.times for edge in journeys.edges if edge.before == before) for before in befores}
    values: list[list[float | None]] = [[None] * len(afters) for _ in befores]
    text = [[""] * len(afters) for _ in befores]
    for edge in journeys.edges:
        row, column = befores.index(edge.before), afters.index(edge.after)
        values[row][column] = edge.times / of[edge.before]
        text[row][column] = (
            f"{percent(edge.times / of[edge.before], 1)} of the steps from here, {count(edge.times)} times<br>"
            f"sessions with it that bought: {told(edge.bought)}"
        )
    return Plot(
        "Which step follows which",
        "A row is a kind of step, a column what comes next; the darker, the more often. Pointing at a cell tells how "
        "many of the sessions that took the step bought.",
        [heat(afters, befores, values, text, colorscale=RISING, zmin=0, zmax=1,
              colorbar={"tickformat": ".0%", "thickness": 12})],
        {"yaxis": categories("from"), "xaxis": {"title": {"text": "to"}, "automargin": True}},
    )  # fmt: skip


def _edges(journeys: Journeys) -> Table:
    return Table(
        "Every step and the share of its sessions that bought",
        ("from", "to", "times", "sessions", "bought", "share", "95 % interval"),
        [
            [
                edge.before, edge.after, count(edge.times), count(edge.bought.cases), count(edge.bought.hits),
                percent(edge.bought.share), interval(edge.bought),
            ]
            for edge in journeys.edges
        ],
        folded=True,
    )  # fmt: skip


def _steps(steps: list[str]) -> str:
    """view view view cart → view ×3 → cart."""
    runs: list[tuple[str, int]] = []
    for step in steps:
        if runs and runs[-1][0] == step:
            runs[-1] = step, runs[-1][1] + 1
        else:
            runs.append((step, 1))
    return " → ".join(f"{step} ×{times}" if times > 1 else step for step, times in runs) or "(a purchase at once)"
