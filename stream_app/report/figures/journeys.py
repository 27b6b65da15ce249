"""Kinds of journeys with their conversion, the paths taken most, and how each step leads to the next."""

from __future__ import annotations

from typing import Final

from stream_app.analytics.journeys.clusters import Cluster, Clusters
from stream_app.analytics.journeys.how_many import STABLE
from stream_app.analytics.journeys.paths import Paths
from stream_app.analytics.sessions import PATH_STEPS
from stream_app.report.figures.plain import Count, Figure, Number, Share, day, numbers, share_of, sig
from stream_app.report.gathering import Gathering

#: Paths told: those taken most.
PATHS_MAX: Final = 40


class Evidence(Figure, frozen=True):
    """Of one number of kinds: mean distance to the prototype, mean silhouette, agreement of two halves' kinds."""

    k: Count
    cost: float
    silhouette: float
    stability: float


class Kind(Figure, frozen=True):
    """A kind of journey: sessions, its share of all, those that bought and that put something into the cart.

    `numbers` are its prototype's, in ln(1 + x); `names` its commonest source, device, country, first and last step.
    """

    sessions: Count
    share: float
    bought: Share
    carted: Share
    numbers: dict[str, float]
    names: dict[str, str]


class Kinds(Figure, frozen=True):
    """`k` kinds, chosen by `evidence` on sessions drawn from the first `begun_by`.

    Of those with a stability of at least `stable_from` it has the best silhouette. `days` and `drift`: the
    share of each kind on each day (UTC).
    """

    k: Count
    begun_by: Count
    stable_from: float
    evidence: list[Evidence]
    kinds: list[Kind]
    days: list[str]
    drift: list[list[Number]]


class Path(Figure, frozen=True):
    """Kinds of step before the first purchase, and the sessions that took exactly these."""

    steps: list[str]
    bought: Share


class Edge(Figure, frozen=True):
    """One step after another: `times` taken, and of the sessions that took it, those that bought."""

    before: str
    after: str
    times: Count
    bought: Share


class Journeys(Figure, frozen=True):
    """`kinds` is null with too few sessions. `paths_missed` is the most that a path may have besides what is counted.

    Of a session only the first `steps_max` steps count here; `cut` sessions had more.
    """

    kinds: Kinds | None
    sessions: Count
    steps_max: Count
    cut: Count
    paths_missed: Count
    paths: list[Path]
    edges: list[Edge]


def make_journeys(gathered: Gathering) -> Journeys:
    """From what was gathered."""
    paths, journeys = gathered.paths, gathered.journeys
    return Journeys(
        kinds=None if journeys.clusters is None else _kinds(journeys.clusters, begun_by=journeys.held),
        sessions=int(gathered.exploring.balance.all[0, 0]),
        steps_max=PATH_STEPS,
        cut=paths.cut,
        paths_missed=paths.missed,
        paths=[
            Path(steps=list(told.steps), bought=share_of(told.bought, told.sessions))
            for told in paths.frequent(PATHS_MAX)
        ],
        edges=_edges(paths),
    )


def _edges(paths: Paths) -> list[Edge]:
    return [
        Edge(before=edge.before, after=edge.after, times=edge.times, bought=share_of(edge.bought, edge.sessions))
        for edge in paths.edges()
    ]


def _kinds(clusters: Clusters, *, begun_by: int) -> Kinds:
    days, shares = clusters.drift()
    return Kinds(
        k=clusters.k,
        begun_by=begun_by,
        stable_from=STABLE,
        evidence=[
            Evidence(k=one.k, cost=sig(one.cost), silhouette=sig(one.silhouette), stability=sig(one.stability))
            for one in clusters.evidence
        ],
        kinds=[_kind(cluster) for cluster in clusters.clusters()],
        days=[day(one) for one in days],
        drift=[numbers(row) for row in shares],
    )


def _kind(cluster: Cluster) -> Kind:
    return Kind(
        sessions=cluster.sessions,
        share=sig(cluster.share),
        bought=share_of(round(cluster.bought * cluster.sessions), cluster.sessions),
        carted=share_of(round(cluster.carted * cluster.sessions), cluster.sessions),
        numbers={name: sig(value) for name, value in cluster.numbers.items()},
        names=cluster.names,
    )
