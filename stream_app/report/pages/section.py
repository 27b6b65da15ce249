"""What a page is made of: sections of plots, tables, cards and notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from stream_app.report.pages.plots import Plot


class Table(NamedTuple):
    """Rows of text; who reads it may sort by any column. A `folded` one opens when it is asked for."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    read: str = ""
    folded: bool = False


class Cards(tuple[tuple[str, str], ...]):
    """Names and values that stand out."""


class Note(NamedTuple):
    """A sentence where there is nothing to plot, or something to know first."""

    text: str


Part: TypeAlias = Plot | Table | Cards | Note


class Section(NamedTuple):
    """A part of the page with a place in the contents; `about` is its line there."""

    id: str
    title: str
    about: str
    parts: Sequence[Part]
