"""The data sets that come with scikit-learn, in Keras' form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxnn.keras.datasets import stored


@dataclass(frozen=True)
class Bundled:
    """One of `digits` (u8[n, 8, 8] in 0..16), `iris`, `wine`, `breast_cancer` and `diabetes` (f64[n, D])."""

    name: str

    def load_data(self, test_split: float = 0.2, seed: int = 113) -> tuple[stored.Arrays, stored.Arrays]:
        """`(x_train, y_train), (x_test, y_test)`; `y` has class indices, or the amounts of `diabetes`.

        >>> from jaxnn.keras.datasets import iris
        >>> (x, y), (x_test, y_test) = iris.load_data()
        >>> x.shape, y.shape, x_test.shape, y_test.shape
        ((120, 4), (120,), (30, 4), (30,))
        """
        from jaxnn.data.readers import bundled

        table = bundled.read(self.name).train
        x = np.asarray(table.x)
        return stored.split(x[..., 0] if x.ndim == 4 else x, np.asarray(table.y), test_split, seed)
