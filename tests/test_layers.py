"""Layers: one law for all of them, and each against NumPy, a conserved quantity or its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxnn.errors import InputError
from jaxnn.nn import activations, compose, convolution, layers, norms, resampling
from jaxnn.nn.batch_norm import batch_norm
from jaxnn.types import Model

KEY = jax.random.key(0)
FEATURES, IMAGE = (6,), (6, 5, 4)
LAYERS = {
    "dense": (layers.dense(3), FEATURES, (3,)),
    "dense without bias": (layers.dense(3, bias=False), FEATURES, (3,)),
    "dense on channels": (layers.dense(3), IMAGE, (6, 5, 3)),
    "maxout": (layers.maxout(3, pieces=3), FEATURES, (3,)),
    "conv": (layers.conv(2), IMAGE, (4, 3, 2)),
    "conv same": (layers.conv(2, padding="SAME", stride=2), IMAGE, (3, 3, 2)),
    "conv without bias": (layers.conv(2, 2, bias=False), IMAGE, (5, 4, 2)),
    "conv oblong": (layers.conv(2, (3, 5)), IMAGE, (4, 1, 2)),
    "conv dilated": (layers.conv(2, (3, 2), dilation=2), IMAGE, (2, 3, 2)),
    "conv depthwise": (layers.conv(8, groups=4, padding="SAME"), IMAGE, (6, 5, 8)),
    "conv grouped": (layers.conv(6, groups=2), IMAGE, (4, 3, 6)),
    "conv strides": (layers.conv(2, (3, 2), stride=(1, 2), bias_init=-4.0), IMAGE, (4, 2, 2)),
    "conv reflect": (layers.conv(2, (3, 5), padding="REFLECT"), IMAGE, (6, 5, 2)),
    "conv_transpose": (resampling.conv_transpose(3), IMAGE, (12, 10, 3)),
    "conv_transpose same": (resampling.conv_transpose(3, (3, 4), (2, 3), padding="SAME"), IMAGE, (12, 15, 3)),
    "space_to_depth": (resampling.space_to_depth(2), (6, 4, 3), (3, 2, 12)),
    "depth_to_space": (resampling.depth_to_space(2), IMAGE, (12, 10, 1)),
    "global_max_pool": (resampling.global_max_pool(), IMAGE, (4,)),
    "max_pool": (layers.max_pool(), IMAGE, (3, 2, 4)),
    "max_pool same": (layers.max_pool(3, 2, padding="SAME"), IMAGE, (3, 3, 4)),
    "global_avg_pool": (layers.global_avg_pool(), IMAGE, (4,)),
    "upsample": (layers.upsample(2), IMAGE, (12, 10, 4)),
    "upsample bilinear": (layers.upsample(3, method="bilinear"), IMAGE, (18, 15, 4)),
    "avg_pool": (layers.avg_pool(3, 2), IMAGE, (2, 2, 4)),
    "flatten": (layers.flatten(), IMAGE, (120,)),
    "flatten 2": (layers.flatten(2), IMAGE, (6, 20)),
    "dropout": (layers.dropout(0.5), FEATURES, FEATURES),
    "layer_norm": (norms.layer_norm(), FEATURES, FEATURES),
    "group_norm": (norms.group_norm(2), IMAGE, IMAGE),
    "scale": (norms.scale(mean=np.arange(6), std=2), FEATURES, FEATURES),
    "residual": (compose.residual(layers.dense(6)), FEATURES, FEATURES),
    "residual with shortcut": (
        compose.residual(layers.conv(2, stride=2, padding="SAME"), layers.conv(2, 1, stride=2)),
        IMAGE,
        (3, 3, 2),
    ),  # fmt: skip
    "concat": (compose.concat(layers.dense(2)), IMAGE, (6, 5, 6)),
    "parallel": (compose.parallel(activations.identity, layers.conv(2, padding="SAME")), IMAGE, (6, 5, 6)),
    "parallel of a branch": (compose.parallel(layers.dense(3)), FEATURES, (3,)),
    "remat": (compose.remat(compose.chain(layers.dense(4), jnp.tanh)), FEATURES, (4,)),
    "chain": (compose.chain(layers.conv(3), jnp.tanh, layers.flatten(), layers.dense(2)), IMAGE, (2,)),
}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.long
@pytest.mark.parametrize("case", LAYERS)
def test_leading_axes_are_free_and_the_promised_shape_is_returned(case):
    layer, shape, out = LAYERS[case]
    promised = jax.ShapeDtypeStruct(shape, jnp.float32)
    xs = normal(0, 2, 3, *shape)
    params = jax.tree.map(lambda p: normal(1, *p.shape), jax.eval_shape(layer.init, KEY, promised))  # no 0 biases
    one_by_one = jax.vmap(jax.vmap(layer.apply, (None, 0)), (None, 0))
    ys, each = jax.jit(lambda params, xs: (layer.apply(params, xs), one_by_one(params, xs)))(params, xs)
    assert ys.shape == (2, 3, *out) and ys.dtype == jnp.float32
    np.testing.assert_allclose(ys, each, rtol=1e-5, atol=1e-5)
    assert jax.eval_shape(layer.apply, params, promised).shape == out
    of_shape, of_array = (jax.make_jaxpr(lambda key, x=x: layer.init(key, x))(KEY) for x in (promised, xs[0, 0]))
    assert str(of_shape) == str(of_array)


@pytest.mark.long
def test_gradients_of_all_layers_agree_with_central_differences():
    together = compose.chain(
        norms.scale(0.5, 2), layers.conv(4, 2), norms.group_norm(2), layers.max_pool(2), compose.residual(
            compose.chain(layers.dense(4), norms.layer_norm(), jnp.tanh)), layers.avg_pool(2), layers.flatten(),
        layers.maxout(3), layers.dense(2),
    )  # fmt: skip
    with jax.enable_x64(True):
        x = normal(0, 6, 6, 2).astype(jnp.float64)
        params = jax.jit(together.init)(KEY, x)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float64")}
        check_grads(jax.jit(together.apply), (params, x), order=1, modes=("fwd", "rev"), rtol=1e-5)


@pytest.mark.parametrize(("given", "made"), [("float32", "float32"), ("uint8", "float32"), ("float16", "float16")])
def test_parameters_follow_the_floating_dtype_of_x(given, made):
    params = jax.eval_shape(layers.conv(2).init, KEY, jax.ShapeDtypeStruct((5, 5, 1), given))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(made)}


def test_numpy_float64_makes_float32_parameters_unless_jax_is_told_otherwise():
    assert layers.dense(2).init(KEY, np.zeros(3))["w"].dtype == jnp.float32


def test_dense_is_one_matrix_product_and_a_bias():
    layer, xs = layers.dense(3), normal(0, 4, 2, 6)
    params = {"w": normal(1, 3, 6), "b": normal(2, 3)}
    compiled = jax.jit(layer.apply).lower(params, xs).compile().as_text() or ""
    assert compiled.count(" dot(") == 1 and compiled.count("f32[3,8]") > 0
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    expected = np.asarray(xs, np.float64) @ exact["w"].T + exact["b"]
    np.testing.assert_allclose(layer.apply(params, xs), expected, rtol=1e-5, atol=1e-6)


def assert_sums_agree(got, a, b):
    """got = a @ b, but for the rounding of float32: of n products it is at most n 2^-24 of the sum of their sizes."""
    bound = a.shape[1] * 2.0**-24 * (np.abs(a) @ np.abs(b))
    assert (np.abs(np.asarray(got, np.float64).reshape(bound.shape) - a @ b) <= bound).all()


@pytest.mark.parametrize(("rows", "units"), [(300, 70), (5, 64), (5, 70)])
def test_the_layout_of_a_gradient_changes_no_number(rows, units):
    layer, x, dy = layers.dense(units), normal(0, rows, 80), normal(3, rows, units)
    params = {"w": normal(1, units, 80), "b": normal(2, units)}
    compiled = jax.jit(lambda params, x: jax.vjp(layer.apply, params, x)[1](dy))
    grads, dx = compiled(params, x)
    exact, x_, w = (np.asarray(a, np.float64) for a in (dy, x, params["w"]))
    assert_sums_agree(grads["w"], exact.T, x_)
    assert_sums_agree(grads["b"], exact.T, np.ones((rows, 1)))
    assert_sums_agree(dx, exact, w)
    barriers = str(jax.make_jaxpr(lambda params, x: jax.vjp(layer.apply, params, x)[1](dy))(params, x))
    assert ("optimization_barrier" in barriers) == (rows >= 256 or units <= 64)


def test_dense_takes_any_initialiser():
    layer = layers.dense(4, init=lambda key, shape, dtype: jnp.full(shape, 7, dtype))
    params = layer.init(KEY, jnp.zeros(2))
    assert params["w"].tolist() == [[7.0] * 2] * 4 and params["b"].tolist() == [0.0] * 4


def test_maxout_is_the_largest_of_its_linear_pieces():
    layer, x = layers.maxout(4, pieces=3), normal(0, 5, 6)
    params = {"w": normal(1, 12, 6), "b": normal(2, 12)}
    w, b = np.asarray(params["w"]).T.reshape(6, 3, 4), np.asarray(params["b"]).reshape(3, 4)
    expected = (np.einsum("nf,fpw->npw", x, w) + b).max(1)
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-5, atol=1e-6)


def test_maxout_with_a_piece_of_zero_is_relu():
    x, w, b = normal(0, 5, 6), normal(1, 4, 6), normal(2, 4)
    layer = layers.maxout(4)
    params = {"w": jnp.concatenate([w, jnp.zeros((4, 6))]), "b": jnp.concatenate([b, jnp.zeros(4)])}
    expected = activations.relu(layers.dense(4).apply({"w": w, "b": b}, x))
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-5, atol=1e-6)


def test_dropout_without_a_key_is_the_identity():
    x = normal(0, 100)
    assert layers.dropout(0.5).apply({}, x) is x
    assert layers.dropout(0.0).apply({}, x, KEY) is x


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_dropout_drops_that_share_and_keeps_the_mean(rate):
    drop = jax.jit(lambda key: layers.dropout(rate).apply({}, jnp.ones((100, 100)), key))
    y = np.asarray(drop(KEY))
    assert float((y == 0).mean()) == pytest.approx(rate, abs=0.02)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    again, other = (np.asarray(drop(key)) for key in (KEY, jax.random.key(1)))
    assert bool((y == again).all()) and bool((y != other).any())


def test_the_layers_of_a_chain_get_different_noise():
    x = jnp.ones(1000)
    y = compose.chain(layers.dropout(0.5), layers.dropout(0.5)).apply({}, x, KEY)
    assert float((y == 0).mean()) == pytest.approx(0.75, abs=0.05)  # the same noise twice would drop a half


@pytest.mark.parametrize("x", [normal(0, 4, 6) * 100 + 7, jnp.full((4, 6), 3.0)])
def test_layer_norm_is_the_equation_and_finite_for_constant_examples(x):
    layer = norms.layer_norm(eps=1e-3)
    params = {"scale": normal(1, 6), "b": normal(2, 6)}
    v = np.float64(x)
    expected = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-3)
    expected = expected * np.float64(params["scale"]) + np.float64(params["b"])
    y, slope = jax.jit(lambda x: (layer.apply(params, x), jax.grad(lambda x: layer.apply(params, x).sum())(x)))(x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(slope).all()


def test_group_norm_normalises_height_width_and_each_group_of_channels_together():
    x = normal(0, 3, 5, 5, 6) * jnp.arange(1, 7).astype(jnp.float32).reshape(1, 1, 1, 6) + 3
    layer = norms.group_norm(3)
    y = jax.jit(lambda x: layer.apply(layer.init(KEY, x[0]), x))(x)
    v = np.asarray(x, np.float64).reshape(3, 25, 3, 2)
    v = (v - v.mean((1, 3), keepdims=True)) / np.sqrt(v.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, v.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_every_uint8_is_scaled_to_within_1e_6_of_the_exact_value():
    pixels = np.arange(256, dtype=np.uint8)
    y = norms.scale(std=255).apply({}, jnp.asarray(pixels))
    assert y.dtype == jnp.float32 and y[0] == 0 and y[255] == 1
    np.testing.assert_allclose(y, pixels.astype(np.float64) / 255, atol=1e-7)


def test_scale_standardises_and_only_centres_what_is_constant():
    x = np.random.default_rng(0).integers(0, 200, (50, 3)).astype(np.uint8)
    x[:, 1] = 9
    layer = norms.scale(x.mean(0), x.std(0))
    y = np.asarray(layer.apply({}, jnp.asarray(x)))
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), [1, 0, 1], atol=1e-5)
    assert float(layer.apply({}, jnp.array([7, 12, 7], jnp.uint8))[1]) == 3


def test_residual_adds_its_input():
    f = layers.dense(6)
    x, params = normal(0, 2, 6), {"w": normal(1, 6, 6), "b": normal(2, 6)}
    np.testing.assert_array_equal(compose.residual(f).apply(params, x), x + f.apply(params, x))


def test_a_residual_with_a_shortcut_adds_both_and_names_them_by_their_kinds():
    f, shortcut = compose.chain(layers.dense(3), jnp.tanh), layers.dense(3, bias=False)
    layer, x = compose.residual(f, shortcut), normal(0, 2, 6)
    params = {"chain_0": {"dense_0": {"w": normal(1, 3, 6), "b": normal(2, 3)}}, "dense_0": {"w": normal(3, 3, 6)}}
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, jax.eval_shape(layer.init, KEY, x[0]))
    p, x64 = jax.tree.map(np.float64, params), np.float64(x)
    inner = p["chain_0"]["dense_0"]
    expected = np.tanh(x64 @ inner["w"].T + inner["b"]) + x64 @ p["dense_0"]["w"].T
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-5, atol=1e-6)
    assert layer.name == "residual"


@pytest.mark.parametrize(
    ("join", "by_hand"),
    [
        ("concat", lambda *ys: np.concatenate(ys, -1)),
        ("add", lambda *ys: sum(ys)),
        (lambda a, b, c: a * b - c, lambda a, b, c: a * b - c),
    ],
)
def test_parallel_joins_what_its_branches_make_of_the_same_x(join, by_hand):
    layer = compose.parallel(activations.identity, layers.dense(6), layers.dense(6, bias=False), join=join)
    x, params = (
        normal(0, 2, 6),
        {"dense_0": {"w": normal(1, 6, 6), "b": normal(2, 6)}, "dense_1": {"w": normal(3, 6, 6)}},
    )
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, jax.eval_shape(layer.init, KEY, x[0]))
    p, x64 = jax.tree.map(np.float64, params), np.float64(x)
    branches = (x64, x64 @ p["dense_0"]["w"].T + p["dense_0"]["b"], x64 @ p["dense_1"]["w"].T)
    np.testing.assert_allclose(layer.apply(params, x), by_hand(*branches), rtol=1e-5, atol=1e-5)


def test_the_branches_of_parallel_have_their_own_weights_and_noise_and_hand_on_what_a_model_says():
    same = compose.parallel(layers.dense(6), layers.dense(6))
    params = jax.jit(same.init)(KEY, jnp.zeros(6))
    assert bool((params["dense_0"]["w"] != params["dense_1"]["w"]).any())
    y = compose.parallel(layers.dropout(0.5), layers.dropout(0.5)).apply({}, jnp.ones(100), KEY)
    assert bool((y[:100] != y[100:]).any()) and set(y.tolist()) == {0.0, 2.0}
    assert compose.parallel(layers.conv(2), jnp.tanh).micro_batch == layers.IMAGES_IN_CACHE
    assert same.micro_batch is None and same.observe is None


def test_statistics_are_renewed_in_parallel_as_in_a_chain():
    """A branch, a shortcut and a layer that is computed again see the batch as the layer alone does."""
    norm, x, weight = batch_norm(), normal(0, 8, 6), jnp.ones(8)
    alone = norm.init(KEY, x[0])
    frozen = jax.tree.map(lambda _: False, alone)
    y, renewed = norm.observe(alone, x, None, weight, frozen)  # pyright: ignore[reportOptionalCall]
    for layer in (
        compose.parallel(activations.identity, norm),
        compose.residual(compose.chain(activations.identity), norm),
    ):
        params = {"batch_norm_0": alone}
        for model in (layer, compose.remat(layer)):
            assert model.observe
            both, after = model.observe(params, x, None, weight, {"batch_norm_0": frozen})
            expected = jnp.concatenate([x, y], -1) if layer.name == "parallel" else x + y
            np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-6)
            for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(renewed), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_an_error_names_the_layer_of_the_chain_and_its_image():
    small = compose.chain(
        layers.conv(4), layers.max_pool(), compose.residual(compose.chain(layers.conv(4), layers.conv(4)))
    )
    for model, message in [
        (
            compose.chain(*[layers.conv(4)] * 3),
            r"^conv_2: x=float32\[2,1,4\]: must be at least 3 high and 3 wide; use larger",
        ),
        (small, r"^residual_0: conv_0: x=float32\[2,1,4\]: must be at least 3 high"),
        (compose.parallel(jnp.tanh, layers.conv(4, 7)), r"^conv_0: x=float32\[6,5,4\]: must be at least 7 high"),
    ]:
        with pytest.raises(InputError, match=message):
            jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct(IMAGE, jnp.float32))


def test_a_chain_counts_the_layers_of_each_kind_that_have_parameters():
    inner = compose.chain(layers.dense(4), name="tower")
    model = compose.chain(
        norms.scale(std=255), layers.conv(2), jnp.tanh, layers.conv(2), layers.flatten(), layers.dense(4),
        layers.dropout(0.5), inner, compose.residual(inner), norms.layer_norm(), layers.dense(3),
    )  # fmt: skip
    params = jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((6, 6, 1), "uint8"))
    assert set(params) == {"conv_0", "conv_1", "dense_0", "tower_0", "residual_0", "layer_norm_0", "dense_1"}
    assert params["tower_0"]["dense_0"]["w"].shape == (4, 4)
    assert all(isinstance(layer, Model) and layer.name for layer, _, _ in LAYERS.values())


def test_a_chain_is_the_composition_of_its_layers():
    model = compose.chain(layers.dense(4), jnp.tanh, lambda x: 2 * x, layers.dense(2))
    x, same = normal(0, 5, 6), compose.chain(layers.dense(4), jnp.tanh, layers.dense(2))
    params = jax.jit(same.init)(KEY, jnp.zeros(6))
    first, second = (jax.tree.map(np.float64, params[f"dense_{i}"]) for i in (0, 1))
    expected = 2 * np.tanh(np.float64(x) @ first["w"].T + first["b"]) @ second["w"].T + second["b"]
    np.testing.assert_allclose(model.apply(params, x), expected, rtol=1e-5, atol=1e-6)


def test_layers_of_the_same_kind_begin_with_different_weights():
    params = jax.jit(compose.chain(layers.dense(6), layers.dense(6)).init)(KEY, jnp.zeros(6))
    assert bool((params["dense_0"]["w"] != params["dense_1"]["w"]).all())


def branches_on_values(x):
    return x if x.sum() > 0 else -x


def branches_on_arrays(x):
    return x if x > 0 else -x


def calls_numpy(x):
    return jnp.asarray(np.sin(x))


def counts_with_values(x):
    return x * len(range(x.astype(jnp.int32)[0]))


@pytest.mark.parametrize("function", [branches_on_values, branches_on_arrays, calls_numpy, counts_with_values])
def test_a_function_that_jax_cannot_trace_is_refused_by_name_when_the_chain_begins(function):
    with pytest.raises(InputError, match=f"activation={function.__name__}: can't be traced"):
        compose.chain(layers.dense(2), function).init(KEY, jnp.zeros(3))


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda: layers.dense(0), FEATURES, "dense size=0: must be >= 1"),
        (lambda: layers.conv(2, 0), IMAGE, "conv size=0: must be >= 1"),
        (lambda: layers.conv(2, (3, 3, 3)), IMAGE, r"conv kernel=\(3, 3, 3\): must be a number, or height and width"),  # pyright: ignore
        (lambda: layers.conv(2, (0, 3)), IMAGE, "conv size=0: must be >= 1"),
        (lambda: layers.conv(3, groups=2), IMAGE, "conv groups=2: must be >= 1 and divide channels=3"),
        (lambda: layers.conv(3, groups=3), IMAGE, r"\[6, 5, 4\]: its channels must be a multiple of groups=3"),
        (lambda: layers.conv(3, bias_init=(1.0, 2.0)), IMAGE, r"bias_init of shape \(2,\): must be a number, or 3"),
        (lambda: layers.conv(3, padding="REFLEC"), IMAGE, "padding=REFLEC: must be VALID, SAME or REFLECT"),
        (lambda: resampling.space_to_depth(2), IMAGE, r"float32\[6,5,4\]: height and width must be multiples of 2"),
        (lambda: resampling.space_to_depth(0), IMAGE, "space_to_depth k=0: must be >= 1"),
        (lambda: resampling.depth_to_space(3), IMAGE, r"float32\[6,5,4\]: its channels must be a multiple of 3x3"),
        (
            lambda: resampling.conv_transpose(3, 2, 3),
            IMAGE,
            "conv_transpose stride=3: must be >= 1 and at most the kernel, 2",
        ),
        (
            lambda: resampling.conv_transpose(3, padding="REFLECT"),
            IMAGE,
            "conv_transpose padding=REFLECT: must be VALID or",
        ),
        (lambda: resampling.global_max_pool(), FEATURES, r"x=float32\[6\]: must be images"),
        (
            lambda: compose.concat(layers.conv(2)),
            IMAGE,
            r"concat f\(x\)=float32\[4,3,2\]: must have the shape of x, float32",
        ),
        (lambda: layers.maxout(2, 1), FEATURES, "maxout pieces=1: must be >= 2"),
        (lambda: layers.dense(2, init="hee"), FEATURES, "init=hee: unknown; did you mean he"),
        (lambda: layers.dropout(1.0), FEATURES, r"dropout rate=1.0: must be in \[0, 1\)"),
        (lambda: layers.dropout(float("nan")), FEATURES, r"dropout rate=nan"),
        (lambda: layers.dense(2), (), "at least one axis"),
        (lambda: layers.conv(2), FEATURES, r"x=float32\[6\]: must be images \[..., H, W, C\]"),
        (lambda: layers.flatten(0), FEATURES, "flatten axes=0"),
        (lambda: layers.flatten(3), FEATURES, r"x=float32\[6\]: must have at least 3 axes"),
        (lambda: norms.group_norm(3), IMAGE, r"x=float32\[6,5,4\].*multiple of groups=3"),
        (lambda: norms.group_norm(0), IMAGE, "groups=0"),
        (lambda: compose.residual(layers.dense(5)), FEATURES, r"f\(x\)=float32\[5\].*shape of x, float32\[6\]"),
        (lambda: compose.parallel(), FEATURES, "parallel branches=0: must be >= 1"),
        (lambda: compose.parallel(jnp.tanh, join="cat"), FEATURES, "parallel join=cat: unknown; did you mean concat"),
        (
            lambda: compose.parallel(jnp.tanh, layers.conv(2)),
            IMAGE,
            r"parallel branches=float32\[6,5,4\], float32\[4,3,2\]: must be alike in all axes but the last",
        ),
        (
            lambda: compose.parallel(layers.dense(3), layers.dense(2), join="add"),
            FEATURES,
            r"parallel branches=float32\[3\], float32\[2\]: must have one shape to be added",
        ),
        (lambda: norms.scale(std=[1, -1]), FEATURES, "std >= 0"),
        (lambda: norms.scale(mean=float("nan")), FEATURES, "must be finite"),
        (lambda: norms.scale(mean=np.zeros(5)), FEATURES, r"\(5,\): must fit the last axes of x, float32\[6\]"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made_or_begins(make, x, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(compose.chain(make()).init, KEY, jax.ShapeDtypeStruct(x, jnp.float32))


@pytest.mark.parametrize(
    "layer",
    [layers.dense(2), layers.maxout(2), layers.conv(2), layers.max_pool(), norms.layer_norm(), norms.group_norm(1)],
)
def test_integers_are_refused_with_the_layer_that_helps(layer):
    with pytest.raises(InputError, match=r"must be floating; put scale\(\)"):
        jax.eval_shape(compose.chain(layer).init, KEY, jax.ShapeDtypeStruct((4, 4, 1), jnp.uint8))


@pytest.mark.parametrize(("shape", "message"), [((2, 5), r"float32\[2,5\]: must be \[..., 6\]"), ((), r"float32\[\]")])
def test_other_features_than_the_weights_are_refused(shape, message):
    params = layers.dense(2).init(KEY, jnp.zeros(6))
    with pytest.raises(InputError, match=message):
        layers.dense(2).apply(params, jnp.ones(shape))


@pytest.mark.long
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), ((5, 3), (2, 3)), (4, 1)])
def test_a_transposed_convolution_is_the_transpose_of_one(padding, kernel, stride):
    layer, x = resampling.conv_transpose(3, kernel, stride, padding=padding, bias=False), normal(0, 2, 4, 5, 2)
    w = normal(1, *layer.init(KEY, x[0])["w"].shape)
    y = layer.apply({"w": w}, x)
    forth = lambda y: convolution.conv2d(y, w.swapaxes(2, 3), stride=stride, padding=padding)
    assert forth(y).shape == x.shape
    (back,) = jax.vjp(forth, jnp.zeros_like(y))[1](x)
    np.testing.assert_allclose(y, back, rtol=1e-5, atol=1e-5)
    strides = (stride, stride) if isinstance(stride, int) else stride
    flipped = lax.conv_transpose(
        x, w[::-1, ::-1], strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )  # lax flips no kernel
    np.testing.assert_allclose(y, flipped, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_and_pixels_as_channels_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    x = normal(0, 2, 4, 6, 8)
    first = torch.tensor(np.moveaxis(np.asarray(x), -1, 1))
    last = lambda t: np.moveaxis(t.numpy(), 1, -1)
    layer = resampling.conv_transpose(3, (3, 5), (2, 3))
    params = {"w": normal(1, 3, 5, 8, 3), "b": normal(2, 3)}
    w = torch.tensor(np.asarray(params["w"]).transpose(2, 3, 0, 1).copy())
    theirs = torch.nn.functional.conv_transpose2d(first, w, torch.tensor(np.asarray(params["b"])), (2, 3))
    np.testing.assert_allclose(layer.apply(params, x), last(theirs), rtol=1e-5, atol=1e-5)
    block_first = lambda y: y.reshape(*y.shape[:-1], -1, 4).swapaxes(-1, -2).reshape(y.shape)  # PyTorch: channel first
    theirs = last(torch.nn.functional.pixel_unshuffle(first, 2))
    np.testing.assert_array_equal(resampling.space_to_depth(2).apply({}, x), block_first(theirs))
    theirs = last(torch.nn.functional.pixel_shuffle(torch.tensor(np.moveaxis(theirs, -1, 1).copy()), 2))
    back = resampling.depth_to_space(2).apply({}, resampling.space_to_depth(2).apply({}, x))
    np.testing.assert_array_equal(back, theirs)
    np.testing.assert_array_equal(resampling.global_max_pool().apply({}, x), first.amax((2, 3)))


def test_concat_hands_its_input_on_and_renews_statistics():
    model = compose.concat(compose.chain(layers.dense(3), batch_norm()))
    x = normal(0, 5, 4)
    params = model.init(KEY, x[0])
    y = model.apply(params, x)
    np.testing.assert_array_equal(y[:, :4], x)
    assert y.shape == (5, 7) and sorted(params) == ["batch_norm_0", "dense_0"] and model.observe
    frozen = jax.tree.map(lambda _: False, params)
    y, after = model.observe(params, x, None, jnp.ones(5), frozen)
    np.testing.assert_allclose(y[:, 4:].mean(0), np.zeros(3), atol=1e-5)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after, params)
    assert sum(jax.tree.leaves(changed)) == 2  # mean and variance


def test_a_bias_begins_where_it_is_told():
    begins = lambda bias_init: layers.conv(3, bias_init=bias_init).init(KEY, jnp.zeros(IMAGE))["b"].tolist()
    assert begins(-4.0) == [-4.0] * 3 and begins((1.0, 2.0, 3.0)) == [1.0, 2.0, 3.0]
