"""Flax modules as models: the same pair of pure functions, trained by the same engine.

The only file that knows Flax, but for `flax_norms`, and each function imports its own half of it.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.errors import InputError
from jaxnn.nn.batch_norm import STATISTICS
from jaxnn.nn.flax_norms import (
    apart,
    frozen_layers,
    linen_layers,
    refuse_axis_name,
    renewed,
    set_nnx_layers,
    together,
)
from jaxnn.nn.layers import IMAGES_IN_CACHE
from jaxnn.numerics import relaxed
from jaxnn.types import Model, Params

if TYPE_CHECKING:
    import flax.linen
    import flax.nnx

_PURE = "must not be kept by the module, whose output is a function of params and x; use parameters only"
_OTHERS = "only a BatchNorm can leave padding out of the statistics of a batch; use that, LayerNorm or GroupNorm"


def from_linen(module: flax.linen.Module, *, core_axes: int | None = None, batch_stats: bool = False) -> Model:
    """A `flax.linen` module as a `Model`; `params` are its own nested dict of arrays.

    Its dropout follows the key: `__call__` must take `deterministic`, `train` or `training` and pass it on. Give
    `core_axes` (3 for an image `[H, W, C]`) to a module that needs exactly one batch axis, as one with
    `x.reshape((x.shape[0], -1))` does: then the leading axes are free again.

    `batch_stats`: it has BatchNorm, which follows the same argument. Then `observe` is the module while it trains, in
    which rows of weight 0 have no part, and the statistics of each BatchNorm are kept beside its parameters
    (`BatchNorm_0/scale`, `BatchNorm_0/batch_stats/mean`), so that a pattern of `freeze` names all of them.

    Raises `InputError` if it is no linen module; `init` raises it for BatchNorm without `batch_stats`, for other state,
    and for dropout or BatchNorm that nothing switches.

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

    def init(key: jax.Array, x: Any) -> Params:
        # A batch of one row: a module that needs a batch axis has one, and any other takes it as a leading axis.
        example, norms = jnp.zeros((1, *x.shape), x.dtype), set[str]()
        with nn.intercept_methods(_refuse_fixed(name, switch, batch_stats, norms)), relaxed():
            variables = dict(module.init(key, example, **_quiet(switch, True)))
        return _params_of(name, variables, norms)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        rngs = None if key is None else {"dropout": key}
        given, stored = {"params": params}, contextlib.nullcontext()
        if batch_stats:
            own, stats = apart(params)
            given, stored = {"params": own, STATISTICS: stats}, nn.intercept_methods(linen_layers(name))
        with stored, relaxed():
            y: Any = module.apply(given, x, rngs=rngs, **_quiet(switch, key is None))
        return y

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        (own, stats), rngs = apart(params), None if key is None else {"dropout": key}
        layers = linen_layers(name, weight > 0, frozen_layers(frozen), quiet=key is None)
        with nn.intercept_methods(layers), relaxed():
            given, how = {"params": own, STATISTICS: stats}, _quiet(switch, False)
            y, seen = module.apply(given, x, rngs=rngs, mutable=[STATISTICS], **how)
        return y, renewed(own, stats, seen.get(STATISTICS, {}), weight)

    return Model(init, _one_batch_axis(apply, core_axes), name.lower(), observe if batch_stats else None)


def _params_of(name: str, variables: dict[str, Any], norms: set[str]) -> Params:
    """What a linen module keeps, if that is parameters and the statistics of the BatchNorms at these paths."""
    params, stats = variables.pop("params", {}), variables.pop(STATISTICS, {})
    if variables:
        raise InputError(f"{name}={', '.join(sorted(variables))}: {_PURE}")
    for path in tree.by_name(stats):
        if path.rpartition("/")[0] not in norms:
            raise InputError(f"{name}={path}: {_OTHERS}")
    return together(params, stats)


def _refuse_fixed(name: str, switch: str | None, batch_stats: bool, norms: set[str]) -> Callable[..., Any]:
    """Refuses layers that do not follow the switch of a linen module; gathers the paths of its BatchNorms."""
    import flax.linen as nn

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if isinstance(layer, nn.Dropout) and layer.rate > 0 and (not switch or layer.deterministic is not None):
            raise InputError(
                f"{name}=Dropout: must follow the key; give {name}.__call__ an argument deterministic and pass it to "
                "the call of Dropout, not to its constructor"
            )
        if isinstance(layer, nn.BatchNorm):
            refuse_axis_name(name, layer)
            if not batch_stats:
                cure = "say from_linen(..., batch_stats=True)"
                raise InputError(f"{name}=BatchNorm: keeps statistics of the batches that it is trained on; {cure}")
            told = kwargs.get("use_running_average", args[1] if len(args) > 1 else layer.use_running_average)
            if told is not True:
                cure = f"give {name}.__call__ an argument train and its BatchNorm use_running_average=not train"
                raise InputError(f"{name}=BatchNorm: must take the statistics of a batch in training alone; {cure}")
            norms.add("/".join(layer.path))
        return call(*args, **kwargs)

    return intercept


def for_example(module: flax.linen.Module, example: Any) -> Model:
    """`from_linen` for examples like this one: with its core axes, in micro-batches if the module convolves, and with
    `batch_stats` if it has a BatchNorm."""
    import flax.linen as nn

    model, seen = from_linen(module, core_axes=len(example.shape), batch_stats=True), set[type]()

    def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        seen.add(type(context.module))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        jax.eval_shape(model.init, jax.random.key(0), example)
    if not any(issubclass(kind, nn.BatchNorm) for kind in seen):
        model = from_linen(module, core_axes=len(example.shape))
    convolves = any(issubclass(kind, nn.Conv | nn.ConvTranspose | nn.ConvLocal) for kind in seen)
    return model._replace(micro_batch=IMAGES_IN_CACHE if convolves else None)


def from_nnx(make: Callable[[flax.nnx.Rngs], flax.nnx.Module], *, core_axes: int | None = None) -> Model:
    """A `flax.nnx` module as a `Model`, from the function that makes it; `params` are a nested dict of arrays.

    Its dropout and BatchNorm are switched with `module.train()` and `module.eval()`, and dropout is drawn from the key.
    `core_axes` and what is kept of a BatchNorm are as in `from_linen`. Raises `InputError` for other state, and for a
    Dropout without rngs.

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
    layers = [part for _, part in nnx.iter_graph(abstract)]
    _refuse_state(name, layers)
    observes = any(isinstance(part, nnx.BatchNorm) for part in layers)
    abstract.eval()
    quiet, param_shapes, stat_shapes, stream_shapes = nnx.split(abstract, nnx.Param, nnx.BatchStat, nnx.RngState)
    abstract.train()
    noisy, *_ = nnx.split(abstract, nnx.Param, nnx.BatchStat, nnx.RngState)

    def init(key: jax.Array, x: Any) -> Params:
        del x  # the shapes are in `make`
        made = make(nnx.Rngs(key))
        return together(*(_text_keys(nnx.to_pure_dict(nnx.state(made, kind))) for kind in (nnx.Param, nnx.BatchStat)))

    def module(params: Params, key: jax.Array | None, training: bool) -> Any:
        # nnx.merge needs the state of every random stream, even where nothing is drawn from it.
        streams = _streams(jax.random.key(0) if key is None else key, stream_shapes)
        states = [jax.tree.map(lambda shape: shape, shapes) for shapes in (param_shapes, stat_shapes)]
        for state, values in zip(states, apart(params) if observes else (params, {}), strict=True):
            nnx.replace_by_pure_dict(state, values)  # writes into its argument
        return nnx.merge(noisy if training else quiet, *states, streams)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        made = module(params, key, key is not None)
        set_nnx_layers(name, made)
        with relaxed():
            return made(x, **_quiet(switch, key is None))

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        made = module(params, key, True)
        set_nnx_layers(name, made, weight > 0, frozen_layers(frozen), quiet=key is None)
        with relaxed():
            y = made(x, **_quiet(switch, False))
        return y, renewed(*apart(params), _text_keys(nnx.to_pure_dict(nnx.state(made, nnx.BatchStat))), weight)

    size = IMAGES_IN_CACHE if any(isinstance(part, nnx.Conv | nnx.ConvTranspose) for part in layers) else None
    return Model(init, _one_batch_axis(apply, core_axes), name.lower(), observe if observes else None, size)


def _refuse_state(name: str, layers: list[Any]) -> None:
    """Refuses what an nnx module keeps besides parameters and the statistics of a BatchNorm."""
    from flax import nnx

    of_norms = set[int]()
    for part in layers:
        if isinstance(part, nnx.BatchNorm):
            refuse_axis_name(name, part)
            of_norms |= {id(part.mean), id(part.var)}
        if isinstance(part, nnx.Dropout) and part.rate > 0 and part.rngs is None:
            raise InputError(f"{name}=Dropout: must have random numbers of its own; make it with rngs=rngs")
    for part in layers:
        if isinstance(part, nnx.BatchStat):
            if id(part) not in of_norms:
                raise InputError(f"{name}=BatchStat: {_OTHERS}")
        elif isinstance(part, nnx.Variable) and not isinstance(part, nnx.Param | nnx.RngState):
            raise InputError(f"{name}={type(part).__name__}: {_PURE}")


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


def _text_keys(values: Any) -> Any:
    """Layers in a list have numbers for names; a path, and a file of weights, has text."""
    return {str(key): _text_keys(value) for key, value in values.items()} if isinstance(values, dict) else values


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
