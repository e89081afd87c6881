"""What the pictures have in common: colours, axes, and where they are written. No global state: no pyplot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

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


def save(picture: Figure, folder: Path, name: str) -> None:
    """Write the picture into the folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / f"{name}.png", dpi=150)
    print(f"{folder / name}.png")


def run(draw: Callable[[Path], None], argv: list[str]) -> None:
    """Draw into the folder that the command line names."""
    if len(argv) != 2:
        sys.exit(f"usage: python {argv[0]} FOLDER")
    draw(Path(argv[1]))
