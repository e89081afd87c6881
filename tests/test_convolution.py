"""The fast forms equal the plain ones, and both equal loops in NumPy."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads
from scipy import ndimage, signal

from jaxnn.errors import InputError
from jaxnn.nn import convolution


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def loop_conv(x, w, stride, pads, dilation=1, groups=1):
    """The sum in the docstring, for one image in float64."""
    x, w = np.pad(np.asarray(x, np.float64), [*pads, (0, 0)]), np.asarray(w, np.float64)
    kh, kw, each, outputs = w.shape
    high, wide = (kh - 1) * dilation + 1, (kw - 1) * dilation + 1
    rows, columns = range(0, x.shape[0] - high + 1, stride), range(0, x.shape[1] - wide + 1, stride)
    y = np.zeros((len(rows), len(columns), outputs))
    for a, i in enumerate(rows):
        for b, j in enumerate(columns):
            seen = x[i : i + high : dilation, j : j + wide : dilation]
            for o in range(outputs):
                first = o // (outputs // groups) * each
                y[a, b, o] = (seen[..., first : first + each] * w[..., o]).sum()
    return y


def loop_pool(x, window, stride, reduce):
    x = np.asarray(x)
    rows, columns = (range(0, size - window + 1, stride) for size in x.shape[:2])
    return np.array([[reduce(x[i : i + window, j : j + window], (0, 1)) for j in columns] for i in rows])


def close(a, b, tolerance=1e-6):
    """Relative to the largest entry: sums of many terms cancel."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1)


PLAIN = [*itertools.product([(3, 3), (2, 3)], [1, 2, 3], ["VALID", "SAME"], [1], [1]), ((1, 1), 2, "VALID", 1, 1)]
DILATED = [((3, 2), 1, "VALID", 2, 1), ((3, 3), 2, "SAME", 2, 1), ((3, 3), 1, "SAME", 3, 1)]
GROUPED = [
    ((3, 3), 1, "SAME", 1, 2),
    ((2, 3), 2, "VALID", 1, 2),
    ((1, 1), 1, "VALID", 1, 2),
    ((3, 3), 1, "VALID", 2, 2),
]
DEPTHWISE = [((3, 3), 1, "SAME", 1, 4), ((3, 5), 2, "SAME", 1, 4), ((3, 2), 1, "VALID", 2, 4)]


@pytest.mark.long
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups"), PLAIN + DILATED + GROUPED + DEPTHWISE)
def test_fast_and_plain_convolution_agree_in_value_and_gradient(kernel, stride, padding, dilation, groups):
    size = (7, 8)
    x, w = normal(0, 2, *size, 4), normal(1, *kernel, 4 // groups, 8)
    pads = lax.padtype_to_pads(size, [(k - 1) * dilation + 1 for k in kernel], (stride, stride), padding)
    expected = loop_conv(x[0], w, stride, pads, dilation, groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    @jax.jit
    def both(x, w, dy):
        y, pullback = jax.vjp(lambda x, w: convolution.conv2d(x, w, **options), x, w)
        z, plain_pullback = jax.vjp(
            lambda x, w: convolution._conv_plain(x, w, (stride, stride), pads, dilation, groups), x, w
        )
        return (y, *pullback(dy)), (z, *plain_pullback(dy))

    values, plain_values = both(x, w, normal(2, 2, *expected.shape))
    for fast, plain in zip(values, plain_values, strict=True):
        close(fast, plain)
    close(values[0][0], expected)


@pytest.mark.long
def test_one_channel_is_the_correlation_of_scipy():
    x, w = normal(0, 9, 11), normal(1, 3, 5)
    y = convolution.conv2d(x[..., None], w[..., None, None], padding="SAME")[..., 0]
    close(y, signal.correlate2d(np.asarray(x, np.float64), np.asarray(w, np.float64), "same"))
    y = convolution.conv2d(x[..., None], w[..., None, None], stride=2)[..., 0]
    close(y, signal.correlate2d(np.asarray(x, np.float64), np.asarray(w, np.float64), "valid")[::2, ::2])


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
def test_reflect_padding_is_that_of_numpy_and_strides_may_differ(stride):
    x, w = normal(0, 2, 6, 7, 2), normal(1, 3, 5, 2, 4)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    pads = lax.padtype_to_pads((6, 7), (3, 5), (down, right), "SAME")
    around = np.pad(x[1], [*pads, (0, 0)], mode="reflect")
    expected = loop_conv(around, w, 1, ((0, 0), (0, 0)))[::down, ::right]
    close(convolution.conv2d(x, w, stride=stride, padding="REFLECT")[1], expected)
    expected = loop_conv(x[1], w, 1, pads)[::down, ::right]
    close(convolution.conv2d(x, w, stride=stride, padding="SAME")[1], expected)


POOL = [((7, 5), 2, 2), ((6, 4), 2, 2), ((7, 8), 3, 3), ((7, 9), 4, 4), ((7, 8), 5, 5), ((7, 8), 3, 2), ((7, 8), 2, 3)]


@pytest.mark.long
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


SAME = [((7, 5), 2, 2), ((7, 8), 3, 2), ((7, 8), 3, 3), ((7, 8), 2, 3)]


@pytest.mark.parametrize(("size", "window", "stride"), SAME)
def test_max_pooling_with_padding_agrees_with_a_loop_and_its_gradient_with_the_plain_form(size, window, stride):
    x = normal(0, 2, *size, 3) - 5  # zeros around it would be the largest
    pads = lax.padtype_to_pads(size, (window, window), (stride, stride), "SAME")

    @jax.jit
    def both(x, dy):
        y, pullback = jax.vjp(lambda x: convolution.max_pool(x, window, stride, "SAME"), x)
        z, plain_pullback = jax.vjp(lambda x: convolution._max_pool_plain(x, window, stride, pads), x)
        return (y, *pullback(dy)), (z, *plain_pullback(dy))

    expected = loop_pool(np.pad(x[1], [*pads, (0, 0)], constant_values=-np.inf), window, stride, np.max)
    assert expected.shape == (-(-size[0] // stride), -(-size[1] // stride), 3)
    values, plain_values = both(x, normal(1, 2, *expected.shape))
    for fast, slow in zip(values, plain_values, strict=True):
        close(fast, slow)
    close(values[0][1], expected)


def test_the_global_mean_is_that_of_each_channel():
    x = normal(0, 2, 3, 5, 4, 6)
    close(convolution.global_avg_pool(x), np.asarray(x, np.float64).mean((2, 3)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_upsampling_agrees_with_numpy_and_scipy(k):
    x = normal(0, 2, 4, 5, 3)
    close(convolution.upsample(x, k), np.asarray(x).repeat(k, 1).repeat(k, 2))
    exact = np.asarray(x, np.float64)
    expected = ndimage.zoom(exact, (1, k, k, 1), order=1, mode="nearest", grid_mode=True)
    close(convolution.upsample(x, k, "bilinear"), expected)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_the_gradient_of_upsampling_keeps_its_sum(method):
    dy = normal(0, 6, 8, 2)
    (dx,) = jax.vjp(lambda x: convolution.upsample(x, 2, method), jnp.zeros((3, 4, 2)))[1](dy)
    close(dx.sum((0, 1)), dy.sum((0, 1)), 1e-5)


def test_half_precision_stays_half_precision():
    x, w = jnp.ones((8, 8, 4), jnp.bfloat16), jnp.ones((3, 3, 1, 4), jnp.bfloat16)
    for layer in (
        lambda x: convolution.conv2d(x, w, groups=4), lambda x: convolution.conv2d(x, w.reshape(3, 3, 4, 1)),
        lambda x: convolution.max_pool(x, 3, 2, "SAME"), lambda x: convolution.max_pool(x, 2, padding="SAME"),
        convolution.global_avg_pool, convolution.upsample, lambda x: convolution.upsample(x, 2, "bilinear"),
    ):  # fmt: skip
        assert jax.eval_shape(layer, x).dtype == jnp.bfloat16


def test_stride_is_the_window_by_default():
    for pool in (convolution.max_pool, convolution.avg_pool):
        assert jax.eval_shape(lambda x, pool=pool: pool(x, 3), jnp.ones((7, 6, 1))).shape == (2, 2, 1)


@pytest.mark.long
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


@pytest.mark.long
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
        lambda x, w: convolution._conv_plain(x, w, (1, 1), ((0, 0), (0, 0))),
        lambda x: convolution._max_pool_plain(x, 2, 2),
    )
    assert "convolution(" in operations(plain)
    assert operations(program(convolution.conv2d, convolution.max_pool)) == []


def test_other_platforms_get_the_plain_form():
    args = (jax.ShapeDtypeStruct((2, 8, 8, 3), "float32"), jax.ShapeDtypeStruct((3, 3, 3, 4), "float32"))
    both = jax.jit(lambda x, w: convolution.max_pool(convolution.conv2d(x, w))).trace(*args)
    depthwise = lambda x, w: convolution.conv2d(x, w[:, :, :1, :3], groups=3)
    for platform, plain in (("cpu", False), ("cuda", True), ("tpu", True)):
        text = both.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == ("stablehlo.reduce_window" in text) == plain
        text = jax.jit(depthwise).trace(*args).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == plain
        assert "dot_general" not in text


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((2, 1, 8, 8), (3, 3, 1, 4), {}, r"=float32\[2,1,8,8\]: must be \[\.\.\., H, W, 1\].*float32\[3,3,1,4\]; move"),
        ((8, 8, 3), (3, 3, 1, 4), {}, r"x=float32\[8,8,3\]: must be \[\.\.\., H, W, 1\].*as many channels"),
        ((8, 8), (3, 3, 1, 4), {}, r"x=float32\[8,8\]: must be images \[\.\.\., H, W, C\]"),
        ((2, 8, 1), (3, 3, 1, 4), {}, "at least 3 high and 3 wide"),
        ((8, 8, 1), (3, 3, 1, 4), {"padding": "same"}, "padding=same"),
        ((8, 8, 1), (3, 3, 1, 4), {"stride": 0}, "stride=0: must be >= 1"),
        ((8, 8, 1), (3, 3, 1, 4), {"stride": (1, 2, 3)}, r"stride=\(1, 2, 3\): must be a number, or height and width"),
        ((8, 2, 1), (3, 5, 1, 4), {"padding": "REFLECT"}, "at least 2 high and 3 wide"),
        ((8, 8, 1), (3, 3, 1, 4), {"dilation": 0}, "dilation=0: must be >= 1"),
        ((8, 8, 1), (3, 3, 1, 4), {"dilation": 4}, "at least 9 high and 9 wide"),
        ((8, 8, 6), (3, 3, 2, 4), {"groups": 3}, "groups=3: must be >= 1 and divide the 4 outputs of w"),
        ((8, 8, 6), (3, 3, 6, 4), {"groups": 2}, r"must be \[\.\.\., H, W, 12\]"),
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


def test_upsampling_refuses_an_unknown_method_integers_and_no_size():
    for options, message in [
        ({"method": "bilinea"}, "upsample method=bilinea: unknown; did you mean bilinear"),
        ({"k": 0}, "upsample k=0: must be >= 1"),
    ]:
        with pytest.raises(InputError, match=message):
            convolution.upsample(jnp.ones((4, 4, 1)), **options)
    for layer in (convolution.upsample, convolution.global_avg_pool):
        with pytest.raises(InputError, match=r"must be floating; put scale\(\)"):
            layer(jnp.ones((4, 4, 1), jnp.uint8))
        with pytest.raises(InputError, match=r"must be images \[\.\.\., H, W, C\]"):
            layer(jnp.ones((4, 4)))
