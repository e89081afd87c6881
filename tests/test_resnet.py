"""Residual networks: the published counts, one against NumPy, what they begin with, and what they refuse; remat."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from jaxnn import engine, tree
from jaxnn.commands import main
from jaxnn.config.model import ModelConfig
from jaxnn.errors import InputError
from jaxnn.nn import compose, layers, models, norms, resnet
from jaxnn.nn.init import he
from jaxnn.report.diagnosis import gradient_norms
from jaxnn.report.flops import matrix_flops
from jaxnn.tasks.classification import multiclass
from jaxnn.types import Batch, Recipe, State

KEY = jax.random.key(0)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes(model, *x):
    return tree.by_name(jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct(x, "float32")))


def begin(model, *x):
    """Parameters as `init` shapes them, none of which is 0 or 1; variances are positive."""
    return jax.tree.map(
        lambda s: jnp.asarray(np.random.default_rng(s.size).uniform(0.5, 1.5, s.shape) / s.size**0.5, s.dtype),
        jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct(x, "float32")),
    )


# ---- what is computed ------------------------------------------------------------------------------------------------

PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}  # of torchvision


@pytest.mark.parametrize("depth", [18, 50, *(pytest.param(n, marks=pytest.mark.slow) for n in (34, 101, 152))])
def test_networks_with_the_stem_of_imagenet_have_the_published_numbers_of_parameters(depth):
    for norm in ("batch", "group") if depth == 18 else ("batch",):
        leaves = shapes(resnet.resnet(1000, depth=depth, stem="imagenet", norm=norm), 224, 224, 3)
        assert sum(leaf.size for name, leaf in leaves.items() if not tree.is_kept(name)) == PUBLISHED[depth]
        layers_with_weights = [name for name in leaves if name.endswith("/w") and "shortcut" not in name]
        assert len(layers_with_weights) == depth


@pytest.mark.long
@pytest.mark.parametrize(("depth", "width"), [(8, 16), (20, 16), (14, 5)])
def test_networks_for_small_images_have_the_parameters_that_the_paper_counts(depth, width):
    n, w = (depth - 2) // 6, width
    conv = lambda k, c, o: k * k * c * o + 2 * o  # with the scale and shift of its norm
    expected = conv(3, 3, w) + 2 * n * conv(3, w, w) + 10 * (4 * w + 1)
    for c in (w, 2 * w):  # a stage, and the shortcut in its first block
        expected += conv(3, c, 2 * c) + (2 * n - 1) * conv(3, 2 * c, 2 * c) + conv(1, c, 2 * c)
    model = resnet.resnet(10, depth=depth, width=width, norm="group")
    assert sum(leaf.size for leaf in shapes(model, 32, 32, 3).values()) == expected
    assert depth != 20 or round(expected / 1e6, 2) == 0.27


def numpy_conv(x, w, stride):
    """One image, with padding SAME: the odd zero is below and on the right."""
    more = [max((-(-x.shape[i] // stride) - 1) * stride + w.shape[i] - x.shape[i], 0) for i in (0, 1)]
    pads = [(n // 2, n - n // 2) for n in more]
    windows = sliding_window_view(np.pad(x, [*pads, (0, 0)]), w.shape[:2], (0, 1))[::stride, ::stride]
    return np.einsum("hvcij,ijco->hvo", windows, w)


def numpy_norm(p, x):
    if "batch_stats" in p:
        return (x - p["batch_stats"]["mean"]) / np.sqrt(p["batch_stats"]["var"] + 1e-5) * p["scale"] + p["b"]
    groups = x.reshape(*x.shape[:2], -1, np.gcd(x.shape[-1], 16))
    centred = groups - groups.mean((0, 1, 3), keepdims=True)
    return (centred / np.sqrt(groups.var((0, 1, 3), keepdims=True) + 1e-5)).reshape(x.shape) * p["scale"] + p["b"]


def numpy_block(p, x, kind, strides):
    y, body = x, p["body_0"]
    for i, stride in enumerate(strides):
        y = numpy_norm(body[f"{kind}_{i}"], numpy_conv(np.maximum(y, 0) if i else y, body[f"conv_{i}"]["w"], stride))
    if "shortcut_0" in p:
        x = numpy_norm(p["shortcut_0"][f"{kind}_0"], numpy_conv(x, p["shortcut_0"]["conv_0"]["w"], max(strides)))
    return np.maximum(y + x, 0)


@pytest.mark.long
@pytest.mark.parametrize(("norm", "width"), [("batch", 4), ("group", 32)])
def test_a_small_network_is_what_the_paper_says(norm, width):
    model, xs = resnet.resnet(3, blocks=(1, 1), width=width, norm=norm), normal(0, 2, 5, 6, 2)
    params, kind = begin(model, 5, 6, 2), f"{norm}_norm"
    p = jax.tree.map(np.float64, params)
    together, apart = jax.jit(lambda p, xs: (model.apply(p, xs), jax.vmap(model.apply, (None, 0))(p, xs)))(params, xs)
    expected = []
    for x in np.asarray(xs, np.float64):
        h = np.maximum(numpy_norm(p[f"{kind}_0"], numpy_conv(x, p["conv_0"]["w"], 1)), 0)
        h = numpy_block(p["stage_0"]["block_0"], h, kind, (1, 1))
        h = numpy_block(p["stage_1"]["block_0"], h, kind, (2, 1))
        expected.append(p["dense_0"]["w"] @ h.mean((0, 1)) + p["dense_0"]["b"])
    np.testing.assert_allclose(together, expected, rtol=1e-4)
    np.testing.assert_allclose(together, apart, rtol=1e-5)


@pytest.mark.long
def test_a_bottleneck_is_what_the_paper_says():
    conv_norm = functools.partial(resnet._conv_norm, norm="batch", init=he)
    block = resnet._block(conv_norm, jax.nn.relu, 2, 1, 0, bottleneck=True)
    params, x = begin(block, 5, 5, 3), normal(0, 5, 5, 3)
    expected = numpy_block(jax.tree.map(np.float64, params), np.float64(x), "batch_norm", (1, 2, 1))
    assert expected.shape == (3, 3, 8)
    np.testing.assert_allclose(jax.jit(block.apply)(params, x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_it_begins_with_he_s_variance_and_a_last_scale_of_0_in_each_block():
    model = resnet.resnet(10, blocks=(1, 1), width=64, norm="batch")
    names = list(shapes(model, 8, 8, 3))
    last = [name for name in names if name.endswith("body_0/batch_norm_1/scale")]
    scales = [name for name in names if name.endswith("scale")]
    assert len(last) == 2 and len(scales) == 6 and not any(name.endswith("conv_0/b") for name in names)
    weights = ["stage_1/block_0/body_0/conv_1/w", "stage_1/block_0/shortcut_0/conv_0/w"]

    @jax.jit
    def some(key):
        leaves = tree.by_name(model.init(key, jnp.zeros((8, 8, 3))))
        return {name: leaves[name] for name in [*scales, *weights]}

    found = some(KEY)
    for name in scales:
        assert bool((found[name] == (0 if name in last else 1)).all()), name
    for name, fan_in in zip(weights, (9 * 128, 64), strict=True):
        assert float(found[name].var()) == pytest.approx(2 / fan_in, rel=0.1)


def test_the_products_of_a_network_are_counted():
    model = resnet.resnet(10, blocks=(1, 1), width=4, norm="group")
    params = jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((8, 8, 3), "float32"))
    xs = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32")
    first, second = 64 * 9 * (3 * 4 + 2 * 4 * 4), 16 * (9 * (4 * 8 + 8 * 8) + 4 * 8)
    assert matrix_flops(model.apply, params, xs) == 2 * 2 * (first + second + 8 * 10)
    depthwise = layers.conv(8, groups=8)
    params = jax.eval_shape(depthwise.init, KEY, jax.ShapeDtypeStruct((6, 6, 8), "float32"))
    one = jax.ShapeDtypeStruct((6, 6, 8), "float32")
    assert matrix_flops(depthwise.apply, params, one) == 2 * 4 * 4 * 9 * 8


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 9}, r"^resnet depth=9: must be 6 n \+ 2, as 8, 14, 20, .*the nearest is 8$"),
        ({"depth": 49, "stem": "imagenet"}, "^resnet depth=49: must be one of 18, 34, 50, 101, 152.*nearest is 50$"),
        ({}, "^resnet depth=None, blocks=None: must be one of the two"),
        ({"depth": 8, "blocks": (1, 1)}, r"^resnet depth=8, blocks=\(1, 1\): must be one of the two"),
        ({"blocks": ()}, r"^resnet blocks=\(\): must be numbers >= 1"),
        ({"blocks": (1, 0)}, r"^resnet blocks=\(1, 0\): must be numbers >= 1"),
        ({"depth": 8, "norm": "bacth"}, "^resnet norm=bacth: unknown; did you mean batch"),
        ({"depth": 8, "stem": "smal"}, "^resnet stem=smal: unknown; did you mean small"),
        ({"depth": 8, "activation": "rleu"}, "^activation=rleu: unknown; did you mean relu"),
        ({"depth": 8, "width": 0}, "size=0: must be >= 1"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        resnet.resnet(10, **settings)


@pytest.mark.parametrize(
    ("settings", "least", "layer"),
    [
        ({"depth": 8}, 3, "stage_2/block_0"),
        ({"blocks": (1, 1)}, 2, "stage_1/block_0"),
        ({"blocks": (1, 1, 1, 1)}, 5, "stage_3/block_0"),
        ({"blocks": (1, 1), "stem": "imagenet"}, 5, "stage_1/block_0"),
        ({"blocks": (1,), "stem": "imagenet"}, 3, "max_pool_0"),
    ],
)
def test_an_image_of_which_one_pixel_would_be_halved_is_refused_with_the_layer(settings, least, layer):
    model = resnet.resnet(10, norm="group", **settings)
    assert shapes(model, least, least + 1, 1)
    rule = f"{layer} would halve an image of 1x"
    with pytest.raises(InputError, match=rf"x=\[{least - 1}, {least}, 1\]: {rule}.*at least {least}x{least}"):
        shapes(model, least - 1, least, 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64,), r"--model.kind=resnet: resnet needs images \[H, W, C\], and these examples are rows of 64 features"),
        ((28, 28), r"x=\[28, 28\]: resnet needs images \[H, W, C\]"),
        ((3, 28, 28), r"x=\[3, 28, 28\].*look like \[C, H, W\]"),
        ((2, 2, 1), "stage_2/block_0 would halve an image of 1x1 pixels; use images of at least 3x3"),
    ],
)
def test_a_config_refuses_examples_that_fit_no_network(shape, message):
    with pytest.raises(InputError, match=message):
        models.build(ModelConfig(kind="resnet"), jax.ShapeDtypeStruct(shape, "uint8"), 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 9}, r"^--model.depth=9: must be 6 n \+ 2, as 8, 14, 20.*nearest is 8$"),
        ({"norm": "layer"}, "^--model.norm=layer: unknown; .*Choose from batch, group"),
        ({"dropout": 0.5}, "^--model.dropout=0.5: a resnet model has no hidden dense units; add --model.dropout 0"),
        ({"activation": ("relu", "tanh")}, "^--model.activation=relu tanh: must be one name"),
        ({"activation": ("maxout",)}, "^--model.activation=maxout: must be one name, and not maxout"),
    ],
)
def test_settings_of_the_command_line_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ModelConfig(kind="resnet", **settings)


@pytest.mark.long
def test_a_config_becomes_a_residual_network():
    x = jax.ShapeDtypeStruct((10, 11, 2), "uint8")
    config = ModelConfig(kind="resnet", depth=14, width=4, norm="group", input_dropout=0.1)
    leaves = tree.by_name(jax.eval_shape(models.build(config, x, 3).init, KEY, x))
    by_hand = shapes(resnet.resnet(3, depth=14, width=4, norm="group"), 10, 11, 2)
    assert {name: leaf.shape for name, leaf in leaves.items()} == {n: leaf.shape for n, leaf in by_hand.items()}
    assert "stage_2/block_1/body_0/conv_1/w" in leaves
    assert models.build(config, x, 3).name == "resnet"


# ---- remat -----------------------------------------------------------------------------------------------------------

SMALL = {
    "resnet": functools.partial(resnet.resnet, 3, blocks=(2,), width=4, norm="batch"),
    "cnn": functools.partial(models.cnn, (4,), 3, hidden=(5,), dropout=0.5),
    "mlp": lambda remat: compose.chain(layers.flatten(), models.mlp((6, 5), 3, dropout=0.5, remat=remat)),
}


@pytest.mark.parametrize("kind", ["resnet", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cnn", "mlp"))])
def test_remat_gives_the_same_run_up_to_rounding(kind):
    """The whole state after 8 steps of 32 examples: params, optimizer, statistics; with dropout where there is any."""
    data = Batch(normal(0, 64, 7, 6, 2), jnp.arange(64) % 3, jnp.ones(64))
    order = jnp.asarray(np.random.default_rng(0).permutation(512).reshape(16, 32) % 64)

    def run(remat):
        model, tx = SMALL[kind](remat=remat), optax.adam(0.01)
        recipe, params = Recipe(model, multiclass(3), tx), begin(model, 7, 6, 2)
        state = State(jnp.int32(0), params, tx.init(tree.split(params)[0]))

        def step(state, rows):
            return engine.step(recipe, state, jax.tree.map(lambda a: a[rows], data), KEY)

        return jax.jit(lambda state: jax.lax.scan(step, state, order[:8]))(state)

    plain, again = run(False), run(True)
    assert [str(p) for p, _ in jax.tree.leaves_with_path(plain)] == [
        str(p) for p, _ in jax.tree.leaves_with_path(again)
    ]
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_remat_keeps_for_the_gradient_what_passes_from_block_to_block_alone(norm):
    def kept(remat):
        model = resnet.resnet(3, blocks=(2, 2), width=8, norm=norm, remat=remat)
        xs = jax.ShapeDtypeStruct((4, 8, 8, 1), "float32")
        params = jax.eval_shape(model.init, KEY, xs.update(shape=xs.shape[1:]))
        frozen = jax.tree.map(lambda _: False, params)
        run = lambda params, xs: model.observe(params, xs, None, jnp.ones(4), frozen)[0] if model.observe else None
        run = run if model.observe else model.apply
        pullback = jax.eval_shape(lambda params, xs: jax.vjp(run, params, xs)[1], params, xs)
        return sum(leaf.size for leaf in jax.tree.leaves(pullback)) - models.parameter_count(params)

    assert 0 < kept(True) < kept(False) / 4


def test_remat_asks_the_compiler_to_compute_again():
    """A barrier, which XLA's compiler for CPUs takes away before it looks for what is computed twice."""
    block = compose.chain(layers.conv(8, padding="SAME"), jnp.tanh)
    params = jax.eval_shape(block.init, KEY, jax.ShapeDtypeStruct((8, 8, 8), "float32"))
    xs = jax.ShapeDtypeStruct((2, 8, 8, 8), "float32")
    for layer, barriers in ((block, 0), (compose.remat(block), 1)):
        grads = jax.jit(jax.grad(lambda params, xs, layer=layer: jnp.square(layer.apply(params, xs)).mean()))
        text = grads.trace(params, xs).lower(lowering_platforms=("cuda",)).as_text()
        assert text.count("optimization_barrier") == barriers


def test_remat_keeps_name_paths_statistics_and_a_plain_function():
    block = compose.chain(layers.dense(3), norms.group_norm(1), name="tower")
    assert compose.remat(block).name == "tower" and compose.remat(layers.conv(3)).micro_batch == 16
    assert compose.remat(block).observe is None
    np.testing.assert_array_equal(compose.remat(jnp.tanh).apply({}, jnp.ones(3)), jnp.tanh(jnp.ones(3)))


# ---- in a run --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_every_leaf_of_a_network_has_a_gradient():
    model, xs = resnet.resnet(2, blocks=(1, 1), width=4, norm="group"), normal(0, 4, 6, 6, 1)
    grads = jax.jit(jax.grad(lambda params: jnp.square(model.apply(params, xs) - 1).sum()))(begin(model, 6, 6, 1))
    assert all(float(norm) > 0 for norm in gradient_norms(grads).values())


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_residual_network_learns_the_digits_without_an_alarm(norm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["digits_mlp", "--model.kind", "resnet", "--model.width", "8", "--model.norm", norm, "--workdir", "run"]
    assert main.train([*argv, "--optim.name", "adam", "--optim.lr", "0.003", "--epochs", "5"]) == 0
    rows = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["val/accuracy"] > 0.95 and "--optim" not in capsys.readouterr().err
