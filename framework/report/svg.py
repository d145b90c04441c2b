"""Build SVG charts, sized for a phone and scalable to any width.

It knows numbers and names, not their meaning. Elements only have classes; colors and fonts come from the
page. All text is escaped here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from framework.report.numbers import figure, log_ticks, ticks

WIDTH, HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 12, 40
_CHARACTER = 6.7
"""Approximate width of a character at the page's 12 pixels."""
_WIDE = 20.0
"""An axis is logarithmic if the ratio of largest to smallest value exceeds this."""


@dataclass(frozen=True)
class Axis:
    """One axis: its range, and its labeled values."""

    name: str
    low: float
    high: float
    named: Sequence[float]
    log: bool = False
    reverse: bool = False
    """Whether the axis is flipped, so that up and right are better if lower values are."""
    write: Callable[[float], str] = figure

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        name: str,
        reverse: bool = False,
        write: Callable[[float], str] = figure,
        may_be_log: bool = True,
        most: float | None = None,
    ) -> "Axis":
        """Return an axis over *values*, logarithmic if they are far apart, that ends at *most*."""
        low, high = min(values), max(values)
        log = may_be_log and low > 0 and high / low > _WIDE
        named = log_ticks(low, high) if log else ticks(low, high)
        if most is not None:
            named = [value for value in named if value <= most]
        return cls(name, named[0], named[-1], named, log, reverse, write)

    def share(self, value: float) -> float:
        """Return the position of *value* between the ends, from 0 to 1."""
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        position = (here - low) / (high - low)
        return 1 - position if self.reverse else position


@dataclass(frozen=True)
class Frame:
    """Two axes around a plot."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        """Return the pixel of *value* from the left."""
        return round(_LEFT + self.across.share(value) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the pixel of *value* from the top."""
        return round(HEIGHT - _BOTTOM - self.up.share(value) * (HEIGHT - _TOP - _BOTTOM), 1)

    def drawn(self) -> str:
        """Return the grid, its labels and the axes' names."""
        parts = []
        for value in self.up.named:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(text(_LEFT - 5, y + 4, self.up.write(value), "end"))
        for value in _that_fit(self.across, self.x):
            x = self.x(value)
            bottom = HEIGHT - _BOTTOM
            parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(text(x, bottom + 15, self.across.write(value), "middle"))
        parts.append(text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, self.across.name, "middle", "name"))
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        turned = f' transform="rotate(-90 11 {middle:g})"'
        parts.append(text(11, middle, self.up.name, "middle", "name", turned))
        return "".join(parts)


def _that_fit(axis: Axis, position: Callable[[float], float]) -> list[float]:
    """Return the labeled values without those whose labels would overlap."""
    kept: list[float] = []
    edge = -math.inf
    for value in sorted(axis.named, key=position):
        half = len(axis.write(value)) * _CHARACTER / 2
        if position(value) - half > edge + 4 and position(value) + half <= WIDTH:
            kept.append(value)
            edge = position(value) + half
    return kept


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", more: str = "") -> str:
    """Return a text element; *words* are escaped."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def width(words: str) -> float:
    """Return the approximate width of *words* in pixels."""
    return len(words) * _CHARACTER


def picture(identity: str, title: str, description: str, body: str) -> str:
    """Return a complete drawing with a title and description for screen readers."""
    names = f"{escape(identity)}-title {escape(identity)}-text"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{names}" '
        f'xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{escape(identity)}-title">{escape(title)}</title>'
        f'<desc id="{escape(identity)}-text">{escape(description)}</desc>{body}</svg>'
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return one line through *points*, in pixels."""
    steps = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline class="{kind}" points="{steps}"/>'


_SHAPES = (
    '<circle cx="{x}" cy="{y}" r="5"{kind}/>',
    '<rect x="{left}" y="{top}" width="9" height="9"{kind}/>',
    '<path d="M{x},{over} L{right},{under} L{before},{under} Z"{kind}/>',
    '<path d="M{x},{over} L{right},{y} L{x},{below} L{before},{y} Z"{kind}/>',
    '<path d="M{x},{below} L{right},{upper} L{before},{upper} Z"{kind}/>',
    '<path d="M{before},{lower} L{before},{upper} L{right},{lower} L{right},{upper} Z"{kind}/>',
)


def marker(x: float, y: float, series: int, kind: str) -> str:
    """Return a marker whose shape and color both identify *series*."""
    named = f' class="mark series{series % len(_SHAPES)} {kind}"'
    places = {
        "x": x,
        "y": y,
        "left": x - 4.5,
        "top": y - 4.5,
        "over": y - 6,
        "under": y + 5,
        "upper": y - 5,
        "lower": y + 5,
        "below": y + 6,
        "right": x + 6,
        "before": x - 6,
    }
    rounded = {name: round(value, 1) for name, value in places.items()}
    return _SHAPES[series % len(_SHAPES)].format(kind=named, **rounded)


Box = tuple[float, float, float, float]


def labels(points: Sequence[tuple[float, float, str]]) -> str:
    """Return a label next to each point, placed to avoid points and other labels where possible."""
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in points]
    parts = []
    for x, y, words in points:
        wide = width(words)
        around = [(x + 9, y + 4), (x - 9 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 18)]
        around += [(x + 9, y - 8), (x + 9, y + 16), (x - 9 - wide, y - 8), (x - 9 - wide, y + 16)]
        boxes = [(left, base - 10, left + wide, base + 3) for left, base in around]
        best = min(range(len(around)), key=lambda number: (_overlaps(boxes[number], taken), number))
        taken.append(boxes[best])
        parts.append(text(round(around[best][0], 1), round(around[best][1], 1), words, kind="label"))
    return "".join(parts)


def _overlaps(box: Box, taken: Sequence[Box]) -> int:
    """Return a penalty for *box*: the boxes that it overlaps, plus two if it leaves the plot."""
    left, top, right, bottom = box
    outside = left < _LEFT or right > WIDTH or top < 0 or bottom > HEIGHT - _BOTTOM
    crossed = [
        other
        for other in taken
        if left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
    ]
    return len(crossed) + 2 * outside
