"""Residual networks, for small images and with the stem of ImageNet."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxnn.config.model import basic_blocks
from jaxnn.config.names import NORMS
from jaxnn.errors import InputError, check, choices
from jaxnn.nn import activations, compose
from jaxnn.nn.activations import Activation
from jaxnn.nn.batch_norm import batch_norm
from jaxnn.nn.compose import Layer, chain, parallel
from jaxnn.nn.convolution import check_axes
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.nn.layers import conv, dense, global_avg_pool, max_pool
from jaxnn.nn.norms import group_norm
from jaxnn.types import Model, Params

IMAGENET = {  # depth -> blocks of each stage; basic ones up to 34, bottlenecks from 50
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
}  # fmt: skip
WIDTHS = {"small": 16, "imagenet": 64}  # stem -> channels of the first stage


def resnet(
    outputs: int,
    *,
    depth: int | None = None,
    blocks: Sequence[int] | None = None,
    width: int | None = None,
    norm: str = "batch",
    stem: str = "small",
    activation: str | Activation = "relu",
    init: str | Initialiser = "auto",
    remat: bool = False,
) -> Model:
    """A residual network: images `f32[..., H, W, C]` -> logits `f32[..., outputs]`.

    Stages of blocks h = f(F(x) + x), each stage with half the height and width of the one before and twice the
    channels; then the mean of each channel and a dense layer. F is two 3x3 convolutions, each with a norm behind it; or
    a bottleneck, 1x1, 3x3 (which has the stride), and 1x1 to four times the channels. Where F changes the shape, x goes
    through a 1x1 convolution and a norm. The last scale of each F begins at 0: every block begins as f(x).

    Args:
      depth: layers with weights: 6 n + 2 with the small stem (8, 14, 20, 32, 44, 56, 110), three stages of n blocks;
        18, 34, 50, 101 or 152 with ImageNet's, four stages, of bottlenecks from 50 on.
      blocks: instead of a depth, how many blocks (no bottlenecks) each stage has.
      width: channels of the first stage; by default 16, with ImageNet's stem 64.
      norm: `batch`, or `group`, of 16 channels where they can be cut so, by which an example depends on no other.
      stem: `small`, a 3x3 convolution; or `imagenet`, a 7x7 convolution and 3x3 pooling, both of stride 2.
      remat: each block is `jaxnn.remat`.

    Raises `InputError` for another depth, norm or stem, and where an image of one pixel would be halved. Source: He et
    al. 2015 (section 4.2; shortcuts B); Goyal et al. 2017 (the scale of 0, the stride); Wu and He 2018 (group norm).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.resnet(10, depth=20, norm="group")
    >>> params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((32, 32, 3)))
    >>> jaxnn.parameter_count(params), sorted(params)
    (272474, ['conv_0', 'dense_0', 'group_norm_0', 'stage_0', 'stage_1', 'stage_2'])
    """
    for name, value, known in (("norm", norm, NORMS), ("stem", stem, WIDTHS)):
        if value not in known:
            raise choices(f"resnet {name}", value, known)
    stages, bottleneck = _stages(depth, blocks, stem), stem == "imagenet" and (depth or 0) >= 50
    f = activations.activation(activation)
    conv_norm = functools.partial(_conv_norm, norm=norm, init=initialiser(init, activation))
    width = WIDTHS[stem] if width is None else width
    layers: list[Layer] = [*conv_norm(width, 3 if stem == "small" else 7, 1 if stem == "small" else 2), f]
    layers += [max_pool(3, 2, padding="SAME")] if stem == "imagenet" else []
    for i, count in enumerate(stages):
        row = [_block(conv_norm, f, width * 2**i, i, j, bottleneck) for j in range(count)]
        layers.append(chain(*map(compose.remat, row) if remat else row, name="stage"))
    body = chain(*layers, global_avg_pool(), dense(outputs, init=initialiser(init)), name="resnet")

    def init_(key: jax.Array, x: Any) -> Params:
        check_size(x.shape, len(stages), stem)
        return body.init(key, x)

    return body._replace(init=init_)


def _stages(depth: int | None, blocks: Sequence[int] | None, stem: str) -> tuple[int, ...]:
    """How many blocks each stage has."""
    if (depth is None) == (blocks is None):
        raise InputError(f"resnet depth={depth}, blocks={blocks}: must be one of the two; leave the other out")
    if blocks is not None:
        check("resnet blocks", tuple(blocks), "numbers >= 1", len(blocks) > 0 and min(blocks) >= 1)
        return tuple(blocks)
    assert depth is not None
    if stem == "small":
        return (basic_blocks("resnet depth", depth),) * 3
    near = min(IMAGENET, key=lambda known: abs(known - depth))
    rule = f"one of {', '.join(map(str, IMAGENET))} with the stem of ImageNet; the nearest is {near}"
    check("resnet depth", depth, rule, depth in IMAGENET)
    return IMAGENET[depth]


def _conv_norm(
    channels: int, kernel: int, stride: int = 1, scale_init: float = 1.0, *, norm: str, init: Initialiser
) -> list[Layer]:
    """A convolution, and the norm whose shift is its bias."""
    if norm == "batch":
        after = batch_norm(scale_init=scale_init)
    else:
        after = group_norm(channels // math.gcd(channels, 16), scale_init=scale_init)
    return [conv(channels, kernel, stride=stride, padding="SAME", bias=False, init=init), after]


def _block(
    conv_norm: Callable[..., list[Layer]], f: Activation, channels: int, stage: int, number: int, bottleneck: bool
) -> Model:
    """f(F(x) + x), where the stage begins with a projection of x if its shape is another one."""
    stride = 2 if stage and not number else 1
    if bottleneck:
        wide = 4 * channels
        body = [*conv_norm(channels, 1), f, *conv_norm(channels, 3, stride), f, *conv_norm(wide, 1, scale_init=0.0)]
    else:
        wide = channels
        body = [*conv_norm(channels, 3, stride), f, *conv_norm(channels, 3, scale_init=0.0)]
    project = not number and (stage or bottleneck)
    shortcut = chain(*conv_norm(wide, 1, stride), name="shortcut") if project else activations.identity
    joined = parallel(chain(*body, name="body"), shortcut, join=lambda y, x: f(y + x))
    return joined._replace(name="block")


def check_size(shape: Sequence[int], stages: int, stem: str) -> None:
    """Refuse an example that is no image [H, W, C], or of which a `resnet` would halve a single pixel."""
    check_axes("resnet", shape)
    halving = [f"stage_{i}/block_0" for i in range(1, stages)]
    halving = ["conv_0", "max_pool_0", *halving] if stem == "imagenet" else halving
    height, width, _ = shape
    for layer in halving:
        if min(height, width) < 2:
            least = 2 ** (len(halving) - 1) + 1
            rule = f"{layer} would halve an image of {height}x{width} pixels"
            raise InputError(f"x={list(shape)}: {rule}; use images of at least {least}x{least}, or fewer stages")
        height, width = -(-height // 2), -(-width // 2)
