"""One Model of several: in a chain, beside a shortcut, or behind another function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

from jaxnn.errors import InputError
from jaxnn.types import Init, Model, Params

Layer = Model | Callable[[jax.Array], jax.Array]


def stateless(function: Callable[..., jax.Array], name: str) -> Model:
    """The layer without parameters that a function is."""
    return Model(lambda key, x: {}, lambda params, x, key=None: function(x), name)


def residual(model: Model) -> Model:
    """y = x + f(x), so that the gradient has a way around f. Raises `InputError` if f changes the shape.

    Source: He et al. 2015 (deep residual learning).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.residual(jaxnn.chain(jaxnn.dense(4), jaxnn.relu))
    >>> params = layer.init(jax.random.key(0), jnp.zeros(4))
    >>> layer.apply(params, jnp.zeros((2, 4))).shape
    (2, 4)
    """

    def plus(x: jax.Array, y: jax.Array) -> jax.Array:
        if y.shape != x.shape:
            cure = "end f with a layer as wide as x"
            raise InputError(f"residual f(x)={jax.typeof(y)}: must have the shape of x, {jax.typeof(x)}; {cure}")
        return x + y

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return plus(x, model.apply(params, x, key))

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert model.observe
        y, params = model.observe(params, x, key, weight, frozen)
        return plus(x, y), params

    return Model(model.init, apply, "residual", observe if model.observe else None, model.micro_batch)


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
    `dense_0`, `dense_1`, `conv_0`. Shapes are found by tracing each layer once, in `init`; a plain function that
    can't be traced (it looks at values with `if`, or calls NumPy) is refused there with an `InputError`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.chain(jaxnn.dense(8), jaxnn.relu, lambda x: 2 * x, jaxnn.dense(1))
    >>> params = model.init(jax.random.key(0), jnp.zeros(2))
    >>> sorted(params), model.apply(params, jnp.zeros((5, 2))).shape
    (['dense_0', 'dense_1'], (5, 1))
    """
    models = [layer if isinstance(layer, Model) else _from_function(layer) for layer in layers]
    seen = Counter[str]()
    names = []
    for model in models:
        names.append(f"{model.name}_{seen[model.name]}")
        seen[model.name] += 1

    def init(key: jax.Array, x: Any) -> Params:
        x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), x)
        params = {}
        for i, (entry, model) in enumerate(zip(names, models, strict=True)):
            made = model.init(jax.random.fold_in(key, i), x)
            if jax.tree.leaves(made):
                params[entry] = made
            x = jax.eval_shape(model.apply, made, x)
        return params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for i, (entry, model) in enumerate(zip(names, models, strict=True)):
            x = model.apply(params.get(entry, {}), x, None if key is None else jax.random.fold_in(key, i))
        return x

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        params = dict(params)
        for i, (entry, model) in enumerate(zip(names, models, strict=True)):
            noise = None if key is None else jax.random.fold_in(key, i)
            if model.observe:
                x, params[entry] = model.observe(params[entry], x, noise, weight, frozen[entry])
            else:
                x = model.apply(params.get(entry, {}), x, noise)
        return x, params

    observes = any(model.observe for model in models)
    sizes = [model.micro_batch for model in models if model.micro_batch]
    return Model(init, apply, name, observe if observes else None, min(sizes, default=None))


_NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _from_function(function: Callable[[jax.Array], jax.Array]) -> Model:
    name = getattr(function, "__name__", type(function).__name__)

    def apply(x: jax.Array) -> jax.Array:
        try:
            return function(x)
        except _NOT_TRACEABLE as error:
            cure = "use jnp instead of numpy and math, and jnp.where instead of if"
            raise InputError(f"activation={name}: can't be traced by JAX; {cure}") from error

    return stateless(apply, name)
