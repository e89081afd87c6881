"""sweep.svg: the metric of a sweep over what was swept, for any browser; drawn as text, with no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 150, 30, 50
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")

Point = tuple[float, float]


def svg(title: str, field: str, metric: str, series: Mapping[str, Sequence[Point]], *, log: bool) -> str:
    """Each series as dots, a line through the means of those above one x; x in the logarithm where `log`.

    Points that are not finite are left out.

    >>> svg("a sweep", "optim.lr", "val/loss", {"": [(0.1, 2.0), (1.0, 1.0)]}, log=True).count("<circle")
    2
    """
    good = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    points = [point for each in good.values() for point in each]
    scale = math.log10 if log else float
    across = _axis([scale(x) for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    place = lambda point: (across(scale(point[0])), up(point[1]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 12, title),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, field, "middle"),
        _text(8, TOP - 12, metric),
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="black"/>',
    ]
    for x in _some(sorted({x for x, _ in points})):
        parts.append(_text(across(scale(x)), HEIGHT - BOTTOM + 16, f"{x:.3g}", "middle"))
    for y in _some(sorted({y for _, y in points})):
        parts.append(_text(LEFT - 6, up(y) + 4, f"{y:.3g}", "end"))
    for i, (name, each) in enumerate(good.items()):
        color = COLORS[i % len(COLORS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, _means(each)))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in map(place, each)]
        if name:
            parts.append(f'<g fill="{color}">{_text(WIDTH - RIGHT + 8, TOP + 12 + 15 * i, name)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _means(points: Sequence[Point]) -> list[Point]:
    """The mean y above each x."""
    above: dict[float, list[float]] = {}
    for x, y in sorted(points):
        above.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in above.items()]


def _axis(values: Sequence[float], begin: float, end: float) -> Callable[[float], float]:
    """Where a value lies between two places, the least one at the first."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return lambda value: begin + (end - begin) * (value - low) / ((high - low) or 1.0)


def _some(values: Sequence[float]) -> Sequence[float]:
    """Up to five of them, the first and the last among these."""
    if len(values) <= 5:
        return values
    return [values[round(i * (len(values) - 1) / 4)] for i in range(5)]


def _text(x: float, y: float, words: Any, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(words))}</text>'
