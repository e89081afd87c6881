"""Computed in bfloat16, kept in float32: what is rounded, what is not, and that training works."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import engine, tree
from jaxnn.config.names import ACTIVATIONS
from jaxnn.engine.fitting import fit
from jaxnn.nn import compose, layers, models, norms
from jaxnn.nn.activations import activation
from jaxnn.nn.precision import in_bfloat16
from jaxnn.tasks import classification, regression
from jaxnn.types import Batch, Model, Recipe, State

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(24, 6, 6, 2)), jnp.float32)


def rounded(a):
    """Round to nearest even at 8 bits, by NumPy on the bits: what bfloat16 is."""
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return ((bits >> 16) << 16).astype(np.uint32).view(np.float32)


def network() -> Model:
    block = compose.chain(layers.conv(4, padding="SAME"), norms.group_norm(2), jnp.tanh)
    return compose.chain(block, layers.max_pool(), layers.flatten(), layers.dropout(0.1), layers.dense(3))


def test_a_product_is_that_of_the_rounded_numbers():
    w, x = RNG.normal(size=(3, 5)).astype("f"), RNG.normal(size=(7, 5)).astype("f")
    y = in_bfloat16(layers.dense(3, bias=False)).apply({"w": jnp.asarray(w)}, jnp.asarray(x))
    assert y.dtype == jnp.float32
    exact = rounded(x).astype(np.float64) @ rounded(w).T.astype(np.float64)
    np.testing.assert_allclose(y, exact, rtol=2**-8, atol=2**-8)  # the sum is rounded once more
    assert (rounded(y) == np.asarray(y)).all()


@pytest.mark.long
def test_parameters_gradients_moments_and_loss_are_float32():
    recipe = Recipe(in_bfloat16(network()), classification.multiclass(3), optax.adam(1e-3))
    state = engine.init(recipe, KEY, tree.example(IMAGES))
    batch = Batch(IMAGES, jnp.arange(24) % 3, jnp.ones(24))
    loss, grads, sums, _ = engine.gradient(recipe, state.params, batch, KEY)
    for leaf in jax.tree.leaves((state.params, grads, loss, sums)):
        assert leaf.dtype == jnp.float32
    plain = recipe._replace(model=network())
    like, full, _, _ = engine.gradient(plain, state.params, batch, KEY)
    assert float(loss) == pytest.approx(float(like), rel=0.02) and loss != like
    for g, f in zip(jax.tree.leaves(grads), jax.tree.leaves(full), strict=True):
        assert jnp.linalg.norm(g - f) < 0.15 * jnp.linalg.norm(f)  # 8 bits, and another entry where two were near


def test_small_updates_are_not_lost():
    model = in_bfloat16(layers.dense(1, bias=False))  # 1 - 1e-3 is 1 in bfloat16, where 300 such steps would be lost
    batch = Batch(jnp.ones((4, 1)), jnp.full((4, 1), -1e3), jnp.ones(4))
    tx, params = optax.sign_sgd(1e-3), {"w": jnp.ones((1, 1))}
    recipe = Recipe(model, regression.regression(), tx)
    state = State(jnp.zeros((), jnp.int32), params, tx.init(params))
    step = jax.jit(lambda state: engine.step(recipe, state, batch, KEY)[0])
    for _ in range(300):
        state = step(state)
    assert float(state.params["w"][0, 0]) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"maxout"}))
def test_every_activation_is_computed_in_half_under_strict_promotion(name):
    x = jnp.linspace(0.05, 0.95, 19)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        model = compose.chain(activation(name))
        assert model.apply({}, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
        half = in_bfloat16(model).apply({}, x)
    np.testing.assert_allclose(half, activation(name)(x), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("norm", [norms.layer_norm(), norms.group_norm(2)])
def test_the_moments_of_a_norm_are_taken_in_float32(norm):
    x = 64 + IMAGES / 4  # in bfloat16 the numbers near 64 have steps of 0.5, so a mean of them is no such number
    params = norm.init(KEY, tree.example(x))
    y = in_bfloat16(norm).apply(params, x)
    exact = norm.apply(params, jnp.asarray(rounded(x)))
    np.testing.assert_allclose(y, exact, rtol=2**-7, atol=2**-7)


def test_integers_and_statistics_are_not_rounded():
    def init(key, x):
        return {"batch_stats": {"mean": jnp.full((), 1 + 2**-20)}, "w": jnp.full((), 1 + 2**-20)}

    seen = {}

    def observe(params, x, key, weight, frozen):
        seen.update(x=x.dtype, stats=params["batch_stats"]["mean"].dtype, w=params["w"].dtype)
        return x, {**params, "batch_stats": {"mean": params["batch_stats"]["mean"] * 2}}

    model = in_bfloat16(Model(init, lambda params, x, key=None: x, observe=observe))
    assert model.observe
    params = model.init(KEY, jnp.zeros(2))
    y, new = model.observe(params, jnp.arange(3), None, jnp.ones(3), tree.is_frozen(params))
    assert seen == {"x": jnp.int32, "stats": jnp.float32, "w": jnp.bfloat16} and y.dtype == jnp.int32
    assert float(new["w"]) == 1 + 2**-20 and float(new["batch_stats"]["mean"]) == 2 * (1 + 2**-20)


@pytest.mark.slow
def test_digits_are_learned_as_well():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = Batch(jnp.asarray(x / 16, jnp.float32), jnp.asarray(y), jnp.ones(len(y)))
    train, test = (jax.tree.map(lambda a, part=part: a[part], data) for part in (np.s_[:1400], np.s_[1400:]))
    found, how = {}, {"validation": test, "epochs": 20, "batch_size": 32}
    for name, model in (("f32", models.mlp((50,), 10)), ("bf16", in_bfloat16(models.mlp((50,), 10)))):
        run = fit(KEY, model, classification.multiclass(10), optax.sgd(0.3), train, **how)
        found[name] = float(run[1]["val/accuracy"][-1])
    assert found["f32"] > 0.9 and abs(found["f32"] - found["bf16"]) < 0.02
