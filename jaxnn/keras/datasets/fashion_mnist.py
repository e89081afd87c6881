"""Fashion-MNIST: 70,000 pictures of clothes, in the form of MNIST (Xiao, Rasul and Vollgraf 2017)."""

from __future__ import annotations

import os

from jaxnn.keras.datasets import stored


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[stored.Arrays, stored.Arrays]:
    """`(x_train, y_train), (x_test, y_test)`: images u8[60000, 28, 28] and u8[10000, 28, 28], labels u8[n].

    Args:
      path: a folder of its four IDX files (gzipped or not); None: `fashion_mnist` or `fashion-mnist` in the folder that
        the environment variable `JAXNN_DATASETS` names, or in `~/.keras/datasets`.

    Raises:
      InputError: the files are not there, or damaged.
    """
    return stored.images("fashion_mnist", path)
