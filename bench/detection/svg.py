"""A line chart as SVG text: enough for a page, without a library that draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 200, 36, 48
# Colours that differ in lightness too (Okabe and Ito 2008), and dashes for those who see no colour.
_STYLES = (
    ("#0072b2", ""),
    ("#d55e00", "6 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "8 3 2 3"),
    ("#555555", "1 4"),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from ``low`` to ``high``; ``ticks`` are its marks, with the text that stands at each."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; what is beyond an end is drawn there."""
        low, high, at = self.low, self.high, min(self.high, max(self.low, value))
        if self.logarithmic:
            low, high, at = log10(low), log10(high), log10(at)
        return (at - low) / (high - low)


def chart(title: str, x: Axis, y: Axis, lines: dict[str, Sequence[Sequence[float]]]) -> str:
    """The chart as text; ``lines`` by name, each a sequence of x and y. More than five lines repeat a style."""
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    head = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {head}><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 20, title, size=14),
    ]
    for value, label in x.ticks:
        at = _LEFT + wide * x.share(value)
        parts += [_line(at, _TOP, at, _TOP + high), _text(at, _TOP + high + 16, label, anchor="middle")]
    for value, label in y.ticks:
        at = _TOP + high * (1 - y.share(value))
        parts += [_line(_LEFT, at, _LEFT + wide, at), _text(_LEFT - 6, at + 4, label, anchor="end")]
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 8, x.label, anchor="middle"))
    turned = f'transform="rotate(-90 14 {_TOP + high / 2:.1f})"'
    parts.append(_text(14, _TOP + high / 2, y.label, anchor="middle", more=turned))
    for place, (name, points) in enumerate(lines.items()):
        colour, dashes = _STYLES[place % len(_STYLES)]
        stroke = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        drawn = " ".join(f"{_LEFT + wide * x.share(a):.1f},{_TOP + high * (1 - y.share(b)):.1f}" for a, b in points)
        parts.append(f'<polyline fill="none" {stroke} points="{drawn}"/>')
        level, start = _TOP + 12 + 20 * place, _LEFT + wide + 12
        parts.append(f'<line x1="{start}" y1="{level}" x2="{start + 28}" y2="{level}" {stroke}/>')
        parts.append(_text(start + 34, level + 4, name))
    return "\n".join([*parts, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", more: str = "") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {where}{" " + more if more else ""} fill="#222222">{escape(text)}</text>'
