"""Claims of the lecture that no single module makes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import data, engine
from jaxnn.types import Batch, Model, Task


def double_well(rate: float, batch_size: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Where descent ends from the shallow well of mean_i (theta^2 - 1)^2 + theta/4 + theta x_i, and its losses."""
    x = jnp.linspace(-12.0, 12.0, 20)  # mean 0: only a mini-batch feels it
    model = Model(lambda key, x: jnp.float32(0.9), lambda theta, x, key=None: jnp.broadcast_to(theta, x.shape))
    loss = lambda theta, x: (theta**2 - 1) ** 2 + theta / 4 + theta * x
    summary = lambda sums: {"loss": sums["loss"] / sums["weight"]}
    itself = lambda theta: theta
    task = Task("well", 1, loss, itself, lambda theta, x, w: {}, summary, itself)
    every = Batch(x, x, jnp.ones(20))

    def run(key):
        state, history = engine.fit(key, model, task, optax.sgd(rate), every, epochs=epochs, batch_size=batch_size)
        return state.params, history["train/loss"]

    return jax.device_get(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 200)))


@pytest.mark.long
def test_gradient_descent_stays_in_its_well_and_mini_batches_jump():
    gd, gd_loss = double_well(0.04, batch_size=20, epochs=400)
    sgd, sgd_loss = double_well(0.04, batch_size=1, epochs=40)
    assert np.all(gd > 0.5)
    assert np.mean(sgd < 0) > 0.5
    assert sgd_loss.std(1).mean() > 5 * gd_loss[:, -40:].std(1).mean()


@pytest.mark.parametrize("kind", ["text", "one-hot"])
def test_labels_as_numbers_text_or_one_hot_are_the_same_data(kind, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 3
    other = {"text": np.array(["a", "b", "c"])[y], "one-hot": np.eye(3, dtype=np.int32)[y]}[kind]
    np.savez(tmp_path / "number.npz", x=x, y=y)
    np.savez(tmp_path / "other.npz", x=x, y=other)
    a, b = (data.load(str(tmp_path / f"{name}.npz")) for name in ("number", "other"))
    assert a.task == b.task == "multiclass"
    for first, second in zip(a.splits, b.splits, strict=True):
        assert first is not None and second is not None
        for one, two in zip(first, second, strict=True):
            assert one.dtype == two.dtype and np.array_equal(one, two)
