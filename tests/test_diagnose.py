"""Dead units and vanishing gradients are found, and only they."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import data
from jaxnn.nn import models
from jaxnn.report import diagnosis as diagnose


@pytest.fixture(scope="module")
def digits():
    split = data.load("digits").train
    return split.x.reshape(len(split.x), -1)[:300] / np.float32(16)


def begin(model, x, seed=0):
    return jax.jit(model.init)(jax.random.key(seed), x[0])


def dead_units(model, params, x):
    return jax.jit(functools.partial(diagnose.dead_units, model))(params, x)


def test_a_bias_of_minus_100_kills_every_unit_and_all_are_reported(digits):
    model = models.mlp((20, 10), 3)
    params = begin(model, digits)
    params["dense_0"]["b"] = jnp.full(20, -100.0)
    dead = dead_units(model, params, digits)
    assert dead["dense_0/b"].all() and not dead["dense_2/b"].any()


def test_dead_units_are_those_whose_activation_is_zero_for_every_example(digits):
    model = models.mlp((30,), 3)
    params = begin(model, digits, seed=1)
    params["dense_0"]["b"] = jnp.linspace(-4.0, 0.0, 30)
    hidden = np.maximum(0, digits @ np.asarray(params["dense_0"]["w"]).T + np.asarray(params["dense_0"]["b"]))
    expected = (hidden == 0).all(0)
    assert 0 < expected.sum() < 30
    np.testing.assert_array_equal(dead_units(model, params, digits)["dense_0/b"], expected)


def test_leaky_units_never_die(digits):
    model = models.mlp((20,), 3, activation="leaky_relu")
    params = begin(model, digits)
    params["dense_0"]["b"] = jnp.full(20, -100.0)
    assert not dead_units(model, params, digits)["dense_0/b"].any()


def test_gradient_norms_are_numpys():
    tree = {"a": {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, "b": np.ones(4, np.float32)}
    norms = diagnose.gradient_norms(tree)
    assert float(norms["a/w"]) == pytest.approx(np.linalg.norm(tree["a"]["w"])) and float(norms["b"]) == 2
