"""The figures → one HTML file: style, scripts, plots and tables inside, and nothing that asks a network.

The policy in its head lets the page run the two scripts that it was written with, told by their hashes, and nothing
else; it may load nothing and call nobody. So a name in the file that a browser would take for a script stays a name.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from stream_app.report.figures.figures import Figures
from stream_app.report.pages import data, funnels, journeys, made, quality, relations, sources, timing
from stream_app.report.pages.plots import Plot
from stream_app.report.pages.section import Cards, Note, Part, Section, Table

_SCRIPTS: Final = ("plotly-cartesian.min.js", "report.js")


def to_html(figures: Figures) -> str:
    """The whole page."""
    sections = (
        data.section(figures),
        funnels.section(figures),
        timing.section(figures),
        journeys.section(figures),
        sources.section(figures),
        relations.section(figures),
        quality.section(figures),
        made.section(figures),
    )
    title = f"Report: {', '.join(figures.setting.files)}"
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy())}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_asset('report.css')}</style></head><body>",
            f"<header><h1>{escape(title)}</h1>{_contents(sections)}</header><main>",
            *(_section(section) for section in sections),
            "</main>",
            *(f"<script>{_asset(name)}</script>" for name in _SCRIPTS),
            "</body></html>\n",
        )
    )


@cache
def _asset(name: str) -> str:
    return (files("stream_app.report") / "assets" / name).read_text(encoding="utf-8")


def _policy() -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()}'" for name in _SCRIPTS
    )
    # Plotly writes styles of its own, and makes its pictures to be saved from data.
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _contents(sections: Sequence[Section]) -> str:
    entries = "".join(
        f'<li><a href="#{section.id}">{escape(section.title)}</a> <span>{escape(section.about)}</span></li>'
        for section in sections
    )
    return f'<nav aria-label="Contents"><ol>{entries}</ol></nav>'


def _section(section: Section) -> str:
    parts = "\n".join(_part(part, f"{section.id}-{n}") for n, part in enumerate(section.parts))
    return (
        f'<section id="{section.id}"><h2>{escape(section.title)}</h2><p class="about">{escape(section.about)}</p>'
        f'<div class="parts">{parts}</div></section>'
    )


def _part(part: Part, id: str) -> str:
    match part:
        case Plot():
            return "".join(_plot(part, id))
        case Table():
            return _table(part)
        case Cards():
            cards = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in part)
            return f'<div class="cards wide">{cards}</div>'
        case Note():
            return f'<p class="note wide">{escape(part.text)}</p>'


def _plot(plot: Plot, id: str) -> Iterator[str]:
    # "<" cannot end the element early when it is written as JSON may write it.
    spec = json.dumps({"data": plot.traces, "layout": plot.layout}, allow_nan=False, ensure_ascii=False)
    yield f'<figure class="{"plot wide" if plot.wide else "plot"}" id="{id}" aria-label="{escape(plot.title)}">'
    yield f"<h3>{escape(plot.title)}</h3>"
    yield '<div class="canvas"></div><script type="application/json">'
    yield spec.replace("<", "\\u003c")
    yield f"</script><figcaption>{escape(plot.read)}"
    if plot.few:
        yield f' <span class="few">{escape(plot.few)}</span>'
    yield "</figcaption></figure>\n"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"><button type="button">{escape(column)}</button></th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    more = f"<p>{escape(table.read)}</p>" if table.read else ""
    opened = "" if table.folded else " open"
    return (
        f'<details class="table wide"{opened}><summary>{escape(table.title)}</summary>{more}'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )
