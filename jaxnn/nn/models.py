"""Networks, as chains of layers: linear (logistic and softmax regression), mlp, cnn; and `build`, from a config."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.arrays import white
from jaxnn.config.model import ModelConfig
from jaxnn.errors import InputError
from jaxnn.nn import compose, convolution, layers, norms
from jaxnn.nn.activations import MONOTONE, Activation, activation
from jaxnn.nn.compose import Layer, after, chain
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.nn.layers import dense, dropout, flatten, maxout
from jaxnn.nn.precision import in_bfloat16
from jaxnn.nn.resnet import check_size, resnet
from jaxnn.numerics import is_zero
from jaxnn.types import Model, Params

Activations = str | Activation | Sequence[str | Activation]


def linear(outputs: int, *, init: str | Initialiser = "auto") -> Model:
    """z = x W + b: logistic regression (one output), softmax regression (K): x `f32[..., F]` -> `f32[..., outputs]`.

    As for all models the outputs are logits; the task's link makes probabilities of them. Source: the lecture.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.linear(3)
    >>> jaxnn.parameter_count(model.init(jax.random.key(0), jnp.zeros(4)))
    15
    """
    return chain(dense(outputs, init=initialiser(init)), name="linear")


def mlp(
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: Activations = "relu",
    pieces: int = 2,
    dropout: float | jax.Array = 0.0,
    input_dropout: float | jax.Array = 0.0,
    init: str | Initialiser = "auto",
    remat: bool = False,
) -> Model:
    """h = f(x W + b) for each hidden layer, then a linear layer: x `f32[..., F]` -> logits `f32[..., outputs]`.

    `activation` is one for all hidden layers or one for each: names, `maxout` (of so many pieces), or any functions
    that JAX can trace. `remat`: each hidden layer is `jaxnn.remat`. Raises `InputError` for an unknown name, or if
    there are neither one nor as many as layers. Source: the lecture.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.mlp((50, 50), 10, activation=("tanh", jnp.sin))
    >>> params = model.init(jax.random.key(0), jnp.zeros(784))
    >>> jaxnn.parameter_count(params), sorted(params)
    (42310, ['dense_0', 'dense_1', 'dense_2'])
    """
    each = _one_each(activation, len(hidden))
    stack = _dropout(input_dropout) + _hidden(hidden, each, pieces, dropout, init)
    return chain(*_again(stack, remat), dense(outputs, init=initialiser(init)), name="mlp")


def cnn(
    channels: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (),
    kernel: int = 3,
    activation: Activations = "relu",
    pieces: int = 2,
    dropout: float | jax.Array = 0.0,
    init: str | Initialiser = "auto",
    remat: bool = False,
) -> Model:
    """Blocks of convolution, activation and 2x2 max-pooling, then an `mlp`: images `f32[..., H, W, C]` -> logits.

    `activation` is one for all, or one for each block and hidden layer; dropout follows the hidden layers. `remat`:
    each convolution (with its pooling) and hidden layer is `jaxnn.remat`. Raises `InputError` if x is not an image
    [H, W, C], or too small for the blocks. Source: LeCun et al. 1998.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.cnn((32, 64), 10)
    >>> params = model.init(jax.random.key(0), jnp.zeros((28, 28, 1)))
    >>> params["dense_0"]["w"].shape, model.apply(params, jnp.zeros((8, 28, 28, 1))).shape
    ((10, 1600), (8, 10))
    """
    each = _one_each(activation, len(channels) + len(hidden))
    blocks = [b for c, f in zip(channels, each, strict=False) for b in _block(c, kernel, f, pieces, init)]
    dense_part = _hidden(hidden, each[len(channels) :], pieces, dropout, init)
    body = chain(*_again(blocks, remat), flatten(3), *_again(dense_part, remat), dense(outputs, init=initialiser(init)))

    def init_(key: jax.Array, x: Any) -> Params:
        check_image(x.shape, len(channels), kernel)
        return body.init(key, x)

    return body._replace(init=init_, name="cnn")


def _one_each(given: Activations, count: int) -> list[str | Activation]:
    each = [given] if isinstance(given, str) or callable(given) else list(given)
    if len(each) not in (1, count):
        raise InputError(f"activation={each}: must be one, or one for each of the {count} hidden layers")
    return each * count if len(each) == 1 else each


def _again(stack: Sequence[Layer], remat: bool) -> Sequence[Layer]:
    """The layers, of which those that are more than a function are computed again for the gradient if `remat`."""
    return [compose.remat(layer) if remat and isinstance(layer, Model) else layer for layer in stack]


def _dropout(rate: float | jax.Array) -> list[Layer]:
    layer = dropout(rate)  # refuses a rate outside [0, 1)
    return [] if is_zero(rate) else [layer]


def _hidden(
    widths: Sequence[int],
    each: Sequence[str | Activation],
    pieces: int,
    rate: float | jax.Array,
    init: str | Initialiser,
) -> list[Layer]:
    """Dense layers with their activations and dropout."""
    stack: list[Layer] = []
    for width, name in zip(widths, each, strict=True):
        weights = initialiser(init, name)
        if name == "maxout":
            stack += [maxout(width, pieces, init=weights)]
        else:
            stack += [dense(width, init=weights), activation(name)]
        stack += _dropout(rate)
    return stack


def _block(channels: int, kernel: int, name: str | Activation, pieces: int, init: str | Initialiser) -> list[Layer]:
    """Convolution, activation, pooling."""
    weights = initialiser(init, name)
    if name == "maxout":
        channels, f = channels * pieces, functools.partial(layers.largest_piece, pieces=pieces)
    else:
        f = activation(name)
    if name != "maxout" and f not in MONOTONE:
        return [layers.conv(channels, kernel, init=weights), f, layers.max_pool(2)]
    # The maximum commutes with an activation that never falls: pooled first, bias and activation cost a quarter.
    return [layers.affine("conv", _conv_pool, channels, (kernel, kernel), weights), f]


def _conv_pool(x: jax.Array, w: jax.Array) -> jax.Array:
    return convolution.max_pool(convolution.conv2d(x, w))


def check_image(shape: Sequence[int], blocks: int, kernel: int) -> None:
    """Refuse an example that is no image [H, W, C], or becomes smaller than one pixel in the blocks of a `cnn`."""
    convolution.check_axes("cnn", shape)
    height, width, _ = shape
    need = 1
    for _ in range(blocks):
        need = 2 * need + kernel - 1
    if min(height, width) < need:
        rule = f"{blocks} blocks of a {kernel}x{kernel} convolution and pooling need at least {need}x{need} pixels"
        raise InputError(f"x={list(shape)}: {rule}; give larger images, or --model.channels fewer numbers")


def build(
    config: ModelConfig,
    x: Any,
    outputs: int | tuple[int, ...],
    *,
    scale: float | None = None,
    mean: Any = None,
    std: Any = None,
    dtype: str = "f32",
) -> Model:
    """The model that a config describes, for raw examples like x.

    x is one example's `ShapeDtypeStruct`; scale, mean, std and dtype are as in `adopt`. linear and mlp flatten images;
    the others raise `InputError` for anything but [H, W, C]. The outputs of a unet are a shape (H, W, K), those of a
    detector (H / 4, W / 4, K + 4), of all others a number.

    >>> import jax
    >>> import jaxnn
    >>> x = jax.ShapeDtypeStruct((28, 28, 1), "uint8")
    >>> model = jaxnn.build(jaxnn.ModelConfig(), x, 10)
    >>> jaxnn.parameter_count(jax.eval_shape(model.init, jax.random.key(0), x))
    42310
    """
    if isinstance(x, dict):  # as a task that generates prepares its examples
        from jaxnn.nn import generative

        return adopt(generative.build(config, x), x, dtype=dtype)
    c = config
    rest = {"activation": c.activation, "pieces": c.pieces, "dropout": c.dropout, "init": c.init, "remat": c.remat}
    images = c.kind in ("cnn", "resnet", "unet", "detector")
    if images and len(x.shape) == 1:
        rule = f"{c.kind} needs images [H, W, C], and these examples are rows of {x.shape[0]} features"
        raise InputError(f"--model.kind={c.kind}: {rule}; add --model.kind mlp, or name images in --data.name")
    if isinstance(outputs, tuple) or c.kind in ("unet", "detector"):
        model = _pictured(c, x, outputs)
    elif c.kind == "linear":
        model = linear(outputs, init=c.init)
    elif c.kind == "mlp":
        model = mlp(c.hidden, outputs, **rest)
    elif c.kind == "cnn":
        check_image(x.shape, len(c.channels), c.kernel)
        model = cnn(c.channels, outputs, hidden=c.hidden, kernel=c.kernel, **rest)
    else:
        given = {"depth": c.depth, "width": c.width, "norm": c.norm, "init": c.init, "remat": c.remat}
        model = resnet(outputs, activation=c.activation[0], **given)
        check_size(x.shape, stages=3, stem="small")
    flat = [flatten(len(x.shape))] if not images and len(x.shape) != 1 else []
    model = _behind(chain(*flat, *_dropout(c.input_dropout)), model)
    return adopt(model, x, scale=scale, mean=mean, std=std, dtype=dtype)


def _pictured(config: ModelConfig, x: Any, outputs: int | tuple[int, ...]) -> Model:
    """A unet or detector, whose outputs lie in the image. Raises `InputError` where the task needs another network."""
    fit, needs = "cnn", "an answer for each image"
    if isinstance(outputs, tuple):
        pixels = outputs[:2] == tuple(x.shape[:2])
        fit, needs = ("unet", "a class for each pixel") if pixels else ("detector", "boxes")
    if config.kind != fit or isinstance(outputs, int):
        raise InputError(f"--model.kind={config.kind}: the task needs {needs}; add --model.kind {fit}")
    given = {"activation": config.activation[0], "init": config.init, "remat": config.remat}
    if fit == "unet":
        from jaxnn.nn.unet import check_levels, unet

        check_levels(x.shape, len(config.channels))
        return unet(outputs[-1], channels=config.channels, **given)
    from jaxnn.nn.detector import check_size, detector

    check_size(x.shape)
    return detector(outputs[-1] - 4, channels=config.channels, **given)


def adopt(
    model: Model, x: Any, *, scale: float | None = None, mean: Any = None, std: Any = None, dtype: str = "f32"
) -> Model:
    """The model for raw examples like x, which are scaled before it sees them; its parameters stay its own.

    mean and std, in the units of x, standardise it (`jaxnn.standardized`). Otherwise x is divided by `scale`, the value
    that means 1.0 (if None: 255 for uint8, 1 for others). With dtype="bf16" it is computed `jaxnn.in_bfloat16`.
    Raises `InputError` for what is no `Model`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> x = jnp.array([0, 255], jnp.uint8)
    >>> model = jaxnn.adopt(jaxnn.chain(jaxnn.identity), x)
    >>> model.apply(model.init(jax.random.key(0), x), x).tolist()
    [0.0, 1.0]
    """
    if not isinstance(model, Model):
        raise InputError(f"model={type(model).__name__}: must be a Model; wrap a Flax module in from_linen or from_nnx")
    if dtype == "bf16":
        model = in_bfloat16(model)
    if mean is not None or std is not None:
        return norms.standardized(model, 0.0 if mean is None else mean, 1.0 if std is None else std)
    if not hasattr(x, "dtype") or (jnp.issubdtype(x.dtype, jnp.floating) and scale is None):
        return model  # several arrays have been prepared by the task already
    return _behind(norms.scale(std=white(x.dtype, scale)), model)


def _behind(first: Model, model: Model) -> Model:
    """The model behind layers without parameters."""

    def init(key: jax.Array, x: Any) -> Params:
        return model.init(key, jax.eval_shape(first.apply, {}, x))

    return after(model, init, lambda params, x, key: first.apply({}, x, key))


def parameter_count(params: Params) -> int:
    """How many numbers are learned: statistics are not. Works on shapes too.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.parameter_count({"w": jnp.zeros((784, 100)), "b": jnp.zeros(100)})
    78500
    """
    return sum(leaf.size for name, leaf in tree.by_name(params).items() if not tree.is_kept(name))
