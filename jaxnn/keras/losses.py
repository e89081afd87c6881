"""Keras' losses: strings, objects and functions, all as a `Loss`.

A final softmax or sigmoid with its cross-entropy is trained on logits (`Loss.final`, `Loss.on_logits`): the loss of a
confidently wrong network is then exact, where Keras clips probabilities to 1 - 1e-7 and the gradient vanishes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, choices
from jaxnn.keras import lookup, loss_functions
from jaxnn.keras.lookup import serialize as serialize
from jaxnn.keras.loss_functions import binary_crossentropy as binary_crossentropy
from jaxnn.keras.loss_functions import binary_focal_crossentropy as binary_focal_crossentropy
from jaxnn.keras.loss_functions import categorical_crossentropy as categorical_crossentropy
from jaxnn.keras.loss_functions import categorical_hinge as categorical_hinge
from jaxnn.keras.loss_functions import cosine_similarity as cosine_similarity
from jaxnn.keras.loss_functions import hinge as hinge
from jaxnn.keras.loss_functions import huber as huber
from jaxnn.keras.loss_functions import kl_divergence as kl_divergence
from jaxnn.keras.loss_functions import log_cosh as log_cosh
from jaxnn.keras.loss_functions import mean_absolute_error as mean_absolute_error
from jaxnn.keras.loss_functions import mean_absolute_percentage_error as mean_absolute_percentage_error
from jaxnn.keras.loss_functions import mean_squared_error as mean_squared_error
from jaxnn.keras.loss_functions import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from jaxnn.keras.loss_functions import poisson as poisson
from jaxnn.keras.loss_functions import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from jaxnn.keras.loss_functions import squared_hinge as squared_hinge
from jaxnn.keras.tensors import eager
from jaxnn.numerics import relaxed
from jaxnn.tasks.losses import binary_cross_entropy, cross_entropy

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none")


class Loss:
    """A loss of one's own is a subclass with `call(y_true, y_pred) -> f[B, ...]`, in `jax.numpy`.

    `from_logits`: whether y_pred are logits. `final`: the activation at the end of a network that the loss is the
    cross-entropy of, "softmax" or "sigmoid"; then `on_logits` is the loss of what goes into that activation.
    """

    from_logits: bool = False
    final: str | None = None

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        lookup.only_float32(type(self).__name__, dtype)
        self.name = name or lookup.snake_case(type(self).__name__)
        self.reduction = reduction or "none"
        if self.reduction not in REDUCTIONS:
            raise choices("reduction", reduction, REDUCTIONS)

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} must have `call(self, y_true, y_pred)`")

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        """The loss of what goes into the final activation. Raises `InputError` where `final` is None."""
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
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A function `fn(y_true, y_pred, **arguments) -> f[B, ...]` as a loss.

    >>> import jax.numpy as jnp
    >>> worst = LossFunctionWrapper(lambda y_true, y_pred: jnp.max(jnp.abs(y_true - y_pred), axis=-1), name="worst")
    >>> worst(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 5.0]])).item()
    3.0
    """

    def __init__(self, fn: Callable, reduction: str | None = "sum_over_batch_size", name: str | None = None, **kwargs):
        super().__init__(name or lookup.named(fn), reduction, kwargs.pop("dtype", None))
        self.fn, self.arguments, self.custom = fn, kwargs, fn

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return self.fn(y_true, y_pred, **self.arguments)


class _Named(Loss):
    """A loss whose arguments are those of its function, in that order, then `reduction` and `name`."""

    function: ClassVar[Callable[..., jax.Array]]
    called: ClassVar[str] = ""  # its name, where that is not the name of the function

    def __init_subclass__(cls) -> None:
        if cls.__doc__ is None and hasattr(cls, "function"):
            cls.__doc__ = f"`{lookup.named(cls.function)}` as an object."

    def __init__(self, *values: Any, **arguments: Any):
        own = lookup.parameters(self.function)
        owner, order = type(self).__name__, [*own, "reduction", "name", "dtype"]
        if len(values) > len(order):
            raise InputError(f"{owner}: {len(values)} arguments; it takes {', '.join(order)}")
        if arguments.get("axis", -1) == -1:
            arguments.pop("axis", None)
        arguments = dict(zip(order, values, strict=False)) | arguments
        lookup.refuse_unknown(owner, arguments, order)
        self.arguments = {name: arguments.pop(name) for name in own if name in arguments}
        arguments.setdefault("name", self.called or lookup.named(self.function))
        super().__init__(**arguments)
        self.from_logits = bool(self.arguments.get("from_logits", False))

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return type(self).function(y_true, y_pred, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.arguments


class _Softmax(_Named):
    def __init__(self, *values: Any, **arguments: Any):
        super().__init__(*values, **arguments)
        self.final = None if self.from_logits else "softmax"


class CategoricalCrossentropy(_Softmax):
    """`categorical_crossentropy`: one-hot or soft labels `[B, K]`.

    >>> loss = CategoricalCrossentropy(label_smoothing=0.1)
    >>> loss.final, float(loss.on_logits(jnp.array([[1, 0]]), jnp.array([[0.0, 200.0]]))[0])
    ('softmax', 190.0)
    """

    function = staticmethod(loss_functions.categorical_crossentropy)

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        y_true, logits = loss_functions.one_hot(self.name, y_true, logits)
        return cross_entropy(logits, y_true, label_smoothing=self.arguments.get("label_smoothing", 0.0))


class SparseCategoricalCrossentropy(_Softmax):
    """`sparse_categorical_crossentropy`: integers `[B]` or `[B, 1]`.

    >>> float(SparseCategoricalCrossentropy().on_logits(jnp.array([0]), jnp.array([[0.0, 200.0]]))[0])
    200.0
    """

    function = staticmethod(loss_functions.sparse_categorical_crossentropy)

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        return cross_entropy(logits, loss_functions.integers(self.name, y_true, logits))


class BinaryCrossentropy(_Named):
    """`binary_crossentropy`: labels in {0, 1}, or a probability, `[B, K]`.

    >>> float(BinaryCrossentropy().on_logits(jnp.array([[0]]), jnp.array([[200.0]]))[0])
    200.0
    """

    function = staticmethod(loss_functions.binary_crossentropy)

    def __init__(self, *values: Any, **arguments: Any):
        super().__init__(*values, **arguments)
        self.final = None if self.from_logits else "sigmoid"

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        y_true, logits = loss_functions.aligned(y_true, logits)
        smoothing = self.arguments.get("label_smoothing", 0.0)
        return jnp.mean(binary_cross_entropy(logits, y_true, label_smoothing=smoothing), axis=-1)


class BinaryFocalCrossentropy(_Named):
    function = staticmethod(loss_functions.binary_focal_crossentropy)


class MeanSquaredError(_Named):
    function = staticmethod(loss_functions.mean_squared_error)


class MeanAbsoluteError(_Named):
    function = staticmethod(loss_functions.mean_absolute_error)


class MeanAbsolutePercentageError(_Named):
    function = staticmethod(loss_functions.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(_Named):
    function = staticmethod(loss_functions.mean_squared_logarithmic_error)


class CosineSimilarity(_Named):
    function = staticmethod(loss_functions.cosine_similarity)


class Huber(_Named):
    function, called = staticmethod(loss_functions.huber), "huber_loss"


class LogCosh(_Named):
    function = staticmethod(loss_functions.log_cosh)


class Poisson(_Named):
    function = staticmethod(loss_functions.poisson)


class KLDivergence(_Named):
    function = staticmethod(loss_functions.kl_divergence)


class Hinge(_Named):
    function = staticmethod(loss_functions.hinge)


class SquaredHinge(_Named):
    function = staticmethod(loss_functions.squared_hinge)


class CategoricalHinge(_Named):
    function = staticmethod(loss_functions.categorical_hinge)


def _below(cls: type) -> list[type]:
    return [cls, *(under for child in cls.__subclasses__() for under in _below(child))]


CLASSES = {cls.__name__: cls for cls in _below(_Named) if not cls.__name__.startswith("_")}
SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "kld": "KLDivergence",
}
SHORT |= {name.upper(): cls for name, cls in SHORT.items()} | {"logcosh": "LogCosh", "huber_loss": "Huber"}
NAMES = (
    CLASSES
    | {lookup.named(cls.function): cls for cls in CLASSES.values()}
    | {name: CLASSES[cls] for name, cls in SHORT.items()}
)


def get(spec: Any, custom_objects: dict[str, Any] | None = None) -> Loss:
    """The loss that a string, a class, an object, a function `(y_true, y_pred) -> f[B, ...]` or a saved dict names.

    Raises `InputError` for an unknown name, with the nearest, and for what is none of these.

    >>> get("mse").name, get(SparseCategoricalCrossentropy(from_logits=True)).final
    ('mse', None)
    """
    found = lookup.find("loss", spec, NAMES, custom_objects)
    if isinstance(found, Loss):
        if isinstance(spec, str):
            found.name = spec
        return found
    if callable(found):
        return next((cls() for cls in CLASSES.values() if cls.function is found), None) or LossFunctionWrapper(found)
    raise InputError(
        f"loss={spec}: a {type(spec).__name__} is no loss; give a name, a keras.losses object or a function"
    )


deserialize = get
