"""Activations against float64 closed forms, and at the edges of what float32 can hold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special

from jaxnn.config import names
from jaxnn.errors import InputError
from jaxnn.nn import activations

# value and derivative in float64 NumPy
SIGMOID = special.expit
ORACLES = {
    "elu": (lambda x: np.where(x > 0, x, special.expm1(np.minimum(x, 0))), lambda x: np.exp(np.minimum(x, 0))),
    "gelu": (lambda x: x * special.ndtr(x), lambda x: special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)),
    "identity": (lambda x: x, np.ones_like),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
    "logit": (lambda x: np.full_like(x, np.nan), lambda x: np.full_like(x, np.nan)),  # has its own tests
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "selu": (
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * special.expm1(np.minimum(x, 0))),
        lambda x: 1.0507009873554805 * np.where(x > 0, 1, 1.6732632423543772 * np.exp(np.minimum(x, 0))),
    ),
    "sigmoid": (SIGMOID, lambda x: SIGMOID(x) * SIGMOID(-x)),
    "silu": (lambda x: x * SIGMOID(x), lambda x: SIGMOID(x) * (1 + x * SIGMOID(-x))),
    "softplus": (lambda x: np.logaddexp(0, x), SIGMOID),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
}
ENTRYWISE = sorted(set(ORACLES) - {"logit"})
WIDE = np.array([-1e4, -1e3, -100, -20, -3, -1e-3, 0, 1e-3, 0.4, 3, 20, 100, 1e3, 1e4], np.float32)


def derivative(f, x):
    return jax.jit(jax.vmap(jax.grad(f)))(jnp.asarray(x))


def test_the_table_has_every_name_of_the_config_but_maxout_which_is_a_layer():
    assert set(activations.TABLE) == set(names.ACTIVATIONS) - {"maxout", "logistic"}
    assert all(name == f.__name__ and activations.activation(name) is f for name, f in activations.TABLE.items())


def test_a_name_or_a_callable_becomes_a_function():
    assert activations.activation("logistic") is activations.sigmoid
    assert activations.activation(jnp.sin) is jnp.sin
    with pytest.raises(InputError, match="activation=rleu: unknown; did you mean relu"):
        activations.activation("rleu")


@pytest.mark.parametrize("name", ENTRYWISE)
def test_value_and_derivative_are_those_of_the_equation_up_to_1e4(name):
    value, slope = ORACLES[name]
    f = activations.TABLE[name]
    x = WIDE.astype(np.float64)
    np.testing.assert_allclose(f(jnp.asarray(WIDE)), value(x), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(derivative(f, WIDE), slope(x), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(activations.TABLE))
def test_value_and_gradient_are_finite_up_to_1e4(name):
    f = activations.TABLE[name]
    assert np.isfinite(f(jnp.asarray(WIDE))).all()
    assert np.isfinite(jax.jit(jax.jacobian(f))(jnp.asarray(WIDE))).all()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(activations.TABLE))
def test_leading_axes_are_free(name):
    f = activations.TABLE[name]
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    np.testing.assert_allclose(f(xs), jax.vmap(jax.vmap(f))(xs), rtol=1e-6)


@pytest.mark.long
def test_first_and_second_derivatives_agree_with_central_differences():
    @jax.jit
    def all_of_them(x):
        return {name: f(jnp.abs(x) / 3 if name == "logit" else x) for name, f in activations.TABLE.items()}

    with jax.enable_x64(True):
        check_grads(all_of_them, (jnp.array([-2.0, -0.5, 0.3, 1.7]),), order=2, modes=("rev",), rtol=1e-5)


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (activations.relu, 0.0),
        (activations.leaky_relu, 0.1),
        (lambda x: activations.leaky_relu(x, 0.0), 0.0),
        (lambda x: activations.leaky_relu(x, 0.3), 0.3),
        (activations.elu, 1.0),
        (lambda x: activations.elu(x, 0.5), 0.5),
        (activations.selu, 1.0507009873554805 * 1.6732632423543772),
    ],
)
def test_the_derivative_at_the_kink_is_one_chosen_number(f, slope):
    assert float(jax.grad(f)(0.0)) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_elu_takes_alpha(alpha):
    x = np.array([-3.0, -1.0, 0.0, 2.0])
    np.testing.assert_allclose(
        activations.elu(jnp.asarray(x, jnp.float32), alpha), np.where(x > 0, x, alpha * np.expm1(x)), rtol=1e-6
    )


def test_the_slope_of_sigmoid_is_at_most_a_quarter():
    slopes = derivative(activations.sigmoid, np.linspace(-8, 8, 201, dtype=np.float32))
    assert float(slopes.max()) == 0.25


def test_tanh_is_a_sigmoid_of_twice_the_range():
    x = jnp.linspace(-8, 8, 101)
    np.testing.assert_allclose(activations.tanh(x), 2 * activations.sigmoid(2 * x) - 1, atol=1e-6)


def test_logit_is_the_inverse_of_sigmoid():
    with jax.enable_x64(True):
        x = jnp.linspace(-10, 10, 201)
        np.testing.assert_allclose(activations.logit(activations.sigmoid(x)), x, atol=1e-4)
    x = jnp.linspace(-80, 7, 201)  # in float32, numbers near 1 are too coarse for larger x
    np.testing.assert_allclose(activations.logit(activations.sigmoid(x)), x, rtol=1e-4, atol=1e-4)


def test_logit_is_that_of_scipy_inside_and_constant_outside_of_0_to_1():
    p = np.array([1e-30, 1e-5, 0.1, 0.5, 0.9, 0.999], np.float32)
    np.testing.assert_allclose(activations.logit(jnp.asarray(p)), special.logit(p.astype(np.float64)), rtol=1e-6)
    exact = 1 / (p.astype(np.float64) * (1 - p.astype(np.float64)))
    np.testing.assert_allclose(derivative(activations.logit, p), exact, rtol=1e-6)
    np.testing.assert_array_equal(derivative(activations.logit, np.array([-5, -0.1, 1.1, 7], np.float32)), 0)


def test_softmax_sums_to_one_and_is_shift_invariant():
    z = jnp.array([[1e4, -1e4, 9999.0], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(activations.softmax(z).sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(activations.softmax(z[1] + 50), activations.softmax(z[1]), atol=1e-5)


def test_softmax_of_two_is_the_sigmoid_of_the_difference():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)) * 5, jnp.float32)
    np.testing.assert_allclose(activations.softmax(z)[:, 1], activations.sigmoid(z[:, 1] - z[:, 0]), atol=1e-6)


def test_the_jacobian_of_softmax_is_diag_p_minus_p_p():
    z = jnp.array([0.3, -1.2, 2.0, 0.7])
    p = activations.softmax(z)
    np.testing.assert_allclose(jax.jacobian(activations.softmax)(z), jnp.diag(p) - jnp.outer(p, p), atol=1e-6)


def test_log_softmax_is_that_of_scipy_also_where_softmax_is_0():
    z = np.array([300.0, 0.0, -50.0], np.float32)
    np.testing.assert_allclose(activations.log_softmax(jnp.asarray(z)), special.log_softmax(z.astype(np.float64)))


@pytest.mark.parametrize("name", sorted(name for name, f in activations.TABLE.items() if f in activations.MONOTONE))
def test_what_is_called_monotone_never_falls(name):
    f = activations.TABLE[name]
    x = jnp.linspace(0.01, 0.99, 99) if f is activations.logit else jnp.linspace(-6, 6, 121)
    assert float(jnp.diff(f(x)).min()) >= 0
