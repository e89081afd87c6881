"""Every number of a run may be traced: `vmap` over it equals separate runs, `grad` equals finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn

# hyper-parameter, the optimizer that has it, two values
NUMBERS = {
    "lr": ("sgd", 0.05, 0.2),
    "momentum": ("sgd", 0.5, 0.9),
    "b1": ("adam", 0.8, 0.95),
    "b2": ("adam", 0.9, 0.99),
    "eps": ("adam", 1e-3, 1e-1),
    "weight_decay": ("adamw", 0.01, 0.5),
    "alpha": ("sgd", 0.01, 0.5),
    "dropout": ("sgd", 0.1, 0.5),
    "label_smoothing": ("sgd", 0.05, 0.3),
}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 8, 5)).astype(np.float32), RNG.integers(0, 3, (6, 8)).astype(np.int32)
KEY = jax.random.key(0)
PARAMS = jax.tree.map(np.asarray, jaxnn.mlp((6,), 3).init(KEY, X[0, 0]))


def final_loss(name: str, value):
    """The mean loss of the last of six steps, for one value of one number."""
    given = {"lr": 0.1 if NUMBERS[name][0] == "sgd" else 0.02, name: value}
    model = jaxnn.mlp((6,), 3, activation="tanh", dropout=given.pop("dropout", 0.0))
    task = jaxnn.multiclass(3, label_smoothing=given.pop("label_smoothing", 0.0))
    alpha = given.pop("alpha", 0.0)
    tx = jaxnn.optimizer(jaxnn.OptimConfig(name=NUMBERS[name][0]), steps_per_epoch=6, total_steps=6, **given)
    recipe = jaxnn.Recipe(model, task, tx, alpha)
    floats = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, float), tree)  # float64 under x64
    params = floats(PARAMS)
    state = jaxnn.State(jnp.zeros((), jnp.int32), params, tx.init(params))
    data = jaxnn.Batch(floats(X), jnp.asarray(Y), jnp.ones((6, 8), float))
    state, info = jaxnn.engine.steps(recipe, state, jaxnn.Window(data, None, jnp.ones((6, 8), bool)), KEY)
    return info["loss"][-1] / info["weight"][-1]


SLOW = [pytest.param(name, marks=pytest.mark.slow) if name in ("b1", "eps") else name for name in NUMBERS]


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_vmap_over_a_number_gives_what_separate_runs_give(name):
    values = NUMBERS[name][1:]
    together = jax.jit(jax.vmap(lambda value: final_loss(name, value)))(jnp.array(values))
    alone = [jax.jit(lambda value=value: final_loss(name, value))() for value in values[:1]]
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)
    assert abs(together[0] - together[1]) > 1e-4  # the number has a part in the run


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_grad_over_a_number_gives_what_finite_differences_give(name):
    """In float64, by steps so small that no unit is dropped in one of the two runs only; optax' powers of b1 and b2
    have a derivative under JAX's standard promotion only."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        run = jax.jit(jax.value_and_grad(lambda value: final_loss(name, value)))
        value = NUMBERS[name][1]
        step = 1e-5 * value
        slope = (run(value + step)[0] - run(value - step)[0]) / (2 * step)
        np.testing.assert_allclose(run(value)[1], slope, rtol=1e-4, atol=1e-9)
        assert abs(slope) > 1e-6
