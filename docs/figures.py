"""Draws the figures of the documentation: `python docs/figures.py [NAME ...]`, all of them without a name.

A figure is an example: a file of examples/ with `data()`, the numbers that are measured, and `draw(data)`. The numbers
go to docs/figures/NAME.json, rounded to five digits, and docs/figures/NAME.svg is drawn of the rounded numbers. A page
shows the figure by `![what one sees](../figures/NAME.svg)`. tests/test_figures.py measures the numbers anew.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "figures"
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def examples() -> dict[str, ModuleType]:
    """The examples that are figures, by their names."""
    sys.path.insert(0, str(ROOT / "examples"))
    modules = {path.stem: importlib.import_module(path.stem) for path in sorted((ROOT / "examples").glob("*.py"))}
    sys.path.remove(str(ROOT / "examples"))
    return {name: module for name, module in modules.items() if hasattr(module, "data") and hasattr(module, "draw")}


def rounded(data: Any) -> Any:
    """The same dictionary with NumPy arrays as its values; of floats five significant digits."""
    if isinstance(data, dict):
        return {name: rounded(value) for name, value in data.items()}
    array = np.asarray(data)
    digits = np.vectorize(lambda number: float(f"{number:.5g}"), otypes=[float])
    return digits(array) if array.dtype.kind == "f" else array


def write(name: str, example: ModuleType, folder: Path) -> None:
    """NAME.json and NAME.svg, to the same bytes for the same numbers and the same matplotlib."""
    data = rounded(example.data())
    lines = (f"{json.dumps(key)}: {json.dumps(value, default=np.ndarray.tolist)}" for key, value in data.items())
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        example.draw(data).savefig(drawn, format="svg", metadata={"Date": None})
    (folder / f"{name}.svg").write_text(short(drawn.getvalue()))


def short(svg: str) -> str:
    """The same figure in half of the bytes: coordinates to a tenth of a point, no indents, shorter names."""
    tenth = lambda number: f"{float(number[0]):.1f}"
    place = lambda found: re.sub(r"-?\d+\.\d\d+", tenth, re.sub(r"\s+", " ", found[0]))
    svg = re.sub(r'\b(d|x|y)="[^"]*"|translate\([^)]*\)', place, svg)
    svg = re.sub(r'transform="translate\((\S+) 0\)"/>', r'x="\1"/>', svg)  # the letters of a word
    return re.sub(r"\n +", "\n", re.sub(r'(?<=<g) id="[^"]*"', "", svg)).replace("DejaVuSans-", "_")


if __name__ == "__main__":
    found = examples()
    for name in sys.argv[1:] or found:
        if name not in found:
            sys.exit(f"{name}: no such figure; there are {', '.join(found)}")
        write(name, found[name], FOLDER)
