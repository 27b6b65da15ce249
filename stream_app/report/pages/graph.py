"""The graph of steps: where sessions go next, and how many of those that go there buy."""

from __future__ import annotations

from typing import Any, Final

from stream_app.analytics.journeys.paths import ENTRY, LEFT, PURCHASE
from stream_app.report.figures.journeys import Edge, Journeys
from stream_app.report.pages.plots import RISING, Plot, Trace
from stream_app.report.pages.words import count, percent, told

#: Where each kind of step stands: the way through a shop, from left to right.
_PLACES: Final = {
    ENTRY: (0.0, 1.0), "page": (1.0, 2.0), "search": (1.0, 1.3), "list": (1.0, 0.0), "item": (2.0, 0.75),
    "interest": (2.0, 2.1), "refund": (2.0, -0.1), "cart": (3.0, 1.5), "uncart": (3.0, 0.4), "view_cart": (4.0, 2.0),
    "checkout": (4.0, 1.0), PURCHASE: (5.0, 1.6), LEFT: (5.0, 0.2),
}  # fmt: skip

#: Edges that are drawn: those taken most, as more would hide each other.
_DRAWN: Final = 24

#: Of the thickest arrow, in pixels.
_WIDEST: Final = 9.0


def graph(journeys: Journeys) -> Plot:
    """Arrows as wide as they are taken often, as dark as their sessions buy."""
    edges = [edge for edge in journeys.edges if edge.before != edge.after][:_DRAWN]
    nodes = [name for name in _PLACES if any(name in (edge.before, edge.after) for edge in edges)]
    most = max((edge.times for edge in edges), default=1)
    # What ends in a purchase has bought, whatever came before: it would make all other arrows look pale.
    top = max((edge.bought.share or 0.0 for edge in edges if edge.after != PURCHASE), default=0.0) or 1.0
    return Plot(
        "The ways through the shop",
        f"An arrow is a step to another kind, the {len(edges)} taken most: the wider, the more often, the darker, "
        f"the more of the sessions that took it bought (darkest: {percent(top, 1)} and more). Steps to the same kind "
        "are told by pointing at the dot, the others at the middle of the arrow.",
        [_nodes(nodes, journeys.edges), _handles(edges)],
        {
            "annotations": [_arrow(edge, width=edge.times / most, top=top) for edge in edges],
            "xaxis": {"visible": False, "range": [-0.4, 5.5]},
            "yaxis": {"visible": False, "range": [-0.5, 2.5]},
            "showlegend": False,
            "hovermode": "closest",
        },
    )  # fmt: skip


def _nodes(names: list[str], edges: list[Edge]) -> Trace:
    same = {edge.before: edge for edge in edges if edge.before == edge.after}
    text = [
        f"to itself {count(same[name].times)} times; sessions with it that bought: {told(same[name].bought)}"
        if name in same
        else "never to itself"
        for name in names
    ]
    return {
        "type": "scatter", "mode": "markers+text", "x": [_PLACES[name][0] for name in names],
        "y": [_PLACES[name][1] for name in names], "text": names, "textposition": "top center", "customdata": text,
        "marker": {"size": 18, "color": "#ffffff", "line": {"color": "#1d2329", "width": 1.5}},
        "hovertemplate": "%{text}<br>%{customdata}<extra></extra>",
    }  # fmt: skip


def _handles(edges: list[Edge]) -> Trace:
    """Points to point at, a little before the middle, so that the two of a way there and back are apart."""
    places = [(_PLACES[edge.before], _PLACES[edge.after]) for edge in edges]
    return {
        "type": "scatter", "mode": "markers",
        "x": [a[0] + 0.58 * (b[0] - a[0]) for a, b in places],
        "y": [a[1] + 0.58 * (b[1] - a[1]) for a, b in places],
        "marker": {
            "size": 9, "colorscale": RISING, "cmin": 0,
            "cmax": max((e.bought.share or 0.0 for e in edges if e.after != PURCHASE), default=1.0) or 1.0,
            "color": [edge.bought.share or 0.0 for edge in edges], "line": {"color": "#5b6670", "width": 1},
        },
        "text": [
            f"{edge.before} → {edge.after}<br>{count(edge.times)} times; sessions with it that bought: "
            f"{told(edge.bought)}"
            for edge in edges
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _arrow(edge: Edge, *, width: float, top: float) -> dict[str, Any]:
    (x0, y0), (x1, y1) = _PLACES[edge.before], _PLACES[edge.after]
    shade = min(1.0, (edge.bought.share or 0.0) / top)
    # From a light grey, which white would not show, to the blue of the scale.
    red, green, blue = (round(start + shade * (end - start)) for start, end in ((205, 0), (213, 114), (220, 178)))
    return {
        "x": x1, "y": y1, "ax": x0, "ay": y0, "xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": "",
        "showarrow": True, "arrowhead": 2, "arrowsize": 0.6 if width > 0.3 else 1.0,
        "standoff": 11, "startstandoff": 11, "arrowwidth": max(1.0, _WIDEST * width),
        "arrowcolor": f"rgb({red},{green},{blue})",
    }  # fmt: skip
