"""Style transfer: a picture with the content of one picture and the style of another, found by descent on its pixels.

    loss = content_weight C + style_weight S + tv_weight V

    C = |F_m - F_m(content)|^2 / |F_m(content)|^2                    m the convolution in the middle
    S = mean over all l of |G_l - G_l(style)|^2 / |G_l(style)|^2     G_l = F_l^T F_l / (H_l W_l), the Gram matrix
    V = mean (p[i+1, j] - p[i, j])^2 + mean (p[i, j+1] - p[i, j])^2

F_l `f32[H_l, W_l, C_l]` are the features of convolution l, those of the two pictures part of the task. Each loss is
relative to its target, so that the weights mean the same whatever the features are.

The picture is mirrored at its edges, once, as far as the last convolution sees: zeros around it, or around each layer's
features, are a dark fringe of the picture that is found.

Source: Gatys, Ecker, Bethge 2016, "Image style transfer using convolutional neural networks"; Mahendran, Vedaldi 2015,
arXiv:1412.0035 (V, with beta = 2); Ulyanov, Lebedev 2016 and He et al. 2016, arXiv:1606.04801 (random weights).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import image
from jaxnn.errors import InputError
from jaxnn.nn import activations, convolution
from jaxnn.nn.layers import add_bias
from jaxnn.tasks.base import as_they_are, means, weighed
from jaxnn.tasks.metrics import weighted_sum
from jaxnn.types import Metrics, Model, Params, Task

WIDTHS = (32, 64, 128, 256)  # of random convolutions
NOISE = 0.1  # of the picture that is begun with, in logits


class Features(NamedTuple):
    """Convolutions one after the other, each with its bias and activation, of RGB pictures in 0..1.

    kernels `f32[kh, kw, C, O]`, biases `f32[O]`. Before a convolution that widens (O > C, but for the first) height and
    width are halved, by the mean of 2x2 pixels.
    """

    kernels: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    activation: Callable[[jax.Array], jax.Array] = activations.relu


def random(key: jax.Array, widths: Sequence[int] = WIDTHS) -> Features:
    """3x3 convolutions of random weights, uniform with variance 2 / fan_in (He et al. 2015).

    >>> [kernel.shape for kernel in random(jax.random.key(0), (8, 16)).kernels]
    [(3, 3, 3, 8), (3, 3, 8, 16)]
    """
    shapes = [(3, 3, before, width) for before, width in zip((3, *widths), widths, strict=False)]
    draw = jax.nn.initializers.he_uniform()  # a normal distribution takes 1 s to compile
    kernels = [draw(jax.random.fold_in(key, i), shape, jnp.float32) for i, shape in enumerate(shapes)]
    return of_kernels(kernels, [jnp.zeros(width) for width in widths], mean=(0.5,))


def of_kernels(
    kernels: Sequence[Any],
    biases: Sequence[Any],
    activation: Callable[[jax.Array], jax.Array] = activations.relu,
    *,
    mean: Any = (0.0,),
    std: Any = (1.0,),
) -> Features:
    """Features whose first kernel takes (picture - mean) / std, of one channel (then the picture's grey) or of RGB.

    The mean and standard deviation, one or one a channel, become part of the first kernel and bias.

    >>> grey = of_kernels([jnp.ones((1, 1, 1, 2))], [jnp.zeros(2)], mean=(0.5,))
    >>> maps(grey, jnp.ones((4, 4, 3)))[0].round(4)[0, 0].tolist()
    [0.5, 0.5]
    """
    first, bias = jnp.asarray(kernels[0], jnp.float32), jnp.asarray(biases[0], jnp.float32)
    channels = first.shape[2]
    center, spread = (jnp.broadcast_to(jnp.asarray(each, jnp.float32), (channels,)) for each in (mean, std))
    first = jnp.einsum("hwco,c->hwco", first, 1 / spread)
    bias = bias - jnp.einsum("hwco,c->o", first, center)
    if channels == 1:
        first = jnp.einsum("hwo,c->hwco", first[:, :, 0], jnp.array((image.RED, image.GREEN, image.BLUE)))
    rest = [jnp.asarray(kernel, jnp.float32) for kernel in kernels[1:]]
    others = [jnp.asarray(each, jnp.float32) for each in biases[1:]]
    return Features((first, *rest), (bias, *others), activation)


def margin(features: Features) -> int:
    """By how many pixels a picture is mirrored at each edge; it must be larger than that."""
    pixels, scale = 0, 1
    for kernel, halved in zip(features.kernels, _halved(features), strict=True):
        scale *= 2 if halved else 1
        pixels += max(kernel.shape[:2]) // 2 * scale
    return pixels + scale  # where a halving leaves out an odd row, that is no row of the picture


def _halved(features: Features) -> list[bool]:
    return [i > 0 and w.shape[3] > w.shape[2] for i, w in enumerate(features.kernels)]


def maps(features: Features, x: jax.Array) -> list[jax.Array]:
    """What each convolution sees in pictures `f32[..., H, W, 3]`: `f32[..., H_l, W_l, C_l]`.

    Raises `InputError` for a picture that is too small.
    """
    around = margin(features)
    if min(x.shape[-3:-1]) <= around:
        rule = f"the features need more than {around} pixels of height and width"
        raise InputError(f"picture={list(x.shape)}: {rule}; give a larger picture")
    x = jnp.pad(x, ((0, 0),) * (x.ndim - 3) + ((around, around), (around, around), (0, 0)), mode="reflect")
    found = []
    for kernel, bias, halved in zip(features.kernels, features.biases, _halved(features), strict=True):
        x = convolution.avg_pool(x, 2) if halved else x
        x = features.activation(add_bias(convolution.conv2d(x, kernel), bias))
        found.append(x)
    return found


def gram(x: jax.Array) -> jax.Array:
    """The Gram matrix of features, `f32[..., H, W, C]` -> `f32[..., C, C]`: F^T F / (H W).

    >>> gram(jnp.array([[[1.0, 2.0]], [[3.0, 0.0]]])).tolist()
    [[5.0, 1.0], [1.0, 2.0]]
    """
    return jnp.einsum("...hwc,...hwd->...cd", x, x) / (x.shape[-3] * x.shape[-2])


def total_variation(x: jax.Array) -> jax.Array:
    """The mean squared difference of neighbours, down and along: `f32[..., H, W, C]` -> `f32[...]`.

    >>> total_variation(jnp.array([[[0.0], [1.0]], [[0.0], [3.0]]])).item()  # (0 + 4) / 2 + (1 + 9) / 2
    7.0
    """
    down, along = x[..., 1:, :, :] - x[..., :-1, :, :], x[..., 1:, :] - x[..., :-1, :]
    return jnp.square(down).mean((-3, -2, -1)) + jnp.square(along).mean((-3, -2, -1))


class Targets(NamedTuple):
    """What the features of the picture are to be: those of the content, and the Gram matrices of the style."""

    content: jax.Array
    grams: tuple[jax.Array, ...]


def targets(features: Features, content: jax.Array, style: jax.Array) -> Targets:
    """The targets, of pictures `f32[H, W, 3]` of any sizes."""
    middle = len(features.kernels) // 2
    return Targets(maps(features, content)[middle], tuple(map(gram, maps(features, style))))


def losses(features: Features, goal: Targets, picture: jax.Array) -> dict[str, jax.Array]:
    """`content`, `style` and `tv` (C, S and V above) of pictures `f32[..., H, W, 3]`, each `f32[...]`."""
    found = maps(features, picture)
    each = [_apart(gram(x), target) for x, target in zip(found, goal.grams, strict=True)]
    content = _apart(found[len(found) // 2], goal.content)
    return {"content": content, "style": sum(each[1:], each[0]) / len(each), "tv": total_variation(picture)}


def _apart(x: jax.Array, target: jax.Array) -> jax.Array:
    """|x - target|^2 / |target|^2 over the axes of the target."""
    axes = tuple(range(-target.ndim, 0))
    return jnp.square(x - jnp.broadcast_to(target, x.shape)).sum(axes) / jnp.square(target).sum()


def style(
    features: Features,
    goal: Targets,
    shape: tuple[int, ...],
    *,
    content_weight: float | jax.Array = 1.0,
    style_weight: float | jax.Array = 50.0,
    tv_weight: float | jax.Array = 10.0,
) -> Task:
    """The task whose outputs are pictures `f32[B, *shape]` and whose loss is that above; y is not looked at.

    >>> key, pictures = jax.random.key(0), jax.random.uniform(jax.random.key(1), (2, 24, 24, 3))
    >>> seen = random(key, (4, 8))
    >>> task = style(seen, targets(seen, *pictures), (24, 24, 3), tv_weight=0)
    >>> task.loss(pictures, jnp.zeros(2)).round(4)[0] > 0
    Array(True, dtype=bool)
    """

    def parts(picture: jax.Array) -> dict[str, jax.Array]:
        return losses(features, goal, picture)

    def loss(picture: jax.Array, y: Any) -> jax.Array:
        found = parts(picture)
        return content_weight * found["content"] + style_weight * found["style"] + tv_weight * found["tv"]

    def sums(picture: jax.Array, y: Any, weight: jax.Array) -> Metrics:
        return weighed(weight) | {name: weighted_sum(value, weight) for name, value in parts(picture).items()}

    def summary(sums: Metrics) -> dict[str, Any]:
        return means(sums, loss="loss", content="content", style="style", tv="tv")

    minimized = frozenset(("loss", "content", "style", "tv"))
    return Task("style", shape, loss, as_they_are, sums, summary, as_they_are, minimized=minimized)


def picture(content: jax.Array) -> Model:
    """The model whose output is a picture, whatever x is: x `[...]` -> `f32[..., H, W, 3]`, in 0..1.

    Its parameters are the logits of the pixels, which begin as those of the content with some noise.

    >>> model = picture(jnp.full((2, 2, 3), 0.5))
    >>> model.apply(model.init(jax.random.key(0), jnp.zeros(())), jnp.zeros(5)).shape
    (5, 2, 2, 3)
    """

    def init_(key: jax.Array, x: Any) -> Params:
        noise = NOISE * jax.random.normal(key, content.shape, content.dtype)
        return {"picture": activations.logit(jnp.clip(content, 0.02, 0.98)) + noise}

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        pixels = jax.nn.sigmoid(params["picture"])
        return jnp.broadcast_to(pixels, (*x.shape, *pixels.shape))

    return Model(init_, apply, "picture")
