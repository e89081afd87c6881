"""One Model of several: in a chain, side by side, beside a shortcut, or behind another function."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, check, choices
from jaxnn.numerics import traced
from jaxnn.types import Init, Model, Params

Layer = Model | Callable[[jax.Array], jax.Array]


def stateless(function: Callable[..., jax.Array], name: str) -> Model:
    """The layer without parameters that a function is."""
    return Model(lambda key, x: {}, lambda params, x, key=None: function(x), name)


def residual(model: Model, shortcut: Layer | None = None) -> Model:
    """y = x + f(x), so that the gradient has a way around f. Raises `InputError` if f changes the shape.

    With a shortcut y = f(x) + shortcut(x) (`conv(64, 1, stride=2)` beside an f that halves the image), which is
    `parallel(f, shortcut, join="add")`: f and shortcut have an entry of the parameters each.

    Source: He et al. 2015 (deep residual learning).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.residual(jaxnn.chain(jaxnn.dense(4), jaxnn.relu))
    >>> params = layer.init(jax.random.key(0), jnp.zeros(4))
    >>> layer.apply(params, jnp.zeros((2, 4))).shape
    (2, 4)
    """
    if shortcut is not None:
        return parallel(model, shortcut, join="add")._replace(name="residual")

    def plus(x: jax.Array, y: jax.Array) -> jax.Array:
        if y.shape != x.shape:
            cure = "end f with a layer as wide as x"
            raise InputError(f"residual f(x)={jax.typeof(y)}: must have the shape of x, {jax.typeof(x)}; {cure}")
        return x + y

    return _beside(model, plus, "residual")


def concat(model: Model) -> Model:
    """y = [x, f(x)] on the last axis, x handed on beside what is made of it: `f32[..., F]` -> `f32[..., F + G]`.

    The parameters are those of f; several branches are `parallel`. Raises `InputError` if f changes the other axes.

    Source: Ronneberger et al. 2015 (the skips of a U-Net); Huang et al. 2017.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.concat(jaxnn.dense(4))
    >>> params = layer.init(jax.random.key(0), jnp.zeros(3))
    >>> layer.apply(params, jnp.zeros((2, 3))).shape
    (2, 7)
    """

    def beside(x: jax.Array, y: jax.Array) -> jax.Array:
        if y.shape[:-1] != x.shape[:-1]:
            rule = f"must have the shape of x, {jax.typeof(x)}, but for the last axis"
            raise InputError(f"concat f(x)={jax.typeof(y)}: {rule}; pad f, or upsample to the size of x")
        return jnp.concatenate([x, y], -1)

    return _beside(model, beside, "concat")


def _beside(model: Model, join: Callable[[jax.Array, jax.Array], jax.Array], name: str) -> Model:
    """y = join(x, f(x)), over the parameters of f."""

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return join(x, model.apply(params, x, key))

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert model.observe
        y, params = model.observe(params, x, key, weight, frozen)
        return join(x, y), params

    return Model(model.init, apply, name, observe if model.observe else None, model.micro_batch)


def after(model: Model, init: Init, first: Callable[..., jax.Array]) -> Model:
    """`model` of what `first(params, x, key)` gives, over the same params; a key is split between the two."""

    def halves(key: jax.Array | None) -> Any:
        return (None, None) if key is None else jax.random.split(key)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        noise, key = halves(key)
        return model.apply(params, first(params, x, noise), key)

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert model.observe
        noise, key = halves(key)
        return model.observe(params, first(params, x, noise), key, weight, frozen)

    return Model(init, apply, model.name, observe if model.observe else None, model.micro_batch)


def chain(*layers: Layer, name: str = "chain") -> Model:
    """One Model that applies the layers in turn.

    Parameters are a dict with an entry for each layer that has any, called by its kind and counted for each kind:
    `dense_0`, `dense_1`, `conv_0`. Shapes are found by tracing each layer once, in `init`: an `InputError` of a layer
    begins with its name there. So is a plain function refused that can't be traced (it looks at values with `if`, or
    calls NumPy).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.chain(jaxnn.dense(8), jaxnn.relu, lambda x: 2 * x, jaxnn.dense(1))
    >>> params = model.init(jax.random.key(0), jnp.zeros(2))
    >>> sorted(params), model.apply(params, jnp.zeros((5, 2))).shape
    (['dense_0', 'dense_1'], (5, 1))
    """
    return _composed(layers, lambda calls, x: functools.reduce(lambda x, call: call(x), calls, x), lambda y: y, name)


def parallel(*branches: Layer, join: str | Callable[..., jax.Array] = "concat") -> Model:
    """y = join(f(x), g(x), ...): each branch of the same x, and what they give joined, to `f32[..., F]`.

    `concat` sets them side by side on the last axis (`parallel(jaxnn.identity, f)` hands x on with f(x)), `add` adds
    them, and a function takes one array for each branch. Parameters are named as in `chain`. Raises `InputError` for
    another join, or if the branches' shapes don't fit. Source: Szegedy et al. 2015 (inception); Huang et al. 2017.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.parallel(jaxnn.identity, jaxnn.dense(8), jaxnn.dense(4))
    >>> params = layer.init(jax.random.key(0), jnp.zeros(3))
    >>> sorted(params), layer.apply(params, jnp.zeros((5, 3))).shape
    (['dense_0', 'dense_1'], (5, 15))
    """
    check("parallel branches", len(branches), ">= 1", len(branches) >= 1)
    if not callable(join) and join not in _JOINS:
        raise choices("parallel join", join, _JOINS)
    joined = join if callable(join) else _JOINS[join]
    return _composed(branches, lambda calls, x: [call(x) for call in calls], lambda ys: joined(*ys), "parallel")


def _concat(*ys: jax.Array) -> jax.Array:
    cure = "give the branches the same strides and padding"
    _check_alike(ys, [y.shape[:-1] for y in ys], f"must be alike in all axes but the last to be concatenated; {cure}")
    return jnp.concatenate(ys, -1)


def _add(*ys: jax.Array) -> jax.Array:
    _check_alike(ys, [y.shape for y in ys], "must have one shape to be added; end the branches with layers as wide")
    return functools.reduce(jnp.add, ys)


def _check_alike(ys: Sequence[jax.Array], shapes: Sequence[tuple[int, ...]], rule: str) -> None:
    if len(set(shapes)) > 1:
        raise InputError(f"parallel branches={', '.join(str(jax.typeof(y)) for y in ys)}: {rule}")


_JOINS: dict[str, Callable[..., jax.Array]] = {"concat": _concat, "add": _add}


def remat(layer: Layer) -> Model:
    """The same layer in less memory: what it computes on its way to y is not kept for the gradient, but computed again.

    Its parameters, their paths and its outputs stay, its gradient up to rounding. Around each block of a deep network,
    only what passes from block to block is kept, for one more pass forwards. This is for accelerators: on a CPU, XLA's
    compiler finds what is computed twice and keeps it after all. Source: Chen et al. 2016; `jax.checkpoint`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> block = jaxnn.chain(jaxnn.dense(64), jnp.tanh, jaxnn.dense(3))
    >>> params = block.init(jax.random.key(0), jnp.zeros(3))
    >>> jaxnn.remat(block).apply(params, jnp.zeros((5, 3))).shape
    (5, 3)
    """
    model = _model(layer)

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        seen = model.observe
        assert seen
        run = lambda params, x, key, weight: seen(params, x, key, weight, frozen)  # frozen says what is done, no array
        return jax.checkpoint(run)(params, x, key, weight)

    return model._replace(apply=jax.checkpoint(model.apply), observe=observe if model.observe else None)


def _composed(
    layers: Sequence[Layer],
    flow: Callable[[Sequence[Callable[[Any], Any]], Any], Any],
    join: Callable[[Any], Any],
    name: str,
) -> Model:
    """y = join(flow(calls, x)) with a function of one array for each layer, and an entry of params for those that have
    any. In `init` the flow is one of shapes."""
    models = [_model(layer) for layer in layers]
    seen = Counter[str]()
    entries = []
    for model in models:
        entries.append(f"{model.name}_{seen[model.name]}")
        seen[model.name] += 1
    numbers = range(len(models))

    def noise(key: jax.Array | None, i: int) -> jax.Array | None:
        return None if key is None else jax.random.fold_in(key, i)

    def init(key: jax.Array, x: Any) -> Params:
        x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), x)
        params = {}

        def begin(i: int, x: Any) -> Any:
            try:
                made = models[i].init(jax.random.fold_in(key, i), x)
                y = jax.eval_shape(models[i].apply, made, x)
            except InputError as error:
                raise InputError(f"{entries[i]}: {error}") from error
            if jax.tree.leaves(made):
                params[entries[i]] = made
            return y

        jax.eval_shape(join, flow([functools.partial(begin, i) for i in numbers], x))
        return params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        run = lambda i, x: models[i].apply(params.get(entries[i], {}), x, noise(key, i))
        return join(flow([functools.partial(run, i) for i in numbers], x))

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        params = dict(params)

        def run(i: int, x: Any) -> Any:
            entry, layer = entries[i], models[i]
            if not layer.observe:
                return layer.apply(params.get(entry, {}), x, noise(key, i))
            x, params[entry] = layer.observe(params[entry], x, noise(key, i), weight, frozen[entry])
            return x

        return join(flow([functools.partial(run, i) for i in numbers], x)), params

    observes = any(model.observe for model in models)
    sizes = [model.micro_batch for model in models if model.micro_batch]
    return Model(init, apply, name, observe if observes else None, min(sizes, default=None))


def _model(layer: Layer) -> Model:
    if isinstance(layer, Model):
        return layer
    name = getattr(layer, "__name__", type(layer).__name__)

    def apply(x: jax.Array) -> jax.Array:
        with traced(f"activation={name}"):
            return layer(x)

    return stateless(apply, name)
