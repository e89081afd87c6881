"""The data sets that come with scikit-learn, and two made of its digits: small, and there without a network."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config import paths
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError

NAMES = ("breast_cancer", "diabetes", "digits", "digits_boxes", "digits_masks", "iris", "wine")
BESIDE = (*NAMES, "mnist")  # names that a folder in the working directory may have too
FILES = {"breast_cancer": "breast_cancer.csv", "iris": "iris.csv", "wine": "wine_data.csv"}
CELL = ("radius", "texture", "perimeter", "area", "smoothness", "compactness")
CELL += ("concavity", "concave points", "symmetry", "fractal dimension")
FEATURES: dict[str, tuple[str, ...]] = {
    "breast_cancer": (*(f"mean {n}" for n in CELL), *(f"{n} error" for n in CELL), *(f"worst {n}" for n in CELL)),
    "diabetes": ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
    "iris": ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
    "wine": (
        *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
        *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines"),
        "proline",
    ),
}
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
    rows = _numbers("digits.csv.gz", delimiter=",").astype(np.int64)
    return Table(rows[:, :-1].astype(np.uint8).reshape(-1, 8, 8, 1), rows[:, -1])


def read(name: str) -> Source:
    """One of `NAMES`; class indices are scikit-learn's. Its files are read without importing it, which takes longer
    than all else that a small run does."""
    if name == "digits":
        return Source(digits(), classes=tuple(range(10)), scale=DIGITS_SCALE, task="auto")
    if name in ("digits_boxes", "digits_masks"):
        from jaxnn.data.readers import canvases, npz

        return npz.source(canvases.digit_boxes() if name == "digits_boxes" else canvases.digit_masks())
    if name == "diabetes":
        table = Table(_numbers("diabetes_data_raw.csv.gz"), _numbers("diabetes_target.csv.gz"))
        return Source(table, features=FEATURES[name], task="regression")
    rows = _numbers(FILES[name], delimiter=",", skiprows=1)
    _, _, *classes = _text(FILES[name]).splitlines()[0].split(",")  # 150,4,setosa,versicolor,virginica
    table = Table(rows[:, :-1], rows[:, -1].astype(np.int64))
    return Source(table, classes=tuple(classes), features=FEATURES[name], task="auto")


def _numbers(file: str, **how: Any) -> np.ndarray:
    """float64[rows, columns], or [rows], of a text file of scikit-learn's."""
    return np.loadtxt(io.StringIO(_text(file)), **how)


def _text(file: str) -> str:
    """Raises `InputError` where the scikit-learn that is installed has no such file."""
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin).parent / "datasets" / "data" / file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise InputError(f"scikit-learn: has no file {file} here; install it anew, or give --data.name a file")
    raw = path.read_bytes()
    return (gzip.decompress(raw) if file.endswith(".gz") else raw).decode()
