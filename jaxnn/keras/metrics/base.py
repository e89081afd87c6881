"""A metric as sums over the rows and a value of these sums; what means are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError
from jaxnn.keras import lookup
from jaxnn.keras.losses.labels import floats
from jaxnn.numerics import relaxed
from jaxnn.tasks.metrics import weighted_sum


class Metric:
    """A metric of sums that add up over batches. Your own is a subclass with two pure functions, in `jax.numpy`:

        sums(y_true, y_pred, weight) -> {name: f32[...]}   sums over the rows, each times its weight f32[B] (0: padding)
        value(sums) -> f32[...]                            what they come to

    `minimized`: less is better; None where that is not known. Keras' metrics have variables instead, and no `sums`.

    Args of every metric: name. Raises `InputError` for a dtype other than float32.

    >>> import jax.numpy as jnp
    >>> class Largest(Metric):
    ...     def sums(self, y_true, y_pred, weight):
    ...         return {"total": jnp.sum(weight * jnp.max(jnp.abs(y_true - y_pred), axis=-1)), "n": jnp.sum(weight)}
    ...     def value(self, sums):
    ...         return sums["total"] / sums["n"]
    >>> float(Largest()(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 5.0]])))
    3.0
    """

    minimized: bool | None = None
    called: ClassVar[str] = ""  # its name, where that is not the name of the class

    def __init__(self, name: str | None = None, dtype: Any = None):
        lookup.only_float32(type(self).__name__, dtype)
        self.name: str = name or self.called or lookup.snake_case(type(self).__name__)
        self._kept: dict[str, Any] = {}

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        """Sums over the rows, each times its weight `f32[B]`."""
        cure = "a metric of one's own has sums(y_true, y_pred, weight) and value(sums), or is a function"
        raise InputError(f"{type(self).__name__}: has no sums; {cure}")

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        """What the sums come to."""
        raise NotImplementedError(f"{type(self).__name__} must have `value(self, sums)`")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds the sums over these rows; sample_weight `[B]` or `[B, 1]`."""
        with relaxed():
            y_pred = floats(y_pred)
            rows = y_pred.reshape(len(y_pred), -1)[:, 0]
            weight = jnp.ones_like(rows) if sample_weight is None else lookup.weights(sample_weight, rows)
            new = self.sums(y_true if y_true is None else jnp.asarray(y_true), y_pred, weight)
        self._kept = {name: value + self._kept.get(name, 0) for name, value in new.items()}

    def result(self) -> Any:
        """The metric of all rows since `reset_state`; 0.0 before the first, as in Keras."""
        if not self._kept:
            return np.float32(0)
        with relaxed():
            value = np.asarray(self.value(self._kept))
        return value if value.ndim else value[()]

    def reset_state(self) -> None:
        """Forget all rows."""
        self._kept = {}

    reset_states = reset_state  # the name until TensorFlow 2.5

    def __call__(self, y_true: Any, y_pred: Any = None, sample_weight: Any = None) -> Any:
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def weighted(values: jax.Array, weight: jax.Array) -> jax.Array:
    """The sum of weight `[B]` times values `[B, ...]`, each row's values averaged first; `f32[]`."""
    return weighted_sum(values.reshape(len(values), -1).mean(axis=1), weight)


def ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """`numerator / denominator`, and 0 where the denominator is 0."""
    return jnp.where(denominator == 0, 0, numerator / jnp.where(denominator == 0, 1, denominator))


class Mean(Metric):
    """The weighted mean of the values `[B, ...]` or `[]` that `update_state(values, sample_weight=None)` is given.

    >>> mean = Mean()
    >>> mean.update_state([1.0, 3.0]); mean.update_state(5.0)
    >>> float(mean.result())
    3.0
    """

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # pyright: ignore
        super().update_state(None, jnp.atleast_1d(floats(values)), sample_weight)

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        return {"total": weighted(y_pred, weight), "weight": jnp.sum(weight)}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        return ratio(sums["total"], sums["weight"])

    def __call__(self, values: Any, sample_weight: Any = None) -> Any:  # pyright: ignore
        self.update_state(values, sample_weight)
        return self.result()


class Sum(Mean):
    """The weighted sum of the values that `update_state(values, sample_weight=None)` is given.

    >>> total = Sum()
    >>> total.update_state([1.0, 3.0]); total.update_state(5.0)
    >>> float(total.result())
    9.0
    """

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        return {"total": weighted_sum(y_pred.reshape(len(y_pred), -1).sum(axis=1), weight)}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        return sums["total"]


class MeanMetricWrapper(Metric):
    """The mean over all rows of `fn(y_true, y_pred, **arguments) -> [B, ...]`, or of `[]`, the mean of a batch.

    >>> import jax.numpy as jnp
    >>> closest = MeanMetricWrapper(lambda y_true, y_pred: jnp.min(jnp.abs(y_true - y_pred), axis=-1), name="closest")
    >>> closest.update_state(jnp.array([[1.0, 2.0]]), jnp.array([[2.0, 5.0]]))
    >>> float(closest.result())
    1.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **arguments: Any):
        super().__init__(name or lookup.named(fn), dtype)
        self.fn: Callable[..., Any] = fn
        self.arguments: dict[str, Any] = arguments
        self.custom: Callable[..., Any] | None = fn if type(self) is MeanMetricWrapper else None  # saved by its name

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        values = jnp.asarray(self.fn(y_true, y_pred, **self.arguments)).astype(float)
        values = values if values.ndim else jnp.broadcast_to(values, weight.shape)
        return {"total": weighted(values, weight), "weight": jnp.sum(weight)}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        return ratio(sums["total"], sums["weight"])


class MeanOf(MeanMetricWrapper):
    """The mean of `function` over all rows, with the arguments that the function takes."""

    function: ClassVar[Callable[..., jax.Array]]
    minimized: bool | None = None
    called: ClassVar[str] = ""

    def __init_subclass__(
        cls, function: Callable[..., jax.Array] | None = None, minimized: bool | None = None, called: str = ""
    ) -> None:
        if function is not None:
            cls.function, cls.minimized, cls.called = staticmethod(function), minimized, called

    def __init__(self, name: str | None = None, dtype: Any = None, **arguments: Any):
        lookup.refuse_unknown(type(self).__name__, arguments, [*lookup.parameters(self.function), "name"])
        name = name or self.called or lookup.snake_case(type(self).__name__)
        super().__init__(type(self).function, name, dtype, **arguments)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name} | self.arguments
