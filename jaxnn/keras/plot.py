"""The graph of a model as SVG: boxes in ranks, in an order with few crossings, lines around the boxes between."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.errors import StorageError, choices

# Pixels: a line of text, the rim inside a box, between boxes, between ranks, a letter.
LINE, PAD, GAP, BETWEEN, LETTER = 18.0, 8.0, 24.0, 40.0, 7.3
SWEEPS = 8


class Picture(str):
    """SVG as text, which a notebook shows as a picture."""

    def _repr_svg_(self) -> str:
        return str(self)


class Layout(NamedTuple):
    """Ranks of places: a place is a box, or where a line passes between boxes (`links` leads from rank to rank)."""

    ranks: list[list[int]]
    links: list[tuple[int, int]]
    lines: list[list[int]]  # each from a box over the places that it passes to a box


def ranked(inputs: Sequence[Sequence[int]]) -> Layout:
    """Each box one rank below the lowest of its inputs; a line that skips ranks has a place in each of them.

    Args:
      inputs: for each box those that lead to it, all of them before it.
    """
    rank: list[int] = []
    for sources in inputs:
        rank.append(1 + max((rank[i] for i in sources), default=-1))
    ranks: list[list[int]] = [[i for i in range(len(rank)) if rank[i] == r] for r in range(max(rank, default=-1) + 1)]
    links, lines, new = [], [], len(rank)
    for box, sources in enumerate(inputs):
        for source in sources:
            passed = list(range(new, new + rank[box] - rank[source] - 1))
            new += len(passed)
            for r, place in enumerate(passed, rank[source] + 1):
                ranks[r].append(place)
            lines.append([source, *passed, box])
            links += list(zip(lines[-1][:-1], lines[-1][1:], strict=True))
    return Layout(ranks, links, lines)


def ordered(layout: Layout) -> Layout:
    """Each rank in the order of its neighbours' mean places, above, then below, and so on (Sugiyama et al. 1981)."""
    ranks = [list(rank) for rank in layout.ranks]
    best, fewest = ranks, _crossings(ranks, layout.links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        at = {place: i for rank in ranks for i, place in enumerate(rank)}
        for rank in ranks if down else ranks[::-1]:
            near = {p: [at[a] for a, b in layout.links if b == p] for p in rank}
            if not down:
                near = {p: [at[b] for a, b in layout.links if a == p] for p in rank}
            rank.sort(key=lambda p: (sum(near[p]) / len(near[p]) if near[p] else at[p], at[p]))  # noqa: B023
            at.update({place: i for i, place in enumerate(rank)})
        if (crossings := _crossings(ranks, layout.links)) < fewest:
            best, fewest = [list(rank) for rank in ranks], crossings
    return layout._replace(ranks=best)


def _crossings(ranks: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]) -> int:
    at = {place: (r, i) for r, rank in enumerate(ranks) for i, place in enumerate(rank)}
    ends = [(at[a][0], at[a][1], at[b][1]) for a, b in links]
    return sum(r == s and (a - c) * (b - d) < 0 for i, (r, a, b) in enumerate(ends) for s, c, d in ends[:i])


def spread(layout: Layout, sizes: Sequence[float]) -> np.ndarray:
    """Where each place's middle is across the ranks: near its neighbours', boxes `GAP` apart."""
    middle = np.zeros(len(sizes))
    for rank in layout.ranks:
        for i, place in enumerate(rank):
            middle[place] = 0.0 if i == 0 else middle[rank[i - 1]] + _apart(sizes, rank[i - 1], place)
        middle[rank] -= (middle[rank[0]] + middle[rank[-1]]) / 2
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for rank in layout.ranks if down else layout.ranks[::-1]:
            near = {p: [a if b == p else b for a, b in layout.links if p == (b if down else a)] for p in rank}
            wanted = [float(np.mean([middle[i] for i in near[p]])) if near[p] else middle[p] for p in rank]
            steps = [0.0, *(_apart(sizes, a, b) for a, b in zip(rank[:-1], rank[1:], strict=True))]
            offset = np.cumsum(steps)
            middle[rank] = _rising(np.asarray(wanted) - offset) + offset
    return middle


def _apart(sizes: Sequence[float], a: int, b: int) -> float:
    return (sizes[a] + sizes[b]) / 2 + GAP


def _rising(values: np.ndarray) -> np.ndarray:
    """The nearest values that never fall, by least squares: neighbours that would fall share their mean."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    return np.concatenate([np.full(int(n), value) for value, n in blocks])


def drawing(boxes: Sequence[Sequence[str]], inputs: Sequence[Sequence[int]], rankdir: str = "TB") -> Picture:
    """Boxes of text and the arrows between them.

    Args:
      boxes: the lines of text of each.
      inputs: for each box those that lead to it, all of them before it.
      rankdir: TB from top to bottom, LR from left to right.
    """
    layout = ordered(ranked(inputs))
    places = 1 + max((place for rank in layout.ranks for place in rank), default=-1)
    wide = [2 * PAD + LETTER * max(map(len, box)) for box in boxes] + [0.0] * (places - len(boxes))
    high = [2 * PAD + LINE * len(box) for box in boxes] + [0.0] * (places - len(boxes))
    across, along = (wide, high) if rankdir == "TB" else (high, wide)
    middle, first, last, ends = spread(layout, across), np.zeros(places), np.zeros(places), GAP
    for rank in layout.ranks:
        first[rank], last[rank] = ends, ends + max(along[place] for place in rank)
        ends = last[rank[0]] + BETWEEN
    middle += GAP - min((middle[i] - across[i] / 2 for i in range(places)), default=0.0)
    far = GAP + max((middle[i] + across[i] / 2 for i in range(places)), default=0.0)
    flip = (lambda a, b: (a, b)) if rankdir == "TB" else (lambda a, b: (b, a))
    width, height = flip(far, ends - BETWEEN + GAP)
    centre = (first + last) / 2
    body = [_line([flip(*p) for p in _points(line, middle, first, last, along)]) for line in layout.lines]
    body += [_box(text, *flip(middle[i], centre[i]), wide[i], high[i]) for i, text in enumerate(boxes)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">\n'
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>\n<rect width="100%" height="100%" fill="white"/>\n'
    )
    return Picture(head + "\n".join(body) + "\n</svg>\n")


def _points(line: Sequence[int], middle: Any, first: Any, last: Any, along: Any) -> list[tuple[float, float]]:
    """Straight through the ranks, whose boxes are beside it, and with a curve from rank to rank."""
    edge = (first[line[0]] + last[line[0]] + along[line[0]]) / 2
    points = [(middle[line[0]], edge)]
    for a, b in zip(line[:-1], line[1:], strict=True):
        half = (last[a] + first[b]) / 2
        points += [(middle[a], last[a]), (middle[a], half), (middle[b], half), (middle[b], first[b])]
    return [*points, (middle[line[-1]], (first[line[-1]] + last[line[-1]] - along[line[-1]]) / 2)]


def _line(points: Sequence[tuple[float, float]]) -> str:
    texts = [f"{x:.1f} {y:.1f}" for x, y in points]
    path = f"M{texts[0]}"
    for i in range(1, len(texts) - 1, 4):
        path += f"L{texts[i]}C{' '.join(texts[i + 1 : i + 4])}"
    return f'<path d="{path}L{texts[-1]}" fill="none" stroke="black" marker-end="url(#end)"/>'


def _box(text: Sequence[str], x: float, y: float, width: float, height: float) -> str:
    left, top = x - width / 2, y - height / 2
    rows = [
        f'<text x="{x:.1f}" y="{top + PAD + LINE * (i + 0.7):.1f}" text-anchor="middle">{escape(row)}</text>'
        for i, row in enumerate(text)
    ]
    frame = f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'{frame} rx="3" fill="#eef" stroke="black"/>' + "".join(rows)


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] | None = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> Picture:
    """Draw the layers of a model and what leads to what, as SVG; the same model gives the same bytes.

    Args:
      to_file: `.svg`; for another ending a file `.svg` is written beside it, with a warning. None: no file.
      rankdir: TB from top to bottom, LR from left to right.
      expand_nested, dpi, splines: Keras' own; a model within the model is one box, and SVG has no resolution.

    Returns: the text of the file, which a notebook shows as a picture.

    Raises:
      InputError: an unknown rankdir, or a model that has not been built.

    >>> from jaxnn import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> plot_model(model, to_file=None, show_shapes=True)[:4]
    '<svg'
    """
    if rankdir not in ("TB", "LR"):
        raise choices("plot_model rankdir", rankdir, ["TB", "LR"])
    model._need_built()
    boxes = []
    for node in model.nodes:
        layer, kind = node.layer, type(node.layer).__name__
        activation = getattr(getattr(layer, "activation", None), "__name__", None)
        shape = lambda core: str((None, *core)) if core is not None else "several"
        into = ", ".join(shape(model.nodes[i].shape) for i in node.inputs)
        boxes.append([f"{layer.name} ({kind})" if show_layer_names else kind])
        boxes[-1] += [f"activation {activation}"] if show_layer_activations and activation else []
        boxes[-1] += [f"{into} -> {shape(node.shape)}" if into else shape(node.shape)] if show_shapes else []
        boxes[-1] += ["float32"] if show_dtype else []
        boxes[-1] += ["trainable" if layer.trainable else "not trainable"] if show_trainable else []
    picture = drawing(boxes, [node.inputs for node in model.nodes], rankdir)
    if to_file is not None:
        _write(picture, paths.expand("plot_model to_file", to_file))
    return picture


def _write(picture: Picture, path: Path) -> None:
    file = path if path.suffix.lower() == ".svg" else path.with_suffix(".svg")
    if file != path:
        warnings.warn(f"plot_model to_file={path}: pictures are SVG; wrote {file}", stacklevel=3)
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"plot_model to_file={file}: could not be written ({error.strerror})") from error
