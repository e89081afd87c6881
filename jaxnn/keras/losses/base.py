"""A loss as an object: `call` for each example, and how its numbers become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, choices
from jaxnn.keras import lookup
from jaxnn.keras.tensors import eager
from jaxnn.numerics import relaxed

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none")


class Loss:
    """A loss, `loss(y_true, y_pred, sample_weight=None) -> f32[]`. Your own is a subclass with `call`.

    `call(y_true, y_pred) -> f32[B, ...]` is in `jax.numpy`, one number or more for each example.

    `from_logits`: whether y_pred are logits. `final`: the activation at the end of a network that the loss is the
    cross-entropy of, "softmax" or "sigmoid"; then `on_logits` is the loss of what goes into that activation.

    Args of every loss: name; reduction: `sum_over_batch_size` (or `mean`) divides the sum by the number of losses,
    `mean_with_sample_weight` by the sum of the weights, `sum` and `none` by nothing. A model is trained on
    `sum_over_batch_size`.

    Raises `InputError` for another reduction, and for a dtype other than float32.

    >>> import jax.numpy as jnp
    >>> class Worst(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return jnp.max(jnp.abs(y_true - y_pred), axis=-1)
    >>> float(Worst()(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 5.0]])))
    3.0
    """

    from_logits: bool = False
    final: str | None = None

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        lookup.only_float32(type(self).__name__, dtype)
        self.name: str = name or lookup.snake_case(type(self).__name__)
        self.reduction: str = reduction or "none"
        if self.reduction not in REDUCTIONS:
            raise choices("reduction", reduction, REDUCTIONS)

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        """The losses `f32[B, ...]`, before the reduction."""
        raise NotImplementedError(f"{type(self).__name__} must have `call(self, y_true, y_pred)`")

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        """The losses of what goes into the final activation. Raises `InputError` where `final` is None."""
        raise InputError(f"{self.name}: is the loss of no activation; it has no loss of logits")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """One number: the sum over all of weight times loss, divided by their number (of another `reduction`: by it).

        sample_weight `[B]`, `[B, 1]` or as the losses. Raises `InputError` where it does not fit.
        """
        with relaxed():
            values = jnp.asarray(self.call(y_true, y_pred))
            weight = None if sample_weight is None else lookup.weights(sample_weight, values)
            values = values if weight is None else values * weight
            if self.reduction == "none":
                return eager(values)
            if self.reduction == "sum":
                return eager(values.sum())
            count = weight.sum() if weight is not None and self.reduction == "mean_with_sample_weight" else values.size
            return eager(values.sum() / count)

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss with these arguments."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A function `fn(y_true, y_pred, **arguments) -> f32[B, ...]` as a loss.

    >>> import jax.numpy as jnp
    >>> worst = LossFunctionWrapper(lambda y_true, y_pred: jnp.max(jnp.abs(y_true - y_pred), axis=-1), name="worst")
    >>> worst(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 5.0]])).item()
    3.0
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name or lookup.named(fn), reduction, kwargs.pop("dtype", None))
        self.fn: Callable[..., Any] = fn
        self.arguments: dict[str, Any] = kwargs
        self.custom: Callable[..., Any] = fn  # saved by its name

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return self.fn(y_true, y_pred, **self.arguments)


class LossOf(Loss):
    """The loss of `function`, whose arguments are those of the function, in that order, then `reduction` and `name`.

    `called` is its name, where that is not the name of the function.
    """

    function: ClassVar[Callable[..., jax.Array]]
    called: ClassVar[str] = ""

    def __init_subclass__(cls, function: Callable[..., jax.Array] | None = None, called: str = "") -> None:
        if function is not None:
            cls.function, cls.called = staticmethod(function), called

    def __init__(self, *values: Any, **arguments: Any):
        own = lookup.parameters(self.function)
        owner, order = type(self).__name__, [*own, "reduction", "name", "dtype"]
        if len(values) > len(order):
            raise InputError(f"{owner}: {len(values)} arguments; it takes {', '.join(order)}")
        if arguments.get("axis", -1) == -1:
            arguments.pop("axis", None)
        arguments = dict(zip(order, values, strict=False)) | arguments
        lookup.refuse_unknown(owner, arguments, order)
        self.arguments: dict[str, Any] = {name: arguments.pop(name) for name in own if name in arguments}
        arguments.setdefault("name", self.called or lookup.named(self.function))
        super().__init__(**arguments)
        self.from_logits: bool = bool(self.arguments.get("from_logits", False))

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return type(self).function(y_true, y_pred, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.arguments
