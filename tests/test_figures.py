"""The figures of the documentation: an example for each, and the numbers behind it are measured anew."""

import importlib
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))
figures = importlib.import_module("figures")  # docs/figures.py
sys.path.remove(str(DOCS))

EXAMPLES = figures.examples()
LOOSE = {"descent": 0.02, "finite_differences": 1.0}  # rounding errors are each CPU's own; of the others 0.1 %
# what rounding errors become in training: compared by the mean over all entries, to 5 % of the largest
TRAINED = {"detection", "dying_relu", "generation", "segmentation", "style_transfer"}
LONG = TRAINED | {"descent", "finite_differences", "self_normalising", "vanishing_gradient", "xor"}


def shown() -> set[str]:
    """The figures that pages show."""
    return {
        name for page in DOCS.rglob("*.md") for name in re.findall(r"\]\(\S*figures/(\w+)\.svg\)", page.read_text())
    }


def test_every_figure_has_an_example_its_numbers_and_a_drawing():
    files = {path.name for path in figures.FOLDER.iterdir()}
    assert files == {f"{name}.{kind}" for name in EXAMPLES for kind in ("svg", "json")}
    assert shown() <= set(EXAMPLES)
    for name in EXAMPLES:
        drawing = (figures.FOLDER / f"{name}.svg").read_text()
        assert len(drawing) < 60_000, name
        assert not re.findall(r'(?:href|src)="(?!#|data:)', drawing), name  # nothing from elsewhere


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in EXAMPLES])
def test_the_numbers_behind_a_figure_are_measured_again(name):
    again = figures.rounded(EXAMPLES[name].data())
    kept = figures.rounded(json.loads((figures.FOLDER / f"{name}.json").read_text()))
    tolerance = LOOSE.get(name, 1e-3)

    def compare(new: np.ndarray, old: np.ndarray) -> None:
        assert new.shape == old.shape
        if name in TRAINED:
            assert np.mean(abs(new - old.astype(float))) <= 0.05 * abs(old).max()
        else:
            np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance * 1e-3 * abs(old).max())

    jax.tree.map(compare, again, kept)
