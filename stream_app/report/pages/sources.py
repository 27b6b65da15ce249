"""Where visitors come from, whether they come back, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stream_app.report.figures.figures import Figures
from stream_app.report.figures.plain import Share
from stream_app.report.figures.sources import Days, Origins, People, Where
from stream_app.report.pages.plots import Plot, Trace, axis, band, line, plain, shares
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import count, decimal, interval, named, percent, probability, short

#: Sources that have room in a plot.
_PLOTTED: Final = 8

#: Days at risk below which a survival curve is not drawn any further.
_AT_RISK_MIN: Final = 20

_ACTIONS: Final = {
    "view": "looked at an item", "like": "liked", "share": "shared", "cart": "put into the cart", "purchase": "bought",
}  # fmt: skip


def section(figures: Figures) -> Section:
    """Actions by source, tests of their difference, returns, lifetimes and value."""
    origins = figures.sources
    everywhere = origins.where[0]
    parts: list[Part] = []
    if any(one.source for one in everywhere.sources):
        parts += [_reached(everywhere), *_tables(origins)]
    else:
        parts.append(Note("No event says where its visitor came from: there is one source, and nothing to compare."))
    return Section(
        "sources",
        "Sources and visitors",
        "what visitors of each source do, who comes back, and what they spend",
        [*parts, *_people(origins.people)],
    )


def _reached(where: Where) -> Plot:
    shown = where.sources[:_PLOTTED]
    labels = [plain(short(one.source)) for one in shown]
    # What nobody does has no bars, only a name in the legend.
    actions = [action for action in _ACTIONS if any(one.events[action] for one in shown)]
    firm = [difference.action for difference in where.differences if difference.adjusted < 0.05]
    title = (
        f"Sources differ in who {', '.join(_ACTIONS[action] for action in firm)}" if firm else "Sources do not differ"
    )
    return Plot(
        title,
        "A bar is the share of a source's sessions with the action, with its 95 % interval. The title names the "
        "actions whose shares differ by more than chance (chi-squared over sessions, corrected for the number of "
        "actions; p < .05).",
        [
            shares(_ACTIONS[action], labels, [one.reached[action] for one in shown], number=n, kind="bar",
                   **({"visible": "legendonly"} if action == "view" else {}))
            for n, action in enumerate(actions)
        ],
        {"xaxis": {"type": "category"}, "yaxis": axis("share of the source's sessions", percent=True),
         "barmode": "group"},
        f"The {_PLOTTED} with most sessions; the table has all." if len(where.sources) > _PLOTTED else "",
        wide=True,
    )  # fmt: skip


def _tables(origins: Origins) -> Iterator[Table]:
    everywhere, *apart = origins.where
    yield _actions(everywhere, "Actions by source", folded=False)
    yield Table(
        "Do sources differ?",
        ("action", "chi-squared", "degrees", "probability, corrected", "Cramér's V", "bits", "smallest expected"),
        [
            [
                _ACTIONS[one.action], f"{one.test.chi_squared:,.1f}", str(one.test.degrees), probability(one.adjusted),
                decimal(one.test.v), f"{one.test.bits:.5f}", f"{one.test.smallest_expected:,.1f}",
            ]
            for one in everywhere.differences
        ],
        f"Of sources with at least {origins.tested_from} sessions. The probability is that of such differences if "
        "there are none; V says how large they are (0.1 is small). With an expected count below 5 the probability is "
        "rough.",
    )  # fmt: skip
    for where in apart:
        differing = [_ACTIONS[one.action] for one in where.differences if one.adjusted < 0.05]
        said = f"differ in who {', '.join(differing)}" if differing else "do not differ"
        yield _actions(where, f"In category {named(where.category or '')}: sources {said}", folded=True)


def _actions(where: Where, title: str, *, folded: bool) -> Table:
    actions = [action for action in _ACTIONS if any(one.events[action] for one in where.sources)]
    return Table(
        title,
        ("source", "sessions", *(c for a in actions for c in (f"{_ACTIONS[a]}: events", "of its actions", "sessions",
                                                               "95 % interval"))),
        [
            [
                named(one.source), count(one.sessions),
                *(cell for action in actions for cell in (
                    count(one.events[action]), percent(one.shares[action], 1), *_cells(one.reached[action]))),
            ]
            for one in where.sources
        ],
        folded=folded,
    )  # fmt: skip


def _cells(share: Share) -> tuple[str, str]:
    return percent(share.share), interval(share)


def _people(people: People) -> Iterator[Part]:
    sampled = "" if people.sampled == 1.0 else f", a fair sample of {percent(people.sampled, 1)}"
    yield Note(
        f"{count(people.followed)} visitors are followed{sampled}; {count(people.came_again)} of them came more than "
        "once."
    )
    if not people.came_again:
        yield Note(
            "As nobody came again (or the file does not tell visitors from sessions), there is nothing to say of "
            "returns, of how long visitors stay, or of what they are worth later."
        )
        return
    back = _at(people.waiting, 7)
    yield _survival(
        people.waiting,
        "How many have not come back" if back is None else f"Of 100 visits {100 - round(100 * back)} are followed by "
        "another within a week",
        "The line is the share of visits that have not been followed by another one of the visitor after so many days "
        "(Kaplan–Meier, 95 % interval); waits that the end of the data cut off count for as long as they were seen.",
        "days since the visit", "not come back",
    )  # fmt: skip
    stay = _at(people.staying, 30)
    yield _survival(
        people.staying,
        "How long visitors stay visitors"
        if stay is None
        else f"{percent(stay, 0)} are still visitors 30 days after their first visit",
        "The line is the share of visitors whose last visit is later than so many days after their first "
        f"(Kaplan–Meier, 95 % interval). Without a visit in the last {people.churn_days:.0f} days of the data a "
        "visitor has left; others may come again and are cut off at their last visit.",
        "days since the first visit", "still a visitor",
    )  # fmt: skip
    yield _worth(people)


def _at(days: Days, day: int) -> float | None:
    there = len(days.at_risk) >= day and days.at_risk[day - 1] >= _AT_RISK_MIN
    return days.survival[day - 1] if there else None


def _survival(days: Days, title: str, read: str, x: str, y: str) -> Plot | Note:
    last = sum(risk >= _AT_RISK_MIN for risk in days.at_risk)
    if last < 2:
        return Note(f"{title} is not told: fewer than {_AT_RISK_MIN} were seen for two {x}.")
    at = list(range(1, last + 1))
    return Plot(
        title,
        read,
        [
            band(at, days.low[:last], days.high[:last], number=0, group=y),
            line(y, at, days.survival[:last],
                 text=[f"{count(risk)} at risk" for risk in days.at_risk[:last]],
                 hovertemplate="day %{x}: %{y:.1%}<br>%{text}<extra></extra>"),
        ],
        {"xaxis": axis(x), "yaxis": axis(y, percent=True, range=[0, 1.02])},
        f"Drawn while at least {_AT_RISK_MIN} are at risk.",
    )  # fmt: skip


def _worth(people: People) -> Part:
    traces: list[Trace] = []
    for n, worth in enumerate(people.worth[:_PLOTTED]):
        last = sum(observed >= _AT_RISK_MIN for observed in worth.observed)
        weeks = list(range(1, last + 1))
        traces += [
            band(weeks, worth.low[:last], worth.high[:last], number=n, group=named(worth.source)),
            line(named(worth.source), weeks, worth.mean[:last], number=n, mode="lines+markers",
                 legendgroup=plain(named(worth.source)),
                 text=[f"{count(observed)} visitors observed so long" for observed in worth.observed[:last]],
                 hovertemplate="week %{x}: %{y:.2f}<br>%{text}"),
        ]  # fmt: skip
    if not any(trace["x"] for trace in traces):
        return Note(
            f"Nobody's value is told: no source has {_AT_RISK_MIN} visitors that were observed for a whole week."
        )
    if not any(mean for worth in people.worth for mean in worth.mean):
        return Note("No purchase says what it cost: there is nothing to say of what visitors are worth.")
    return Plot(
        "What a visitor has spent by when, by the source of the first visit",
        "A line is what visitors have spent on average by the end of each week since their first visit, in the "
        "shop's currency; in each week the mean over those who have been there for all of it. The shade is the 95 % "
        "interval; a few large orders make it too narrow.",
        traces,
        {"xaxis": axis("weeks since the first visit", dtick=2), "yaxis": axis("spent, in the shop's currency")},
        f"Drawn while at least {_AT_RISK_MIN} visitors are observed.",
        wide=True,
    )
