"""What a network has to beat: the mean of the targets; and how far they spread around it."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from jaxnn.types import Batch


def constant_loss(task: str, train: Batch) -> float:
    """The least loss, summed over the outputs, that one number for each output can have: that of the mean of y.

    Weights of zero and a bias have it, without a penalty, so an optimum has no more. Of classes: infinite, as they have
    no scale that training could fail at.

    >>> constant_loss("squared_error", Batch(np.zeros((2, 1)), np.array([[1.0], [3.0]]), np.ones(2)))
    0.5
    """
    if task not in ("squared_error", "poisson") or not train.weight.any():
        return np.inf
    y, weight = train.y.astype(float), train.weight.astype(float)
    mean = np.average(y, axis=0, weights=weight)
    each = np.square(y - mean) / 2 if task == "squared_error" else xlogy(y, y) - xlogy(mean, mean) - y + mean
    return float(np.average(each, axis=0, weights=weight).sum())


def beats(loss: float, least: float) -> bool:
    """Whether a loss is better than the `constant_loss`, which is 0 where there is nothing to learn."""
    return not 0 < least * (1 - 1e-6) <= loss


def spread(task: str, train: Batch) -> float:
    """The standard deviation of y about the means of its outputs, as a power of two (exact to multiply with); 1 where
    it is smaller, and for losses whose outputs do not grow with y."""
    if task != "squared_error":
        return 1.0
    deviation = np.sqrt(2 * constant_loss(task, train) / train.y.shape[1])
    return float(2.0 ** np.round(np.log2(deviation))) if 1 < deviation < np.inf else 1.0
