"""Layers, activations, initializers and regularizers of Keras: against NumPy, and against Keras 3 where it is."""

import json
import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import tree
from jaxnn.errors import InputError
from jaxnn.keras import activations, base, initializers, inputs, layers, regularizers
from jaxnn.numerics import relaxed

os.environ.setdefault("KERAS_BACKEND", "jax")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras' own


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def call(layer, *xs: Any):
    """What the layer gives, in one program."""
    net, _ = layer.connect(*(tuple(x.shape)[1:] for x in xs))
    base.draw([layer])
    return np.asarray(jax.jit(net.apply)(layer.params, xs[0] if len(xs) == 1 else xs))


X, IMAGE = normal(5, 4), normal(3, 6, 5, 4)


# ---- against NumPy ----


def test_dense_is_a_product_with_a_kernel_of_in_by_out():
    layer = layers.Dense(3, activation="tanh", bias_initializer="ones")
    layer(X)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (4, 3) and layer.params["w"].shape == (3, 4) and bias.tolist() == [1, 1, 1]
    close(layer(X), np.tanh(X @ kernel + 1))
    layer.set_weights([2 * kernel, bias])
    close(layer(X), np.tanh(2 * X @ kernel + 1))


def test_pools_of_any_window_and_padding_agree_with_a_loop():
    for kind, reduce in ((layers.MaxPooling2D, np.max), (layers.AveragePooling2D, np.mean)):
        for window, strides, padding in (((2, 3), None, "SAME"), ((3, 1), (2, 1), "same"), ((2, 2), (1, 2), "Valid")):
            layer = kind(window, strides, padding)
            steps = layer.strides
            pads = jax.lax.padtype_to_pads((6, 5), window, steps, padding.upper())
            wide = np.pad(IMAGE, [(0, 0), *pads, (0, 0)], constant_values=np.nan)
            sizes = [(n - k) // s + 1 for n, k, s in zip(wide.shape[1:3], window, steps, strict=True)]
            expected = np.zeros((3, *sizes, 4))
            for i, j in np.ndindex(*sizes):
                a, b = i * steps[0], j * steps[1]
                part = wide[:, a : a + window[0], b : b + window[1]]
                inside = part[:, ~np.isnan(part[0, :, :, 0])]
                expected[:, i, j] = reduce(inside, axis=1)
            close(call(layer, IMAGE), expected)


NUMPY = {
    "flatten": (layers.Flatten(), IMAGE, lambda x: x.reshape(3, -1)),
    "reshape": (layers.Reshape((10, -1)), IMAGE, lambda x: x.reshape(3, 10, 12)),
    "permute": (layers.Permute((3, 1, 2)), IMAGE, lambda x: x.transpose(0, 3, 1, 2)),
    "repeat": (layers.RepeatVector(3), X, lambda x: np.repeat(x[:, None], 3, 1)),
    "rescaling": (layers.Rescaling(1 / 255, -0.5), X, lambda x: x / 255 - 0.5),
    "rescaling_channels": (layers.Rescaling([1.0, 2.0, 3.0, 4.0], 1), X, lambda x: x * [1, 2, 3, 4] + 1),
    "padding": (layers.ZeroPadding2D(((1, 0), (2, 3))), IMAGE, lambda x: np.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0)))),
    "cropping": (layers.Cropping2D((1, 2)), IMAGE, lambda x: x[:, 1:-1, 2:-2]),
    "upsampling": (layers.UpSampling2D((2, 3)), IMAGE, lambda x: x.repeat(2, 1).repeat(3, 2)),
    "global_average": (layers.GlobalAvgPool2D(), IMAGE, lambda x: x.mean((1, 2))),
    "global_max": (layers.GlobalMaxPool2D(keepdims=True), IMAGE, lambda x: x.max((1, 2), keepdims=True)),
    "lambda": (layers.Lambda(lambda x, n: x[:, 0] * n, arguments={"n": 2}), X, lambda x: 2 * x[:, 0]),
    "relu": (layers.ReLU(max_value=1.0, negative_slope=0.1), X, lambda x: np.where(x > 0, np.minimum(x, 1), 0.1 * x)),
    "leaky_relu": (layers.LeakyReLU(), X, lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": (layers.ELU(2.0), X, lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
    "prelu": (layers.PReLU("ones"), X, lambda x: x),
    "softmax": (layers.Softmax(1), IMAGE, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "normalization": (layers.Normalization(mean=2.0, variance=4.0), X, lambda x: (x - 2) / 2),
    "identity": (layers.ActivityRegularization(0.1), X, lambda x: x),
    "dropout": (layers.Dropout(0.5), X, lambda x: x),
    "layer_norm": (
        layers.LayerNormalization(scale=False),
        X,
        lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3),
    ),
}


@pytest.mark.parametrize("name", NUMPY)
def test_a_layer_agrees_with_numpy_and_its_leading_axes_are_free(name):
    layer, x, expected = NUMPY[name]
    y = call(layer, x)
    close(y, expected(x), 2e-6)
    net, _ = layer.connect(x.shape[1:])
    each, more = jax.jit(
        lambda x: (jax.vmap(lambda one: net.apply(layer.params, one))(x), net.apply(layer.params, x[None]))
    )(x)
    close(each, y)
    close(more[0], y)


def test_layers_of_several_inputs_agree_with_numpy():
    x, y, z = X, normal(5, 1), normal(5, 4) + 1
    for kind, expected in (
        (layers.Add, x + y + z), (layers.Multiply, x * y * z), (layers.Average, (x + y + z) / 3),
        (layers.Maximum, np.maximum(np.maximum(x, y), z)), (layers.Minimum, np.minimum(np.minimum(x, y), z)),
    ):  # fmt: skip
        close(kind()([x, y, z]), expected)
    close(layers.Subtract()([x, z]), x - z)
    close(layers.concatenate([x, y]), np.concatenate([x, y], 1))
    close(layers.Concatenate(1)([IMAGE, IMAGE]), np.concatenate([IMAGE, IMAGE], 1))
    tensor = layers.add([inputs.Input((4,)), inputs.Input((4,))])
    assert tensor.shape == (None, 4)


def test_batch_normalization_keeps_the_moments_of_the_batch():
    layer = layers.BatchNormalization(center=False, gamma_initializer="ones")
    layer(IMAGE)
    assert [w.tolist() for w in layer.get_weights()] == [[1] * 4, [0] * 4, [1] * 4]
    net, _ = layer.connect(IMAGE.shape[1:])
    frozen = jax.tree.map(lambda _: False, layer.params)
    assert net.observe
    y, params = net.observe(layer.params, IMAGE, None, jnp.ones(3), frozen)
    mean, var = IMAGE.mean((0, 1, 2)), IMAGE.var((0, 1, 2))
    close(y, (IMAGE - mean) / np.sqrt(var + 1e-3), 1e-5)
    close(params["batch_stats"]["mean"], 0.01 * mean)
    close(params["batch_stats"]["var"], 0.99 + 0.01 * var)
    assert sorted(params) == ["batch_stats", "scale"]
    close(net.apply(params, IMAGE), (IMAGE - 0.01 * mean) / np.sqrt(0.99 + 0.01 * var + 1e-3), 1e-5)


@pytest.mark.parametrize(("axis", "kept"), [(-1, (3,)), (None, ()), ((1, 3), (1, 3))])
def test_normalization_adapts_to_arrays_batches_and_after_it_was_built(axis, kept):
    out = tuple(i for i in range(4) if i not in kept)
    mean, std = IMAGE.mean(out, keepdims=True), IMAGE.std(out, keepdims=True)
    early, late, batches = (layers.Normalization(axis) for _ in range(3))
    early.adapt(IMAGE)
    batches.adapt([IMAGE[:2], IMAGE[2:]])
    late(IMAGE)
    late.adapt(IMAGE)
    for layer in (early, late, batches):
        close(layer(IMAGE), (IMAGE - mean) / std, 1e-5)
    back = layers.Normalization(axis, invert=True)
    back.adapt(IMAGE)
    close(back(early(IMAGE)), IMAGE, 1e-5)


NOISE = {
    "dropout": (layers.Dropout(0.3), 1.0, 0.3 / 0.7),
    "gaussian": (layers.GaussianNoise(0.5), 1.0, 0.25),
    "gaussian_dropout": (layers.GaussianDropout(0.3), 1.0, 0.3 / 0.7),
    "spatial": (layers.SpatialDropout2D(0.3), 1.0, 0.3 / 0.7),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_has_its_mean_and_variance_and_is_gone_without_a_key(name):
    layer, mean, variance = NOISE[name]
    x = np.ones((4000, 2, 2, 3), np.float32)
    net, _ = layer.connect(x.shape[1:])
    y = np.asarray(net.apply({}, x, jax.random.key(0)))
    assert abs(y.mean() - mean) < 0.03 and abs(y.var() - variance) < 0.03
    assert (y[:, :1, :1] == y).all() == (name == "spatial")
    close(net.apply({}, x), x)


def test_alpha_dropout_keeps_mean_and_variance_and_a_seed_changes_the_noise():
    x = np.random.default_rng(0).normal(size=(40000, 1)).astype(np.float32)
    net, _ = layers.AlphaDropout(0.2).connect((1,))
    y = net.apply({}, x, jax.random.key(0))
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03
    draw = lambda **seed: layers.Dropout(0.5, **seed).connect((1,))[0].apply({}, x, jax.random.key(0))
    assert (draw(seed=1) == draw(seed=1)).all() and (draw(seed=1) != draw()).any()


def trained(layer, x):
    net, _ = layer.connect(x.shape[1:])
    return np.asarray(jax.jit(net.apply)({}, x, jax.random.key(3)))


def test_random_flips_are_those_of_numpy_for_each_image():
    x = np.broadcast_to(IMAGE[:1], (64, 6, 5, 4))
    for mode, changes in (("horizontal", 2), ("vertical", 2), ("horizontal_and_vertical", 4)):
        y = trained(layers.RandomFlip(mode), x)
        options = [IMAGE[0], IMAGE[0][:, ::-1], IMAGE[0][::-1], IMAGE[0][::-1, ::-1]]
        allowed = {"horizontal": [0, 1], "vertical": [0, 2]}.get(mode, [0, 1, 2, 3])
        found = [[i for i in allowed if np.array_equal(each, options[i])] for each in y]
        assert all(found) and len({each[0] for each in found}) == changes
    close(layers.RandomFlip()(x), x)


@pytest.mark.long
def test_warps_by_whole_pixels_and_quarter_turns_are_those_of_numpy():
    x = normal(2, 6, 6, 3)
    around = ((0, 0), (2, 2), (2, 2), (0, 0))
    for mode, wide in (
        ("constant", np.pad(x, around)), ("nearest", np.pad(x, around, "edge")),
        ("reflect", np.pad(x, around, "symmetric")),
    ):  # fmt: skip
        moved = layers.RandomTranslation((1 / 3, 1 / 3), (-1 / 3, -1 / 3), fill_mode=mode)
        close(trained(moved, x), wide[:, :6, 4:], 1e-5)
    close(trained(layers.RandomRotation((0.25, 0.25)), x), np.rot90(x, 1, (1, 2)), 1e-5)
    filled = trained(layers.RandomTranslation((1.0, 1.0), 0.0, fill_mode="constant", fill_value=0.5), x)
    close(filled, np.full_like(x, 0.5))
    zoomed = trained(layers.RandomZoom((1.0, 1.0), fill_mode="constant", interpolation="nearest"), x)
    assert (zoomed[:, 0] == 0).all() and (zoomed[:, 2:4, 2:4] != 0).all()


def test_light_and_contrast_are_cut_to_the_range_of_values():
    x = np.abs(IMAGE) * 50
    y = trained(layers.RandomBrightness((0.2, 0.2)), x)
    close(y, np.clip(x + 51, 0, 255), 1e-5)
    mean = x.mean((1, 2), keepdims=True)
    y = trained(layers.RandomContrast((0.0, 1.0)), x)
    factor = ((y - mean) / (x - mean))[(y > 0) & (y < 255)].reshape(-1)
    assert factor.min() >= 1 - 1e-3 and factor.max() <= 2 + 1e-3 and np.ptp(factor) > 0.1


def test_a_last_softmax_or_sigmoid_can_be_left_out():
    for layer in (
        layers.Dense(3, activation="softmax"), layers.Dense(3, activations.sigmoid),
        layers.Activation("softmax"), layers.Softmax(),
    ):  # fmt: skip
        logits = layer.without_activation()
        assert logits and logits.name == layer.name and layer.without_activation() is not None
        y = call(layer, X)
        close(layer.activation(logits.connect(X.shape[1:])[0].apply(layer.params, X)), y)
    for layer in (layers.Dense(3, "relu"), layers.Flatten(), layers.Softmax(1), layers.ReLU(), layers.Dense(3)):
        assert layer.without_activation() is None


def test_seeded_weights_are_the_same_each_time_and_functions_begin_weights_too():
    one = layers.Dense(3, kernel_initializer=initializers.HeNormal(seed=1))
    two = layers.Dense(3, kernel_initializer="he_normal")
    close(one(X), layers.Dense(3, kernel_initializer=initializers.he_normal(1))(X))
    assert (one(X) != two(X)).any()
    own = layers.Dense(3, kernel_initializer=lambda shape, dtype=None: np.arange(12.0).reshape(shape).astype(dtype))
    own(X)
    assert own.get_weights()[0].tolist() == np.arange(12.0).reshape(4, 3).tolist()
    assert initializers.GlorotUniform(seed=0)(shape=(2, 3)).shape == (2, 3)


VARIANCES = {
    "glorot_uniform": 2 / (9 * 40 + 9 * 60), "glorot_normal": 2 / (9 * 40 + 9 * 60),
    "he_uniform": 2 / 360, "he_normal": 2 / 360, "lecun_uniform": 1 / 360, "lecun_normal": 1 / 360,
    "random_normal": 0.05**2, "random_uniform": 0.1**2 / 12, "truncated_normal": (0.05 * 0.87962566) ** 2,
    "orthogonal": 1 / 360, "zeros": 0, "ones": 0, "variance_scaling": 1 / 360,
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", VARIANCES)
def test_first_weights_have_the_variance_of_their_initializer(name):
    shape = (3, 3, 40, 60)
    weights = np.asarray(initializers.drawn(initializers.get(name))(jax.random.key(0), shape, jnp.float32))
    assert abs(weights.var() - VARIANCES[name]) <= 0.03 * VARIANCES[name] + 1e-12
    assert abs(weights.mean() - (name == "ones")) < 0.01


def test_depthwise_and_transposed_kernels_have_the_fans_of_keras():
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=50)
    depthwise.connect((3, 3, 20))
    assert abs(depthwise.get_weights()[0].var() / (2 / (9 * 20 + 9 * 50)) - 1) < 0.05
    transposed = layers.Conv2DTranspose(20, 3, kernel_initializer="he_normal")
    transposed.connect((3, 3, 50))
    assert abs(transposed.get_weights()[0].var() / (2 / (9 * 20)) - 1) < 0.05


def test_penalties_and_their_gradients():
    w = np.abs(normal(4, 3)) + 0.1
    for penalty, value, slope in (
        (regularizers.l1(0.1), 0.1 * w.sum(), 0.1 + 0 * w),
        (regularizers.l2(0.1), 0.1 * (w**2).sum(), 0.2 * w),
        (regularizers.l1_l2(0.1, 0.2), 0.1 * w.sum() + 0.2 * (w**2).sum(), 0.1 + 0.4 * w),
    ):
        close(penalty(jnp.asarray(w)), value)
        close(jax.grad(penalty)(jnp.asarray(w)), slope)
    layer = layers.Dense(3, kernel_regularizer="l2", bias_regularizer=lambda b: (b - 1).sum())
    assert sorted(layer.regularizers) == ["b", "w"] and layers.Dense(3).regularizers == {}


CONFIGS = [
    layers.Dense(3, "relu", kernel_regularizer=regularizers.L2(0.1), activity_regularizer="l1", input_shape=(4,)),
    layers.Conv2D(3, (3, 2), (1, 2), "SAME", kernel_initializer=initializers.HeNormal(1), trainable=False),
    layers.DepthwiseConv2D(3, depth_multiplier=2),
    layers.SeparableConv2D(3, 2, pointwise_regularizer="l1"),
    layers.Conv2DTranspose(3, 2, 2),
    layers.BatchNormalization(momentum=0.9, center=False),
    layers.LayerNormalization(axis=[3]),
    layers.GroupNormalization(2),
    layers.Normalization(axis=None, mean=np.float32(2), variance=4.0),
    layers.ActivityRegularization(l2=0.1),
    layers.MaxPooling2D((2, 1), padding="same"),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.RandomFlip("vertical", seed=1),
    layers.RandomRotation(0.1, fill_mode="nearest"),
    layers.RandomTranslation(0.1, (0.0, 0.2)),
    layers.RandomZoom(0.2),
    layers.RandomContrast(0.3),
    layers.RandomBrightness(0.3, value_range=(0, 1)),
    layers.Rescaling(1 / 255),
    layers.Resizing(4, 4),
    layers.ZeroPadding2D((1, 2)),
    layers.Cropping2D(1),
    layers.UpSampling2D(2),
    layers.Dropout(0.2, seed=2),
    layers.SpatialDropout2D(0.2),
    layers.GaussianNoise(0.1),
    layers.GaussianDropout(0.1),
    layers.AlphaDropout(0.1),
    layers.Activation("swish"),
    layers.PReLU(shared_axes=[1, 2]),
    layers.ReLU(6.0),
    layers.LeakyReLU(0.1),
    layers.ELU(),
    layers.Softmax(),
    layers.Reshape((-1, 4)),
    layers.Permute((2, 1, 3)),
    layers.Flatten(),
    layers.Identity(),
]


@pytest.mark.parametrize("layer", CONFIGS, ids=lambda layer: type(layer).__name__)
def test_a_layer_comes_back_from_its_config(layer):
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert again.get_config() == layer.get_config()
    assert (again.name, again.trainable, again.input_shape_given) == (
        layer.name,
        layer.trainable,
        layer.input_shape_given,
    )
    assert again.connect(IMAGE.shape[1:])[1] == layer.connect(IMAGE.shape[1:])[1]


BAD = {
    "Dense units=0: must be a whole number >= 1": lambda: layers.Dense(0),
    "Dense unts=: unknown argument; did you mean units?": lambda: layers.Dense(3, unts=1),
    "activation=rleu: unknown; did you mean relu?": lambda: layers.Dense(3, "rleu"),
    "initializer=he_norml: unknown; did you mean he_normal?": lambda: layers.Dense(3, kernel_initializer="he_norml"),
    "initializer=0.5: must be a name": lambda: layers.Dense(3, bias_initializer=0.5),
    "regularizer=l3: unknown; ": lambda: layers.Dense(3, kernel_regularizer="l3"),
    "L2 l2=-1: must be finite and >= 0": lambda: regularizers.l2(-1),
    "Dense kernel_constraint: jaxnn has no constraints; use a regularizer": lambda: layers.Dense(
        3, kernel_constraint="max"
    ),
    "Conv2D data_format=channels_first: images must be channels_last": lambda: layers.Conv2D(
        3, 3, data_format="channels_first"
    ),
    "Conv2D padding=causal: unknown; Choose from same, valid": lambda: layers.Conv2D(3, 3, padding="causal"),
    "Conv2D kernel_size=(3,): must be a number, or height and width": lambda: layers.Conv2D(3, (3,)),
    "Conv2D groups=2: must divide filters=3": lambda: layers.Conv2D(3, 3, groups=2),
    "Conv2D groups=3: must divide the 4 channels of inputs (6, 5, 4)": lambda: layers.Conv2D(3, 3, groups=3)(IMAGE),
    "one of them must be 1": lambda: layers.Conv2D(3, 3, 2, dilation_rate=2),
    "Conv2D input (4,): must be images (height, width, channels)": lambda: layers.Conv2D(3, 3)(X),
    "add Reshape((6, 5, 1)) before the layer": lambda: layers.MaxPooling2D()(IMAGE[..., 0]),
    "must be at least 9 high": lambda: layers.Conv2D(3, 9)(IMAGE),
    "DepthwiseConv2D kernel_initializer=: unknown argument": lambda: layers.DepthwiseConv2D(
        3, kernel_initializer="ones"
    ),
    "Conv2DTranspose output_padding: is not there": lambda: layers.Conv2DTranspose(3, 3, output_padding=1),
    "dropout rate=1.5: must be in [0, 1)": lambda: layers.Dropout(1.5),
    "Dropout noise_shape=": lambda: layers.Dropout(0.5, noise_shape=(None, 1)),
    "Reshape target_shape=(3, 3): 9 numbers, must hold the 4 of inputs (4,)": lambda: layers.Reshape((3, 3))(X),
    "Permute dims=(0, 1): must be each axis once": lambda: layers.Permute((0, 1)),
    "BatchNormalization axis=1: must be the last of inputs (6, 5, 4)": lambda: layers.BatchNormalization(axis=1)(IMAGE),
    "batch_norm momentum=2: must be in [0, 1)": lambda: layers.BatchNormalization(momentum=2),
    "GroupNormalization groups=3: must divide the channels": lambda: layers.GroupNormalization(3)(IMAGE),
    "Normalization variance=None: give both": lambda: layers.Normalization(mean=1.0),
    "the examples have nan or inf": lambda: layers.Normalization().adapt(X * np.nan),
    "there are no examples": lambda: layers.Normalization().adapt(X[:0]),
    "Add inputs (4,), (3,): must have one shape": lambda: layers.Add()([X, X[:, :3]]),
    "Add input (4,): must be called on a list": lambda: layers.Add()(X),
    "Concatenate axis=0: must be one of 1 to 1, or of -1 to -1": lambda: layers.Concatenate(0)([X, X]),
    "Concatenate inputs (6, 5, 4), (5, 5, 4): must be alike": lambda: layers.Concatenate()([IMAGE, IMAGE[:, 1:]]),
    "RandomFlip mode=up: unknown": lambda: layers.RandomFlip("up"),
    "RandomRotation factor=2: must be a number in [-1, 1]": lambda: layers.RandomRotation(2),
    "RandomZoom fill_mode=wrap: unknown; Choose from": lambda: layers.RandomZoom(0.1, fill_mode="wrap"),
    "Lambda output [4]: must give one row for each example": lambda: layers.Lambda(lambda x: x.sum(0))(X),
    "a Lambda holds a function, which cannot be saved": lambda: layers.Lambda(lambda x: x).get_config(),
    "is of your own, and cannot be saved": lambda: layers.Dense(3, lambda x: x).get_config(),
    "regularizer=<lambda>: is of your own": lambda: layers.Dense(3, kernel_regularizer=lambda w: w.sum()).get_config(),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_is_refused_in_one_line(message):
    with pytest.raises(InputError) as caught:
        BAD[message]()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_layers_that_are_not_there_say_so():
    with pytest.raises(
        ImportError, match="layers has no LSTM: jaxnn trains feed-forward networks on tables and images"
    ):
        from jaxnn.keras.layers import LSTM  # noqa: F401  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="has no Conv1D: .*; the nearest layer is Conv2D"):
        _ = layers.Conv1D
    assert not hasattr(layers, "__wrapped__") and {*layers.__all__} <= {*dir(layers)}


def test_the_old_name_of_a_slope_is_taken_with_keras_own_warning():
    with pytest.warns(UserWarning, match="Argument `alpha` is deprecated. Use `negative_slope` instead."):
        assert layers.LeakyReLU(alpha=0.1).negative_slope == 0.1


# ---- against Keras 3 ----


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


PARITY = [
    ("Dense", (3,), {"activation": "softmax"}, X),
    ("Dense", (3,), {"use_bias": False}, IMAGE),
    ("Conv2D", (6, 3), {"activation": "relu", "padding": "Same"}, IMAGE),
    ("Conv2D", (6, (2, 3)), {"strides": (2, 1), "padding": "SAME"}, IMAGE),
    ("Conv2D", (6, 3, 2), {"use_bias": False}, IMAGE),
    ("Conv2D", (6, 2), {"dilation_rate": 2, "groups": 2}, IMAGE),
    ("DepthwiseConv2D", (3,), {"depth_multiplier": 2, "strides": 2, "padding": "same"}, IMAGE),
    ("SeparableConv2D", (6, 3), {"depth_multiplier": 2, "activation": "tanh"}, IMAGE),
    ("Conv2DTranspose", (6, 3), {"strides": 2, "padding": "same"}, IMAGE),
    ("Conv2DTranspose", (6, (3, 2), (2, 1)), {}, IMAGE),
    ("MaxPooling2D", ((2, 3),), {"padding": "same"}, IMAGE),
    ("MaxPool2D", (3, 2), {}, IMAGE),
    ("AveragePooling2D", ((3, 2), (2, 1)), {"padding": "SAME"}, IMAGE),
    ("AveragePooling2D", (2,), {}, IMAGE),
    ("GlobalAveragePooling2D", (), {}, IMAGE),
    ("GlobalMaxPooling2D", (), {"keepdims": True}, IMAGE),
    ("Flatten", (), {}, IMAGE),
    ("Flatten", (), {}, X[:, 0]),
    ("Reshape", ((5, -1),), {}, IMAGE),
    ("Permute", ((2, 3, 1),), {}, IMAGE),
    ("RepeatVector", (2,), {}, X),
    ("ZeroPadding2D", ((1, 2),), {}, IMAGE),
    ("Cropping2D", (((1, 0), (0, 2)),), {}, IMAGE),
    ("UpSampling2D", ((2, 3),), {}, IMAGE),
    ("UpSampling2D", (2,), {"interpolation": "bilinear"}, IMAGE),
    ("Resizing", (4, 9), {}, IMAGE),
    ("Resizing", (9, 3), {"interpolation": "nearest"}, IMAGE),
    ("Rescaling", (0.1, 2), {}, IMAGE),
    ("Normalization", (), {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 2.0, 3.0, 4.0]}, IMAGE),
    ("BatchNormalization", (), {}, IMAGE),
    ("BatchNormalization", (), {"scale": False}, X),
    ("LayerNormalization", (), {}, X),
    ("LayerNormalization", (), {"center": False, "epsilon": 1e-5}, IMAGE),
    ("GroupNormalization", (2,), {}, IMAGE),
    ("GroupNormalization", (-1,), {}, IMAGE),
    ("ReLU", (1.0, 0.1, 0.2), {}, IMAGE),
    ("LeakyReLU", (), {}, X),
    ("ELU", (1.5,), {}, X),
    ("PReLU", (), {"shared_axes": [1, 2], "alpha_initializer": "glorot_uniform"}, IMAGE),
    ("Softmax", (1,), {}, IMAGE),
    ("Activation", ("swish",), {}, X),
    ("Add", (), {}, [X, X + 1, X[:, :1]]),
    ("Subtract", (), {}, [X, X + 1]),
    ("Multiply", (), {}, [X, X + 1]),
    ("Average", (), {}, [X, X + 1, 3 * X]),
    ("Maximum", (), {}, [X, -X]),
    ("Minimum", (), {}, [X, -X]),
    ("Concatenate", (1,), {}, [IMAGE, IMAGE]),
]


@pytest.mark.parametrize(
    ("name", "args", "more", "x"), PARITY, ids=lambda value: value if isinstance(value, str) else ""
)
def test_layers_give_what_those_of_keras_give(keras, name, args, more, x):
    theirs, ours = getattr(keras.layers, name)(*args, **more), getattr(layers, name)(*args, **more)
    xs = x if isinstance(x, list) else [x]
    ours.connect(*(each.shape[1:] for each in xs))
    ours.params = tree.zeros(ours.shapes)
    moved = [w + 0.3 * np.random.default_rng(i).random(w.shape, np.float32) for i, w in enumerate(ours.get_weights())]
    with relaxed():
        theirs.build([each.shape for each in x] if isinstance(x, list) else x.shape)
        theirs.set_weights(moved)
        expected = np.asarray(theirs(x))
    ours.set_weights(moved)
    for a, b in zip(ours.get_weights(), moved, strict=True):
        close(a, b, 0)
    y = call(ours, *xs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(expected).max()))


def test_batch_normalization_trains_as_that_of_keras(keras):
    theirs, ours = keras.layers.BatchNormalization(), layers.BatchNormalization()
    ours(IMAGE)
    net, _ = ours.connect(IMAGE.shape[1:])
    params = ours.params
    assert net.observe
    for step in range(3):
        x = IMAGE * (step + 1) + step
        with relaxed():
            expected = np.asarray(theirs(x, training=True))
        y, params = net.observe(params, x, None, jnp.ones(3), jax.tree.map(lambda _: False, params))
        close(y, expected, 1e-5)
    for a, b in zip(
        (params["batch_stats"]["mean"], params["batch_stats"]["var"]), theirs.get_weights()[2:], strict=True
    ):
        close(a, b, 1e-5)


def test_normalization_adapts_as_that_of_keras(keras):
    theirs, ours = keras.layers.Normalization(), layers.Normalization()
    with relaxed():
        theirs.adapt(IMAGE)
        expected = np.asarray(theirs(IMAGE))
    ours.adapt(IMAGE)
    close(ours(IMAGE), expected, 1e-5)


RANDOM = [
    ("RandomRotation", ((0.1, 0.1),), {}),
    ("RandomRotation", ((-0.07, -0.07),), {"fill_mode": "constant", "fill_value": 1.5}),
    ("RandomRotation", ((0.1, 0.1),), {"interpolation": "nearest"}),
    ("RandomZoom", ((0.3, 0.3),), {}),
    ("RandomZoom", ((-0.3, -0.3), (0.2, 0.2)), {"fill_mode": "nearest"}),
    ("RandomTranslation", ((0.23, 0.23), (-0.31, -0.31)), {}),
    ("RandomTranslation", ((-0.23, -0.23), (0.31, 0.31)), {"fill_mode": "constant"}),
    ("RandomBrightness", ((0.1, 0.1),), {}),
]


@pytest.mark.parametrize(("name", "args", "more"), RANDOM)
def test_random_layers_of_one_amount_change_images_as_those_of_keras(keras, name, args, more):
    x = normal(2, 9, 7, 3)
    with relaxed():
        theirs = getattr(keras.layers, name)(*args, **more)
        expected = np.asarray(theirs(x, training=True))
    close(trained(getattr(layers, name)(*args, **more), x), expected, 2e-5)


def test_activations_are_those_of_keras(keras):
    x = np.linspace(-8, 8, 321, dtype=np.float32).reshape(-1, 1) * np.ones((1, 2), np.float32)
    for name in sorted(activations.TABLE):
        with relaxed():
            try:
                theirs = keras.activations.get(name)
            except ValueError:
                continue
            expected = np.asarray(theirs(jnp.asarray(x)))
        close(activations.get(name)(x), expected)
    assert activations.get("relu") is activations.relu


def test_penalties_are_those_of_keras_with_their_gradients(keras):
    w = jnp.asarray(normal(4, 3))
    names = ["l1", "l2", "OrthogonalRegularizer"]
    pairs = [(regularizers.get(name), keras.regularizers.get(name)) for name in names]
    pairs.append((regularizers.get("l1_l2"), keras.regularizers.L1L2(0.01, 0.01)))
    pairs.append(
        (regularizers.OrthogonalRegularizer(0.3, "columns"), keras.regularizers.OrthogonalRegularizer(0.3, "columns"))
    )
    for ours, theirs in pairs:
        with relaxed():
            value, slope = jax.value_and_grad(lambda w, f=theirs: f(w))(w)
        close(ours(w), value)
        close(jax.grad(ours)(w), slope)


@pytest.mark.parametrize("name", [name for name in VARIANCES if VARIANCES[name]])
def test_first_weights_have_the_variance_of_those_of_keras(keras, name):
    shape = (3, 3, 20, 60)
    with relaxed():
        theirs = np.asarray(keras.initializers.get(name)(shape))
    ours = np.asarray(initializers.get(name)(shape))
    assert abs(ours.var() / theirs.var() - 1) < 0.1
    if "uniform" in name or name == "truncated_normal":
        assert abs(np.abs(ours).max() / np.abs(theirs).max() - 1) < 0.03
