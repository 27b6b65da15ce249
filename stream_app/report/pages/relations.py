"""What goes with buying, and with what else."""

from __future__ import annotations

from typing import Final

from stream_app.report.figures.figures import Figures
from stream_app.report.figures.relations import Correlations
from stream_app.report.pages.plots import DIVERGING, Plot, Trace, axis, bars, categories, heat
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import decimal, percent, probability

#: Components whose loadings have room.
_COMPONENTS: Final = 6

_WARNING: Final = (
    "Whole sessions are described here, up to their first purchase. That says what buyers' sessions are like; it is "
    "no list of what foresees: longer sessions are longer in part because they went on to buy."
)


def section(figures: Figures) -> Section:
    """Rankings, correlations, components."""
    found = figures.correlations
    parts: list[Part] = [Note(_WARNING)]
    if found.ranking:
        parts += [_ranking(found), _tests(found)]
    varying = [n for n, row in enumerate(found.matrix) if row[n] is not None]
    if len(varying) > 1:
        parts += [_matrix(found, varying), _components(found)]
    return Section(
        "relations",
        "What goes with buying",
        "which traits of sessions go with a purchase or a cart, and which go with each other",
        parts,
    )


def _ranking(found: Correlations) -> Plot:
    targets = list(dict.fromkeys(ranked.target for ranked in found.ranking))
    names = [ranked.feature for ranked in found.ranking if ranked.target == targets[0]]
    traces: list[Trace] = []
    for n, target in enumerate(targets):
        of = {ranked.feature: ranked for ranked in found.ranking if ranked.target == target}
        there = [name for name in names if name in of]
        traces.append(
            bars(
                target, [of[name].test.bits for name in there], there, number=n, orientation="h",
                text=[f"V {decimal(of[name].test.v)}, p {probability(of[name].test.probability)}" for name in there],
                textposition="none", hovertemplate="%{y}: %{x:.5f} bits<br>%{text}",
            )
        )  # fmt: skip
    return Plot(
        f"{names[0]} goes with a {targets[0]} most",
        "A bar is how much knowing the feature says of the target: mutual information, in bits, less what chance would "
        "show (so it can be a little below 0). Numbers are cut at doublings.",
        traces,
        {"xaxis": axis("bits"), "yaxis": categories(), "barmode": "group", "height": 140 + 22 * len(names)},
    )


def _tests(found: Correlations) -> Table:
    return Table(
        "Chi-squared and mutual information",
        ("feature", "target", "bits", "chi-squared", "degrees", "probability", "Cramér's V", "smallest expected"),
        [
            [
                ranked.feature, ranked.target, f"{ranked.test.bits:.5f}", f"{ranked.test.chi_squared:,.1f}",
                str(ranked.test.degrees), probability(ranked.test.probability), decimal(ranked.test.v),
                f"{ranked.test.smallest_expected:,.2f}",
            ]
            for ranked in found.ranking
        ],
        "With an expected count below 5 the probability is rough.",
        folded=True,
    )  # fmt: skip


def _matrix(found: Correlations, varying: list[int]) -> Plot:
    names = [found.columns[n] for n in varying]
    values = [[found.matrix[row][column] for column in varying] for row in varying]
    pairs = [
        (abs(values[a][b] or 0.0), a, b)
        for a in range(len(names))
        for b in range(a)
        if not {a, b} <= set(_targets(names))
    ]
    _, a, b = max(pairs, default=(0.0, 0, 0))
    text = [[decimal(value) for value in row] for row in values]
    return Plot(
        f"{names[b]} and {names[a]} go together most ({decimal(values[a][b], 2)})",
        "The correlation of two traits over sessions: blue where one is high when the other is low, orange where "
        "both are high together, white for none. The last two are the outcomes. l1 is ln(1 + x). What does not vary "
        "is left out.",
        [heat(names, names, values, text, colorscale=DIVERGING, zmin=-1, zmax=1, colorbar={"thickness": 12})],
        {"yaxis": categories(), "xaxis": {"automargin": True, "tickangle": -60}, "height": 200 + 18 * len(names)},
        wide=True,
    )


def _targets(names: list[str]) -> list[int]:
    return [n for n, name in enumerate(names) if name in ("purchase", "cart")]


def _components(found: Correlations) -> Plot:
    shown = found.components[:_COMPONENTS]
    labels = [f"{n + 1}: {percent(one.share, 0)}" for n, one in enumerate(shown)]
    values = [[one.loadings[row] for one in shown] for row in range(len(found.columns))]
    text = [[decimal(value) for value in row] for row in values]
    return Plot(
        f"{len(shown)} directions hold {percent(sum(one.share for one in shown), 0)} of what varies",
        "Principal components of the standardised traits: a column is a direction in which sessions differ, with its "
        "share of all variance; a cell is the trait's correlation with it.",
        [heat(labels, found.columns, values, text, colorscale=DIVERGING, zmin=-1, zmax=1, colorbar={"thickness": 12})],
        {"yaxis": categories(), "xaxis": {"type": "category", "title": {"text": "component and its share of variance"}},
         "height": 160 + 20 * len(found.columns)},
        wide=True,
    )  # fmt: skip
