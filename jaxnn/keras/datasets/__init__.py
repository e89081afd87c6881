"""Data sets as Keras gives them: `load_data()` -> `(x_train, y_train), (x_test, y_test)`.

`mnist`, `fashion_mnist` and `boston_housing` are read from the folder that `JAXNN_DATASETS` names, or from that of
Keras' own downloads; `digits`, `iris`, `wine`, `breast_cancer` and `diabetes` come with scikit-learn.
"""

from __future__ import annotations

from typing import Any

from jaxnn.errors import InputError, nearest

STORED = ("boston_housing", "fashion_mnist", "mnist")
BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
OF_KERAS = ("california_housing", "cifar10", "cifar100", "imdb", "reuters")
__all__ = [*STORED, *BUNDLED]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in STORED:
        import jaxnn.keras.datasets.boston_housing
        import jaxnn.keras.datasets.fashion_mnist
        import jaxnn.keras.datasets.mnist  # noqa: F401

        return globals()[name]  # where an import puts its module
    if name in BUNDLED:
        from jaxnn.keras.datasets.bundled import Bundled

        return Bundled(name)
    if name in OF_KERAS:  # no AttributeError: `from ... import` would lose the sentence
        cure = f"read the files with jaxnn.data.load and give their arrays to fit, or choose from {', '.join(__all__)}"
        raise InputError(f"keras.datasets.{name}: jaxnn downloads no data and has no reader of this set; {cure}")
    near = nearest(name, __all__)
    hint = f"; did you mean {near}?" if near else f"; choose from {', '.join(__all__)}"
    raise AttributeError(f"keras.datasets.{name}: unknown{hint}")


def __dir__() -> list[str]:
    return list(__all__)
