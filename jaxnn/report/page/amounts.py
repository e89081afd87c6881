"""The part of a page that is of amounts: predicted against true, and what is left."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jaxnn.plot import answers as drawn
from jaxnn.report.page import images
from jaxnn.report.page.answers import Answers
from jaxnn.report.page.html import Picture, number

PANELS = 4  # targets that are drawn
SHOWN = 12  # examples that are farthest off
DRAWN = 1_000_000  # examples of all draws of the bootstrap together, of which there are 100 to 1000


def of(data: dict[str, Any], found: Answers, quantiles: tuple[float, ...]) -> dict[str, Any]:
    """Of amounts f[n, K]; where a network answers quantiles, the one nearest to the median is."""
    y = found.y.reshape(len(found.y), -1).astype(float)
    answers = found.answers.astype(float)
    tile = []
    if answers.size == y.size * len(quantiles) and len(quantiles) > 1:
        middle = min(range(len(quantiles)), key=lambda i: abs(quantiles[i] - 0.5))
        answers = answers.reshape(*y.shape, -1)[..., middle]
        if quantiles[middle] != 0.5:
            tile = [("answers", f"{quantiles[middle]:g} quantile", "the nearest to the median")]
    answers = answers.reshape(y.shape)
    k = y.shape[1]
    names = data.get("targets") or []
    names = names if len(names) == k else [""] if k == 1 else [str(i) for i in range(k)]
    pictures = [picture for i, name in enumerate(names[:PANELS]) for picture in _pair(y[:, i], answers[:, i], name, i)]
    spread = np.maximum(y.std(0), 1e-30)
    off = np.abs((y - answers) / spread).max(1)
    worst = np.argsort(-off, kind="stable")[:SHOWN]
    at = np.abs((y - answers) / spread).argmax(1)
    captions = [(number(float(y[i, at[i]])), number(float(answers[i, at[i]])), None) for i in worst]
    return {
        "tiles": [*_tiles(y, answers), *tile],
        "mistakes": images.examples(found, worst, data, captions),
        "amounts": pictures,
        "hidden": k - PANELS if k > PANELS else 0,
        "pictures": pictures,
    }


def _pair(y: np.ndarray, answers: np.ndarray, name: str, i: int) -> list[Picture]:
    of, given = f" of {name}" if name else "", {"y": y, "answers": answers, "name": name}
    return [
        Picture(f"predicted-{i}", f"Predicted over true values{of}", functools.partial(drawn.against, **given)),
        Picture(f"residuals-{i}", f"True minus predicted values{of}", functools.partial(drawn.left, **given)),
    ]


def _tiles(y: np.ndarray, answers: np.ndarray) -> list[tuple[str, str, str]]:
    """R^2, a mean over the targets, and the mean absolute error, with intervals of a bootstrap of the examples."""
    n = len(y)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), max(100, min(1000, DRAWN // n)))
    tiles = [("mean absolute error", *_interval(lambda w: _mean(np.abs(y - answers), w), n, draws))]
    if n > 1 and (np.ptp(y, 0) > 0).all():
        tiles.insert(0, ("R²", *_interval(lambda w: _r2(y, answers, w), n, draws)))
    return [*tiles, ("examples", f"{n:,}", "")]


def _interval(value: Any, n: int, draws: np.ndarray) -> tuple[str, str]:
    middle = float(value(np.ones((1, n)))[0])
    if n < 2:
        return number(middle), ""
    low, high = np.nanquantile(value(draws), [0.025, 0.975])
    return number(middle), f"95 % interval {number(float(low))} to {number(float(high))} (bootstrap)"


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """f[draws]: the mean over the examples of each draw, and over the targets."""
    return ((weight @ values) / weight.sum(1, keepdims=True)).mean(1)


def _r2(y: np.ndarray, answers: np.ndarray, weight: np.ndarray) -> np.ndarray:
    y, answers = y - y.mean(0), answers - y.mean(0)  # about the mean, where the squares below lose no digits
    n = weight.sum(1, keepdims=True)
    total = weight @ y**2 - (weight @ y) ** 2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(total > 0, 1 - (weight @ (y - answers) ** 2) / total, np.nan)
    return found.mean(1)
