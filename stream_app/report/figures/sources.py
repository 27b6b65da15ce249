"""Where visitors come from, what they do, whether they come back, and what they spend."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.sessions import ACTIONS
from stream_app.analytics.sources import TESTED_FROM, SourceActions, Sources
from stream_app.analytics.survival import Survival
from stream_app.analytics.visitors import CHURN_MS, Value, Visitors
from stream_app.report.figures.plain import Count, Figure, Number, Share, Tested, numbers, shares_of, tested

#: Sources told of, and categories that they are told apart in: those with most sessions.
SOURCES_MAX: Final = 20
CATEGORIES_MAX: Final = 8

_DAY_MS: Final = 86_400_000


class Actions(Figure, frozen=True):
    """Of one source ("" is: not known): sessions, events by action, these as shares of its actions.

    `reached`: the share of its sessions with the action.
    """

    source: str
    sessions: Count
    events: dict[str, Count]
    shares: dict[str, Number]
    reached: dict[str, Share]


class Difference(Figure, frozen=True):
    """Whether the share of sessions with an action differs between sources.

    `adjusted` is the probability after Holm's correction for the number of actions.
    """

    action: str
    test: Tested
    adjusted: float


class Where(Figure, frozen=True):
    """Sources and their differences in one category that sessions touched last, or in all (`category` null)."""

    category: str | None
    sources: list[Actions]
    differences: list[Difference]


class Days(Figure, frozen=True):
    """A Kaplan–Meier curve by whole days: `survival` at the end of each, with its interval; `at_risk` at its start."""

    at_risk: list[Count]
    survival: list[Number]
    low: list[Number]
    high: list[Number]


class Worth(Figure, frozen=True):
    """What a source's visitors have spent on average by the end of each week since their first visit.

    In the shop's currency, with an asymptotic 95 % interval; `observed` visitors have been there for so long.
    """

    source: str
    visitors: Count
    observed: list[Count]
    mean: list[Number]
    low: list[Number]
    high: list[Number]


class People(Figure, frozen=True):
    """Visitors followed, a `sampled` share of all; `came_again` had more than one session.

    `waiting` is the wait from one session to the next: its survival has not come back by then. `staying` is from the
    first session to the last: its survival is a visitor for longer; without a session for `churn_days`, one has left.
    """

    followed: Count
    sampled: float
    came_again: Count
    churn_days: float
    waiting: Days
    staying: Days
    worth: list[Worth]


class Origins(Figure, frozen=True):
    """`missed`: sessions that a source may have more than is counted (bounded memory)."""

    missed: Count
    tested_from: Count
    where: list[Where]
    people: People


def make_origins(sources: Sources, visitors: Visitors) -> Origins:
    """From the counts of sessions and the followed visitors."""
    categories: list[str | None] = [None, *sources.categories()[:CATEGORIES_MAX]]
    return Origins(
        missed=sources.missed,
        tested_from=TESTED_FROM,
        where=[_where(sources, category) for category in categories],
        people=People(
            followed=len(visitors),
            sampled=visitors.sampled,
            came_again=visitors.came_again,
            churn_days=CHURN_MS / _DAY_MS,
            waiting=_days(visitors.returning()),
            staying=_days(visitors.lifetime()),
            worth=[_worth(value) for value in visitors.values()[:SOURCES_MAX]],
        ),
    )


def _where(sources: Sources, category: str | None) -> Where:
    return Where(
        category=category,
        sources=[_actions(told) for told in sources.actions(category)[:SOURCES_MAX]],
        differences=[
            Difference(action=one.action, test=tested(one.association), adjusted=one.adjusted)
            for one in sources.differences(category)
        ],
    )


def _actions(told: SourceActions) -> Actions:
    reached = shares_of(told.did, [told.sessions] * len(ACTIONS))
    return Actions(
        source=told.source,
        sessions=told.sessions,
        events=dict(zip(ACTIONS, told.events.tolist(), strict=True)),
        shares=dict(zip(ACTIONS, numbers(told.shares), strict=True)),
        reached=dict(zip(ACTIONS, reached, strict=True)),
    )


def _days(found: Survival) -> Days:
    # Beyond the last who is at risk there is nothing to tell.
    some = int(np.count_nonzero(found.at_risk))
    return Days(
        at_risk=found.at_risk[:some].astype(np.int64).tolist(),
        survival=numbers(found.survival[:some]),
        low=numbers(found.survival_low[:some]),
        high=numbers(found.survival_high[:some]),
    )


def _worth(value: Value) -> Worth:
    return Worth(
        source=value.source,
        visitors=value.visitors,
        observed=value.observed.tolist(),
        mean=numbers(value.mean),
        low=numbers(value.low),
        high=numbers(value.high),
    )
