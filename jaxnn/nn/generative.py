"""Networks that generate images: velocities of `flow_matching`, and the encoder and decoder of a `vae`.

An example is a dict, `{"x": f32[..., H, W, C], "t": f32[...], "label": f32[..., K]}` of which the velocity is
`f32[..., H, W, C]`; or that of a VAE, see `autoencoder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.config.model import ModelConfig
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.nn.activations import Activation, activation
from jaxnn.nn.compose import chain, residual
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.nn.layers import avg_pool, conv, dense, dropout, upsample
from jaxnn.nn.resampling import depth_to_space, space_to_depth
from jaxnn.types import Model, Params

OCTAVES = 4  # of the time, the lowest half a turn from 0 to 1


def time_features(t: jax.Array) -> jax.Array:
    """Sine and cosine of pi t, 2 pi t, 4 pi t, ...: `f32[...]` -> `f32[..., 8]`. Source: Vaswani et al. 2017.

    >>> import jax.numpy as jnp
    >>> time_features(jnp.array(0.25))[1:2].round(4).tolist()
    [1.0]
    """
    turns = jnp.stack([math.pi * 2**octave * t for octave in range(OCTAVES)], -1)
    return jnp.concatenate([jnp.sin(turns), jnp.cos(turns)], -1)


def _given(x: dict[str, jax.Array]) -> jax.Array:
    """What a velocity depends on besides the image: `f32[..., 8 + K]`."""
    return jnp.concatenate([time_features(x["t"]), x["label"]], -1)


def flow_mlp(
    shape: Sequence[int],
    blocks: int,
    width: int,
    *,
    f: Activation = jax.nn.silu,
    init: str | Initialiser = "he",
    rate: float | jax.Array = 0.0,
) -> Model:
    """h = W [x, time, label]; for each block h + W f(W f(h)), with dropout of this rate; and a linear layer.

    >>> import jax, jax.numpy as jnp
    >>> model, x = flow_mlp((8, 8, 1), 3, 256), {"x": jnp.zeros((8, 8, 1)), "t": jnp.array(0.5), "label": jnp.zeros(11)}
    >>> model.apply(model.init(jax.random.key(0), x), x).shape
    (8, 8, 1)
    """
    layer = lambda: dense(width, init=initialiser(init))
    joined = lambda x: jnp.concatenate([_flat(x["x"]), _given(x)], -1)
    block = residual(chain(f, layer(), f, dropout(rate), layer()))
    shaped = lambda y: y.reshape(*y.shape[:-1], *shape)
    return chain(joined, layer(), *[block] * blocks, f, dense(math.prod(shape)), shaped, name="flow_mlp")


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))


def flow_unet(
    shape: Sequence[int], channels: Sequence[int], *, f: Activation = jax.nn.silu, init: str | Initialiser = "he"
) -> Model:
    """A U-Net of two convolutions down and two up a level, each shifted by time and label; a level has half the height
    and width of the one before. The image goes in and out as blocks of 2x2 pixels.

    Raises `InputError` unless height and width are multiples of 2 to the number of levels.
    Source: Ronneberger et al. 2015; Ho et al. 2020.

    >>> import jax, jax.numpy as jnp
    >>> model = flow_unet((8, 8, 1), (8, 16))
    >>> x = {"x": jnp.zeros((8, 8, 1)), "t": jnp.array(0.5), "label": jnp.zeros(11)}
    >>> params = jax.eval_shape(model.init, jax.random.key(0), x)
    >>> jax.eval_shape(model.apply, params, x).shape
    (8, 8, 1)
    """
    factor = 2 ** len(channels)
    if shape[0] % factor or shape[1] % factor:
        rule = f"{len(channels)} levels need a height and width that are multiples of {factor}"
        raise InputError(f"x={list(shape)}: {rule}; use fewer --model.channels, or --data.image_size")
    weights = initialiser(init)
    layer = lambda width: dense(width, init=weights)
    wide = 2 * channels[-1]
    given: Any = _given  # a layer of several arrays
    embedding = chain(lambda x: given(x), layer(wide), f, layer(wide), f)
    both = chain(lambda x: x["x"], space_to_depth(2)), embedding
    block = lambda width: _shifted(width, f, weights)
    out = chain(lambda pair: pair[0], conv(4 * shape[2], 1), depth_to_space(2))
    return chain(_pair(*both), _level(channels, block), out, name="flow_unet")


def _level(channels: Sequence[int], block: Callable[[int], Model]) -> Model:
    """Two blocks; beside what is left of the network at half the height and width; and two blocks of both."""
    width, *deeper = channels
    two = chain(block(width), block(width))
    if not deeper:
        return two
    inner = chain(_first(avg_pool(2)), _level(deeper, block), _first(upsample(2)))
    return chain(two, _beside(inner), two)


def _pair(image: Model, embedding: Model) -> Model:
    """x -> (image(x), embedding(x)): what the layers of a U-Net hand on."""

    def init(key: jax.Array, x: Any) -> Params:
        return {"image": image.init(key, x), "embedding": embedding.init(key, x)}

    def apply(params: Params, x: Any, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        return image.apply(params["image"], x), embedding.apply(params["embedding"], x)

    return Model(init, apply, "pair")


def _shifted(width: int, f: Activation, init: Initialiser) -> Model:
    """(h, e) -> (f(conv(h) + W e), e)"""
    layer, shift = conv(width, padding="SAME", init=init), dense(width, bias=False)

    def init_(key: jax.Array, x: Any) -> Params:
        keys = jax.random.split(key)
        return {"conv": layer.init(keys[0], x[0]), "shift": shift.init(keys[1], x[1])}

    def apply(params: Params, x: Any, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        y = layer.apply(params["conv"], x[0])
        return f(y + jnp.broadcast_to(shift.apply(params["shift"], x[1])[..., None, None, :], y.shape)), x[1]

    return Model(init_, apply, "block", micro_batch=layer.micro_batch)


def _first(layer: Model) -> Model:
    """(h, e) -> (layer(h), e)"""
    return Model(
        lambda key, x: layer.init(key, x[0]),
        lambda params, x, key=None: (layer.apply(params, x[0]), x[1]),
        layer.name,
    )


def _beside(inner: Model) -> Model:
    """(h, e) -> ([h, inner(h, e)], e)"""
    join = lambda x, y: (jnp.concatenate([x[0], y[0]], -1), x[1])
    apply = lambda params, x, key=None: join(x, inner.apply(params, x))
    return Model(inner.init, apply, "level", micro_batch=inner.micro_batch)


def autoencoder(
    shape: Sequence[int],
    latent: int,
    hidden: Sequence[int],
    *,
    f: Activation = jax.nn.silu,
    init: str | Initialiser = "he",
    rate: float | jax.Array = 0.0,
) -> Model:
    """Encoder and decoder of a `jaxnn.vae`, dense layers of these widths and of the same in turn.

        {"x": f32[..., H, W, C], "noise": f32[..., latent]} -> f32[..., H W C + 2 latent]
        {"z": f32[..., latent]} -> f32[..., H W C]

    The first gives the pixels that z = m + e^(s/2) noise is decoded to, and m and s; the second those of a given z.

    >>> import jax, jax.numpy as jnp
    >>> model, x = autoencoder((8, 8, 1), 2, (50,)), {"x": jnp.zeros((8, 8, 1)), "noise": jnp.zeros(2)}
    >>> params = model.init(jax.random.key(0), x)
    >>> model.apply(params, x).shape, model.apply(params, {"z": jnp.zeros((5, 2))}).shape
    ((68,), (5, 64))
    """
    given: dict[str, Any] = {"activation": f, "dropout": rate, "init": init}
    encoder = models.mlp(hidden, 2 * latent, **given)
    decoder = models.mlp(hidden[::-1], math.prod(shape), **given)

    def init_(key: jax.Array, x: Any) -> Params:
        keys = jax.random.split(key)
        flat = jax.ShapeDtypeStruct((math.prod(shape),), x["x"].dtype)
        return {"encoder": encoder.init(keys[0], flat), "decoder": decoder.init(keys[1], x["noise"])}

    def apply(params: Params, x: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        if "z" in x:
            return decoder.apply(params["decoder"], x["z"])
        keys = (None, None) if key is None else jax.random.split(key)
        about = encoder.apply(params["encoder"], _flat(x["x"]), keys[0])
        mean, log_variance = jnp.split(about, 2, axis=-1)
        z = mean + jnp.exp(log_variance / 2) * x["noise"]
        return jnp.concatenate([decoder.apply(params["decoder"], z, keys[1]), about], -1)

    return Model(init_, apply, "vae")


def build(config: ModelConfig, x: dict[str, Any]) -> Model:
    """The network that a config describes for examples like x, as `flow_matching` or `vae` prepares them.

    Raises `InputError` for a kind that generates no images, and for blocks of different widths.
    """
    shape, flow = x["x"].shape, "t" in x
    kinds = ("mlp", "unet") if flow else ("mlp",)
    if config.kind not in kinds:
        rule = f"generates no images as this task does; use --model.kind {' or '.join(kinds)}"
        raise InputError(f"--model.kind={config.kind}: {rule}")
    for flag in ("remat", "input_dropout"):
        if getattr(config, flag):
            raise InputError(f"--model.{flag}={getattr(config, flag)}: is not for networks that generate; leave it out")
    if len(config.activation) != 1 or config.activation == ("maxout",):
        rule = "must be one name, and not maxout, for a network that generates"
        raise InputError(f"--model.activation={' '.join(config.activation)}: {rule}")
    given: dict[str, Any] = {"f": activation(config.activation[0]), "init": config.init}
    if config.kind == "unet":
        return flow_unet(shape, config.channels, **given)
    given["rate"] = config.dropout
    if not flow:
        return autoencoder(shape, x["noise"].shape[-1], config.hidden, **given)
    if len(set(config.hidden)) != 1:
        rule = "must be one width for all blocks of a residual network, one or more (256 256 256)"
        raise InputError(f"--model.hidden={' '.join(map(str, config.hidden)) or '()'}: {rule}")
    return flow_mlp(shape, len(config.hidden), config.hidden[0], **given)
