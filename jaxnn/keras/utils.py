"""Keras' helpers: one-hot labels, unit norms, the seed, the picture of a model."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from jaxnn.errors import InputError, check, nearest
from jaxnn.keras.plot import plot_model as plot_model
from jaxnn.keras.session import set_seed

REFUSED = {
    "get_file": "jaxnn downloads nothing; get the file yourself and give its path",
    "image_dataset_from_directory": "read the folder with jaxnn.data.load(folder) and give its arrays to fit",
    "model_to_dot": "use plot_model, which writes SVG without Graphviz",
    "pad_sequences": "jaxnn has no layers for sequences",
    "split_dataset": "give fit validation_split=, or split the arrays with sklearn.model_selection.train_test_split",
    "text_dataset_from_directory": "jaxnn has no layers for text",
}
__all__ = ["PyDataset", "Sequence", "normalize", "plot_model", "set_random_seed", "to_categorical"]


def __getattr__(name: str) -> Any:
    if name in REFUSED:  # no AttributeError: `from ... import` would lose the sentence
        raise InputError(f"keras.utils.{name}: not in jaxnn; {REFUSED[name]}")
    near = nearest(name, __all__)
    raise AttributeError(f"keras.utils.{name}: unknown; {f'did you mean {near}?' if near else f'it has {__all__}'}")


class PyDataset:
    """Batches by their numbers, for `fit`. A subclass has `__len__` and `__getitem__(i) -> (x, y)` or `(x, y, weight)`.

    Each epoch takes them in an order drawn anew, unless shuffle=False. Arguments of Keras change nothing.

    >>> class Halves(PyDataset):
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, i):
    ...         return np.full((8, 4), i), np.zeros(8)
    >>> len(Halves()), Halves()[1][0].shape
    (2, (8, 4))
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        del workers, use_multiprocessing, max_queue_size

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


Sequence = PyDataset


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows f64[..., K] of class indices [...] or [..., 1].

    >>> to_categorical([0, 2, 1])
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])

    Raises:
      InputError: an index that is no whole number, or not in 0..K-1.
    """
    given = np.asarray(x)
    try:
        indices = given.astype(np.int64)
    except (TypeError, ValueError) as error:
        raise InputError(f"to_categorical x: must be class indices ({error}); encode them first") from error
    if given.size == 0 or not np.array_equal(indices, given):
        raise InputError("to_categorical x: must be class indices, whole numbers, one or more; encode labels first")
    if indices.ndim > 1 and indices.shape[-1] == 1:
        indices = indices[..., 0]
    classes = int(num_classes or indices.max() + 1)
    for bad in indices[(indices < 0) | (indices >= classes)][:1]:
        raise InputError(f"to_categorical x={bad}: must be in 0..{classes - 1}; see num_classes={num_classes}")
    return np.eye(classes)[indices]


def normalize(x: Any, axis: int = -1, order: float = 2) -> np.ndarray:
    """x / |x| along an axis, and 0 where |x| = 0: `[...]` -> f64 of the same shape; `order` is that of the norm.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    norm = np.linalg.norm(np.asarray(x), order, axis, keepdims=True)
    return np.asarray(x) / np.where(norm == 0, 1, norm)


def set_random_seed(seed: int) -> None:
    """From here on new layers and models, NumPy's and Python's random numbers are those of this seed.

    Without it a process has the seed 0. Raises `InputError` for a seed that is no whole number in 0..2^32 - 1.

    >>> from jaxnn.keras import initializers
    >>> set_random_seed(1)
    >>> first = initializers.HeNormal()((3, 3))
    >>> set_random_seed(1)
    >>> bool((initializers.HeNormal()((3, 3)) == first).all())
    True
    """
    check("set_random_seed seed", seed, "a whole number in 0..4294967295", int(seed) == seed and 0 <= seed < 2**32)
    random.seed(int(seed))
    np.random.seed(int(seed))
    set_seed(int(seed))
