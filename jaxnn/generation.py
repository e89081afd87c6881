"""Images that a trained network generates: along the velocity of `flow_matching`, or from the prior of a `vae`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import fork
from jaxnn.arrays import white
from jaxnn.config.names import GENERATIVE
from jaxnn.errors import InputError, NumericsError, check, choices, non_negative
from jaxnn.predict import Run
from jaxnn.types import Params

BLOCK = 64  # images of one compiled call; each has its place in a block, so that its bits do not depend on n


def sample(
    run: Run, key: jax.Array, n: int, *, label: Any = None, guidance: float = 0.0, steps: int = 25
) -> np.ndarray:
    """n images of a run of `flow_matching` or `vae`, like x of its data: `f32[n, H, W, C]`, `u8` where those are.

        x_0 ~ N(0, 1), dx/dt = v + guidance (v - v without a label), by Heun's method from t = 0 to 1
        z ~ N(0, 1), x = decoder(z)

    Image i draws from `fold_in(key, i)` and does not depend on n, bit for bit.

    Args:
      run: from `jaxnn.load_run`.
      key: the same key gives the same images.
      n: how many.
      label: one of `run.data["classes"]`, or None for images of any class.
      guidance: how far beyond what the label asks for; clearer images, and less different ones.
      steps: of Heun's method, two velocities each.

    Raises:
      InputError: n or steps < 1, a run that generates nothing, a label that it does not have, or guidance without one.
      NumericsError: an image that is not finite.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> decoder = jaxnn.Model(lambda key, x: {}, lambda params, x, key=None: jnp.tile(x["z"], (1, 16)))
    >>> data = {"shape": (4, 4, 1), "dtype": "uint8", "scale": 255.0, "classes": [0, 1]}
    >>> task = jaxnn.vae((4, 4, 1), 1, scale=255)
    >>> run = jaxnn.Run(jaxnn.Config(), decoder, {}, task, data, outputs=decoder.apply)  # or load_run
    >>> images = jaxnn.sample(run, jax.random.key(0), 3)
    >>> images.shape, images.dtype
    ((3, 4, 4, 1), dtype('uint8'))

    Source: Lipman et al. 2022; Ho and Salimans 2022; Kingma and Welling 2014.
    """
    fork.refuse()
    check("n", n, "a whole number >= 1", isinstance(n, int) and n >= 1)
    check("steps", steps, "a whole number >= 1", isinstance(steps, int) and steps >= 1)
    non_negative("guidance", guidance)
    if run.task.name not in GENERATIVE:
        cure = "train one with --task.name flow_matching or vae"
        raise InputError(f"run={run.task.name}: generates no images; {cure}")
    images = {"vae": _decoded, "flow_matching": _flowed}[run.task.name](run, label, guidance, steps)
    blocks = [images(key, jnp.uint32(start)) for start in range(0, n, BLOCK)]
    found = np.concatenate([np.asarray(block) for block in blocks])[:n]
    bad = ~np.isfinite(found).reshape(n, -1).all(1)
    if bad.any():
        raise NumericsError(f"image={int(bad.argmax())}: is not finite; train with a lower --optim.lr")
    return _in_units(found, run.data)


def _number(run: Run, label: Any) -> int:
    """The place of a label in the one-hot vector; that of none is behind the classes."""
    names = [str(name) for name in run.data["classes"]]
    if label is None:
        if not run.config.task.label_dropout:
            rule = "the run was trained with --task.label_dropout 0, never without a label"
            raise InputError(f"label=None: {rule}; give one of {', '.join(names)}")
        return len(names)
    if str(label) not in names:
        raise choices("label", label, names)
    return names.index(str(label))


def _decoded(run: Run, label: Any, guidance: float, steps: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(key, first) -> the images of a block, in [0, 1]."""
    del steps  # a decoder takes none
    if label is not None or guidance:
        name, value = ("label", label) if label is not None else ("guidance", guidance)
        raise InputError(f"{name}={value}: a vae learns no labels; leave it out, or train --task.name flow_matching")
    latent = (run.task.shape[0] - math.prod(run.data["shape"])) // 2
    draw = _from_prior(run.model.apply, run.task.link, latent)
    return functools.partial(draw, run.params)


def _flowed(run: Run, label: Any, guidance: float, steps: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(key, first) -> the images of a block, in [0, 1]."""
    label = _number(run, label)
    none = len(run.data["classes"])
    if guidance and (label == none or not run.config.task.label_dropout):
        rule = "needs a label" if label == none else "needs a run that was trained without labels, too"
        cure = "give one" if label == none else "train with --task.label_dropout 0.1"
        raise InputError(f"guidance={guidance}: {rule}; {cure}")
    draw = _along_velocity(run.model.apply, tuple(run.data["shape"]), none, bool(guidance))
    settings = jnp.int32(label), jnp.float32(guidance), jnp.int32(steps)
    return lambda key, first: draw(run.params, key, first, *settings)


@functools.lru_cache(maxsize=8)  # compiled once for a network, whatever is asked of it
def _from_prior(apply: Callable[..., Any], link: Callable[[Any], Any], latent: int) -> Callable[..., jax.Array]:
    @jax.jit
    def draw(params: Params, key: jax.Array, first: jax.Array) -> jax.Array:
        return link(apply(params, {"z": _normal(key, first, (latent,))}))

    return draw


@functools.lru_cache(maxsize=8)
def _along_velocity(
    apply: Callable[..., Any], shape: tuple[int, ...], none: int, guided: bool
) -> Callable[..., jax.Array]:
    @jax.jit
    def draw(
        params: Params, key: jax.Array, first: jax.Array, label: jax.Array, guidance: jax.Array, steps: jax.Array
    ) -> jax.Array:
        def towards(label: Any, x: jax.Array, t: jax.Array) -> jax.Array:
            asked = jnp.broadcast_to(jax.nn.one_hot(label, none + 1), (BLOCK, none + 1))
            return apply(params, {"x": x, "t": jnp.broadcast_to(t, BLOCK), "label": asked})

        def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
            v = towards(label, x, t)
            return v + guidance * (v - towards(none, x, t)) if guided else v

        return (heun(velocity, _normal(key, first, shape), steps) + 1) / 2

    return draw


def heun(velocity: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, steps: Any) -> jax.Array:
    """x(1) of dx/dt = velocity(x, t) with x(0) = x, in so many steps of the mean of the slopes at both ends.

    The error falls with the square of the steps. Source: Heun 1900.

    >>> import jax.numpy as jnp
    >>> round(float(heun(lambda x, t: x, jnp.array(1.0), 100)), 3)  # e
    2.718
    """
    width = 1 / jnp.asarray(steps, x.dtype)

    def step(i: jax.Array, x: jax.Array) -> jax.Array:
        t = i.astype(x.dtype) * width
        slope = velocity(x, t)
        return x + width / 2 * (slope + velocity(x + width * slope, t + width))

    return lax.fori_loop(0, steps, step, x)


def _normal(key: jax.Array, first: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`f32[BLOCK, ...]`, row i of the images from `first` on drawn from `fold_in(key, first + i)`."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + lax.iota(jnp.uint32, BLOCK))
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def _in_units(images: np.ndarray, data: dict[str, Any]) -> np.ndarray:
    """Images of 0 to 1 as those of the data are: bytes, or numbers of 0 to what is white."""
    dtype = np.dtype(data["dtype"])
    scaled = images.clip(0, 1) * white(dtype, data["scale"])
    return (scaled.round() if dtype.kind in "iu" else scaled).astype(dtype)
