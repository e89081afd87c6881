"""Models: what the lecture says of them, the shapes they promise, and what they refuse."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.config.model import ModelConfig
from jaxnn.config.names import ACTIVATIONS
from jaxnn.errors import InputError
from jaxnn.nn import activations, compose, layers, models, norms
from jaxnn.nn.init import initialiser
from jaxnn.report.flops import matrix_flops
from jaxnn.report.summary import summary

KEY = jax.random.key(0)
PIXELS = jax.ShapeDtypeStruct((10, 10, 1), "uint8")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def begin(model, x):
    """Parameters as `init` shapes them, no biases of 0."""
    shapes = jax.eval_shape(model.init, KEY, x)
    return jax.tree.map(lambda s: jnp.asarray(np.random.default_rng(s.size).normal(size=s.shape) / 2, s.dtype), shapes)


def assert_leading_axes_are_free(model, xs):
    params = begin(model, jax.ShapeDtypeStruct(xs.shape[2:], xs.dtype))
    one_by_one = jax.vmap(jax.vmap(model.apply, (None, 0)), (None, 0))
    together, apart = jax.jit(lambda p, x: (model.apply(p, x), one_by_one(p, x)))(params, xs)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)
    return together


def one_of_each(default, every):
    """Those of the default run, and the others in the nightly one."""
    rest = (case if isinstance(case, tuple) else (case,) for case in every if case not in default)
    return [*default, *(pytest.param(*case, marks=pytest.mark.slow) for case in rest)]


@pytest.mark.long
@pytest.mark.parametrize("activation", one_of_each(("relu", "maxout", "softmax", "logit"), ACTIVATIONS))
def test_leading_axes_are_free_with_every_activation(activation):
    mlp = models.mlp((4, 3), 2, activation=activation)
    assert assert_leading_axes_are_free(mlp, normal(0, 2, 3, 5)).shape == (2, 3, 2)
    cnn = models.cnn((2,), 2, hidden=(3,), kernel=2, activation=activation)
    assert assert_leading_axes_are_free(cnn, normal(0, 2, 2, 4, 5, 1)).shape == (2, 2, 2)


@pytest.mark.parametrize("kind", ["linear", "mlp", "cnn"])
@pytest.mark.parametrize(
    ("dtype", "outputs"), one_of_each([("uint8", 1), ("float32", 3)], [("uint8", 3), ("float32", 1)])
)
def test_a_config_becomes_a_model_with_the_promised_shape(kind, outputs, dtype):
    dropout = 0.0 if kind == "linear" else 0.5
    config = ModelConfig(kind=kind, hidden=(4,), channels=(2, 3), dropout=dropout, input_dropout=0.1)
    x = jax.ShapeDtypeStruct((10, 11, 2), dtype)
    model = models.build(config, x, outputs)
    assert jax.eval_shape(model.apply, jax.eval_shape(model.init, KEY, x), x).shape == (outputs,)
    xs = jnp.asarray(np.random.default_rng(0).integers(0, 255, (2, 2, 10, 11, 2)), dtype)
    assert assert_leading_axes_are_free(model, xs / 255 if dtype == "float32" else xs).dtype == jnp.float32
    assert model.name == kind and "dense_0" in jax.eval_shape(model.init, KEY, x)


@pytest.mark.parametrize(("sizes", "count"), [((784, 50, 50, 10), 42_310), ((784, 100, 10), 79_510), ((4, 3), 15)])
def test_the_number_of_parameters_is_that_of_the_lecture(sizes, count):
    features, *hidden, outputs = sizes
    x = jax.ShapeDtypeStruct((features,), "float32")
    model = models.mlp(hidden, outputs)
    params = jax.eval_shape(model.init, KEY, x)
    assert models.parameter_count(params) == count
    assert count == sum(i * o + o for i, o in itertools.pairwise(sizes))
    assert [params[f"dense_{i}"]["w"].shape for i in range(len(sizes) - 1)] == [
        (o, i) for i, o in itertools.pairwise(sizes)
    ]


def test_summary_lists_every_parameter_and_the_total():
    text = summary(models.mlp((50, 50), 10), jax.ShapeDtypeStruct((784,), "float32"))
    rows = [line.rsplit(maxsplit=1) for line in text.splitlines()]
    totals = {" ".join(row[0].split()): row[1] for row in rows}
    assert totals["dense_0/w float32[50,784]"] == "39,200" and totals["dense_2/b float32[10]"] == "10"
    assert totals["parameters"] == "42,310" and totals["bytes"] == "169,240"
    assert len({len(line) for line in text.splitlines()}) == 1
    forward, backward = (int(totals[f"{way} FLOPs, batch 32"].replace(",", "")) for way in ("forward", "backward"))
    products = 2 * 32 * (784 * 50 + 50 * 50 + 50 * 10)
    assert forward == products  # backwards the first layer has no gradient of its input
    assert backward == 2 * products - 2 * 32 * 784 * 50


@pytest.mark.parametrize("hidden", [(100,), (50, 50), (64,) * 6])
def test_the_backward_pass_costs_twice_the_forward_pass_if_x_has_a_gradient_too(hidden):
    model, x = models.mlp(hidden, 10), jax.ShapeDtypeStruct((784,), "float32")
    params = jax.eval_shape(model.init, KEY, x)
    xs = jax.ShapeDtypeStruct((32, 784), "float32")
    forward = matrix_flops(model.apply, params, xs)
    both = matrix_flops(jax.grad(lambda params, x: model.apply(params, x).sum(), argnums=(0, 1)), params, xs)
    assert both - forward == 2 * forward > 0


def test_without_the_gradient_of_x_the_first_layer_costs_only_once_more():
    x = jax.ShapeDtypeStruct((8, 8, 1), "uint8")
    model = models.build(ModelConfig(kind="linear"), x, 10)
    lines = dict(line.rsplit(maxsplit=1) for line in summary(model, x).splitlines())
    costs = [lines[name] for name in lines if "FLOPs" in name]
    assert costs == [f"{2 * 32 * 64 * 10:,}"] * 2


XOR = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_LABELS = jnp.array([0.0, 1.0, 1.0, 0.0])


def accuracy_on_xor(model, steps=300):
    optimizer = optax.adam(0.1)

    def loss(params):
        return optax.sigmoid_binary_cross_entropy(model.apply(params, XOR)[:, 0], XOR_LABELS).mean()

    def step(state, _):
        params, inner = state
        updates, inner = optimizer.update(jax.grad(loss)(params), inner, params)
        return (optax.apply_updates(params, updates), inner), None

    @jax.jit
    def train(key):
        params = model.init(key, XOR[0])
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
        return ((model.apply(params, XOR)[:, 0] > 0) == (XOR_LABELS > 0)).mean()

    with jax.numpy_dtype_promotion("standard"):
        return float(train(KEY))


def test_xor_is_too_much_for_a_linear_model_and_easy_for_a_small_mlp():
    assert accuracy_on_xor(models.linear(1)) <= 0.75
    assert accuracy_on_xor(models.mlp((8, 8), 1, activation="tanh")) == 1


def test_depth_without_activations_is_one_affine_map():
    model = models.mlp((7, 6, 5), 3, activation="identity")
    params, xs = begin(model, jnp.zeros(4)), normal(0, 20, 4)
    w, b = np.eye(4), np.zeros(4)
    for i in range(4):
        layer = jax.tree.map(np.float64, params[f"dense_{i}"])
        w, b = w @ layer["w"].T, b @ layer["w"].T + layer["b"]
    y = np.asarray(model.apply(params, xs))
    np.testing.assert_allclose(y, np.asarray(xs) @ w + b, atol=1e-5 * np.abs(y).max())


def first_to_last_gradient(activation):
    """Ratio of the gradient norms of the first and the last hidden layer of twenty."""
    model = models.mlp((32,) * 20, 1, activation=activation)
    xs = normal(0, 64, 32)

    @jax.jit
    def ratio(keys):  # the weights that `init` gives, all drawn at once: twenty draws take long to compile
        drawn = jax.vmap(lambda key: initialiser("auto", activation)(key, (32, 32), jnp.float32))(keys)
        weights = [*drawn[:20], drawn[20][:, :1]]
        params = {f"dense_{i}": {"w": w.T, "b": jnp.zeros(w.shape[1])} for i, w in enumerate(weights)}
        grads = jax.grad(lambda params: jnp.square(model.apply(params, xs) - 1).mean())(params)
        return jnp.linalg.norm(grads["dense_0"]["w"]) / jnp.linalg.norm(grads["dense_19"]["w"])

    return float(ratio(jax.random.split(KEY, 21)))


@pytest.mark.long
def test_the_gradient_vanishes_through_twenty_sigmoids_but_not_through_twenty_relus():
    assert first_to_last_gradient("sigmoid") < 1e-6
    assert first_to_last_gradient("relu") > 1e-2


@pytest.mark.long
def test_selu_keeps_mean_0_and_variance_1_through_twenty_layers():
    hidden = [layer for _ in range(20) for layer in (layers.dense(256, init="lecun"), activations.selu)]
    xs = normal(0, 500, 256)
    model = compose.chain(*hidden)
    ys = jax.jit(model.apply)(model.init(KEY, xs[0]), xs)
    assert abs(float(ys.mean())) < 0.1 and abs(float(ys.var()) - 1) < 0.1


def test_relu_makes_half_of_the_units_zero_at_the_start():
    model = compose.chain(layers.dense(200, init="he"), activations.relu)
    xs = normal(0, 200, 50)
    share = jax.jit(lambda key: (model.apply(model.init(key, xs[0]), xs) == 0).mean())
    assert float(share(KEY)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("activation", one_of_each(["relu", "gelu", "maxout", jnp.sin], ACTIVATIONS))
def test_a_block_of_a_cnn_is_convolution_bias_activation_pooling_in_this_order(activation):
    model, xs = models.cnn((3,), 2, activation=activation), normal(0, 2, 7, 6, 2)
    params = begin(model, xs[0])
    maxout = activation == "maxout"
    f = (lambda x: layers.largest_piece(x, 2)) if maxout else activations.activation(activation)
    in_order = compose.chain(layers.conv(6 if maxout else 3), f, layers.max_pool(), layers.flatten(), layers.dense(2))
    both = jax.jit(lambda params, xs: (model.apply(params, xs), in_order.apply(params, xs)))(params, xs)
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-6)


def test_each_hidden_layer_can_have_its_own_activation_by_name_or_as_any_function():
    model = models.mlp((4, 5, 3), 2, activation=("tanh", "maxout", jnp.sin))
    params, xs = begin(model, jnp.zeros(6)), normal(0, 7, 6)
    p = jax.tree.map(np.float64, params)
    h = np.tanh(np.asarray(xs) @ p["dense_0"]["w"].T + p["dense_0"]["b"])
    h = (h @ p["maxout_0"]["w"].T + p["maxout_0"]["b"]).reshape(7, 2, 5).max(1)
    h = np.sin(h @ p["dense_1"]["w"].T + p["dense_1"]["b"])
    expected = h @ p["dense_2"]["w"].T + p["dense_2"]["b"]
    np.testing.assert_allclose(model.apply(params, xs), expected, rtol=1e-4, atol=1e-5)


def test_a_function_that_jax_cannot_trace_is_refused_by_name():
    def clipped(x):
        return x if x.max() < 1 else x / x.max()

    with pytest.raises(InputError, match="activation=clipped: can't be traced by JAX"):
        jax.eval_shape(models.mlp((4,), 2, activation=clipped).init, KEY, jnp.zeros(3))
    with pytest.raises(InputError, match="activation=clipped: can't be traced by JAX"):
        jax.eval_shape(models.cnn((4,), 2, activation=clipped).init, KEY, jnp.zeros((6, 6, 1)))


@pytest.mark.parametrize(("init_name", "gain"), [("auto", 2.0), ("lecun", 1.0)])
def test_weights_follow_the_activation_unless_told_otherwise(init_name, gain):
    @jax.jit
    def variances(key):
        dense = models.mlp((400,), 10, init=init_name).init(key, jnp.zeros(300))["dense_0"]["w"]
        conv = models.cnn((128,), 2, init=init_name).init(key, jnp.zeros((4, 4, 32)))["conv_0"]["w"]
        return dense.var() * 300, conv.var() * 3 * 3 * 32

    np.testing.assert_allclose(variances(KEY), gain, rtol=0.05)


def test_dropout_is_noise_only_with_a_key_and_after_the_layers_it_is_asked_for():
    xs = jnp.ones((4, 6))
    for model in (models.mlp((20,), 2, dropout=0.5), models.mlp((20,), 2, input_dropout=0.5)):
        params = begin(model, xs[0])
        apply = jax.jit(model.apply)
        still, again = apply(params, xs), jax.jit(models.mlp((20,), 2).apply)(params, xs)
        np.testing.assert_array_equal(still, again)
        first, second = (apply(params, xs, jax.random.key(1)) for _ in range(2))
        assert bool((first != still).any())
        np.testing.assert_array_equal(first, second)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["linear", "mlp", "cnn"])
def test_a_config_with_input_dropout_drops_inputs_in_every_kind_of_model(kind):
    x = jax.ShapeDtypeStruct((6, 6, 1), "float32")
    config = ModelConfig(kind=kind, hidden=(8,), channels=(2,), input_dropout=0.5)
    model, xs = models.build(config, x, 2), normal(0, 3, 6, 6, 1)
    params = begin(model, x)
    plain = models.build(ModelConfig(kind=kind, hidden=(8,), channels=(2,)), x, 2)
    apply, expected = jax.jit(model.apply), jax.jit(plain.apply)(params, xs)
    np.testing.assert_array_equal(apply(params, xs), expected)
    assert bool((apply(params, xs, KEY) != expected).any())


@pytest.mark.long
def test_build_scales_raw_examples_and_standardises_in_their_own_units():
    pixels = np.random.default_rng(0).integers(0, 17, (5, 10, 10, 1)).astype(np.uint8)
    flat = models.linear(3)
    params = begin(flat, jnp.zeros(100))
    mean, std = pixels.mean(0), pixels.std(0) + 1
    for options, by_hand in [
        ({}, pixels / 255),
        ({"scale": 16.0}, pixels / 16),
        ({"scale": 16.0, "mean": mean, "std": std}, (pixels - mean) / std),
    ]:
        model = models.build(ModelConfig(kind="linear"), PIXELS, 3, **options)
        whole = {**params, "input_stats": {"mean": jnp.asarray(mean, "f"), "std": jnp.asarray(std, "f")}}
        given = whole if "mean" in options else params
        assert jax.tree.map(jnp.shape, given) == jax.tree.map(jnp.shape, jax.eval_shape(model.init, KEY, PIXELS))
        expected = flat.apply(params, jnp.asarray(by_hand.reshape(5, 100), jnp.float32))
        np.testing.assert_allclose(model.apply(given, jnp.asarray(pixels)), expected, rtol=1e-4, atol=1e-5)
    floats = models.build(ModelConfig(kind="linear"), jax.ShapeDtypeStruct((100,), "float32"), 3)
    xs = normal(0, 5, 100)
    np.testing.assert_array_equal(floats.apply(params, xs), flat.apply(params, xs))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mean_and_std_are_parameters_that_are_kept_and_not_trained(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 200, (40, 3)), dtype)
    mean, std = np.asarray(x, float).mean(0), np.asarray(x, float).std(0) * [1, 0, 1]
    model = norms.standardized(models.linear(2), mean, std)
    params = jax.jit(model.init)(KEY, x[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert sorted(name for name in tree.by_name(params) if tree.is_kept(name)) == [
        "input_stats/mean",
        "input_stats/std",
    ]
    centred = (np.asarray(x, float) - mean) / np.where(std == 0, 1, std)  # constant: only centred
    p = jax.tree.map(np.float64, params["dense_0"])
    np.testing.assert_allclose(model.apply(params, x), centred @ p["w"].T + p["b"], rtol=1e-4, atol=1e-4)
    twice = {**params, "input_stats": {"mean": params["input_stats"]["mean"] * 0, "std": params["input_stats"]["std"]}}
    assert bool((model.apply(twice, x) != model.apply(params, x)).any())  # read from the parameters


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0, np.nan], 1.0, "must be finite, std >= 0; look for nan"),
        (0.0, [1.0, -1.0], "must be finite, std >= 0; look for nan"),
    ],
)
def test_a_mean_and_std_that_cannot_be_are_refused(mean, std, message):
    with pytest.raises(InputError, match=message):
        norms.standardized(models.linear(2), mean, std)


def test_build_passes_every_setting_on():
    x = jax.ShapeDtypeStruct((12, 12, 2), "float32")
    config = ModelConfig(kind="cnn", hidden=(7,), channels=(3,), kernel=5, activation=("tanh", "maxout"), pieces=4)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(models.build(config, x, 3).init, KEY, x))
    assert shapes["conv_0"]["w"] == (5, 5, 2, 3) and shapes["maxout_0"]["w"] == (4 * 7, 4 * 4 * 3)
    assert shapes["dense_0"]["w"] == (3, 7)
    config = ModelConfig(kind="cnn", hidden=(), channels=(3,), activation=("maxout",), pieces=4)
    assert jax.eval_shape(models.build(config, x, 3).init, KEY, x)["conv_0"]["w"].shape == (3, 3, 2, 4 * 3)
    orthogonal = ModelConfig(hidden=(4,), init="orthogonal", activation=("maxout",), pieces=2)
    w = jax.jit(models.build(orthogonal, jnp.zeros(9), 2).init)(KEY, jnp.zeros(9))["maxout_0"]["w"]
    np.testing.assert_allclose(w @ w.T, np.eye(8), atol=1e-5)


def test_a_model_of_ones_own_is_adopted_with_its_own_parameters():
    own = compose.chain(layers.flatten(), layers.dense(3))
    model = models.adopt(own, PIXELS, scale=16.0)
    params = begin(own, jnp.zeros((10, 10, 1)))
    assert jax.tree.structure(params) == jax.tree.structure(jax.eval_shape(model.init, KEY, PIXELS))
    pixels = jnp.full((10, 10, 1), 8, jnp.uint8)
    np.testing.assert_allclose(model.apply(params, pixels), own.apply(params, jnp.full((10, 10, 1), 0.5)), rtol=1e-6)
    with pytest.raises(InputError, match="model=int: must be a Model; wrap a Flax module in from_linen or from_nnx"):
        models.adopt(3, PIXELS)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.mlp((4, 4), 2, activation=["relu"] * 3), "for each of the 2 hidden layers"),
        (lambda: models.cnn((4,), 2, hidden=(4,), activation=["relu"] * 3), "for each of the 2 hidden layers"),
        (lambda: models.mlp((4,), 2, activation="rleu"), "activation=rleu: unknown; did you mean relu"),
        (lambda: models.mlp((0,), 2), "dense size=0"),
        (lambda: models.mlp((4,), 0), "dense size=0"),
        (lambda: models.mlp((4,), 2, dropout=1.0), "dropout rate=1.0"),
        (lambda: models.linear(2, init="heh"), "init=heh"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_model_is_made(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64,), r"^(x=\[64\]|--model.kind=cnn): cnn needs images \[H, W, C\]"),
        ((28, 28), r"x=\[28, 28\]: cnn needs images \[H, W, C\]; use mlp.*x\[..., None\]"),
        ((3, 28, 28), r"x=\[3, 28, 28\].*look like \[C, H, W\]: use np.moveaxis"),
        ((1, 28, 28), r"look like \[C, H, W\]"),
        ((9, 12, 1), r"x=\[9, 12, 1\]: 2 blocks of a 3x3 convolution and pooling need at least 10x10 pixels"),
    ],
)
def test_what_is_no_image_or_too_small_is_refused_by_build_and_by_init(shape, message):
    with pytest.raises(InputError, match=message):
        models.build(ModelConfig(kind="cnn", hidden=()), jax.ShapeDtypeStruct(shape, "uint8"), 10)
    with pytest.raises(InputError, match=message):
        models.cnn((32, 64), 10).init(KEY, jax.ShapeDtypeStruct(shape, "float32"))


@pytest.mark.parametrize(("blocks", "kernel"), [(1, 3), (2, 3), (2, 2), (3, 1)])
def test_the_smallest_image_that_is_accepted_is_the_smallest_that_works(blocks, kernel):
    smallest = next(n for n in range(1, 40) if _accepted(n, blocks, kernel))
    size = smallest
    for _ in range(blocks):
        size = (size - kernel + 1) // 2
    assert size == 1
    model = models.cnn((2,) * blocks, 1, kernel=kernel)
    x = jax.ShapeDtypeStruct((smallest, smallest, 1), "float32")
    assert jax.eval_shape(model.init, KEY, x)["dense_0"]["w"].shape == (1, 2)


def _accepted(size, blocks, kernel):
    try:
        models.check_image((size, size, 1), blocks, kernel)
    except InputError:
        return False
    return True
