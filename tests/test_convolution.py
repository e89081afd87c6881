"""The fast forms equal the plain ones, and both equal loops in NumPy."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxnn.errors import InputError
from jaxnn.nn import convolution


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def loop_conv(x, w, stride, pads):
    """The sum in the docstring, for one image in float64."""
    x, w = np.pad(np.asarray(x, np.float64), [*pads, (0, 0)]), np.asarray(w, np.float64)
    kh, kw, _, outputs = w.shape
    rows, columns = range(0, x.shape[0] - kh + 1, stride), range(0, x.shape[1] - kw + 1, stride)
    y = [[np.tensordot(x[i : i + kh, j : j + kw], w, 3) for j in columns] for i in rows]
    return np.reshape(y, (len(rows), len(columns), outputs))


def loop_pool(x, window, stride, reduce):
    x = np.asarray(x)
    rows, columns = (range(0, size - window + 1, stride) for size in x.shape[:2])
    return np.array([[reduce(x[i : i + window, j : j + window], (0, 1)) for j in columns] for i in rows])


def close(a, b, tolerance=1e-6):
    """Relative to the largest entry: sums of many terms cancel."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1)


CONV = [*itertools.product([(7, 8)], [(3, 3), (2, 3)], [1, 2, 3], ["VALID", "SAME"]), ((5, 5), (1, 1), 1, "VALID")]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), CONV)
def test_fast_and_plain_convolution_agree_in_value_and_gradient(size, kernel, stride, padding):
    x, w = normal(0, 2, *size, 3), normal(1, *kernel, 3, 4)
    pads = lax.padtype_to_pads(size, kernel, (stride, stride), padding)
    expected = loop_conv(x[0], w, stride, pads)

    @jax.jit
    def both(x, w, dy):
        y, pullback = jax.vjp(lambda x, w: convolution.conv2d(x, w, stride=stride, padding=padding), x, w)
        z, plain_pullback = jax.vjp(lambda x, w: convolution._conv_plain(x, w, stride, pads), x, w)
        return (y, *pullback(dy)), (z, *plain_pullback(dy))

    values, plain_values = both(x, w, normal(2, 2, *expected.shape))
    for fast, plain in zip(values, plain_values, strict=True):
        close(fast, plain)
    close(values[0][0], expected)


POOL = [((7, 5), 2, 2), ((6, 4), 2, 2), ((7, 8), 3, 3), ((7, 9), 4, 4), ((7, 8), 5, 5), ((7, 8), 3, 2), ((7, 8), 2, 3)]


@pytest.mark.parametrize(("size", "window", "stride"), POOL)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_agrees_with_a_loop_and_its_gradient_with_the_plain_form(kind, size, window, stride):
    x = normal(0, 2, *size, 3)
    pool = getattr(convolution, f"{kind}_pool")
    plain = getattr(convolution, f"_{kind}_pool_plain")

    @jax.jit
    def both(x, dy):
        y, pullback = jax.vjp(lambda x: pool(x, window, stride), x)
        z, plain_pullback = jax.vjp(lambda x: plain(x, window, stride), x)
        return (y, *pullback(dy)), (z, *plain_pullback(dy))

    expected = loop_pool(x[1], window, stride, np.max if kind == "max" else np.mean)
    values, plain_values = both(x, normal(1, 2, *expected.shape))
    for fast, slow in zip(values, plain_values, strict=True):
        close(fast, slow)
    close(values[0][1], expected)


def test_stride_is_the_window_by_default():
    for pool in (convolution.max_pool, convolution.avg_pool):
        assert jax.eval_shape(lambda x, pool=pool: pool(x, 3), jnp.ones((7, 6, 1))).shape == (2, 2, 1)


@pytest.mark.parametrize("window", [2, 3])
def test_equal_entries_give_the_gradient_to_the_first_in_both_forms(window):
    x = jnp.array(np.random.default_rng(0).integers(0, 3, (6, 6, 4)), jnp.float32)
    fast = jax.grad(lambda x: convolution.max_pool(x, window).sum())(x)
    plain = jax.grad(lambda x: convolution._max_pool_plain(x, window, window).sum())(x)
    np.testing.assert_array_equal(fast, plain)
    assert float(fast.sum()) == (6 // window) ** 2 * 4


def test_nan_is_passed_on_by_max_pool():
    x = normal(0, 4, 4, 1).at[1, 1, 0].set(jnp.nan)
    for y in (convolution.max_pool(x), jax.jvp(convolution.max_pool, (x,), (x,))[0]):
        np.testing.assert_array_equal(np.isnan(y[..., 0]), [[True, False], [False, False]])


@jax.jit
def block(x, w):
    return convolution.avg_pool(convolution.max_pool(convolution.conv2d(x, w, padding="SAME")))


def test_leading_axes_are_free():
    x, w = normal(0, 2, 3, 9, 8, 2), normal(1, 3, 3, 2, 4)
    close(block(x, w), jax.vmap(jax.vmap(block, (0, None)), (0, None))(x, w))


def test_a_population_of_kernels_is_one_vmap():
    x, w = normal(0, 2, 8, 8, 2), normal(1, 5, 3, 3, 2, 4)
    close(jax.vmap(block, (None, 0))(x, w), jnp.stack([block(x, one) for one in w]))


def test_derivatives_agree_with_central_differences_in_both_modes_and_orders():
    with jax.enable_x64(True):
        x, w = (a.astype(jnp.float64) for a in (normal(0, 5, 5, 2), normal(1, 2, 2, 2, 2)))
        check_grads(jax.jit(lambda x, w: jnp.tanh(block(x, w))), (x, w), order=2, modes=("fwd", "rev"), rtol=1e-4)


def test_a_scanned_gradient_step_on_cpu_compiles_to_no_convolution_and_no_select_and_scatter():
    def train(w, xs, conv, pool):
        def step(w, x):
            return w - 0.1 * jax.grad(lambda w: jnp.square(pool(conv(x, w))).sum())(w), None

        return lax.scan(step, w, xs)[0]

    def program(conv, pool):
        step = jax.jit(lambda w, xs: train(w, xs, conv, pool))
        return step.lower(normal(0, 3, 3, 1, 2), normal(1, 4, 2, 9, 9, 1)).compile().as_text()

    def operations(text):
        names = ("convolution(", "select-and-scatter(", "reduce-window(", "conditional(")
        return [name for name in names if name in text]

    plain = program(
        lambda x, w: convolution._conv_plain(x, w, 1, ((0, 0), (0, 0))), lambda x: convolution._max_pool_plain(x, 2, 2)
    )
    assert "convolution(" in operations(plain)
    assert operations(program(convolution.conv2d, convolution.max_pool)) == []


def test_other_platforms_get_the_plain_form():
    args = (jax.ShapeDtypeStruct((2, 8, 8, 3), "float32"), jax.ShapeDtypeStruct((3, 3, 3, 4), "float32"))
    both = jax.jit(lambda x, w: convolution.max_pool(convolution.conv2d(x, w))).trace(*args)
    for platform, plain in (("cpu", False), ("cuda", True), ("tpu", True)):
        text = both.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == ("stablehlo.reduce_window" in text) == plain


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((2, 1, 8, 8), (3, 3, 1, 4), {}, r"=float32\[2,1,8,8\]: must be \[\.\.\., H, W, 1\].*float32\[3,3,1,4\]; move"),
        ((8, 8, 3), (3, 3, 1, 4), {}, r"x=float32\[8,8,3\]: must be \[\.\.\., H, W, 1\].*as many channels"),
        ((8, 8), (3, 3, 1, 4), {}, r"x=float32\[8,8\]: must be images \[\.\.\., H, W, C\]"),
        ((2, 8, 1), (3, 3, 1, 4), {}, "at least 3 high and 3 wide"),
        ((8, 8, 1), (3, 3, 1, 4), {"padding": "same"}, "padding=same"),
        ((8, 8, 1), (3, 3, 1, 4), {"stride": 0}, "stride=0: must be >= 1"),
    ],
)
def test_unusable_images_are_refused_with_the_shape_expected_and_the_shape_given(x, w, options, message):
    with pytest.raises(InputError, match=message):
        convolution.conv2d(jnp.ones(x), jnp.ones(w), **options)


@pytest.mark.parametrize("pool", [convolution.max_pool, convolution.avg_pool])
def test_pooling_refuses_small_images_integers_and_windows_of_nothing(pool):
    for x, window, message in [
        (jnp.ones((1, 8, 1)), 2, "at least 2 high and 2 wide"),
        (jnp.ones((8, 8, 1), jnp.uint8), 2, r"uint8\[8,8,1\]: must be floating; put scale\(\)"),
        (jnp.ones((8, 8, 1)), 0, "window=0: must be >= 1"),
    ]:
        with pytest.raises(InputError, match=message):
            pool(x, window)
