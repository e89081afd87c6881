"""Flax modules as models: the same pair of pure functions, trained by the same engine.

The only file that knows Flax, and each function imports its own half of it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.nn.layers import IMAGES_IN_CACHE
from jaxnn.numerics import relaxed
from jaxnn.types import Model, Params

if TYPE_CHECKING:
    import flax.linen
    import flax.nnx

_BATCH_STATISTICS = (
    "must not keep batch statistics, an example's output would depend on its batch; use LayerNorm or GroupNorm"
)
_PURE = "must not be kept by the module, whose output is a function of params and x; use parameters only"


def from_linen(module: flax.linen.Module, *, core_axes: int | None = None) -> Model:
    """A `flax.linen` module as a `Model`; `params` are its own nested dict of arrays.

    Its dropout follows the key: `__call__` must take `deterministic`, `train` or `training` and pass it on. Give
    `core_axes` (3 for an image `[H, W, C]`) to a module that needs exactly one batch axis, as one with
    `x.reshape((x.shape[0], -1))` does: then the leading axes are free again.

    Raises `InputError` if it is no linen module; `init` raises it for batch statistics or other state, and for dropout
    that nothing switches.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.from_linen(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)]))
    >>> params = model.init(jax.random.key(0), jnp.zeros(4))
    >>> sorted(params), model.apply(params, jnp.zeros((5, 4))).shape
    (['layers_0', 'layers_2'], (5, 3))

    Source: https://flax-linen.readthedocs.io
    """
    import flax.linen as nn

    name = type(module).__name__
    if not isinstance(module, nn.Module):
        raise InputError(f"module={name}: must be a flax.linen.Module; for flax.nnx use from_nnx")
    switch = _switch(module.__call__)

    def refuse(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm):
            raise InputError(f"{name}=BatchNorm: {_BATCH_STATISTICS}")
        dropout = isinstance(context.module, nn.Dropout) and context.module.rate > 0
        if dropout and (not switch or context.module.deterministic is not None):
            raise InputError(
                f"{name}=Dropout: must follow the key; give {name}.__call__ an argument deterministic and pass it to "
                "the call of Dropout, not to its constructor"
            )
        return call(*args, **kwargs)

    def init(key: jax.Array, x: Any) -> Params:
        # A batch of one row: a module that needs a batch axis has one, and any other takes it as a leading axis.
        example = jnp.zeros((1, *x.shape), x.dtype)
        with nn.intercept_methods(refuse), relaxed():
            variables = dict(module.init(key, example, **_quiet(switch, True)))
        params = variables.pop("params", {})
        if variables:
            rule = _BATCH_STATISTICS if "batch_stats" in variables else _PURE
            raise InputError(f"{name}={', '.join(sorted(variables))}: {rule}")
        return params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        rngs = None if key is None else {"dropout": key}
        with relaxed():
            y: Any = module.apply({"params": params}, x, rngs=rngs, **_quiet(switch, key is None))
        return y

    return Model(init, _one_batch_axis(apply, core_axes), name.lower())


def for_example(module: flax.linen.Module, example: Any) -> Model:
    """`from_linen` for examples like this one: with its core axes, and in micro-batches if the module convolves."""
    import flax.linen as nn

    model, seen = from_linen(module, core_axes=len(example.shape)), set[type]()

    def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        seen.add(type(context.module))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        jax.eval_shape(model.init, jax.random.key(0), example)
    convolves = any(issubclass(kind, nn.Conv | nn.ConvTranspose | nn.ConvLocal) for kind in seen)
    return model._replace(micro_batch=IMAGES_IN_CACHE if convolves else None)


def from_nnx(make: Callable[[flax.nnx.Rngs], flax.nnx.Module], *, core_axes: int | None = None) -> Model:
    """A `flax.nnx` module as a `Model`, from the function that makes it; `params` are a nested dict of arrays.

    Its dropout is switched on and off with `module.train()` and `module.eval()`, and drawn from the key. `core_axes` is
    as in `from_linen`.

    Raises `InputError` for batch statistics or other state, and for a Dropout without rngs.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> import jaxnn
    >>> model = jaxnn.from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
    >>> params = model.init(jax.random.key(0), jnp.zeros(4))
    >>> sorted(params), model.apply(params, jnp.zeros((5, 4))).shape
    (['bias', 'kernel'], (5, 3))

    Source: https://flax.readthedocs.io
    """
    from flax import nnx

    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    name = type(abstract).__name__
    switch = _switch(abstract.__call__)
    convolves = False
    for _, part in nnx.iter_graph(abstract):
        convolves |= isinstance(part, nnx.Conv | nnx.ConvTranspose)
        if isinstance(part, nnx.BatchStat):
            raise InputError(f"{name}=BatchStat: {_BATCH_STATISTICS}")
        if isinstance(part, nnx.Variable) and not isinstance(part, nnx.Param | nnx.RngState):
            raise InputError(f"{name}={type(part).__name__}: {_PURE}")
        if isinstance(part, nnx.Dropout) and part.rate > 0 and part.rngs is None:
            raise InputError(f"{name}=Dropout: must have random numbers of its own; make it with rngs=rngs")

    abstract.eval()
    quiet, param_shapes, stream_shapes = nnx.split(abstract, nnx.Param, nnx.RngState)
    abstract.train()
    noisy, _, _ = nnx.split(abstract, nnx.Param, nnx.RngState)

    def init(key: jax.Array, x: Any) -> Params:
        del x  # the shapes are in `make`
        return _text_keys(nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param)))

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        state = jax.tree.map(lambda shape: shape, param_shapes)  # replace_by_pure_dict below writes into its argument
        nnx.replace_by_pure_dict(state, params)
        # nnx.merge needs the state of every random stream, even where nothing is drawn from it.
        streams = _streams(jax.random.key(0) if key is None else key, stream_shapes)
        module = nnx.merge(quiet if key is None else noisy, state, streams)
        with relaxed():
            return module(x, **_quiet(switch, key is None))

    size = IMAGES_IN_CACHE if convolves else None
    return Model(init, _one_batch_axis(apply, core_axes), name.lower(), micro_batch=size)


def _switch(call: Callable[..., Any]) -> str | None:
    """The argument by which a module is told whether it is training."""
    arguments = inspect.signature(call).parameters
    return next((name for name in ("deterministic", "train", "training") if name in arguments), None)


def _quiet(switch: str | None, quiet: bool) -> dict[str, Any]:
    return {switch: quiet if switch == "deterministic" else not quiet} if switch else {}


def _streams(key: jax.Array, shapes: Any) -> Any:
    """The state of every random stream of a module: its own key, nothing drawn yet."""
    leaves, treedef = jax.tree.flatten(shapes)
    fresh = [
        jax.random.fold_in(key, i)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, fresh)


def _text_keys(tree: Any) -> Any:
    """Layers in a list have numbers for names; a path, and a file of weights, has text."""
    return {str(key): _text_keys(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _one_batch_axis(apply: Callable[..., jax.Array], core_axes: int | None) -> Callable[..., jax.Array]:
    if core_axes is None:
        return apply

    def reshaped(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if x.ndim < core_axes:
            raise InputError(f"x{list(x.shape)}: must have at least {core_axes} axes, the core_axes of the module")
        batch, core = x.shape[: x.ndim - core_axes], x.shape[x.ndim - core_axes :]
        y = apply(params, x.reshape(math.prod(batch), *core), key)
        return y.reshape(*batch, *y.shape[1:])

    return reshaped
