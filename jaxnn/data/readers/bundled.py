"""The data sets that come with scikit-learn, and two made of its digits: small, and there without a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config import paths
from jaxnn.data.source import Source, Table

NAMES = ("breast_cancer", "diabetes", "digits", "digits_boxes", "digits_masks", "iris", "wine")
BESIDE = (*NAMES, "mnist")  # names that a folder in the working directory may have too
DIGITS_SCALE = 16.0  # the digits count black pixels in blocks of 4x4


def name_of(name_or_path: str | os.PathLike[str]) -> str:
    """As text. A `Path` is never the name of a set, but `Path("./iris")` has lost what would tell it from one."""
    text = os.fspath(name_or_path)
    return f"./{text}" if text in BESIDE and not isinstance(name_or_path, str) else text


def passed_over(name: str, dir: str | None) -> tuple[str, ...]:
    """A note, if there is a folder that somebody who gave this name may have meant."""
    beside, read = Path(name), None if dir is None else paths.expand("--data.dir", dir)
    if name not in BESIDE or not beside.is_dir() or (read is not None and beside.samefile(read)):
        return ()
    what = "the bundled set" if read is None else f"the set in {dir}"
    return (f"--data.name={name}: {what} was read, not the folder ./{name}; for that, --data.name ./{name}",)


def digits() -> Table:
    """1,797 handwritten digits: `x` u8[1797, 8, 8, 1] in 0..16, `y` i64[1797]."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return Table(bunch.images.astype(np.uint8)[..., None], bunch.target)


def read(name: str) -> Source:
    """One of `NAMES`; class indices are scikit-learn's."""
    if name == "digits":
        return Source(digits(), classes=tuple(range(10)), scale=DIGITS_SCALE, task="auto")
    if name in ("digits_boxes", "digits_masks"):
        from jaxnn.data.readers import canvases, npz

        return npz.source(canvases.digit_boxes() if name == "digits_boxes" else canvases.digit_masks())
    import sklearn.datasets

    # scikit-learn scales diabetes by all its rows, tests included, unless told not to.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch: Any = getattr(sklearn.datasets, f"load_{name}")(**options)
    classes = None if name == "diabetes" else tuple(str(label) for label in bunch.target_names)
    features = tuple(str(feature) for feature in bunch.feature_names)
    task = "regression" if name == "diabetes" else "auto"
    return Source(Table(bunch.data, bunch.target), classes=classes, features=features, task=task)
