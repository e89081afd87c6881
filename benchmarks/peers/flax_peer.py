"""Flax with the loop of its documentation: one jitted step a batch, batches indexed with NumPy."""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cases
import jax
import numpy as np
import optax


def loss_of(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def linen(case: cases.Case, x: np.ndarray, tx: optax.GradientTransformation, seed: int) -> tuple[Callable, Callable]:
    """A TrainState and jax.jit."""
    from flax import linen as nn
    from flax.training.train_state import TrainState

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in (32, 64) if case.hidden is None else ():
                x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
            x = x.reshape(len(x), -1)
            for h in case.hidden or ():
                x = nn.relu(nn.Dense(h)(x))
            return nn.Dense(case.classes)(x)

    net = Net()
    state = TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(seed), x[:1]), tx=tx)

    @jax.jit
    def step(state, x, y):
        loss, grads = jax.value_and_grad(lambda p: loss_of(state.apply_fn(p, x), y))(state.params)
        return state.apply_gradients(grads=grads), loss

    def train(x, y):
        nonlocal state
        state, loss = step(state, x, y)
        return loss

    predict = jax.jit(net.apply)
    return train, lambda x: predict(state.params, x)


def nnx(case: cases.Case, x: np.ndarray, tx: optax.GradientTransformation, seed: int) -> tuple[Callable, Callable]:
    """An nnx.Optimizer and nnx.jit."""
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            images = case.hidden is None
            pairs = [(1, 32), (32, 64)] if images else []
            sizes = (1600 if images else x.shape[1], *(case.hidden or ()), case.classes)
            self.convs = nnx.List([nnx.Conv(a, b, (3, 3), padding="VALID", rngs=rngs) for a, b in pairs])
            self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in zip(sizes, sizes[1:], strict=False)])

        def __call__(self, x):
            for conv in self.convs:
                x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
            x = x.reshape(len(x), -1)
            for layer in self.layers[:-1]:
                x = nnx.relu(layer(x))
            return self.layers[-1](x)

    model = Net(nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(lambda m: loss_of(m(x), y))(model)
        optimizer.update(model, grads)
        return loss

    predict = nnx.jit(lambda m, x: m(x))
    return lambda x, y: step(model, optimizer, x, y), lambda x: predict(model, x)


def build(case: cases.Case, x: np.ndarray, y: np.ndarray, args) -> tuple[Callable, Callable]:
    tx = {"sgd": optax.sgd, "adam": optax.adam}[case.opt](case.lr)
    train, logits = {"linen": linen, "nnx": nnx}[args.variant](case, x, tx, args.seed)
    rng, b = np.random.default_rng(args.seed), case.batch

    def run(epochs: int) -> None:
        for _ in range(epochs):
            for rows in rng.permutation(len(x))[: len(x) // b * b].reshape(-1, b):
                loss = train(x[rows], y[rows])
        loss.block_until_ready()

    return run, lambda x, y: cases.accuracy(lambda x: logits(x).argmax(-1), x, y)


cases.main("flax", build, ["flax", "jax", "optax"], ("linen", "nnx"), drops=True)
