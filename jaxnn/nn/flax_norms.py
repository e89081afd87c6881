"""The BatchNorm of Flax modules that train: statistics of the rows that weigh anything, or those that are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.errors import InputError
from jaxnn.nn.batch_norm import STATISTICS
from jaxnn.types import Params


def linen_layers(
    name: str, real: jax.Array | None = None, frozen: frozenset[str] = frozenset(), quiet: bool = False
) -> Callable[..., Any]:
    """Has each BatchNorm of a linen module that trains take the statistics of the rows that are `real`; what is stored,
    where there are none or its path is in `frozen`. `quiet`: dropout that is switched on with it is none."""
    import flax.linen as nn

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module

        def norm(x: jax.Array, use_running_average: bool | None = None, *, mask: Any = None) -> Any:
            if nn.merge_param("use_running_average", layer.use_running_average, use_running_average):
                return call(x, use_running_average)
            if real is None or "/".join(layer.path) in frozen:
                return layer.clone(parent=None, use_running_average=True).apply(layer.variables, x)
            return call(x, use_running_average, mask=_mask(name, x, real, mask))

        if quiet and isinstance(layer, nn.Dropout):
            return args[0]
        return (norm if isinstance(layer, nn.BatchNorm) else call)(*args, **kwargs)

    return intercept


def set_nnx_layers(
    name: str, module: Any, real: jax.Array | None = None, frozen: frozenset[str] = frozenset(), quiet: bool = False
) -> None:
    """For an nnx module what `linen_layers` is for a linen one; it is changed in place."""
    from flax import nnx

    def masked(kind: Any, stored: bool) -> Any:
        class Masked(kind):
            def __call__(self, x: jax.Array, use_running_average: bool | None = None, *, mask: Any = None) -> Any:
                told = self.use_running_average if use_running_average is None else use_running_average
                if told or stored or real is None:
                    return super().__call__(x, True)
                return super().__call__(x, False, mask=_mask(name, x, real, mask))

        return Masked

    for path, part in list(nnx.iter_graph(module)):
        if isinstance(part, nnx.BatchNorm):
            object.__setattr__(part, "__class__", masked(type(part), "/".join(map(str, path)) in frozen))
        elif quiet and isinstance(part, nnx.Dropout):
            part.rate = 0.0


def refuse_axis_name(name: str, norm: Any) -> None:
    if norm.axis_name is not None:
        rule = "is for parts of a batch, which is whole here on any number of devices; leave it out"
        raise InputError(f"{name}=BatchNorm: axis_name={norm.axis_name} {rule}")


def _mask(name: str, x: jax.Array, real: jax.Array, given: Any) -> jax.Array:
    """Which rows of x a BatchNorm takes its statistics of: those that are real, and all where none is."""
    if x.shape[:1] != real.shape:
        cure = "normalise before rows are put together or after they are apart"
        raise InputError(
            f"{name}=BatchNorm: x{list(x.shape)} must have the {len(real)} rows of the batch first; {cure}"
        )
    taken = jnp.logical_or(real, ~real.any()).reshape(-1, *(1,) * (x.ndim - 1))
    return taken if given is None else jnp.logical_and(taken, given)


def renewed(own: Params, stored: Params, seen: Params, weight: jax.Array) -> Params:
    """The parameters with the statistics that have seen a batch, or with those stored if it weighs nothing."""
    some = (weight > 0).any()
    return together(own, jax.tree.map(lambda a, b: jnp.where(some, a, b), seen, stored))


def together(params: Params, stats: Params) -> Params:
    """The parameters with the statistics of each layer beside them, `BatchNorm_0/batch_stats/mean`."""
    below = {name: together(params.get(name, {}), value) for name, value in stats.items() if isinstance(value, dict)}
    own = {name: value for name, value in stats.items() if not isinstance(value, dict)}
    return {**params, **below, **({STATISTICS: own} if own else {})}


def apart(params: Params) -> tuple[Params, Params]:
    """The parameters and the statistics that `together` has put beside them."""
    parts = {name: apart(value) for name, value in params.items() if isinstance(value, dict) and name != STATISTICS}
    leaves = {name: value for name, value in params.items() if not isinstance(value, dict)}
    stats = {name: stats for name, (_, stats) in parts.items() if stats}
    return {**leaves, **{name: own for name, (own, _) in parts.items()}}, {**params.get(STATISTICS, {}), **stats}


def frozen_layers(frozen: Any) -> frozenset[str]:
    """The paths of the layers whose statistics a pattern of `freeze` names."""
    return frozenset(name.rpartition("/")[0] for name, yes in tree.by_name(apart(frozen)[1]).items() if yes)
