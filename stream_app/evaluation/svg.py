"""Line charts as SVG text: a report is one file that needs nothing else, and the evaluation no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 520
_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 34, 28, 40

#: Okabe and Ito's colours, which the colour-blind can tell apart; after eight lines they repeat, dashed.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a00", "#000000")

_TICKS: Final = 5
#: Names along an axis that have room beside each other.
_NAMES_MAX: Final = 7


class Line(NamedTuple):
    """A named line; points whose y is None are left out. A line may have whiskers: low and high of each point."""

    name: str
    points: Sequence[tuple[float, float | None]]
    whiskers: Sequence[tuple[float | None, float | None]] = ()


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    x_labels: Sequence[str] | None = None,
    diagonal: bool = False,
) -> str:
    """One chart.

    `x_labels` names the points 0, 1, 2, … of the x axis; `diagonal` draws y = x.
    """
    title = escape(title)
    frame = _Frame(lines)
    height = _HEIGHT + 16 * ((len(lines) + 2) // 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">',
        f'<text x="{_LEFT}" y="16" class="title">{title}</text>',
        *frame.axes(x, y, x_labels),
    ]
    if diagonal:
        low, high = max(frame.x0, frame.y0), min(frame.x1, frame.y1)
        parts.append(_path([frame.at(low, low), frame.at(high, high)], "#999", dashed=True))
    for number, line in enumerate(lines):
        colour, dashed = _COLOURS[number % len(_COLOURS)], number >= len(_COLOURS)
        places = [frame.at(px, py) for px, py in line.points if py is not None]
        parts.append(_path(places, colour, dashed=dashed))
        if len(places) <= 40:
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.2" fill="{colour}"/>' for px, py in places]
        for (px, _), (low_y, high_y) in zip(line.points, line.whiskers, strict=False):
            if low_y is not None and high_y is not None:
                parts.append(_path([frame.at(px, low_y), frame.at(px, high_y)], colour, dashed=False))
        left, top = _LEFT + 155 * (number % 3), _HEIGHT + 8 + 16 * (number // 3)
        parts.append(_path([(left, top), (left + 18, top)], colour, dashed=dashed))
        parts.append(f'<text x="{left + 23}" y="{top + 4}">{escape(line.name)}</text>')
    return "\n".join((*parts, "</svg>"))


class _Frame:
    """The ranges of the axes, and where a point lies."""

    def __init__(self, lines: Sequence[Line]) -> None:
        xs = [x for line in lines for x, y in line.points if y is not None]
        ys = [y for line in lines for _, y in line.points if y is not None]
        ys += [end for line in lines for ends in line.whiskers for end in ends if end is not None]
        self.x0, self.x1 = _range(xs)
        self.y0, self.y1 = _range(ys)

    def at(self, x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + width * (x - self.x0) / (self.x1 - self.x0),
            _TOP + height * (1 - (y - self.y0) / (self.y1 - self.y0)),
        )

    def axes(self, x: str, y: str, x_labels: Sequence[str] | None) -> list[str]:
        parts = []
        for n in range(_TICKS):
            value = self.y0 + (self.y1 - self.y0) * n / (_TICKS - 1)
            _, top = self.at(self.x0, value)
            parts.append(_path([(_LEFT, top), (_WIDTH - _RIGHT, top)], "#ddd", dashed=False))
            parts.append(f'<text x="{_LEFT - 5}" y="{top + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        for value, text in self._named(x_labels) if x_labels else self._numbered():
            left, _ = self.at(value, self.y0)
            place = f'x="{left:.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
            parts.append(f'<text {place} text-anchor="middle">{escape(text)}</text>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end" class="axis">{escape(x)}</text>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="16" text-anchor="end" class="axis">{escape(y)}</text>')
        return parts

    def _numbered(self) -> list[tuple[float, str]]:
        values = [self.x0 + (self.x1 - self.x0) * n / (_TICKS - 1) for n in range(_TICKS)]
        return [(value, f"{value:.3g}") for value in values]

    def _named(self, labels: Sequence[str]) -> list[tuple[float, str]]:
        every = 1 if len(labels) <= _NAMES_MAX else -(-len(labels) // _TICKS)
        return [(n, labels[n]) for n in range(0, len(labels), every)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _path(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool) -> str:
    if not points:
        return ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dash}/>'
