"""What the examples have in common: colours, axes, and the command line. No global state: no pyplot.

An example has `data()`, a dictionary of the numbers that are measured, and `draw(data)`, which prints what they show
and makes a figure of them. `docs/figures.py` draws the same figures for the documentation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito 2008: colours that the colour-blind tell apart too; lines differ in their dashes besides.
BLUE, VERMILION, GREEN, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9"


def figure(rows: int, columns: int, width: float = 9.0, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """An empty picture of so many axes, each `height` inches high."""
    picture = Figure(figsize=(width, height * rows), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False).ravel().tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return picture, axes


def run(data: Callable[[], dict[str, Any]], draw: Callable[[dict[str, Any]], Figure], argv: list[str]) -> None:
    """Draw FOLDER/NAME.png: `python examples/NAME.py FOLDER`."""
    if len(argv) != 2:
        sys.exit(f"usage: python {argv[0]} FOLDER")
    picture = Path(argv[1]) / f"{Path(argv[0]).stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(data()).savefig(picture, dpi=150)
    print(picture)
