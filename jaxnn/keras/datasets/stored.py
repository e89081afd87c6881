"""Where the files of a data set are looked for, and how they are read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from jaxnn.config import paths
from jaxnn.data.readers import idx
from jaxnn.errors import InputError, check

Arrays = tuple[np.ndarray, np.ndarray]
VARIABLE = "JAXNN_DATASETS"
SOURCES: dict[str, tuple[tuple[str, ...], str]] = {  # names in a folder of data sets, and where the files are from
    "mnist": (("mnist", "mnist.npz"), "its four IDX files from https://github.com/cvdf-datasets/mnist"),
    "fashion_mnist": (
        ("fashion_mnist", "fashion-mnist"),
        "its four IDX files from https://github.com/zalandoresearch/fashion-mnist",
    ),
    "boston_housing": (("boston_housing.npz",), "Keras' file boston_housing.npz (x [506, 13], y [506])"),
}


def find(name: str, path: str | os.PathLike[str] | None) -> Path:
    """The folder or file of a data set.

    Args:
      path: what the caller named, itself or within the folder of data sets (as in Keras); None, or the name that Keras'
        file has: the usual names there.

    Raises:
      InputError: it is not there; the message says where it was looked for and how to name another place.
    """
    named = os.environ.get(VARIABLE)
    folder = paths.expand(VARIABLE, named) if named else Path.home() / ".keras" / "datasets"
    names, source = SOURCES[name]
    given = [] if path is None else [paths.expand(f"{name}.load_data path", path)]
    usual = path is None or os.fspath(path) in names
    places = [*given, *(folder / each for each in (names if usual else given))]
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(dict.fromkeys(map(str, places)))
    cure = f"put {source} there, or name another place with path= or {VARIABLE}=FOLDER (that has {' or '.join(names)})"
    raise InputError(f"{name}.load_data: nothing at {looked}; {cure}")


def arrays(file: Path, *keys: str) -> list[np.ndarray]:
    """Arrays of a `.npz`. Raises `InputError` where it is damaged or has no such arrays."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            missing = [key for key in keys if key not in stored]
            found = [] if missing else [stored[key] for key in keys]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not readable as .npz ({error}); get the file again") from error
    if missing:
        raise InputError(f"{file}: has no array {missing[0]}; it must have {', '.join(keys)}")
    return found


def images(name: str, path: str | os.PathLike[str] | None) -> tuple[Arrays, Arrays]:
    """`(x_train, y_train), (x_test, y_test)`, images u8[n, H, W] and labels u8[n], of IDX files or Keras' `.npz`."""
    place = find(name, path)
    if place.is_file():
        x, y, x_test, y_test = arrays(place, "x_train", "y_train", "x_test", "y_test")
        return (x, y), (x_test, y_test)
    source = idx.read(place)
    if source.test is None:
        raise InputError(f"{place}: has no t10k-images-idx3-ubyte, nor with .gz; put it there with its labels")
    train, test = source.train, source.test
    return (np.asarray(train.x)[..., 0], np.asarray(train.y)), (np.asarray(test.x)[..., 0], np.asarray(test.y))


def split(x: np.ndarray, y: np.ndarray, test_split: float, seed: int) -> tuple[Arrays, Arrays]:
    """Shuffled and cut as Keras does. Raises `InputError` where a part would be empty."""
    n = int(len(x) * (1 - test_split)) if 0 <= test_split < 1 else 0
    check("load_data test_split", test_split, "in [0, 1), with an example or more to train on", n >= 1)
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    return (x[order[:n]], y[order[:n]]), (x[order[n:]], y[order[n:]])
