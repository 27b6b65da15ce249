"""What goes with a purchase, with a cart, and with each other: funnels, correlations, rankings, components."""

from __future__ import annotations

from typing import Final

from stream_app.analytics.balance import TARGETS
from stream_app.analytics.funnel import BY, RATIOS, STRENGTH, Funnel, Ratio
from stream_app.analytics.relations import COLUMNS, Relations
from stream_app.report.figures.plain import (
    Count,
    Figure,
    Number,
    Share,
    Tested,
    numbers,
    share_of,
    shares_of,
    sig,
    tested,
)

#: Names told of each breakdown: those seen most.
NAMES_MAX: Final = 50


class Smoothed(Figure, frozen=True):
    """A share, and what it is drawn to the overall one: of few cases the plain one says little."""

    plain: Share
    smoothed: float


class Named(Figure, frozen=True):
    """A category, brand or item ("" is: not known): episodes with a view, and each ratio."""

    name: str
    seen: Count
    ratios: dict[str, Smoothed]


class Breakdown(Figure, frozen=True):
    """The names seen most. `missed`: seen episodes that a name may have more than is counted (bounded memory)."""

    by: str
    missed: Count
    names: list[Named]


class Funnels(Figure, frozen=True):
    """Episodes of a visitor with an item, from view to cart to purchase; a ratio is drawn by `strength` episodes."""

    episodes: Count
    seen: Count
    carted: Count
    bought: Count
    overall: dict[str, Share]
    strength: float
    breakdowns: list[Breakdown]


class Ranked(Figure, frozen=True):
    """A feature's table with a target."""

    target: str
    feature: str
    test: Tested


class Component(Figure, frozen=True):
    """A principal component: its share of the variance, and its correlation with each of `columns`."""

    share: float
    loadings: list[Number]


class Correlations(Figure, frozen=True):
    """Over sessions with a known end and a step before their purchase, each up to that; `l1_` is ln(1 + x).

    `matrix` is by `columns`, null where one does not vary. `components` leave out those that explain less than 1 %.
    """

    sessions: Count
    columns: list[str]
    matrix: list[list[Number]]
    ranking: list[Ranked]
    components: list[Component]


def make_funnels(funnel: Funnel) -> Funnels:
    """From the counts of episodes."""
    total = funnel.total()
    return Funnels(
        episodes=total["episodes"],
        seen=total["seen"],
        carted=total["carted"],
        bought=total["bought"],
        overall={name: share_of(total[hit], total[case]) for name, (hit, case) in RATIOS.items()},
        strength=STRENGTH,
        breakdowns=[_breakdown(funnel, by) for by in BY],
    )


def _breakdown(funnel: Funnel, by: str) -> Breakdown:
    names, ratios = funnel.ratios(by, NAMES_MAX)
    told = {name: _smoothed(ratio) for name, ratio in ratios.items()}
    return Breakdown(
        by=by,
        missed=funnel.missed(by),
        names=[
            Named(
                name=name,
                seen=int(ratios["view → cart"].cases[n]),
                ratios={ratio: found[n] for ratio, found in told.items()},
            )
            for n, name in enumerate(names)
        ],
    )


def _smoothed(ratio: Ratio) -> list[Smoothed]:
    plain = shares_of(ratio.hits, ratio.cases)
    return [Smoothed(plain=one, smoothed=sig(drawn)) for one, drawn in zip(plain, ratio.smoothed.tolist(), strict=True)]


def make_correlations(relations: Relations) -> Correlations:
    """From the sums and tables of sessions."""
    found = relations.scatter.components() if relations.scatter.rows > 1 else None
    return Correlations(
        sessions=relations.scatter.rows,
        columns=list(COLUMNS),
        matrix=[numbers(row) for row in relations.scatter.correlation()],
        ranking=[
            Ranked(target=target, feature=ranked.feature, test=tested(ranked.association))
            for target in TARGETS
            for ranked in relations.ranking(target)
        ],
        components=[]
        if found is None
        else [
            Component(share=sig(share), loadings=numbers(loadings))
            for share, loadings in zip(found.shares.tolist(), found.loadings, strict=True)
            if share >= 0.01
        ],
    )
