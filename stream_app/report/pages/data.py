"""What the data is like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from stream_app.report.figures.data import Came, Data, Events
from stream_app.report.figures.figures import Figures
from stream_app.report.figures.plain import share_of
from stream_app.report.pages.plots import (
    GREY,
    RISING,
    Plot,
    Trace,
    axis,
    bars,
    categories,
    colour,
    heat,
    shares,
)  # fmt: skip
from stream_app.report.pages.section import Cards, Note, Part, Section, Table
from stream_app.report.pages.words import count, decimal, interval, percent

#: Sessions below which the share of a bar is too uncertain to be compared with its neighbours'.
_FEW = 200


def section(figures: Figures) -> Section:
    """What was read, what is wrong with it, how rare buyers are, and when it is known who they will be."""
    data = figures.data
    return Section(
        "data",
        "What the data is like",
        "events and their faults, buyers and how rare they are, the hours and days of the shop",
        [
            _cards(data),
            _targets(data),
            _faults(data.events, figures.setting.grace_s),
            _types(data.events),
            _missing(data.events),
            *_lengths(data),
            _signal(data),
            *_seasons(data, figures.setting.utc_offset_minutes),
        ],
    )


def _cards(data: Data) -> Cards:
    events, sessions = data.events, data.sessions
    return Cards(
        (
            ("events", count(events.taken_in)),
            ("first (UTC)", (events.first or "–").replace("T", " ").rstrip("Z")),
            ("last (UTC)", (events.last or "–").replace("T", " ").rstrip("Z")),
            ("sessions with a known end", count(sessions.sessions)),
            ("of them bought", percent(sessions.purchase.share)),
            ("put something into the cart first", percent(sessions.cart.share)),
        )
    )


def _targets(data: Data) -> Table:
    sessions = data.sessions
    return Table(
        "What can be foreseen of a session, and how rare it is",
        ("target", "sessions", "came to it", "share", "95 % interval", "others for each"),
        [
            [
                name, count(share.cases), count(share.hits), percent(share.share), interval(share),
                f"{(share.cases - share.hits) / share.hits:.1f}" if share.hits else "–",
            ]
            for name, share in (("purchase", sessions.purchase), ("cart before a purchase", sessions.cart))
        ],
        "Who foresees nothing is right about as many as do not come to it: accuracy says little where that is most. "
        f"{count(data.cut_off)} sessions were still open when the data ended; nobody knows what became of them, and "
        "they are left out wherever it matters.",
    )  # fmt: skip


def _faults(events: Events, grace_s: float) -> Table:
    rows = [
        *((f"row not accepted: {reason}", found) for reason, found in events.rejected.items()),
        ("event that was there before", events.twice),
        (f"later than {grace_s:.0f} s after others, in the order of the files", events.late),
        ("of these left out, even once sorted", events.left_out),
        *((f"impossible: {name}", found) for name, found in events.impossible.items()),
        ("event of no item (a search, a page)", events.without_item),
        ("purchase of no item", events.purchases_without_item),
        ("refund", events.refunds),
    ]
    faulty = sum(events.impossible.values()) + events.twice + events.late + sum(events.rejected.values())
    return Table(
        "Rejected, twice, late, impossible" if faulty else "Nothing is rejected, twice, late or impossible",
        ("what", "rows", "of 1,000 events"),
        [[name, count(found), f"{1000 * found / max(1, events.taken_in):.3g}"] for name, found in rows],
        "The files were out of order and have been sorted by time first." if events.sorted_first else "",
        folded=not faulty,
    )


def _types(events: Events) -> Plot:
    names = sorted(events.types, key=lambda name: -events.types[name])
    total = sum(events.types.values())
    text = [f"{count(events.types[name])}, {percent(events.types[name] / total)}" for name in names]
    first = names[0] if names else "none"
    return Plot(
        f"{percent(events.types.get(first, 0) / max(1, total), 1)} of the events are {first}",
        "A bar is the number of events of a type. The axis is logarithmic: from tick to tick ten "
        "times as many.",
        [bars("events", [events.types[n] for n in names], names, orientation="h", text=text, textposition="none",
              hovertemplate="%{y}: %{text}<extra></extra>")],
        {"xaxis": axis("events", type="log", dtick=1), "yaxis": categories()},
    )  # fmt: skip


def _missing(events: Events) -> Plot:
    kinds = list(events.types)
    values = [[absent.get(kind, 0) / events.types[kind] for kind in kinds] for absent in events.missing.values()]
    text = [[f"{percent(value, 1)} do not say it" for value in row] for row in values]
    never = [name for name, row in zip(events.missing, values, strict=True) if all(value == 1 for value in row)]
    told = f"never said: {', '.join(never)}" if never else "every column is said by some events"
    return Plot(
        f"What events leave out; {told}",
        "The darker, the more events of the type (across) leave the column (down) out. A column that nobody fills can "
        "say nothing further down.",
        [heat(kinds, list(events.missing), values, text, colorscale=RISING, zmin=0, zmax=1,
              colorbar={"tickformat": ".0%", "thickness": 12})],
        {"yaxis": categories(), "xaxis": {"automargin": True}},
    )  # fmt: skip


def _lengths(data: Data) -> Iterator[Plot]:
    found = [came for came in data.by_events if came.sessions]
    names = [came.name for came in found]
    one = next((came.sessions for came in data.by_events if came.name == "1"), 0)
    yield Plot(
        f"{percent(one / max(1, data.sessions.sessions), 0)} of the sessions have one event before a purchase or "
        "their end",
        "A bar is how many sessions had so many events before their first purchase; the axis is logarithmic. 0 are "
        "sessions that begin with a purchase.",
        [bars("sessions", names, [came.sessions for came in found])],
        {"xaxis": {"title": {"text": "events before the first purchase"}, "type": "category", "nticks": 14},
         "yaxis": axis("sessions", type="log", dtick=1)},
    )  # fmt: skip
    timed = _pooled(data.by_events)
    yield Plot(
        "What becomes of sessions of that length",
        "A point is the share of the sessions of that length that bought, or had put something into the cart (switch "
        "it on in the legend), with its 95 % interval. It describes sessions that are over: while one goes on, "
        "nobody knows its length.",
        _pair(timed),
        {"xaxis": {"title": {"text": "events before the first purchase"}, "type": "category"},
         "yaxis": axis("share of the sessions", percent=True)},
        _few(timed, "lengths"),
    )  # fmt: skip


def _pooled(by_events: Sequence[Came]) -> list[Came]:
    """Without those that begin with a purchase, who have bought by definition; the few long ones go together."""
    pooled = []
    for first, last in pairwise((*range(1, 11), 13, 17, 25, 41, len(by_events))):
        part = by_events[first:last]
        sessions = sum(came.sessions for came in part)
        name = (
            f"{first}" if len(part) == 1 else f"{first} and more" if last == len(by_events) else f"{first}–{last - 1}"
        )
        purchase, cart = (
            share_of(sum(getattr(came, target).hits for came in part), sessions) for target in ("purchase", "cart")
        )
        if sessions:
            pooled.append(Came(name=name, sessions=sessions, purchase=purchase, cart=cart))
    return pooled


def _signal(data: Data) -> Part:
    if not any(told.auc is not None for told in data.signal):
        return Note("Too few sessions bought, or did not, to say how much their first events tell.")
    targets = list(dict.fromkeys(told.target for told in data.signal))
    traces: list[Trace] = []
    for number, target in enumerate(targets):
        found = [told for told in data.signal if told.target == target and told.auc is not None]
        aucs = [told.auc or 0.0 for told in found]
        whiskers = {
            "type": "data", "symmetric": False, "color": colour(number),
            "array": [(told.high or 0.0) - auc for told, auc in zip(found, aucs, strict=True)],
            "arrayminus": [auc - (told.low or 0.0) for told, auc in zip(found, aucs, strict=True)],
        }  # fmt: skip
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": target, "x": [told.after for told in found],
                "y": aucs, "error_y": whiskers, "marker": {"color": colour(number)}, "line": {"color": colour(number)},
                "text": [f"{count(told.positives)} of {count(told.sessions)} sessions, 95 %: "
                         f"{decimal(told.low)} – {decimal(told.high)}" for told in found],
                "hovertemplate": "AUC %{y:.3f}<br>%{text}",
            }
        )  # fmt: skip
    first = next((told for told in data.signal if told.target == "purchase" and told.auc is not None), None)
    title = (
        f"After the first event a buyer is told from another at AUC {decimal(first.auc, 2)}"
        if first is not None and first.after == 1
        else "How much the first events tell"
    )
    return Plot(
        title,
        "A point is how well a simple model tells sessions that will come to it from others after so many events "
        "(0.5: a coin, 1: always), on visitors it has not seen, with its 95 % interval. It knows no item by name; the "
        f"scorer does. From {count(data.signal_sampled)} sessions.",
        traces,
        {
            "xaxis": axis("events seen", tickvals=[1, 2, 3, 5]),
            "yaxis": axis("ROC AUC"),
            "shapes": [_level(0.5)],
        },
        "Points that are missing had fewer than 10 sessions of either outcome in a half."
        if any(told.auc is None for told in data.signal)
        else "",
    )


def _seasons(data: Data, offset_minutes: int) -> Iterator[Part]:
    sign = "-" if offset_minutes < 0 else "+"
    zone = f"UTC{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}" if offset_minutes else "UTC"
    if len(data.by_day) < 2:
        yield Note("All sessions begin on one day: weekdays and days have nothing to tell.")
    for what, found, read in (
        ("hour", data.by_hour, f"hour of the session's beginning ({zone})"),
        ("weekday", data.by_weekday, f"weekday of the session's beginning ({zone})"),
        ("day", data.by_day, f"day of the session's beginning ({zone})"),
    ):
        if what != "hour" and sum(came.sessions > 0 for came in found) < 2:
            continue
        most = max(found, key=lambda came: came.sessions)
        yield Plot(
            f"Most sessions begin {'at ' + most.name + ' h' if what == 'hour' else 'on ' + most.name}",
            "Bars, right axis: sessions. Points, left axis: the share of them that bought or had filled the cart, "
            "with 95 % intervals: where these overlap widely the difference may be chance.",
            [
                bars("sessions", [came.name for came in found], [came.sessions for came in found], yaxis="y2",
                     marker={"color": "#dfe4e8"}),
                *_pair(found),
            ],
            {
                "xaxis": {"title": {"text": read}, "type": "category" if what != "day" else "date"},
                "yaxis": axis("share of the sessions", percent=True, overlaying="y2"),
                "yaxis2": axis("sessions", side="right", showgrid=False, rangemode="tozero"),
                "margin": {"l": 60, "r": 60, "t": 10, "b": 45},
            },
            _few(found, f"{what}s"),
            wide=what == "day",
        )  # fmt: skip


def _pair(found: Sequence[Came]) -> list[Trace]:
    names = [came.name for came in found]
    return [
        shares("bought", names, [came.purchase for came in found], number=0),
        shares("cart first", names, [came.cart for came in found], number=1, visible="legendonly"),
    ]


def _few(found: Sequence[Came], what: str) -> str:
    few = sum(0 < came.sessions < _FEW for came in found)
    return f"{few} of {len(found)} {what} have fewer than {_FEW} sessions: look at the intervals." if few else ""


def _level(value: float) -> dict[str, Any]:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
        "line": {"color": GREY, "dash": "dot", "width": 1},
    }  # fmt: skip
