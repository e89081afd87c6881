"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges 1998)."""

from __future__ import annotations

import os

from jaxnn.keras.datasets import stored


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[stored.Arrays, stored.Arrays]:
    """`(x_train, y_train), (x_test, y_test)`: images u8[60000, 28, 28] and u8[10000, 28, 28], labels u8[n].

    Args:
      path: a folder of its four IDX files (gzipped or not), or Keras' `mnist.npz`; None: `mnist` or `mnist.npz` in the
        folder that the environment variable `JAXNN_DATASETS` names, or in `~/.keras/datasets`.

    Raises:
      InputError: the files are not there, or damaged.
    """
    return stored.images("mnist", path)
