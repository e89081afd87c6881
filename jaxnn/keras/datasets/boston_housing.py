"""House prices in Boston (Harrison and Rubinfeld 1978); a variable of it is about race: for old scripts only."""

from __future__ import annotations

import os

import numpy as np

from jaxnn.keras.datasets import stored


def load_data(
    path: str | os.PathLike[str] = "boston_housing.npz", test_split: float = 0.2, seed: int = 113
) -> tuple[stored.Arrays, stored.Arrays]:
    """`(x_train, y_train), (x_test, y_test)`: f64[404, 13], f64[404], f64[102, 13], f64[102], in Keras' order.

    Args:
      path: Keras' file `boston_housing.npz`, itself or in the folder that the environment variable `JAXNN_DATASETS`
        names, or in `~/.keras/datasets`.

    Raises:
      InputError: the file is not there, or damaged.
    """
    x, y = stored.arrays(stored.find("boston_housing", path), "x", "y")
    return stored.split(np.asarray(x), np.asarray(y), test_split, seed)
