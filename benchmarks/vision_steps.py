"""What the engine costs for vision tasks: the steps of a config beside hand-written JAX of the same network.

    python benchmarks/vision_steps.py --rounds 10

All take the same steps from the same weights on the same rows, which are resident, and take turns; their losses must
agree. By hand is what one would write without jaxnn: `value_and_grad` and an optax update, convolutions by
`lax.conv_general_dilated`, the loss and no other metric; in a `lax.scan` of all steps, or in a Python loop of a
compiled step, which on a CPU is faster: XLA runs convolutions inside a compiled loop many times slower. The ratios are
medians over the rounds of the seconds by hand over those of jaxnn: above 1 jaxnn is faster.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

import jaxnn
from jaxnn.data import feeds
from jaxnn.data.readers import canvases

STEPS = 5


class Steps(NamedTuple):
    """STEPS steps of each side, compiled: functions without arguments that give the loss of each step."""

    jaxnn: Callable[[], jax.Array]
    scan: Callable[[], jax.Array]
    loop: Callable[[], jax.Array]


def segmentation() -> Steps:
    """digits_segmentation: batches of 16 canvases of 48x48 bytes."""
    batch_size, rate = 16, 3e-3
    made = canvases.digit_masks(train=STEPS * batch_size, test=1)
    x, y = jnp.asarray(made["x_train"]), jnp.asarray(made["y_train"])
    model = jaxnn.adopt(jaxnn.unet(11), jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    recipe = jaxnn.Recipe(model, jaxnn.segmentation(11, size=x.shape[1:3]), optax.adam(rate))
    return both(recipe, jaxnn.Batch(x, y, jnp.ones(len(x))), batch_size, unet_loss)


def unet_loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over the images of the mean cross-entropy of their pixels, by the functions of lax."""

    def conv(x: jax.Array, p: Any) -> jax.Array:
        return lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + p["b"]

    def block(x: jax.Array, p: Any) -> jax.Array:
        return jax.nn.relu(conv(x, p["conv_0"]))

    def halved(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def doubled(x: jax.Array) -> jax.Array:
        return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)

    n, side = len(x), x.shape[1] // 2
    pixels = (x / 255).reshape(n, side, 2, side, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(n, side, side, 4)
    middle, lowest = params["concat_0"], params["concat_0"]["concat_0"]
    top = block(pixels, params["block_0"])
    half = block(halved(top), middle["block_0"])
    low = block(block(halved(half), lowest["block_0"]), lowest["block_1"])
    half = block(jnp.concatenate([half, doubled(low)], -1), middle["block_1"])
    logits = conv(block(jnp.concatenate([top, doubled(half)], -1), params["block_1"]), params["conv_0"])
    logits = logits.reshape(n, side, side, 2, 2, 11).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * side, 2 * side, 11)
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(y, 11)).mean()


def detection() -> Steps:
    """digits_detection: batches of 16 canvases of 64x64 bytes."""
    batch_size, rate = 16, 2e-3
    made = canvases.digit_boxes(train=STEPS * batch_size, test=1)
    x, y = jnp.asarray(made["x_train"]), jnp.asarray(made["y_train"])
    model = jaxnn.adopt(jaxnn.detector(10), jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    recipe = jaxnn.Recipe(model, jaxnn.detection(10, size=(64, 64)), optax.adam(rate))
    return both(recipe, jaxnn.Batch(x, y, jnp.ones(len(x))), batch_size, detector_loss)


def detector_loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over the images of focal loss and 1 - GIoU, each by the number of boxes, by the functions of lax."""
    z = x / 255
    for i, (stride, dilation) in enumerate(((2, 1), (2, 1), (1, 1), (1, 2), (1, 1), (1, 1))):
        p, names = params[f"conv_{i}"], ("NHWC", "HWIO", "NHWC")
        spread = {"rhs_dilation": (dilation, dilation), "dimension_numbers": names}
        z = lax.conv_general_dilated(z, p["w"], (stride, stride), "SAME", **spread) + p["b"]
        z = jax.nn.relu(z) if i < 5 else z
    logits, side = z[..., :10], z.shape[1]
    there, boxes = y[..., 0] >= 0, y[..., 1:] / 4
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    cell = middle.astype(jnp.int32)
    off = (jnp.arange(side) - cell[..., None]) / (0.09 * jnp.where(there[..., None], size, 1))[..., None]
    bumps = jnp.exp(-(off[:, :, 1, :, None] ** 2 + off[:, :, 0, None, :] ** 2) / 2)  # [B, M, h, w]
    kind = jax.nn.one_hot(y[..., 0], 10)  # of padding 0
    heat = jnp.max(bumps[..., None] * kind[:, :, None, None, :], 1)
    p = jax.nn.sigmoid(logits)
    centre = (1 - p) ** 2 * jax.nn.log_sigmoid(logits)
    focal = -jnp.where(heat == 1, centre, (1 - heat) ** 4 * p**2 * jax.nn.log_sigmoid(-logits)).sum((1, 2, 3))
    edges = jnp.exp(z[jnp.arange(len(z))[:, None], cell[..., 1], cell[..., 0], 10:])
    low, high = cell + 0.5 - edges[..., :2], cell + 0.5 + edges[..., 2:]
    area = lambda low, high: jnp.prod(jnp.maximum(high - low, 0), -1)
    inner = area(jnp.maximum(low, boxes[..., :2]), jnp.minimum(high, boxes[..., 2:]))
    union = area(low, high) + area(boxes[..., :2], boxes[..., 2:]) - inner
    around = area(jnp.minimum(low, boxes[..., :2]), jnp.maximum(high, boxes[..., 2:]))
    apart = jnp.where(there, 2 - inner / union - union / around, 0).sum(1)
    return jnp.mean((focal + apart) / jnp.maximum(there.sum(1), 1))


CASES = {"segmentation": segmentation, "detection": detection}


def both(recipe: jaxnn.Recipe, data: jaxnn.Batch, batch_size: int, loss: Callable[..., jax.Array]) -> Steps:
    """The steps of a recipe, and those by hand for a loss of (params, x, y), from its weights and on its rows."""
    key = jax.random.key(0)
    state = jaxnn.engine.init(recipe, key, jax.tree.map(lambda a: a[0], data.x))
    window = feeds.shuffled(data, key, state.step, STEPS, batch_size)

    @jax.jit
    def by_jaxnn(state: jaxnn.State, data: jaxnn.Batch) -> jax.Array:
        window = feeds.shuffled(data, key, state.step, STEPS, batch_size)
        info = jaxnn.engine.steps(recipe, state, window, key)[1]
        return info["loss"] / info["weight"]

    def step(carry: Any, rows: jax.Array) -> Any:
        params, opt_state = carry
        take = lambda tree: jax.tree.map(lambda a: a[rows], tree)
        value, grads = jax.value_and_grad(loss)(params, take(data.x), take(data.y))
        updates, opt_state = recipe.tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    start, index = (state.params, recipe.tx.init(state.params)), window.index
    scan, one = jax.jit(lambda start, index: lax.scan(step, start, index)[1]), jax.jit(step)

    def loop() -> jax.Array:
        carry, values = start, []
        for rows in index:
            carry, value = one(carry, rows)
            values.append(value)
        return jnp.stack(values)

    return Steps(lambda: by_jaxnn(state, data), lambda: scan(start, index), loop)


def seconds(call: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    args = parser.parse_args()
    print("| task | jaxnn, ms a step | scan by hand | loop by hand | ratio to the scan | to the loop |")
    print("|---|---|---|---|---|---|")
    for name in args.cases:
        sides = CASES[name]()
        first, *others = (side() for side in sides)  # compiles
        for losses in others:
            assert jnp.allclose(first, losses, rtol=1e-2), (first, losses)
        rounds = [[seconds(side) for side in sides] for _ in range(args.rounds)]
        times = [f"{1e3 * statistics.median(side) / STEPS:.1f}" for side in zip(*rounds, strict=True)]
        ratios = [f"{statistics.median(each[i] / each[0] for each in rounds):.2f}" for i in (1, 2)]
        print(f"| {' | '.join([name, *times, *ratios])} |")


if __name__ == "__main__":
    main()
