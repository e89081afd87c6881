"""What answers come to beside the truth: counts, shares with their intervals, and how sure a network is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

BINS = 10


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share that was right / n, which is in [0, 1] and has a width where all are right.

        (p + z^2/2n ± z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)

    >>> [round(end, 4) for end in wilson(9, 10)]
    [0.5958, 0.9821]

    Source: Wilson 1927.
    """
    p, over = right / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + over / (4 * n))
    return max(0.0, (p + over / 2 - half) / (1 + over)), min(1.0, (p + over / 2 + half) / (1 + over))


def confused(y: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """How often class i was answered as j: i64[K, K], of class numbers y and answers i[n].

    >>> confused(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    pairs = y.astype(np.int64) * classes + answers
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


class ByClass(NamedTuple):
    """Of each class, f64[K]: precision, recall (NaN of nothing), and how many examples it has, i64[K]."""

    precision: np.ndarray
    recall: np.ndarray
    there: np.ndarray


def by_class(right: np.ndarray, answered: np.ndarray, there: np.ndarray) -> ByClass:
    """Of how often each class was answered rightly, answered at all, and there."""
    with np.errstate(invalid="ignore"):
        return ByClass(right / answered, right / there, there)


class Reliability(NamedTuple):
    """Of ten equal ranges of confidence those that have answers, f64[bins]: the mean confidence, the share that is
    right, and how many answers there are; and the expected calibration error of all.

        ECE = sum_b n_b / n |right_b - confidence_b|

    Source: Guo et al. 2017.
    """

    confidence: np.ndarray
    right: np.ndarray
    count: np.ndarray
    error: float


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """Of answers with their probability f[n], and whether each is right, bool[n].

    >>> found = reliability(np.array([0.95, 0.95, 0.65]), np.array([True, False, True]))
    >>> found.count.tolist(), round(found.error, 3)
    ([1, 2], 0.417)
    """
    place = np.minimum((np.asarray(confidence, float) * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (confidence, right)]
    there = count > 0
    mean, share = (total[there] / count[there] for total in sums)
    error = float(np.sum(count[there] * np.abs(share - mean)) / len(place))
    return Reliability(mean, share, count[there], error)
