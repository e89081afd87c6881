"""Segmentation: the loss by hand, counts against NumPy over a whole set, the U-Net, and runs."""

from __future__ import annotations

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from scipy.special import log_softmax

import jaxnn
from jaxnn import engine
from jaxnn.commands import main
from jaxnn.config.model import ModelConfig
from jaxnn.config.task import TaskConfig
from jaxnn.devices import mesh
from jaxnn.errors import InputError
from jaxnn.nn.models import build
from jaxnn.nn.unet import unet
from jaxnn.tasks import segmentation as module
from jaxnn.tasks.metrics import measure
from jaxnn.tasks.segmentation import segmentation
from jaxnn.training.programs import run_steps
from jaxnn.types import Batch, Model, Recipe

KEY = jax.random.key(0)


def masks(seed, n, classes=5, ignored=0.2, size=(6, 4)):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, (n, *size)).astype(np.uint8)
    return np.where(rng.random(y.shape) < ignored, np.uint8(255), y)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ---- the loss ----------------------------------------------------------------------------------------------------


def by_hand(logits, y, dice):
    """One image, in float64."""
    log_p, (rows, columns) = log_softmax(logits.astype(np.float64), -1), np.nonzero(y != 255)
    if not len(rows):
        return 0.0
    loss, apart = -np.mean([log_p[i, j, y[i, j]] for i, j in zip(rows, columns, strict=True)]), []
    for k in set(y[rows, columns].tolist()):
        p, there = np.exp(log_p[rows, columns, k]), y[rows, columns] == k
        apart.append(1 - 2 * p[there].sum() / (p.sum() + there.sum()))
    return loss + dice * np.mean(apart)


@pytest.mark.long
@pytest.mark.parametrize("dice", [0.0, 0.7])
def test_the_loss_is_the_mean_over_the_pixels_that_have_a_class_and_dice_that_over_the_classes_there(dice):
    y, logits = masks(0, 4, classes=3), normal(1, 4, 6, 4, 5)  # classes 3 and 4 are absent
    y[2], y[3] = 255, 1  # no pixel of any class; a class alone
    task = segmentation(5, size=(6, 4), dice=dice)
    found = task.loss(jnp.asarray(logits), jnp.asarray(y))
    np.testing.assert_allclose(found, [by_hand(*pair, dice) for pair in zip(logits, y, strict=True)], rtol=1e-5)
    assert float(found[2]) == 0
    one_by_one = jax.vmap(jax.vmap(task.loss))(logits.reshape(2, 2, 6, 4, 5), y.reshape(2, 2, 6, 4))
    np.testing.assert_allclose(one_by_one.reshape(4), found, rtol=1e-6)
    slopes = jax.grad(lambda logits: task.loss(logits, y).sum())(jnp.asarray(logits))
    assert np.isfinite(slopes).all() and not slopes[y == 255].any() and slopes[0][y[0] != 255].any()
    with jax.enable_x64(True):
        check_grads(lambda z: task.loss(z, y), (jnp.asarray(logits, jnp.float64),), order=1, modes=("rev",))


@pytest.mark.long
def test_a_label_that_is_none_is_no_other_class():
    task = segmentation(5, size=(6, 4))
    y = masks(0, 2).astype(np.int32)
    y[1, 2, 3] = 7
    assert np.isnan(task.loss(jnp.zeros((2, 6, 4, 5)), jnp.asarray(y))).tolist() == [False, True]


@pytest.mark.long
def test_dice_may_be_traced():
    loss = lambda dice: segmentation(5, size=(6, 4), dice=dice).loss(normal(1, 1, 6, 4, 5), masks(0, 1))[0]
    apart = by_hand(normal(1, 1, 6, 4, 5)[0], masks(0, 1)[0], 1.0) - by_hand(
        normal(1, 1, 6, 4, 5)[0], masks(0, 1)[0], 0
    )
    np.testing.assert_allclose(jax.grad(loss)(0.3), apart, rtol=1e-5)


# ---- what is counted ---------------------------------------------------------------------------------------------


def of_a_whole_set(predicted, y, k):
    """miou, accuracy and the IoU of each class, over all pixels of all images at once."""
    seen = y != 255
    iou = {}
    for i in range(k):
        both = int(((predicted == i) & (y == i) & seen).sum())
        union = int((((predicted == i) | (y == i)) & seen).sum())
        iou[i] = both / union if union else None
    there = [value for value in iou.values() if value is not None]
    of_each = {f"iou/{i}": value or 0.0 for i, value in iou.items()}
    return {"miou": np.mean(there), "accuracy": (predicted == y)[seen].mean(), **of_each}


def of_pixels():
    """A model whose outputs are x itself."""
    return Model(lambda key, x: {}, lambda params, x, key=None: x)


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [3, 16])
def test_iou_is_that_of_a_plain_count_over_the_whole_set(batch_size):
    k = 7
    y, x = masks(0, 11, classes=4), normal(1, 11, 6, 4, k)
    x[..., 5] = -9  # neither there nor predicted: left out of the mean; 4 and 6 are predicted and not there: 0
    weight = np.ones(11, np.float32)
    weight[[2, 10]], x[10], y[2] = 0, np.nan, 3
    task = segmentation(k, size=(6, 4))
    run = jax.jit(functools.partial(engine.evaluate, Recipe(of_pixels(), task, None), batch_size=batch_size))  # pyright: ignore
    sums = jax.device_get(run({}, Batch(x, y, weight)))
    assert sums["pixels"].dtype == np.int32
    found, real = task.summary(sums), weight > 0
    expected = of_a_whole_set(x[real].argmax(-1), y[real], k)
    assert found.keys() == {"loss", *expected} and expected["iou/5"] == expected["iou/4"] == 0
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-15), name


@pytest.mark.long
def test_counts_stay_exact_beyond_what_int32_and_float32_hold():
    k, size = 2, (181, 367)  # 66,427 pixels
    task = segmentation(k, size=size)
    y = masks(0, 3, k, 0.1, size)
    logits = np.eye(k, dtype=np.float32)[masks(1, 3, k, 0.0, size)]
    sums = jax.device_get(jax.jit(functools.partial(measure, task))(logits, y, np.ones(3, np.float32)))
    blocks = jax.jit(lambda a: jnp.broadcast_to(a, (32000, *a.shape)).sum(0))(sums["pixels"])  # as an evaluation adds
    assert blocks.dtype == jnp.int32
    high, low = np.asarray(blocks).astype(int)
    hits, seen = (logits.argmax(-1) == y).sum(), (y != 255).sum()
    total = high * module.WORD + low
    assert total[0].sum() == 32000 * hits and total[2].sum() == 32000 * seen > 2**31
    expected = of_a_whole_set(logits.argmax(-1), y, k)
    assert task.summary(sums | {"pixels": np.asarray(blocks)})["miou"] == expected["miou"]


@pytest.mark.long
def test_a_prediction_that_is_nan_is_wrong_and_no_class():
    task, y = segmentation(2, size=(1, 2)), np.zeros((1, 1, 2), np.uint8)
    logits = jnp.array([[[[jnp.nan, 0], [9.0, 0]]]])
    found = task.summary(measure(task, logits, y, jnp.ones(1)))
    assert float(found["accuracy"]) == float(found["iou/0"]) == 0.5 and float(found["miou"]) == 0.5


@pytest.mark.long
def test_a_set_without_a_pixel_of_any_class_has_no_nan():
    task = segmentation(2, size=(1, 2))
    found = task.summary(measure(task, jnp.zeros((1, 1, 2, 2)), np.full((1, 1, 2), 255, np.uint8), jnp.ones(1)))
    assert {name: float(value) for name, value in found.items()} == dict.fromkeys(found, 0.0)


# ---- what it is asked, and answers -------------------------------------------------------------------------------


@pytest.mark.long
def test_names_of_classes_answers_and_the_settings():
    task = module.of(TaskConfig(dice=0.5), {"classes": ["road", "sky"], "shape": [6, 4, 3]})
    assert task.outputs == (6, 4, 2) and task.labels == "mask"
    logits = normal(0, 3, 6, 4, 2)
    sums = measure(task, jnp.asarray(logits), masks(0, 3, 2), jnp.ones(3))
    assert {"iou/road", "iou/sky"} <= task.summary(sums).keys()
    p = np.asarray(task.link(jnp.asarray(logits)))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    answers = task.decide(p)
    assert answers.dtype == np.uint8
    np.testing.assert_array_equal(answers, logits.argmax(-1))
    np.testing.assert_allclose(
        sums["loss"], sum(by_hand(*pair, 0.5) for pair in zip(logits, masks(0, 3, 2), strict=True)), rtol=1e-5
    )


@pytest.mark.long
def test_a_loss_and_a_metric_of_ones_own():
    loss = lambda logits, y: jnp.mean(jnp.square(logits), (-3, -2, -1))
    share = jaxnn.Metric(lambda logits, y, weight: {"n": weight.sum()}, lambda sums: sums["n"])
    task = segmentation(2, size=(6, 4), loss=loss, metrics={"n": share})
    found = task.summary(measure(task, 2 * jnp.ones((3, 6, 4, 2)), masks(0, 3, 2), jnp.ones(3)))
    assert float(found["loss"]) == 4 and float(found["n"]) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: segmentation(1, size=(6, 4)), r"classes=1: must be in \[2, 255\]"),
        (lambda: segmentation(256, size=(6, 4)), "classes=256"),
        (lambda: segmentation(5, size=(6, 4), ignore=4), r"ignore=4: must be in \[5, 255\], no class"),
        (lambda: segmentation(5, size=(6, 0)), r"size=\(6, 0\): must be height and width, >= 1"),
        (lambda: segmentation(5, size=(6, 4), dice=-1.0), "dice=-1.0: must be finite and >= 0"),
        (
            lambda: segmentation(5, size=(6, 4), dice=1.0, loss=lambda z, y: z),
            "dice=1.0: is a part of the cross-entropy",
        ),
        (lambda: segmentation(5, size=(6, 4)).loss(jnp.zeros((2, 6, 4, 4)), masks(0, 2)), r"axes must be \[6, 4, 5\]"),
        (
            lambda: segmentation(5, size=(6, 4)).check(np.full((2, 6, 4), 5)),
            r"y\[0, 0, 0\]=5: must be in \[0, 5\), or 255",
        ),
        (lambda: segmentation(5, size=(6, 4)).check(np.full((2, 6, 4), -1)), r"y\[0, 0, 0\]=-1"),
        (
            lambda: segmentation(5, size=(6, 4)).check(np.zeros((2, 4, 6), int)),
            r"y=int64\[2, 4, 6\]: masks must be whole",
        ),
        (lambda: segmentation(5, size=(6, 4)).check(np.zeros((2, 6, 4))), r"y=float64\[2, 6, 4\]: masks must be whole"),
        (lambda: TaskConfig(dice=-0.1), "--task.dice=-0.1: must be finite and >= 0"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_check_finds_the_first_pixel_and_takes_what_is_ignored():
    task, y = segmentation(5, size=(6, 4)), masks(0, 3)
    task.check(y)
    y[1, 4, 2] = y[2, 0, 0] = 17
    with pytest.raises(InputError, match=r"y\[1, 4, 2\]=17"):
        task.check(y)


# ---- the network -------------------------------------------------------------------------------------------------


def small(**settings):
    return unet(3, channels=(4, 6), **settings)


@pytest.mark.long
def test_a_unet_follows_the_law_and_keeps_its_names_under_remat():
    x = normal(0, 2, 3, 8, 12, 2)
    params = jax.jit(small().init)(KEY, x[0, 0])
    ys = jax.jit(small().apply)(params, x)
    assert ys.shape == (2, 3, 8, 12, 3)
    each = jax.jit(jax.vmap(jax.vmap(small().apply, (None, 0)), (None, 0)))(params, x)
    np.testing.assert_allclose(ys, each, rtol=1e-4, atol=1e-5)
    assert sorted(params) == ["block_0", "block_1", "concat_0", "conv_0"]
    again = small(remat=True)
    assert jax.tree.structure(jax.eval_shape(again.init, KEY, x[0, 0])) == jax.tree.structure(params)
    slope = lambda model: jax.jit(jax.grad(lambda params: jnp.square(model.apply(params, x[0])).sum()))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), slope(small()), slope(again))


@pytest.mark.slow
def test_a_unet_is_what_its_layers_say():
    """Level by level, with the functions of lax."""
    x = normal(0, 2, 8, 8, 1)
    params = jax.jit(small().init)(KEY, x[0])
    conv = lambda x, p: (
        jax.lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + p["b"]
    )
    with jax.numpy_rank_promotion("allow"):
        f = lambda x, block: jnp.maximum(conv(x, block["conv_0"]), 0)
        pixels = x.reshape(2, 4, 2, 4, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 4, 4)
        top = f(pixels, params["block_0"])
        low = jax.lax.reduce_window(top, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        low = f(f(low, params["concat_0"]["block_0"]), params["concat_0"]["block_1"])
        low = low.repeat(2, 1).repeat(2, 2)
        y = conv(f(jnp.concatenate([top, low], -1), params["block_1"]), params["conv_0"])
    y = y.reshape(2, 4, 4, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 8, 3)
    np.testing.assert_allclose(small().apply(params, x), y, rtol=1e-4, atol=1e-5)


def of_kind(kind, shape=(8, 8, 1), outputs: int | tuple[int, ...] = (8, 8, 3), **settings):
    return build(ModelConfig(kind=kind, **settings), jax.ShapeDtypeStruct(shape, "uint8"), outputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: small().init(KEY, jnp.zeros((8, 6, 1))),
            r"x=\[8, 6, 1\]: height and width must be multiples of 4, .* 8x8",
        ),
        (lambda: small().init(KEY, jnp.zeros((8, 8))), "unet needs images"),
        (lambda: unet(3, channels=()), r"unet channels=\[\]: must be one number or more"),
        (lambda: unet(3, channels=(0, 2)), r"unet channels=\[0, 2\]"),
        (lambda: of_kind("unet", (50, 48, 1), (50, 48, 3)), r"x=\[50, 48, 1\]: .* multiples of 4, .* images of 52x48"),
        (lambda: of_kind("mlp"), "--model.kind=mlp: the task needs a class for each pixel; add --model.kind unet"),
        (lambda: of_kind("unet", outputs=3), "--model.kind=unet: the task needs an answer for each image; add"),
        (lambda: ModelConfig(kind="unet", kernel=5), "--model.kernel=5: a unet has 3x3 convolutions"),
        (lambda: ModelConfig(kind="unet", channels=()), "--model.channels=: a unet has 3x3 convolutions, and a level"),
        (lambda: ModelConfig(kind="unet", dropout=0.5), "--model.dropout=0.5: a unet model has no hidden dense units"),
        (lambda: ModelConfig(kind="unet", activation=("maxout",)), "--model.activation=maxout: must be one name"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_the_numbers(make, message):
    with pytest.raises(InputError, match=message):
        make()


# ---- steps and runs ----------------------------------------------------------------------------------------------


def scenes(n=24, size=8):
    """Bright and dark squares on grey: x u8[n, S, S, 1], y u8[n, S, S] of 3 classes, some pixels of none."""
    rng = np.random.default_rng(0)
    y = np.zeros((n, size, size), np.uint8)
    for i in range(n):
        top, left = rng.integers(0, size - 3, 2)
        y[i, top : top + 4, left : left + 3] = 1 + i % 2
    x = np.array([128, 255, 0])[y] + rng.integers(-20, 21, y.shape)
    y[:, 0, 0] = 255
    return x.clip(0, 255).astype(np.uint8)[..., None], y


@pytest.mark.slow
def test_any_cut_gives_the_same_bits_and_devices_and_parts_the_same_losses():
    x, y = scenes()
    data = Batch(x, y, np.ones(len(x), np.float32))
    model = jaxnn.adopt(unet(3, channels=(4,)), jax.ShapeDtypeStruct((8, 8, 1), "uint8"))
    task, tx = segmentation(3, size=(8, 8), dice=0.5), optax.adam(0.01)
    recipe = Recipe(model, task, tx)
    start = jax.jit(functools.partial(engine.init, recipe))(KEY, x[0])

    def trained(recipe, devices, *cut):
        with mesh.use(devices):
            run = jax.jit(functools.partial(run_steps, recipe, 8, devices), static_argnums=2)
            state, rows, losses = mesh.replicate(start), mesh.replicate(data), []
            for n in cut:
                state, info = run(state, rows, n, key=KEY)
                losses.append(info["loss"] / info["weight"])
            return jax.device_get(state.params), np.concatenate(losses)

    params, losses = trained(recipe, 1, 6)
    again, _ = trained(recipe, 1, 1, 5)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    assert losses[-1] < losses[0]
    for other, devices in ((recipe, 8), (recipe._replace(accumulate=2), 1)):
        np.testing.assert_allclose(trained(other, devices, 6)[1], losses, rtol=1e-5)


FLAGS = ["--model.kind", "unet", "--model.channels", "4", "6", "--epochs", "3", "--batch-size", "8"]
FLAGS += ["--optim.name", "adam", "--optim.lr", "0.02", "--optim.schedule", "constant", "--task.dice", "0.5"]


def here(*argv):
    return main.train([*map(str, argv), "--devices", "1"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, (x, y) = tmp_path_factory.mktemp("masks"), scenes()
    np.savez(folder / "scenes.npz", x=x, y=y, classes=["ground", "light", "dark"])
    assert here("digits_mlp", *FLAGS, "--data.name", folder / "scenes.npz", "--workdir", folder / "run") == 0
    return folder


@pytest.mark.long
def test_a_run_learns_and_its_history_has_each_class(finished):
    rows = [json.loads(line) for line in (finished / "run" / "history.jsonl").read_text().splitlines()]
    assert {"train/miou", "train/accuracy", "val/miou", "val/iou/light"} <= rows[0].keys()
    assert rows[2]["train/loss"] < rows[0]["train/loss"] and "test/iou/dark" in rows[-1]


@pytest.mark.long
def test_the_screen_has_the_mean_of_the_classes_only(finished, tmp_path, capsys):
    assert here("digits_mlp", *FLAGS, "--data.name", finished / "scenes.npz", "--workdir", tmp_path / "run") == 0
    shown = capsys.readouterr().out
    assert "val/miou" in shown and "miou" in shown.partition("┃ test")[2] and "iou/" not in shown
    again, first = (folder / "run" / "weights.safetensors" for folder in (tmp_path, finished))
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.long
def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    last = max((tmp_path / "run" / "checkpoints").iterdir())
    shutil.rmtree(last)
    (tmp_path / "run" / "weights.safetensors").unlink()
    assert here("digits_mlp", *FLAGS, "--data.name", finished / "scenes.npz", "--workdir", tmp_path / "run") == 0
    again, first = (folder / "run" / "weights.safetensors" for folder in (tmp_path, finished))
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.long
def test_what_a_run_answers_are_masks_and_what_it_measures_a_plain_count(finished):
    run, test = jaxnn.load_run(finished / "run"), jaxnn.data.load(finished / "scenes.npz").test
    assert test is not None
    answers = run.predict(test.x)
    assert answers.shape == test.y.shape and answers.dtype == np.uint8
    row = json.loads((finished / "run" / "history.jsonl").read_text().splitlines()[-1])
    expected = of_a_whole_set(answers, test.y, 3)
    for name, index in (("miou", "miou"), ("accuracy", "accuracy"), ("iou/ground", "iou/0"), ("iou/dark", "iou/2")):
        assert row[f"test/{name}"] == pytest.approx(expected[index], abs=1e-15)


@pytest.mark.slow
def test_bfloat16_trains(finished, tmp_path):
    flags = [*FLAGS, "--dtype", "bf16", "--data.name", finished / "scenes.npz", "--workdir", tmp_path / "run"]
    assert here("digits_mlp", *flags) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert rows[2]["train/loss"] < rows[0]["train/loss"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.kind", "mlp"], "--model.kind=mlp: the task needs a class for each pixel; add --model.kind unet"),
        (["--model.channels", *"4444"], r"x=\[8, 8, 1\]: height and width must be multiples of 16"),
        (["--data.name", "digits"], "--task.dice=0.5: is for segmentation, and this task is multiclass"),
        (["--data.name", "digits", "--task.dice", "0"], "--model.kind=unet: the task needs an answer for each image"),
        (["--task.name", "multiclass"], "--task.name=multiclass: the labels of this data are masks"),
        (["--data.augment", "mixup:1"], "mixup"),
        (["--data.class_weight", "balanced"], "class_weight"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_nothing_is_written(finished, tmp_path, argv, message):
    name = [] if "--data.name" in argv else ["--data.name", finished / "scenes.npz"]
    kept = [flag for flag in FLAGS] if "--model.channels" not in argv else FLAGS[:2] + FLAGS[5:]
    kept = kept if "--model.kind" not in argv else [*kept[5:]]
    kept = kept if "--task.dice" not in argv else kept[:-2]
    with pytest.raises(InputError, match=message):
        here("digits_mlp", *kept, *name, *argv, "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_masks_with_a_class_beyond_are_refused_and_nothing_is_written(tmp_path):
    x, y = scenes()
    y[7, 3, 2] = 9
    np.savez(tmp_path / "bad.npz", x=x, y=y, classes=["ground", "light", "dark"])
    with pytest.raises(InputError, match=r"=9: must be in \[0, 3\), or 255 for a pixel of no class"):
        here("digits_mlp", *FLAGS, "--data.name", tmp_path / "bad.npz", "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
