"""What a network answers beside the truth: a confusion matrix, calibration, predicted amounts and their residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.errors import InputError
from jaxnn.plot import counts, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS = 600  # of a scatter plot: every k-th example, beyond


def confusion(y: Any, answers: Any, classes: Sequence[Any] | None = None) -> Figure:
    """How often each class (a row) was answered as each (a column).

    Args:
      y, answers: labels `[n]`, as `run.predict` gives them.
      classes: the labels in their order, `run.data["classes"]` (default: those that are there, sorted).

    Raises `InputError` for none, for different lengths, and for a label that is none of the classes.

    >>> figure = confusion(["cat", "dog", "dog"], ["cat", "cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '1', '1']
    """
    y, answers = _alike(y, answers)
    labels = sorted({*y.tolist(), *answers.tolist()}) if classes is None else list(classes)
    found = counts.confused(_numbers("y", y, labels), _numbers("answers", answers, labels), len(labels))
    figure, (axes,) = style.panels(1)
    figure.set_size_inches(1.6 + 0.45 * max(len(labels), 5), 1.2 + 0.4 * max(len(labels), 5))
    axes.grid(False)
    share = found / np.maximum(found.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.4)
    if len(labels) <= 30:
        for i, j in zip(*np.nonzero(found), strict=True):
            axes.text(j, i, str(found[i, j]), ha="center", va="center", fontsize=9)
    shown = range(0, len(labels), -(-len(labels) // 40))
    words = [style.word(labels[k], 14) for k in shown]
    axes.set_xticks(shown, words, rotation=90 if max(map(len, words)) > 3 else 0)
    axes.set_yticks(shown, words)
    axes.set(xlabel="answer", ylabel="truth")
    return figure


def calibration(y: Any, proba: Any, classes: Sequence[Any] | None = None) -> Figure:
    """The share of answers that are right over the probability that the network gave them, in ten equal ranges.

    Args:
      y: labels `[n]`.
      proba: f[n, K], as `run.predict_proba` gives them.
      classes: the labels of its columns, `run.data["classes"]` (default: 0 to K - 1).

    Raises `InputError` for none, for different lengths, and for a label that is none of the classes.

    >>> figure = calibration([0, 1], np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> figure.axes[0].get_title()
    'calibration: ECE 0.450'
    """
    y, proba = _alike(y, proba)
    labels = list(range(proba.shape[-1])) if classes is None else list(classes)
    if proba.ndim != 2 or proba.shape[1] != len(labels):
        raise InputError(f"proba{list(proba.shape)}: must be [n, {len(labels)}], a column for each class")
    right = proba.argmax(1) == _numbers("y", y, labels)
    figure, (axes,) = style.panels(1)
    reliable(axes, counts.reliability(proba.max(1), right))
    return figure


def predicted(y: Any, answers: Any) -> Figure:
    """Amounts predicted over the true ones, `[n]` both; at best all lie on the line.

    Raises `InputError` for none and for different lengths.

    >>> len(predicted([1.0, 2.0], [1.1, 1.9]).axes)
    1
    """
    y, answers = _alike(y, answers)
    figure, (axes,) = style.panels(1)
    against(axes, y, answers)
    return figure


def residuals(y: Any, answers: Any) -> Figure:
    """What is left of the true amounts over those predicted, `[n]` both: at best no shape is to be seen.

    Raises `InputError` for none and for different lengths.

    >>> len(residuals([1.0, 2.0], [1.1, 1.9]).axes)
    1
    """
    y, answers = _alike(y, answers)
    figure, (axes,) = style.panels(1)
    left(axes, y, answers)
    return figure


def _alike(y: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    y, answers = np.asarray(y), np.asarray(answers)
    if y.ndim != 1 or not len(y) or len(answers) != len(y):
        raise InputError(f"y{list(y.shape)}: must be [n], n >= 1, as many as answers{list(answers.shape)}")
    return y, answers


def _numbers(name: str, given: np.ndarray, labels: list[Any]) -> np.ndarray:
    """The place of each label among the classes."""
    place = {label: k for k, label in enumerate(labels)}
    for i, label in enumerate(given.tolist()):
        if label not in place:
            shown = ", ".join(str(each) for each in labels[:5])
            raise InputError(f"{name}[{i}]={label}: is none of the {len(labels)} classes ({shown}, ...); see classes=")
    return np.array([place[label] for label in given.tolist()])


def reliable(axes: Axes, found: counts.Reliability, title: str = "calibration") -> None:
    """A dot for each range of confidence, the larger the more answers it has; at best they lie on the line."""
    axes.plot([0, 1], [0, 1], color=style.INK, linewidth=0.8, linestyle=":")
    axes.plot(found.confidence, found.right, **style.line(0))
    for x, y, n in zip(found.confidence, found.right, found.count, strict=True):
        size = 3 + 9 * np.sqrt(n / found.count.max())
        axes.plot([x], [y], "o", color=style.COLORS[0], markersize=float(size), alpha=0.8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="probability of the answer", ylabel="share that is right")
    axes.set_title(f"{title}: ECE {found.error:.3f}")


def against(axes: Axes, y: np.ndarray, answers: np.ndarray, name: str = "") -> None:
    """Predicted over true amounts."""
    y, answers = _some(y), _some(answers)
    ends = [float(min(y.min(), answers.min())), float(max(y.max(), answers.max()))]
    axes.plot(ends, ends, color=style.INK, linewidth=0.8, linestyle=":")
    axes.plot(y, answers, "o", color=style.COLORS[0], markersize=3.5, alpha=0.75, markeredgewidth=0)
    axes.set(xlabel="true", ylabel="predicted", title=style.word(name, 40))


def left(axes: Axes, y: np.ndarray, answers: np.ndarray, name: str = "") -> None:
    """True minus predicted amounts over the predicted ones."""
    y, answers = _some(y), _some(answers)
    axes.axhline(0, color=style.INK, linewidth=0.8, linestyle=":")
    axes.plot(answers, y - answers, "o", color=style.COLORS[1], markersize=3.5, alpha=0.75, markeredgewidth=0)
    axes.set(xlabel="predicted", ylabel="true - predicted", title=style.word(name, 40))


def _some(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values[:: -(-len(values) // DOTS)]
