"""Hand-written JAX with every trick we know: the ceiling.

An epoch is one program. The rows stay uint8 and are permuted by the host (gathered in the step if the batch is large,
once an epoch if it is small); activations are feature-major; a convolution is one matrix product over shifted copies,
a max-pool remembers its argmax, and gradients are summed over 16 images at a time, so that the copies stay in cache.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

MICRO = 16


def init(case: cases.Case, inputs: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    he = lambda fan_in, *shape: (rng.normal(size=shape) * (2 / fan_in) ** 0.5).astype(np.float32)
    layer = lambda w, n: {"w": w, "b": np.zeros(n, np.float32)}
    if case.hidden is None:
        convs = [layer(he(9, 3, 3, 1, 32), 32), layer(he(288, 3, 3, 32, 64), 64)]
        return [*convs, layer(he(1600, case.classes, 1600), case.classes)]
    sizes = (inputs, *case.hidden, case.classes)
    return [layer(he(a, b, a), b) for a, b in zip(sizes, sizes[1:], strict=False)]


def conv(x: jax.Array, w: jax.Array) -> jax.Array:
    kh, kw, _, features = w.shape
    h, v = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    columns = jnp.concatenate([x[:, i : i + h, j : j + v] for i in range(kh) for j in range(kw)], -1)
    return (columns.reshape(-1, columns.shape[-1]) @ w.reshape(-1, features)).reshape(len(x), h, v, features)


def windows(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    return windows(x).max((2, 4))


def pool_forward(x):
    z = windows(x)
    a, b, c, d = z[:, :, 0, :, 0], z[:, :, 0, :, 1], z[:, :, 1, :, 0], z[:, :, 1, :, 1]
    top, low = jnp.maximum(a, b), jnp.maximum(c, d)
    argmax = jnp.where(top >= low, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3)).astype(jnp.int8)
    edge = jnp.zeros((x.shape[1] % 2, x.shape[2] % 2, 0))  # carries the sizes of an odd edge, and no data
    return jnp.maximum(top, low), (argmax, edge)


def pool_backward(residue, g):
    argmax, edge = residue
    n, h, w, c = g.shape
    place = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    dx = jnp.where(argmax[:, :, None, :, None] == place, g[:, :, None, :, None], 0)
    return (jnp.pad(dx.reshape(n, h * 2, w * 2, c), ((0, 0), (0, edge.shape[0]), (0, edge.shape[1]), (0, 0))),)


max_pool.defvjp(pool_forward, pool_backward)


def logits(case: cases.Case, params: list, x: jax.Array) -> jax.Array:
    """Feature-major: (classes, batch)."""
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) * (1 / 255)
    dense = params
    if case.hidden is None:
        *convs, last = params
        for p in convs:
            x = jax.nn.relu(max_pool(conv(x, p["w"])) + p["b"])
        x, dense = x.reshape(len(x), -1), [last]
    first, *rest = dense
    z = lax.dot_general(first["w"], x, (((1,), (1,)), ((), ()))) + first["b"][:, None]
    for p in rest:
        z = p["w"] @ jax.nn.relu(z) + p["b"][:, None]
    return z


def build(case: cases.Case, x: np.ndarray, y: np.ndarray, args) -> tuple[Callable, Callable]:
    tx = {"sgd": optax.sgd, "adam": optax.adam}[case.opt](case.lr)
    b, n, rng = case.batch, len(x), np.random.default_rng(args.seed)
    params = init(case, x.shape[-1], rng)
    state = (params, tx.init(params))
    xs, ys = jax.device_put(x), jax.device_put(y)

    def loss(params, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits(case, params, x).T, y).mean()

    def gradient(params, x, y):
        if case.hidden is not None or b % MICRO:
            return jax.grad(loss)(params, x, y)
        k = b // MICRO
        add = lambda total, part: (jax.tree.map(jnp.add, total, jax.grad(loss)(params, *part)), None)
        parts = (x.reshape(k, MICRO, *x.shape[1:]), y.reshape(k, MICRO))
        total, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return jax.tree.map(lambda v: v / k, total)

    def step(state, batch):
        params, memory = state
        updates, memory = tx.update(gradient(params, *batch), memory, params)
        return (optax.apply_updates(params, updates), memory), None

    def epoch(state, rows, xs, ys):
        if b >= 64:
            return lax.scan(lambda s, i: step(s, (xs[i], ys[i])), state, rows)[0]
        return lax.scan(step, state, (xs[rows], ys[rows]))[0]

    epoch = jax.jit(epoch, donate_argnums=0)

    def run(epochs: int) -> None:
        nonlocal state
        for _ in range(epochs):
            rows = rng.permutation(n)[: n // b * b].reshape(-1, b).astype(np.int32)
            state = epoch(state, rows, xs, ys)
        jax.block_until_ready(state)

    predict = jax.jit(lambda params, x: logits(case, params, x).argmax(0))
    return run, lambda x, y: cases.accuracy(lambda x: predict(state[0], x), x, y)


cases.main("plain", build, ["jax", "optax"], prepare=cases.pixels, drops=True)
