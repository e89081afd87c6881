"""Initial weights: the variance that each paper states, with the fan-in of dense and of convolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.config import names
from jaxnn.errors import InputError
from jaxnn.nn import activations, init

SHAPES = {(300, 200): (300, 200), (3, 3, 40, 50): (360, 450)}  # shape -> fan-in, fan-out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "variance"),
    [("glorot", lambda i, o: 2 / (i + o)), ("he", lambda i, o: 2 / i), ("lecun", lambda i, o: 1 / i)],
)
def test_the_variance_is_the_one_stated(name, variance, shape):
    w = init.TABLE[name](jax.random.key(0), shape, jnp.float32)
    expected = variance(*SHAPES[shape])
    assert float(w.var()) == pytest.approx(expected, rel=0.03)
    assert abs(float(w.mean())) < 4 * (expected / w.size) ** 0.5


@pytest.mark.long
def test_glorot_is_uniform_and_he_is_normal():
    def kurtosis(name):
        w = init.TABLE[name](jax.random.key(0), (300, 300), jnp.float32)
        return float((w**4).mean() / (w**2).mean() ** 2)

    assert kurtosis("glorot") == pytest.approx(1.8, abs=0.05)  # a uniform's; a normal, cut at two deviations, has 2.37
    assert kurtosis("he") == pytest.approx(2.37, abs=0.05)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (3, 3, 2, 5)])
def test_orthogonal_weights_have_orthonormal_columns_or_rows(shape):
    w = np.asarray(init.orthogonal(jax.random.key(0), shape, jnp.float32)).reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("name", sorted(init.TABLE))
def test_weights_are_a_function_of_the_key_and_have_the_dtype_asked_for(name):
    make = init.TABLE[name]
    a, b, c = (make(jax.random.key(k), (6, 5), jnp.float32) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert a.dtype == jnp.float32 and bool((a != c).any())
    with jax.enable_x64(True):
        assert make(jax.random.key(0), (6, 5), jnp.float64).dtype == jnp.float64


def test_every_initialiser_of_the_config_is_there():
    assert {"auto", *init.TABLE} == set(names.INITIALISERS)


@pytest.mark.parametrize("name", names.ACTIVATIONS)
def test_auto_follows_the_activation_by_name_and_as_a_function(name):
    kin = {"relu", "leaky_relu", "elu", "gelu", "silu", "maxout"}
    expected = init.he if name in kin else init.lecun if name == "selu" else init.glorot
    assert init.initialiser("auto", name) is expected
    if name != "maxout":
        assert init.initialiser("auto", activations.activation(name)) is expected


def test_jax_own_relu_counts_as_relu_and_an_unknown_function_as_linear():
    assert init.default_for(jax.nn.relu) is init.he
    assert init.default_for(lambda x: x) is init.glorot


def test_a_name_or_a_callable_becomes_an_initialiser():
    assert init.initialiser("orthogonal", "relu") is init.orthogonal
    assert init.initialiser(init.he) is init.he
    with pytest.raises(InputError, match="init=golrot: unknown; did you mean glorot"):
        init.initialiser("golrot")
