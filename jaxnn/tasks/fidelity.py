"""How like real images generated ones are: recognised, spread alike, and none a copy. No one of the three is enough.

A classifier that recognises them is pleased most by one clear example repeated, the distance of two distributions by a
copy of the training set, and the distance to the nearest training image by noise.
"""

from __future__ import annotations

import numpy as np

from jaxnn.errors import InputError


def accepted(probabilities: np.ndarray, y: np.ndarray | None = None, threshold: float = 0.9) -> float:
    """The share of images of which a classifier gives the class that was asked for at least the threshold.

    probabilities `f32[n, K]`; y `i32[n]`, or None for any class.

    >>> import numpy as np
    >>> accepted(np.array([[0.95, 0.05], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 1, 0]))
    0.3333333333333333
    """
    given = probabilities.max(1) if y is None else probabilities[np.arange(len(y)), y]
    return float((given >= threshold).mean())


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) of the means and covariances of rows `[n, F]` and `[m, F]`.

    That is the squared Wasserstein distance of two normal distributions. It shrinks with n and m: compare distances
    of sets of like size. Raises `InputError` for fewer than two rows, or other features. Source: Heusel et al. 2017.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(frechet_distance(a, a), 9), round(frechet_distance(a, 2 + a), 9)
    (0.0, 12.0)
    """
    a, b = (np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (a, b))
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"a, b={a.shape}, {b.shape}: must be two rows or more each, of the same features")
    of_a, of_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    values, vectors = np.linalg.eigh(of_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # The eigenvalues of S_a S_b are those of the symmetric S_a^1/2 S_b S_a^1/2.
    overlap = np.sqrt(np.linalg.eigvalsh(root @ of_b @ root).clip(0)).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(of_a) + np.trace(of_b) - 2 * overlap)


def nearest_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over the rows of a `[n, F]` of the Euclidean distance to the nearest row of b `[m, F]`.

    >>> import numpy as np
    >>> nearest_distance(np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 0], [0, 1]]))
    2.1213203435596424
    """
    a, b = (np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (a, b))
    found = []
    for start in range(0, len(a), 256):  # the distances of 256 rows to all others are in memory at a time
        part = a[start : start + 256]
        squared = np.square(part).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * part @ b.T
        found.append(np.sqrt(squared.min(1).clip(0)))
    return float(np.concatenate(found).mean())
