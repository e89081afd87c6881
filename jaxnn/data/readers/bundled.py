"""The data sets that come with scikit-learn: real, small, and there without a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.data.source import Source, Table

NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")
DIGITS_SCALE = 16.0  # the digits count black pixels in blocks of 4x4


def digits() -> Table:
    """1,797 handwritten digits: `x` u8[1797, 8, 8, 1] in 0..16, `y` i64[1797]."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return Table(bunch.images.astype(np.uint8)[..., None], bunch.target)


def read(name: str) -> Source:
    """One of `NAMES`; class indices are scikit-learn's."""
    if name == "digits":
        return Source(digits(), classes=tuple(range(10)), scale=DIGITS_SCALE, task="auto")
    import sklearn.datasets

    # scikit-learn scales diabetes by all its rows, tests included, unless told not to.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch: Any = getattr(sklearn.datasets, f"load_{name}")(**options)
    classes = None if name == "diabetes" else tuple(str(label) for label in bunch.target_names)
    features = tuple(str(feature) for feature in bunch.feature_names)
    task = "regression" if name == "diabetes" else "auto"
    return Source(Table(bunch.data, bunch.target), classes=classes, features=features, task=task)
