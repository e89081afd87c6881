"""Keras' table of a model: its layers, the shapes that they give, and how many numbers they have."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import rich.box
import rich.console
import rich.table

from jaxnn import tree
from jaxnn.keras.base import Layer

WIDTH = 80


def size(values: int) -> str:
    """So many float32 numbers, in bytes as Keras writes them.

    >>> size(39760), size(0), size(300_000)
    ('155.31 KB', '0.00 B', '1.14 MB')
    """
    amount, unit = 4.0 * values, "B"
    for larger in ("KB", "MB", "GB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.2f} {unit}"


def counted(layer: Layer, freeze: bool = False) -> tuple[int, int]:
    """Its numbers that are trained, and those that are not."""
    inner = layer.layers
    freeze = freeze or not layer.trainable
    if inner is not None:
        found = [counted(each, freeze) for each in inner]
        return sum(a for a, _ in found), sum(b for _, b in found)
    trained = kept = 0
    for leaf, shape in tree.by_name(layer.shapes or {}).items():
        n = math.prod(shape.shape)
        kept, trained = (kept + n, trained) if freeze or tree.is_kept(leaf) else (kept, trained + n)
    return trained, kept


def show(model: Any, line_length: int | None = None, print_fn: Callable[[str], Any] | None = None) -> None:
    """Print it, or hand its lines to print_fn."""
    text = table(model, line_length or WIDTH)
    if print_fn is None:
        print(text, flush=True)
        return
    for line in text.splitlines():
        print_fn(line)


def table(model: Any, width: int = WIDTH) -> str:
    """The table as text."""
    nodes = {id(node.layer): node for node in reversed(model.nodes)}
    branched = any(len(node.inputs) > 1 for node in model.nodes) or len(model.inputs) > 1
    grid = rich.table.Table(box=rich.box.HEAVY_HEAD, width=width, show_lines=True)
    for name in ("Layer (type)", "Output Shape"):
        grid.add_column(name, overflow="fold")
    grid.add_column("Param #", justify="right")
    if branched:
        grid.add_column("Connected to", overflow="fold")
    for layer in model.layers:
        node = nodes[id(layer)]
        shape = str((None, *node.shape)) if isinstance(node.shape, tuple) else "several"
        cells = [f"{layer.name} ({type(layer).__name__})", shape, f"{layer.count_params():,}"]
        before = ", ".join(f"{model.nodes[i].layer.name}[0][0]" for i in node.inputs)
        grid.add_row(*cells, *([before or "-"] if branched else []))
    trained, kept = counted(model)
    console = rich.console.Console(width=width, highlight=False, record=True, file=io.StringIO(), markup=False)
    console.print(f'Model: "{model.name}"')
    console.print(grid)
    for name, n in (("Total", trained + kept), ("Trainable", trained), ("Non-trainable", kept)):
        console.print(f" {name} params: {n:,} ({size(n)})")
    return console.export_text().rstrip("\n")
