"""The task of detection: its loss against a plain loop, what is found, AP, bad labels, and whole runs."""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.test_util import check_grads

import jaxnn
from jaxnn.commands import main
from jaxnn.errors import InputError
from jaxnn.tasks.coco_map import coco_map
from jaxnn.tasks.detection import SPREAD, average_precision, detection, histograms
from jaxnn.tasks.metrics import measure

SIZE, K = (24, 32), 3
TASK = detection(K, size=SIZE)


def labels(seed, n, m=4, whole=False):
    """Some boxes in each image, none in the first."""
    rng = np.random.default_rng(seed)
    y = np.full((n, m, 5), -1, np.float32)
    for i in range(1, n):
        count = rng.integers(1, m + 1)
        low = rng.uniform(0, 0.6, (count, 2)) * SIZE[::-1]
        high = low + rng.uniform(0.1, 0.4, (count, 2)) * SIZE[::-1]
        boxes = np.c_[low, high].round() if whole else np.c_[low, high]
        y[i, :count] = np.c_[rng.integers(0, K, count), boxes]
    return y


def outputs(seed, n):
    return np.random.default_rng(seed).normal(size=(n, 6, 8, K + 4)).astype(np.float32)


def plain_loss(outputs, y):
    """As the docstring of `detection` says, in float64 and loops."""
    height, width, _ = outputs.shape
    heat, apart, boxes = np.zeros((height, width, K)), 0.0, [row for row in y if row[0] >= 0]
    for kind, *box in np.array(boxes, np.float64).reshape(-1, 5):
        x1, y1, x2, y2 = (v / 4 for v in box)
        column, row = int((x1 + x2) // 2), int((y1 + y2) // 2)
        for i in range(height):
            for j in range(width):
                far = ((j - column) / (SPREAD * (x2 - x1))) ** 2 + ((i - row) / (SPREAD * (y2 - y1))) ** 2
                heat[i, j, int(kind)] = max(heat[i, j, int(kind)], np.exp(-far / 2))
        left, up, right, down = np.exp(np.float64(outputs[row, column, K:]))
        mine = (column + 0.5 - left, row + 0.5 - up, column + 0.5 + right, row + 0.5 + down)
        inner = max(min(mine[2], x2) - max(mine[0], x1), 0) * max(min(mine[3], y2) - max(mine[1], y1), 0)
        union = (mine[2] - mine[0]) * (mine[3] - mine[1]) + (x2 - x1) * (y2 - y1) - inner
        around = (max(mine[2], x2) - min(mine[0], x1)) * (max(mine[3], y2) - min(mine[1], y1))
        apart += 1 - (inner / union - (around - union) / around)
    p = 1 / (1 + np.exp(-np.float64(outputs[..., :K])))
    focal = -np.where(heat == 1, (1 - p) ** 2 * np.log(p), (1 - heat) ** 4 * p**2 * np.log(1 - p)).sum()
    return (focal + apart) / max(len(boxes), 1)


def test_the_loss_is_that_of_the_plain_loop():
    z, y = outputs(0, 30), labels(1, 30)
    y[2, 0], y[2, 1] = [0, 4, 4, 12, 12], [1, 5, 5, 10, 10]  # two centres in one cell
    expected = [plain_loss(*row) for row in zip(z, y, strict=True)]
    np.testing.assert_allclose(jax.jit(TASK.loss)(z, y), expected, rtol=1e-5)


@pytest.mark.long
def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        y = jnp.asarray(labels(2, 4), jnp.float64)
        check_grads(
            jax.jit(lambda z: TASK.loss(z, y)), (jnp.asarray(outputs(3, 4), jnp.float64),), 1, ["rev"], rtol=1e-5
        )


@pytest.mark.long
def test_images_without_boxes_and_extreme_outputs_train_without_nan():
    z, y = outputs(4, 3), labels(5, 3)
    y[1] = np.nan  # what is there if a row of weight 0 is damaged
    gradient = jax.jit(jax.grad(lambda z, y: TASK.loss(z, y).sum()))
    for scale in (1, 1e4):
        found = gradient(scale * z[[0, 2]], y[[0, 2]])
        assert jnp.isfinite(found).all() and (scale > 1 or (found[..., :K] != 0).all())
    assert (gradient(z[:1], y[:1])[..., K:] == 0).all()


def test_leading_axes_are_free():
    z, y = outputs(6, 4), labels(7, 4)
    both = lambda z, y: (TASK.loss(z, y), TASK.decide(TASK.link(z)))
    (loss, found), (losses, founds) = jax.jit(lambda z, y: (both(z, y), jax.vmap(both)(z, y)))(z, y)
    np.testing.assert_allclose(loss, losses, rtol=1e-6)
    np.testing.assert_allclose(found, founds, rtol=1e-6)
    assert found.shape == (4, 6 * 8 * K if 6 * 8 * K < 100 else 100, 6)


def perfect(y):
    """Outputs that say what the labels are, one box a cell."""
    z = np.full((len(y), 6, 8, K + 4), -9, np.float32)
    for i, rows in enumerate(y):
        for kind, x1, y1, x2, y2 in rows[rows[:, 0] >= 0]:
            row, column = int((y1 + y2) // 8), int((x1 + x2) // 8)
            x, up = 4 * column + 2, 4 * row + 2
            z[i, row, column, int(kind)] = 4
            z[i, row, column, K:] = np.log(np.maximum([x - x1, up - y1, x2 - x, y2 - up], 1e-3) / 4)
    return z


def test_what_the_labels_say_is_found_on_numpy_and_jax_arrays_alike():
    y = np.full((2, 3, 5), -1, np.float32)
    y[1, :2] = [[2, 1, 1, 11, 9], [0, 16, 10, 30, 22]]
    p = TASK.link(jnp.asarray(perfect(y)))
    found = TASK.decide(np.asarray(p))
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_array_equal(found, TASK.decide(p))
    best = found[1, np.argsort(found[1, :2, 0])]
    np.testing.assert_allclose(best[:, :4], y[1, :2, 1:], atol=0.01)
    assert best[:, 5].tolist() == [2, 0] and (found[1, 2:, 4] < 0.01).all() and (np.diff(found[1, :, 4]) <= 0).all()
    assert (found[..., 4] == 0)[found[..., 5] == -1].all() and (found[..., :4] >= 0).all()
    assert (found[..., [0, 2]] <= SIZE[1]).all() and (found[..., [1, 3]] <= SIZE[0]).all()


def some_detections(seed, n, m=8):
    """Labels, and detections of which many are near one of them; the scores are those of bins, which do not tie."""
    rng = np.random.default_rng(seed)
    y = labels(seed, n, m)
    found = np.zeros((n, 2 * m, 6), np.float32)
    found[..., :4] = np.concatenate([y[..., 1:], y[..., 1:]], 1) + rng.normal(0, 1, (n, 2 * m, 4))
    found[..., 2:4] = np.maximum(found[..., 2:4], found[..., :2])
    found[..., 4] = rng.beta(2, 2, (n, 2 * m))
    found[..., 5] = np.where(rng.random((n, 2 * m)) < 0.8, np.tile(y[..., 0], 2), rng.integers(0, K, (n, 2 * m)))
    return found, y


def test_the_ap_of_the_history_is_nearly_that_of_coco():
    found, y = some_detections(8, 400)
    counted = np.arange(400) % 5 > 0
    sums = jax.jit(histograms, static_argnums=3)(found, y, counted, K + 1)  # a class that is not there is left out
    ours, exact = float(average_precision(*sums.values())), coco_map(found[counted], y[counted])["map50"]
    assert 0.2 < exact < 0.8 and abs(ours - exact) < 1e-3
    assert int(sums["there"].sum()) == (y[counted][..., 0] >= 0).sum()
    assert int(sums["hits"].sum() + sums["misses"].sum()) == (found[counted][..., 5] >= 0).sum()


@pytest.mark.long
def test_rows_of_weight_0_count_nowhere_even_if_they_are_nan():
    z, y, weight = outputs(9, 6), labels(10, 6), np.ones(6, np.float32)
    sums_of = jax.jit(functools.partial(measure, TASK))
    padded = [np.concatenate([a, np.full_like(a[:2], np.nan)]) for a in (z, y)]
    clean, more = sums_of(z, y, weight), sums_of(*padded, np.r_[weight, 0, 0].astype(np.float32))
    for name in ("loss", "weight", "hits", "misses", "there"):
        np.testing.assert_allclose(clean[name], more[name], rtol=1e-6, err_msg=name)
    assert more["counted"].tolist() == [True] * 6 + [False] * 2
    assert TASK.final
    final = [TASK.final(jax.device_get(sums)) for sums in (clean, more)]
    assert final[0] == final[1] and set(final[0]) == {"map", "map50"}


@pytest.mark.long
def test_the_numbers_of_the_end_are_those_of_coco_map():
    y = labels(11, 20, m=2, whole=True)
    sums = jax.device_get(measure(TASK, jnp.asarray(perfect(y)), y, jnp.ones(20)))
    exact = coco_map(sums["detections"], y)
    assert TASK.final and TASK.final(sums) == {"map50": exact["map50"], "map": exact["map"]} and exact["map50"] > 0.7
    assert abs(float(TASK.summary(sums)["map50"]) - exact["map50"]) < 0.02  # equal scores are one step
    assert set(TASK.summary({"loss": sums["loss"], "weight": sums["weight"]})) == {"loss"}  # of training


GOOD = labels(12, 3)


def with_box(*row):
    y = GOOD.copy()
    y[2, 1] = row
    return y


@pytest.mark.parametrize(
    ("y", "line"),
    [
        (with_box(0, 9, 2, 4, 8), "boxes[2, 1]=0 9 2 4 8: must have x1 < x2 and y1 < y2; COCO's x, y, width, height"),
        (with_box(0, 2, 2, 2, 8), "boxes[2, 1]=0 2 2 2 8: must have x1 < x2 and y1 < y2"),
        (with_box(0, 2, 2, np.nan, 8), "boxes[2, 1]=0 2 2 nan 8: must be finite"),
        (with_box(np.nan, 2, 2, 4, 8), "boxes[2, 1]=nan 2 2 4 8: must be finite"),
        (with_box(0, 2, 2, 33, 8), "boxes[2, 1]=0 2 2 33 8: must lie in the image, 32 wide and 24 high; cut"),
        (with_box(0, -1, 2, 3, 8), "boxes[2, 1]=0 -1 2 3 8: must lie in the image"),
        (with_box(3, 2, 2, 4, 8), "boxes[2, 1]=3 2 2 4 8: its class must be a whole number from 0 to 2, or -1"),
        (with_box(0.5, 2, 2, 4, 8), "boxes[2, 1]=0.5 2 2 4 8: its class must be a whole number"),
        (GOOD[..., :4], "y=float32[3, 4, 4]: must be f32[n, M, 5], class, x1, y1, x2, y2; reshape it"),
        (np.broadcast_to(np.array([0, 1, 1, 2, 2]), (1, 101, 5)), "boxes[0]: has 101, and at most 100 are found"),
    ],
)  # fmt: skip
def test_labels_that_are_no_boxes_are_refused_by_example_and_box(y, line):
    TASK.check(GOOD)
    TASK.check(GOOD[:, :0])
    with pytest.raises(InputError) as error:
        TASK.check(y)
    assert str(error.value).startswith(line)


def test_sizes_that_the_stride_does_not_divide_are_refused():
    with pytest.raises(InputError) as error:
        detection(K, size=(30, 64))
    assert str(error.value) == (
        "size=30x64: must be multiples of 4, the stride of the grid; make the images 32x64, with --data.image_size"
    )
    with pytest.raises(InputError, match=r"outputs\[2, 7, 8, 7\]: must be \[..., 6, 8, 7\]"):
        TASK.loss(jnp.zeros((2, 7, 8, 7)), jnp.zeros((2, 1, 5)))


# ---- runs of train.py --------------------------------------------------------------------------------------------

SHORT = ["--epochs", "3", "--batch-size", "8", "--model.kind", "detector", "--model.channels", "4", "4"]


def squares(n: int) -> tuple[np.ndarray, np.ndarray]:
    """16x16 images with a full or a hollow square, or none."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((n, 16, 16, 1), np.uint8), np.full((n, 2, 5), -1, np.float32)
    for i in range(n):
        if i % 5:
            side, kind = rng.integers(5, 10), i % 2
            x1, y1 = rng.integers(0, 17 - side, 2)
            x[i, y1 : y1 + side, x1 : x1 + side] = 255
            if kind:
                x[i, y1 + 1 : y1 + side - 1, x1 + 1 : x1 + side - 1] = 0
            y[i, 0] = kind, x1, y1, x1 + side, y1 + side
    return x, y


def here(*argv: object) -> int:
    return main.train([*map(str, argv), *([] if "--devices" in argv else ["--devices", "1"])])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    x, y = squares(60)
    np.savez(folder / "squares.npz", x=x, y=y, classes=np.array(["full", "hollow"]))
    flags = [
        "--optim.name",
        "adam",
        "--optim.lr",
        "0.01",
        "--optim.ema",
        "0.9",
        "--checkpoint.every",
        "1epoch",
        "--checkpoint.keep",
        "9",
    ]
    value = f"Config(name='squares', data=DataConfig(name={str(folder / 'squares.npz')!r}))"
    (folder / "squares.py").write_text(f"from jaxnn.config import *\nconfig = {value}\n")
    assert here(folder / "squares.py", *SHORT, *flags, "--workdir", folder / "run") == 0
    return folder


def again(finished: Path, folder: Path, *flags: object) -> list[dict[str, float]]:
    """The rows of another run like the first, with these flags."""
    assert here("--config", finished / "run" / "config.json", "--workdir", folder, *flags) == 0
    return rows(folder)


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def same_weights(a: Path, b: Path) -> bool:
    first, second = (safetensors.numpy.load_file(folder / "weights.safetensors") for folder in (a, b))
    return all(np.array_equal(leaf, second[name]) for name, leaf in first.items())


@pytest.mark.long
def test_a_run_measures_and_answers(finished):
    *history, last = rows(finished / "run")
    assert {"train/loss", "val/loss", "val/map50"} <= history[0].keys() and "train/map50" not in history[0]
    assert history[-1]["train/loss"] < history[0]["train/loss"] and {"test/map50", "test/map"} <= last.keys()
    run, test = jaxnn.load_run(finished / "run"), jaxnn.data.load(finished / "squares.npz").test
    assert test is not None
    answers = run.predict(test.x)
    assert answers.shape == (len(test.x), 32, 6) and answers.dtype == np.float32
    exact = coco_map(answers, test.y)
    assert [exact["map50"], exact["map"]] == pytest.approx([last["test/map50"], last["test/map"]], abs=1e-3)


@pytest.mark.long
def test_a_run_has_the_same_bits_however_it_is_cut_and_if_it_is_resumed(finished, tmp_path):
    again(finished, tmp_path / "cut", "--checkpoint.every", "4")
    assert same_weights(tmp_path / "cut", finished / "run")
    shutil.copytree(tmp_path / "cut", tmp_path / "resumed")
    for name in sorted(path.name for path in (tmp_path / "resumed" / "checkpoints").iterdir())[-2:]:
        shutil.rmtree(tmp_path / "resumed" / "checkpoints" / name)
    (tmp_path / "resumed" / "weights.safetensors").unlink()
    again(finished, tmp_path / "resumed", "--checkpoint.every", "4")
    assert same_weights(tmp_path / "resumed", finished / "run")


@pytest.mark.slow
def test_eight_devices_and_parts_of_a_batch_take_the_same_steps(finished, tmp_path):
    expected = rows(finished / "run")
    for flags in (["--devices", "8"], ["--optim.accumulate", "2"]):
        for row, other in zip(expected, again(finished, tmp_path / flags[0], *flags), strict=True):
            losses = {name: value for name, value in row.items() if name.endswith("/loss")}
            assert losses == pytest.approx({name: other[name] for name in losses}, rel=1e-4), flags


@pytest.mark.slow
def test_bfloat16_learns_alike(finished, tmp_path):
    last, half = rows(finished / "run")[-1], again(finished, tmp_path / "half", "--dtype", "bf16")[-1]
    assert half["test/loss"] == pytest.approx(last["test/loss"], rel=0.05)


@pytest.mark.long
def test_boxes_that_are_wrong_train_nothing(finished, tmp_path):
    x, y = squares(60)
    y[7, 0, 3] = 17
    np.savez(tmp_path / "wrong.npz", x=x, y=y)
    with pytest.raises(InputError, match=r"must lie in the image, 16 wide and 16 high; cut it off at the edge"):
        again(finished, tmp_path / "run", "--data.name", tmp_path / "wrong.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_settings_of_other_tasks_are_refused(finished, tmp_path):
    for flags, line in (
        (["--task.label_smoothing", "0.1"], "--task.label_smoothing=0.1: is for classes and amounts"),
        (["--model.kind", "mlp"], "--model.kind=mlp: the task needs boxes; add --model.kind detector"),
    ):
        with pytest.raises(InputError) as error:
            again(finished, tmp_path / "run", *flags)
        assert str(error.value).startswith(line)
    assert not (tmp_path / "run").exists()
