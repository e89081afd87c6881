"""BatchNormalization, LayerNormalization and GroupNormalization: jaxnn's own, with Keras' defaults."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxnn.errors import InputError
from jaxnn.keras import initializers, regularizers
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.nn import batch_norm, norms
from jaxnn.types import Model


class Scaled(Standard):
    """y = gamma (x - mean) / sqrt(var + epsilon) + beta, for each channel."""

    LEAVES: ClassVar[tuple[str, ...]] = ("scale", "b")
    PENALTIES: ClassVar[dict[str, str]] = {"scale": "gamma_regularizer", "b": "beta_regularizer"}

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis: int | list[int] = list(axis) if isinstance(axis, list | tuple) else axis
        self.epsilon: float = epsilon
        self.center: bool = bool(center)
        self.scale: bool = bool(scale)
        self.beta_initializer: initializers.Draw = initializers.get(beta_initializer)
        self.gamma_initializer: initializers.Draw = initializers.get(gamma_initializer)
        self.beta_regularizer: regularizers.Penalty | None = regularizers.get(beta_regularizer) if center else None
        self.gamma_regularizer: regularizers.Penalty | None = regularizers.get(gamma_regularizer) if scale else None

    def finished(self, model: Model, shape: Shape, **more: Any) -> Model:
        """The model with the first parameters of the layer, and without those that are left out."""
        axis = self.axis[0] if isinstance(self.axis, list) and len(self.axis) == 1 else self.axis
        if isinstance(axis, list) or standard.core_axis(self, axis, shape) != -1:
            cure = "move that axis last, or leave axis out"
            raise InputError(f"{type(self).__name__} axis={self.axis}: must be the last of inputs {shape}; {cure}")
        given = {"scale": self.gamma_initializer, "b": self.beta_initializer, **more}
        out = {**({} if self.scale else {"scale": 1.0}), **({} if self.center else {"b": 0.0})}
        return standard.begun(standard.held(model, out), given)


class BatchNormalization(Scaled):
    """y = gamma (x - mean) / sqrt(var + epsilon) + beta, for each channel, `jaxnn.batch_norm`: x `f32[B, ..., C]`.

    The moments are those of the batch while training, their moving means afterwards: `momentum` times the old mean and
    `1 - momentum` times the new. gamma, beta and the two means are `f32[C]`. Raises `InputError` for an axis other than
    the last, and for `synchronized` and `renorm`. Source: Ioffe and Szegedy 2015.

    >>> import numpy as np
    >>> layer = BatchNormalization()
    >>> layer(np.ones((4, 3))).round(2).tolist()[0], len(layer.get_weights())
    ([1.0, 1.0, 1.0], 4)
    """

    LEAVES: ClassVar[tuple[str, ...]] = ("scale", "b", "batch_stats/mean", "batch_stats/var")

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        **kwargs: Any,
    ):
        if kwargs.pop("synchronized", False) or kwargs.pop("renorm", False):
            raise InputError("BatchNormalization synchronized, renorm: are not there; leave them out")
        super().__init__(axis, epsilon, center, scale, beta_initializer, gamma_initializer, **kwargs)
        self.momentum: float = momentum
        self.moving_mean_initializer: initializers.Draw = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer: initializers.Draw = initializers.get(moving_variance_initializer)
        batch_norm.batch_norm(momentum, epsilon)  # refuses wrong numbers

    def network(self, *shapes: Shape) -> Model:
        first = {
            "batch_stats/mean": self.moving_mean_initializer,
            "batch_stats/var": self.moving_variance_initializer,
        }
        return self.finished(batch_norm.batch_norm(self.momentum, self.epsilon), shapes[0], **first)


class LayerNormalization(Scaled):
    """y = gamma (x - mean) / sqrt(var + epsilon) + beta over the last axis, `jaxnn.layer_norm`: x `f32[B, ..., F]`.

    Source: Ba, Kiros and Hinton 2016.

    >>> import numpy as np
    >>> LayerNormalization(epsilon=1e-6)(np.array([[1.0, 3.0]])).round(3).tolist()
    [[-1.0, 1.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.finished(norms.layer_norm(self.epsilon), shapes[0])


class GroupNormalization(Scaled):
    """Each group of channels of an image by its mean and variance, `jaxnn.group_norm`: x `f32[B, H, W, C]`.

    `groups=-1` has one channel in each. Raises `InputError` for groups that do not divide the channels. Source: Wu and
    He 2018.

    >>> import numpy as np
    >>> GroupNormalization(2)(np.ones((1, 4, 4, 8))).shape
    (1, 4, 4, 8)
    """

    def __init__(self, groups: int = 32, axis: Any = -1, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(axis, epsilon, **kwargs)
        self.groups: int = groups if groups == -1 else standard.whole("GroupNormalization groups", groups)

    def network(self, *shapes: Shape) -> Model:
        channels = standard.image(self, shapes[0])[-1]
        groups = channels if self.groups == -1 else self.groups
        if channels % groups:
            raise InputError(f"GroupNormalization groups={groups}: must divide the channels of inputs {shapes[0]}")
        return self.finished(norms.group_norm(groups, self.epsilon), shapes[0])
