"""Figures: what is drawn is what was given, text stays text, and no state is left."""

import re
import sys
from typing import Any

import numpy as np
import pytest
from sklearn import calibration, metrics

from jaxnn import plot
from jaxnn.errors import InputError
from jaxnn.plot import counts, curves, style

NASTY = ["<script>alert(1)</script>", "$\\frac$", "a" * 200, "line\nend", "日本"]


def points(line: Any) -> np.ndarray:
    """f[n, 2]: what a line of a figure goes through."""
    return np.asarray(line.get_xydata())


def test_a_confusion_matrix_counts_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    y, answers = rng.choice(["a", "b", "c"], (2, 200))
    expected = metrics.confusion_matrix(y, answers)
    found = np.zeros((3, 3), int)
    for text in plot.confusion(y, answers).axes[0].texts:
        column, row = text.get_position()
        found[int(row), int(column)] = int(text.get_text())
    np.testing.assert_array_equal(found, expected)
    precision, recall, _, there = metrics.precision_recall_fscore_support(y, answers)
    hits = np.diag(expected)
    by_class = counts.by_class(hits, expected.sum(0), expected.sum(1))
    np.testing.assert_allclose(by_class.precision, precision)
    np.testing.assert_allclose(by_class.recall, recall)
    np.testing.assert_array_equal(by_class.there, there)


def test_calibration_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 1000)
    right = rng.uniform(size=1000) < p**2
    found = counts.reliability(p, right)
    share, mean = calibration.calibration_curve(right, p, n_bins=10)
    np.testing.assert_allclose(found.right, share)
    np.testing.assert_allclose(found.confidence, mean)
    proba = np.stack([1 - p, p], 1)
    line = plot.calibration(right.astype(int), proba).axes[0].lines[1]
    np.testing.assert_allclose(points(line)[:, 1], share)


def test_wilsons_interval_is_the_root_of_its_equation():
    """The ends are the shares from which what was seen is just 1.96 deviations away."""
    for right, n in ((0, 10), (10, 10), (351, 360)):
        for end in counts.wilson(right, n):
            assert end in (0.0, 1.0) or abs(right / n - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / n))


def test_amounts_lie_where_they_are():
    y, answers = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    np.testing.assert_array_equal(points(plot.predicted(y, answers).axes[0].lines[1]), np.stack([y, answers], 1))
    left = points(plot.residuals(y, answers).axes[0].lines[1])
    np.testing.assert_array_equal(left, np.stack([answers, y - answers], 1))


REFUSED = [
    (lambda: plot.confusion([], []), r"y\[0\]: must be \[n\], n >= 1"),
    (lambda: plot.confusion([0, 1], [0]), r"y\[2\]: must be \[n\], n >= 1, as many as answers\[1\]"),
    (lambda: plot.confusion(["a"], ["b"], ["a"]), r"answers\[0\]=b: is none of the 1 classes"),
    (lambda: plot.calibration([0], np.ones((1, 2)), ["a", "b"]), r"y\[0\]=0: is none of the 2 classes"),
    (lambda: plot.calibration([0], np.ones((1, 2)), ["a"]), r"proba\[1, 2\]: must be \[n, 1\]"),
    (lambda: plot.history("nowhere"), "folder=nowhere: is no run's folder"),
    (lambda: plot.history([]), "runs=.*there are none"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def history(n: int = 3) -> list[dict]:
    return [{"step": k, "epoch": float(k), "train/loss": 1 / k, "val/loss": None, "lr": 0.1} for k in range(1, n + 1)]


def test_a_panel_has_the_rows_of_its_history_and_a_gap_for_null():
    rows = history() + [{"step": 4, "epoch": 4.0, "train/loss": 0.1, "val/loss": 2.0, "lr": 0.1}]
    assert curves.panels_of(rows) == ["loss"]  # the rate never changes
    _, (axes,) = style.panels(1)
    curves.curve(axes, rows, "loss", rows[3])
    train, val, best = axes.lines
    np.testing.assert_allclose(points(train)[:, 1], [1, 1 / 2, 1 / 3, 0.1])
    np.testing.assert_array_equal(points(val)[:, 1], [np.nan, np.nan, np.nan, 2.0])
    assert points(best).tolist() == [[4.0, 2.0]]


def test_a_sweep_has_a_dot_for_each_finite_result_and_a_line_through_the_means():
    _, (axes,) = style.panels(1)
    curves.swept(axes, {"a<b": [(0.1, 1.0), (1.0, 3.0), (1.0, 5.0), (10.0, np.nan)]}, "optim.lr", "val/loss")
    line, dots = axes.lines
    assert points(line).tolist() == [[0.1, 1.0], [1.0, 4.0]] and len(points(dots)) == 3
    _, (words,) = style.panels(1)
    curves.swept(words, {"": [("sgd", 1.0), ("adam", 2.0)]}, "optim.name", "val/loss")
    assert [label.get_text() for label in words.get_xticklabels()] == ["sgd", "adam"]


def test_inline_svg_is_the_same_twice_and_has_no_address_no_id_twice_and_no_markup_of_names():
    drawn, again = (style.svg(plot.confusion(NASTY, NASTY[::-1]), NASTY[0], "confusion") for _ in range(2))
    assert drawn == again and drawn.startswith('<svg role="img" aria-label="&lt;script')
    assert "//" not in drawn and "<script" not in drawn and "#000000" not in drawn and "currentColor" in drawn
    ids = re.findall(r'id="([^"]*)"', drawn)
    assert len(ids) == len(set(ids))
    assert "<text" in drawn and "line\\nend" in drawn and "a" * 30 not in drawn and "font-family" not in drawn


def test_a_figure_is_no_state_of_pyplot_and_its_files_are_the_same_twice():
    assert "matplotlib.pyplot" not in sys.modules
    one, two = (plot.predicted([1.0, 2.0], [1.0, 2.5]) for _ in range(2))
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        content = style.packed(one, kind)
        assert content.startswith(start) and content == style.packed(two, kind)


def test_a_notebook_shows_a_figure_though_pyplot_was_never_imported():
    figure: Any = plot.predicted([1.0, 2.0], [1.0, 2.5])
    assert "matplotlib.pyplot" not in sys.modules
    assert figure._repr_png_() == style.packed(figure, "png")  # what IPython asks an object for
