"""Losses against float64 NumPy, SciPy and scikit-learn, and at the edges of what float32 can hold."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from scipy.special import expit, log_softmax, xlog1py, xlogy
from scipy.special import huber as scipy_huber
from scipy.stats import norm
from sklearn.metrics import log_loss, mean_pinball_loss

from jaxnn.errors import InputError
from jaxnn.tasks import losses

REGRESSION = [losses.squared, losses.absolute, losses.huber, losses.poisson]


def float64(values):
    return np.asarray(values, np.float64)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


def integers(seed, below, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(below, size=shape), int)


def batches(loss):
    """Logits and labels with two leading axes."""
    if loss is losses.binary_cross_entropy:
        return normal(0, 2, 5), integers(1, 2, 2, 5)
    if loss is losses.cross_entropy:
        return normal(0, 2, 5, 3), integers(1, 3, 2, 5)
    return normal(0, 2, 5, 3), jnp.abs(normal(1, 2, 5, 3))


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.cross_entropy, *REGRESSION])
def test_leading_axes_are_free(loss):
    logits, y = batches(loss)
    together, alone = jax.jit(lambda logits, y: (loss(logits, y), jax.vmap(jax.vmap(loss))(logits, y)))(logits, y)
    assert together.shape == (2, 5) and together.dtype == jnp.float32
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)


def test_first_and_second_derivatives_agree_with_finite_differences():
    every = {loss.__name__: loss for loss in (losses.binary_cross_entropy, losses.cross_entropy, *REGRESSION)}
    with jax.enable_x64(True):
        given = {name: batches(loss) for name, loss in every.items()}
        logits = {name: z for name, (z, _) in given.items()}
        assert {z.dtype for z in logits.values()} == {np.dtype("float64")}
        toward = {name: normal(2, *z.shape) for name, z in logits.items()}

        @jax.jit
        def derivatives(logits, toward, eps=1e-5):
            """For each loss: first derivatives, second derivatives; the last of each is that of differences."""

            def of_one(loss, z, u, y):
                value = lambda z: jnp.sum(loss(z, y) * jnp.arange(1.0, 11.0).reshape(2, 5))
                forward = lambda z: jax.jvp(value, (z,), (u,))[1]
                slope = jax.grad(value)
                along = lambda z: jnp.sum(slope(z) * u)
                central = lambda f: (f(z + eps * u) - f(z - eps * u)) / (2 * eps)
                first = forward(z), along(z), central(value)
                return first, (jax.jvp(slope, (z,), (u,))[1], jax.grad(along)(z), jax.grad(forward)(z), central(slope))

            return {name: of_one(loss, logits[name], toward[name], given[name][1]) for name, loss in every.items()}

        for name, orders in derivatives(logits, toward).items():
            for *exact, differences in orders:
                for each in exact:
                    assert each.dtype == np.dtype("float64")
                    np.testing.assert_allclose(each, differences, rtol=1e-5, atol=1e-5, err_msg=name)


def test_cross_entropy_is_scikit_learns_log_loss():
    logits, y = normal(0, 40, 4), integers(1, 4, 40)
    expected = log_loss(y, np.exp(log_softmax(float64(logits), axis=-1)), labels=range(4))
    assert math.isclose(losses.cross_entropy(logits, y).mean(), expected, rel_tol=1e-6)
    yes = y > 1
    expected = log_loss(yes, expit(float64(logits[:, 0])))
    assert math.isclose(losses.binary_cross_entropy(logits[:, 0], yes).mean(), expected, rel_tol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32, jnp.uint32])
def test_integer_one_hot_and_soft_labels_give_the_same_bits(dtype, smoothing):
    logits, y = normal(0, 7, 4), jnp.array([0, 1, 2, 3, 3, 2, 0])
    hot = np.eye(4)[y]
    numbers = losses.cross_entropy(logits, y.astype(dtype), label_smoothing=smoothing)
    for same in (hot.astype(dtype), hot.astype(np.float32), hot.astype(bool)):
        assert losses.cross_entropy(logits, same, label_smoothing=smoothing).tolist() == numbers.tolist()
    expected = -(((1 - smoothing) * hot + smoothing / 4) * log_softmax(float64(logits), axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(numbers, expected, rtol=1e-6)


def test_soft_labels_and_smoothing_follow_the_equation():
    logits, y = float64(normal(0, 6)), float64(jax.random.uniform(jax.random.key(1), (6,)))
    p, smooth = expit(logits), 0.8 * y + 0.1
    expected = -xlogy(smooth, p) - xlog1py(1 - smooth, -p)
    got = losses.binary_cross_entropy(jnp.float32(logits), jnp.float32(y), label_smoothing=0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_at_a_gap_of_200_the_loss_is_200_and_the_gradient_is_minus_one_and_one():
    loss, slope = jax.jit(jax.value_and_grad(losses.cross_entropy))(jnp.array([0.0, 200.0]), jnp.array(0))
    assert loss == 200 and slope.tolist() == [-1, 1]
    assert jax.jit(jax.value_and_grad(losses.binary_cross_entropy))(jnp.array(200.0), jnp.array(0)) == (200, 1)


@functools.cache
def value_and_slope(loss):
    """The loss of each row and the gradient of their sum, compiled."""

    def both(z, y):
        value, pull = jax.vjp(lambda z: loss(z, y), z)
        return value, pull(jnp.ones_like(value))[0]

    return jax.jit(both)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_large_logits_agree_with_float64(size):
    z = np.float32(size) * np.array([[1, -1, 0.5], [-1, 0.25, 1], [0, 0, 0]], np.float32)
    y = np.array([1, 0, 2])
    exact = float64(z)
    loss, slope = value_and_slope(losses.cross_entropy)(z, y)
    log_p = np.asarray(log_softmax(exact, axis=1))
    np.testing.assert_allclose(loss, -log_p[range(3), y], rtol=1e-6)
    np.testing.assert_allclose(slope, np.exp(log_p) - np.eye(3)[y], rtol=1e-6, atol=1e-7)

    hit = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0]])
    loss, slope = value_and_slope(losses.binary_cross_entropy)(z, hit)
    np.testing.assert_allclose(loss, np.logaddexp(0, exact) - hit * exact, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(slope, expit(exact) - hit, rtol=1e-6, atol=1e-7)


def test_cross_entropy_is_the_lectures_code():
    def lecture(p, y):
        return -math.log(p) if y == 1 else -math.log(1 - p)

    for p in (1e-6, 0.1, 0.5, 0.9, 1 - 1e-6):
        for y in (0, 1):
            logit = jnp.array(math.log(p) - math.log1p(-p), jnp.float32)
            assert math.isclose(losses.binary_cross_entropy(logit, jnp.array(y)), lecture(p, y), rel_tol=2e-6)


def test_the_loss_is_minus_the_log_likelihood():
    logits, y = normal(0, 8, 3), integers(1, 3, 8)
    assert losses.log_likelihood(logits, y) == -losses.cross_entropy(logits, y).mean()
    yes = y > 0
    expected = np.log(np.where(yes, expit(logits[:, 0]), expit(-logits[:, 0]))).mean()
    assert math.isclose(losses.log_likelihood(logits[:, :1], yes), expected, rel_tol=1e-6)


@pytest.mark.parametrize(
    "loss, equation",
    [
        (losses.squared, lambda z, y: (z - y) ** 2),
        (losses.absolute, lambda z, y: np.abs(z - y)),
        (losses.huber, lambda z, y: scipy_huber(1.0, z - y)),
        (lambda z, y: losses.huber(z, y, delta=0.3), lambda z, y: scipy_huber(0.3, z - y)),
        (losses.poisson, lambda z, y: np.exp(z) - y * z),
    ],
)
def test_regression_losses_are_means_over_the_outputs(loss, equation):
    z, y = normal(0, 5, 3), jnp.abs(normal(1, 5, 3))
    expected = equation(float64(z), float64(y)).mean(axis=-1)
    np.testing.assert_allclose(loss(z, y), expected, rtol=1e-6)


def test_quantiles_and_normal_densities_are_those_of_other_libraries():
    p, y, q = normal(0, 7, 3, 2), normal(1, 7, 3), (0.1, 0.7)
    each = [mean_pinball_loss(y.T, p[..., k].T, alpha=q[k], multioutput="raw_values") for k in range(2)]
    np.testing.assert_allclose(losses.quantile(p, y, quantiles=q), np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(losses.quantile(p[..., :1], y), losses.absolute(p[..., 0], y) / 2, rtol=1e-6)
    density = norm.logpdf(float64(y), float64(p[..., 0]), np.exp(float64(p[..., 1]) / 2))
    np.testing.assert_allclose(losses.gaussian(p, y), -density.mean(axis=1), rtol=1e-6)


def test_quantiles_and_normal_densities_have_the_derivatives_of_finite_differences():
    def both(p, y):
        return losses.quantile(p, y, quantiles=(0.1, 0.7)), losses.gaussian(p, y)

    with jax.enable_x64(True):
        p, y = normal(0, 2, 5, 3, 2), normal(1, 2, 5, 3)
        jax.test_util.check_grads(jax.jit(lambda p: both(p, y)), (p,), order=1, eps=1e-4)
        together, alone = jax.jit(lambda p, y: (both(p, y), jax.vmap(jax.vmap(both))(p, y)))(p, y)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), together, alone)


def test_quantiles_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"prediction\[4, 3\]: the last axis must be 2"):
        losses.quantile(jnp.zeros((4, 3)), jnp.zeros(4), quantiles=(0.1, 0.9))
    with pytest.raises(InputError, match=r"quantiles=1.5: must be in \(0, 1\)"):
        losses.quantile(jnp.zeros((4, 1)), jnp.zeros(4), quantiles=(1.5,))
    with pytest.raises(InputError, match="the last axis must be 2, mean and log-variance"):
        losses.gaussian(jnp.zeros((4, 3)), jnp.zeros(4))
    for loss in (losses.quantile, losses.gaussian):
        with pytest.raises(InputError, match=r"y\[4, 1\]"):
            loss(jnp.zeros((4, 1 + (loss is losses.gaussian))), jnp.zeros((4, 1)))


def test_the_derivative_of_the_absolute_loss_is_zero_at_zero():
    assert jax.grad(losses.absolute)(jnp.ones(1), jnp.ones(1)) == 0


@pytest.mark.parametrize(
    "dtype, classes",
    [(jnp.uint8, 3), (jnp.int8, 3), (jnp.int32, 3), (jnp.uint32, 3), (jnp.int8, 300), (jnp.int32, 300)],
)
def test_a_label_out_of_range_is_nan_and_never_another_class(dtype, classes):
    info = jnp.iinfo(dtype)
    labels = {info.min, -1, -3, classes, classes + 1, 2**16, info.max}
    bad = jnp.array([n for n in labels if info.min <= n <= info.max and not 0 <= n < classes], dtype)
    loss, slope = jax.jit(jax.vmap(jax.value_and_grad(losses.cross_entropy)))(jnp.zeros((bad.size, classes)), bad)
    assert bad.size and jnp.isnan(loss).all() and jnp.isnan(slope).all()


def test_a_narrow_label_of_many_classes_is_itself():
    logits = normal(0, 2, 300)
    narrow, wide = jnp.array([10, 200], jnp.uint8), jnp.array([10, 200])
    assert losses.cross_entropy(logits, narrow).tolist() == losses.cross_entropy(logits, wide).tolist()


def test_a_64_bit_label_is_not_cut_to_32_bits():
    with jax.enable_x64(True):
        assert jnp.isnan(losses.cross_entropy(jnp.zeros(8), jnp.array(2**40 + 5)))


@pytest.mark.parametrize("label", [-1.0, 1.5, 3.0, math.nan])
def test_a_binary_label_out_of_range_is_nan(label):
    loss, slope = jax.jit(jax.value_and_grad(losses.binary_cross_entropy))(jnp.array(1.0), jnp.array(label))
    assert jnp.isnan(loss) and jnp.isnan(slope)


def test_a_negative_count_is_nan():
    loss, slope = jax.value_and_grad(losses.poisson)(jnp.ones(1), jnp.array([-1.0]))
    assert jnp.isnan(loss) and jnp.isnan(slope).all()


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, *REGRESSION])
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (4, 1)), ((4, 3), (3,)), ((4, 3), (1, 3)), ((4,), ())])
def test_shapes_never_broadcast(loss, shapes):
    logits, y = map(jnp.zeros, shapes)
    with pytest.raises(InputError) as error:
        loss(logits, y)
    assert str(list(shapes[0])) in str(error.value) and str(list(shapes[1])) in str(error.value)


@pytest.mark.parametrize(
    "logits, y, words",
    [
        (jnp.zeros((4, 3)), jnp.zeros((4, 1), int), ["y[4, 1]", "logits[4, 3]"]),
        (jnp.zeros((4, 3)), jnp.zeros((4, 2), int), ["y[4, 2]", "logits[4, 3]"]),
        (jnp.zeros((4, 3)), jnp.zeros((), int), ["y[]", "logits[4, 3]"]),
        (jnp.zeros((4, 3)), jnp.zeros(4), ["float32", "integers"]),
        (jnp.zeros((4, 3)), jnp.zeros(4, bool), ["bool", "integers"]),
        (jnp.zeros((4, 1)), jnp.zeros(4, int), ["logits[4, 1]", ">= 2 classes"]),
        (jnp.zeros((4, 0)), jnp.zeros(4, int), ["logits[4, 0]", ">= 2 classes"]),
        (jnp.zeros(()), jnp.zeros((), int), ["logits[]", ">= 2 classes"]),
        (jnp.zeros((4, 3), int), jnp.zeros(4, int), ["int32", "floating"]),
    ],
)
def test_labels_that_do_not_fit_are_refused(logits, y, words):
    with pytest.raises(InputError) as error:
        losses.cross_entropy(logits, y)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize("amount", [-0.1, 1.0, math.nan])
def test_a_smoothing_outside_zero_to_one_is_refused(amount):
    with pytest.raises(InputError, match="label_smoothing"):
        losses.cross_entropy(jnp.zeros((1, 2)), jnp.zeros(1, int), label_smoothing=amount)
    with pytest.raises(InputError, match="delta"):
        losses.huber(jnp.zeros(1), jnp.zeros(1), delta=-amount if amount > 0 else amount)


def test_half_precision_logits_are_scored_in_float32():
    logits = jnp.array([[1.0, 2.0, 3.0]], jnp.bfloat16)
    loss = losses.cross_entropy(logits, jnp.array([0]))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss[0], -log_softmax([1.0, 2.0, 3.0])[0], rtol=1e-6)
