"""Data that would be learned wrongly: each is refused by name, or gives the right number."""

from __future__ import annotations

import functools
import gzip
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import load, process, refusal, refused_process, refused_run
from PIL import Image

import jaxnn
from jaxnn import Batch, Recipe, engine
from jaxnn.config.model import ModelConfig
from jaxnn.data import feeds, order, overlap
from jaxnn.devices import mesh
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.training.programs import run_steps

# Compiled in half the time, to programs that are slower: for those of few steps.
quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = np.arange(60) % 3
RUN = "--data.validation-fraction 0 --data.test-fraction 0 --model.kind linear --optim.schedule constant".split()
X_TEST, Y_TEST = RNG.normal(size=(20, 3)).astype(np.float32), np.arange(20) % 3


@pytest.fixture
def save(tmp_path):
    def save(name: str = "data.npz", **arrays: Any) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def given(**changed: Any) -> dict[str, Any]:
    return {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST} | changed


def put(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


def images(root: Path, shape: tuple[int, ...] = (8, 8), n: int = 6, seed: int = 0) -> list[Path]:
    """n images of random pixels in each of the classes cat and dog."""
    pixels = np.random.default_rng(seed).integers(0, 256, (2 * n, *shape), np.uint8)
    paths = [root / ("cat" if i < n else "dog") / f"{i:02d}.png" for i in range(2 * n)]
    for path, image in zip(paths, pixels, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return paths


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_d01_a_label_out_of_range_is_named_at_any_position():
    for _ in range(1000):
        n, classes = int(RNG.integers(1, 300)), int(RNG.integers(2, 12))
        labels = RNG.integers(0, classes, n)
        i, value = RNG.integers(n), classes + RNG.choice([0, 0, 1, 7, 2**31, 2**40])
        labels[i] = value
        with pytest.raises(InputError) as caught:
            jaxnn.check_labels(labels, classes)
        assert str(caught.value) == f"labels[{i}]={value}: must be in [0, {classes})"


def test_d01_a_label_that_training_has_not_is_refused_in_the_test_set(save, tmp_path):
    for i in RNG.integers(0, 20, 20):
        message = refusal(save(**given(y_test=put(Y_TEST, i, 3))))
        assert message == f"test labels[{i}]=3: not a class of the training examples (0, 1, 2)"
    path = save(**given(y_test=put(Y_TEST, 17, 3)))
    assert "test labels[17]=3" in refused_process("--data.name", path, cwd=tmp_path)


def test_d02_minus_one_is_no_class_and_a_weight_of_0_leaves_an_example_out(save):
    for i in RNG.integers(0, 60, 50):
        assert refusal(save(x=X, y=put(Y, i, -1))).startswith(f"labels[{i}]=-1: must be >= 0")
    # There is no number for "ignore": an example without a label gets weight 0, in the loss and in the count.
    recipe = Recipe(jaxnn.linear(3), jaxnn.multiclass(3), tx=optax.sgd(0.1))
    params = recipe.model.init(jax.random.key(0), X[0])
    evaluate = quickly(functools.partial(engine.evaluate, recipe, batch_size=7))
    weight = np.ones(20, np.float32)
    weight[[2, 11]] = 0
    kept = weight > 0
    masked = evaluate(params, Batch(X_TEST, Y_TEST.astype(np.int32), weight))
    without = evaluate(params, Batch(X_TEST[kept], Y_TEST[kept].astype(np.int32), weight[kept]))
    assert float(masked["weight"]) == 18
    for name in masked:
        np.testing.assert_allclose(masked[name], without[name], rtol=1e-6)


@pytest.mark.parametrize("value", [1.7, np.nan, np.inf, -0.5])
def test_d03_labels_that_are_no_whole_numbers_are_never_cast(save, value):
    for i in RNG.integers(0, 60, 10):
        message = refusal(save(x=X, y=put(put(Y * 1.0, i, value), 59, value)), task="multiclass")
        assert message.startswith(f"labels[{i}]={value}: ")


@pytest.mark.long
def test_d04_text_labels_come_back_from_predict_and_unknown_ones_are_refused(save, tmp_path):
    names = np.array(["setosa", "ÅÄÖ 花", "a b"])
    x = np.repeat(np.eye(3, dtype=np.float32), 20, 0) + X / 100
    y = np.repeat(names, 20)
    done = process("--data.name", save(x=x, y=y), *RUN, "--epochs", 40, "--workdir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = jaxnn.load_run(tmp_path / "run")
    assert run.data["classes"] == sorted(names) and run.predict(x).tolist() == y.tolist()
    message = refusal(save(x_train=x, y_train=y, x_test=X_TEST, y_test=put(y[:20], 4, "b a")))
    assert message.startswith("test labels[4]=b a: not a class of the training examples")


def test_d05_objects_and_ragged_rows_are_refused_where_they_are(save, tmp_path):
    ragged = np.empty(60, object)
    ragged[:] = [[1, 2, 3]] * 59 + [[1, 2]]
    message = refusal(save(x=ragged, y=Y))  # what is in it is not even looked at: that would run a pickle
    assert message.startswith(f"{tmp_path}/data.npz array x: not a readable .npz of plain arrays (Object arrays cannot")
    (tmp_path / "ragged.csv").write_text("a,b,y\n1,2,0\n3,1\n")
    assert f"{tmp_path}/ragged.csv line 3=2 cells: the header has 3" in refusal(tmp_path / "ragged.csv")
    paths = images(tmp_path / "images")
    Image.new("L", (9, 8)).save(paths[7])
    message = refusal(tmp_path / "images")
    assert message.startswith(f"{paths[7]}=(8, 9, 1): all images must have one size") and "(8, 8, 1)" in message
    about = {"shape": [3], "dtype": "float32", "classes": [0, 1]}
    nothing: Any = None  # no network is needed to refuse
    run = jaxnn.Run(nothing, nothing, nothing, jaxnn.binary(), about, nothing)
    with pytest.raises(InputError, match=r"x\[2\]=\(2,\): must be an array of numbers, every row as .*, \(3,\)"):
        run.predict([[1, 2, 3], [4, 5, 6], [7, 8]])


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_d06_a_value_that_is_not_finite_is_named(save, tmp_path, value):
    for _ in range(20):
        i, j = RNG.integers(60), RNG.integers(3)
        assert refusal(save(x=put(X, (i, j), value), y=Y)).startswith(f"x[{i},{j}]={value}: must be finite")
    (tmp_path / "t.csv").write_text(f"a,b,y\n1,2.5,0\n3,{value},1\n4,5.5,0\n6,7.5,1\n")
    rule = "missing value" if np.isnan(value) else "must be finite"
    assert refusal(tmp_path / "t.csv").startswith(f"{tmp_path}/t.csv line 3, column b={value}: {rule}")


def test_d06_dropping_such_rows_keeps_the_others_and_says_how_many(save, tmp_path):
    x = put(put(X, (5, 1), np.nan), (7, 0), np.inf)
    x_test = put(X_TEST, (3, 2), np.nan)
    loaded = load(save(**given(x_train=x, x_test=x_test)), nan="drop", validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, np.delete(X, [5, 7], 0))
    np.testing.assert_array_equal(loaded.train.y, np.delete(Y, [5, 7]))
    np.testing.assert_array_equal(loaded.test.x, np.delete(X_TEST, 3, 0))
    assert loaded.notes == (
        "train: 2 of 60 examples left out, with a value that is not finite",
        "test: 1 of 20 examples left out, with a value that is not finite",
    )
    rows = [f"{i}.5,{'red' if i % 2 else 'blue'},{i % 2}" for i in range(20)]
    rows[3], rows[8], rows[9], rows[10] = "NA,red,1", "8.5,,0", "nan,red,1", "inf,blue,0"
    (tmp_path / "t.csv").write_text("a,b,y\n" + "\n".join(rows) + "\n")
    loaded = load(tmp_path / "t.csv", nan="drop", validation_fraction=0, test_fraction=0)
    assert sorted(loaded.train.x[:, 0] - 0.5) == sorted(set(range(20)) - {3, 8, 9, 10})
    assert loaded.notes == (
        f"{tmp_path}/t.csv: 3 of 20 rows left out, with a missing value",
        f"{tmp_path}/t.csv: 1 of 20 rows left out, with a value that is not finite",
    )
    assert refusal(save(x=X * np.float32("nan"), y=Y), nan="drop").startswith("x=0 examples: must hold at least one")


def test_d06_a_run_tells_what_it_left_out(save, tmp_path):
    path = save(x=put(X, (5, 1), np.nan), y=Y)
    done = process("--data.name", path, "--data.nan", "drop", "--batch-size", "8", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "note: train: 1 of 60 examples left out, with a value that is not finite\n"


def test_d07_bytes_are_floats_before_they_are_computed_with(save):
    x = RNG.integers(0, 256, (60, 4, 4, 3), np.uint8)
    x[0].flat[:] = np.arange(48) * 5  # 0 to 235
    loaded = load(save(x=x, y=Y), standardize=True, test_fraction=0, validation_fraction=0)
    assert loaded.train.x.dtype == np.uint8 and loaded.scale == 255
    example = jax.ShapeDtypeStruct(loaded.shape, np.uint8)
    for mean, std in ((loaded.mean, loaded.std), (None, None)):
        model = models.build(ModelConfig(kind="linear"), example, 48, scale=loaded.scale, mean=mean, std=std)
        layer = {"dense_0": {"w": jnp.eye(48), "b": jnp.zeros(48)}}
        made = model.init(jax.random.key(0), example)
        kept = {} if mean is None else {"input_stats": {"mean": jnp.asarray(mean), "std": jnp.asarray(std)}}
        assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, layer | kept)
        for name in kept.get("input_stats", {}):  # as they were found, whatever the dtype of x
            np.testing.assert_array_equal(made["input_stats"][name], kept["input_stats"][name])
        y = jax.jit(model.apply)(made | layer, loaded.train.x)
        exact = x.astype(np.float64)
        exact = exact / 255 if mean is None else (exact - exact.mean(0)) / exact.std(0)
        np.testing.assert_allclose(y, exact.reshape(60, 48), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (2**40 + 5, np.int64, "=1099511627781: float32 would change this whole number"),
        (2**24 + 1, np.int32, "=16777217: float32 would change this whole number"),
        (-(2**24) - 1, np.int64, "=-16777217: float32 would change this whole number"),
        (2**63 + 1, np.uint64, "=9223372036854775809: float32 would change this whole number"),
        (1e300, np.float64, "=1e+300: does not fit float32 (at most 3.402823e+38)"),
        (-3.5e38, np.float64, "=-3.5e+38: does not fit float32 (at most 3.402823e+38)"),
    ],
)
def test_d08_a_number_that_float32_would_damage_is_refused_by_value(save, value, dtype, words):
    x = np.ones((60, 3), dtype)
    i, j = RNG.integers(60), RNG.integers(3)
    x[i, j] = value
    assert refusal(save(x=x, y=Y)).startswith(f"x[{i},{j}]{words}")
    x[i, j] = 7
    assert (load(save(x=x, y=Y), test_fraction=0, validation_fraction=0).train.x == x).all()


def test_d08_all_of_uint16_fits(save):
    x = np.arange(2**16, dtype=np.uint16).reshape(-1, 4)
    loaded = load(save(x=x, y=np.arange(len(x)) % 3), test_fraction=0, validation_fraction=0)
    assert loaded.train.x.dtype == np.float32 and (loaded.train.x == x).all()


# ---- how many --------------------------------------------------------------------------------------------------------


def test_d09_no_examples_are_refused_in_every_reader_and_part(save, tmp_path):
    assert refusal(save(x=X[:0], y=Y[:0])).startswith("x=0 examples: must hold at least one")
    assert refusal(save(**given(x_test=X[:0], y_test=Y[:0]))).startswith("test x=0 examples: must hold")
    (tmp_path / "t.csv").write_text("a,b,y\n")
    assert "t.csv=0 examples: must hold at least one row" in refusal(tmp_path / "t.csv")
    (tmp_path / "images").mkdir()
    assert "images=0 images: must hold" in refusal(tmp_path / "images")
    idx_files(tmp_path / "idx", np.zeros((0, 4, 4), np.uint8), np.zeros(0, np.uint8))
    assert "=(0, 4, 4): no size may be 0" in refusal(tmp_path / "idx")
    message = refusal(save(x=X, y=X[:, 0]), test_fraction=1e-6)
    assert message.startswith("--data.test_fraction=1e-06: leaves 0 of 60 examples for test and 60 for training")
    message = refusal(save(x=X, y=X[:, 0]), test_fraction=0.999)
    assert message.startswith("--data.validation_fraction=0.1: leaves 0 of 1 examples for validation")


def test_d10_a_batch_larger_than_the_data_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused_run("iris_mlp", "--batch-size", 109)
    assert message == "--batch_size=109: there are 108 training examples; use 108 or fewer, or full"


@pytest.mark.long
@pytest.mark.parametrize(("n", "batch"), [(20, 8), (7, 7)])
def test_d11_an_epoch_trains_on_every_example_the_last_batch_too(n, batch):
    recipe, key = Recipe(jaxnn.linear(1), jaxnn.regression(), optax.sgd(0.1)), jax.random.key(0)
    data = Batch(np.zeros((n, 2), np.float32), np.ones((n, 1), np.float32), np.ones(n, np.float32))
    run = quickly(functools.partial(run_steps, recipe, batch, 1), static_argnums=2)
    _, info = run(engine.init(recipe, key, data.x[0]), data, 3 * -(-n // batch), key=jax.random.key(1))
    seen = np.asarray(info["weight"]).reshape(3, -1)
    assert (seen.sum(1) == n).all() and (seen[:, :-1] == batch).all()
    assert (seen[:, -1] == (n % batch or batch)).all()


def check_evaluation(n: int, batches: list[int]) -> None:
    """The metrics of n examples are NumPy's, whatever the batch."""
    x, y = RNG.normal(size=(n, 4)).astype(np.float32), RNG.integers(0, 3, n).astype(np.int32)
    task, model = jaxnn.multiclass(3), jaxnn.linear(3)
    recipe, params = Recipe(model, task, optax.sgd(0.1)), model.init(jax.random.key(n), x[0])
    w, b = (np.asarray(params["dense_0"][k], np.float64) for k in "wb")
    logits = x.astype(np.float64) @ w.T + b
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for batch in batches:
        evaluate = quickly(functools.partial(engine.evaluate, recipe, batch_size=batch))
        sums = evaluate(params, Batch(x, y, np.ones(n, np.float32)))
        found = task.summary(jax.device_get(sums))
        np.testing.assert_allclose(found["loss"], -log_p[np.arange(n), y].mean(), rtol=1e-6)
        np.testing.assert_allclose(found["accuracy"], (logits.argmax(1) == y).mean(), rtol=1e-6)


@pytest.mark.long
def test_d12_evaluation_is_the_mean_over_all_examples_whatever_the_batch_size():
    check_evaluation(13, [1, 5, 13])


@pytest.mark.slow
def test_d12_evaluation_at_every_batch_size():
    check_evaluation(40, list(range(1, 41)))


@pytest.mark.long
def test_d13_one_class_is_refused(save, tmp_path):
    assert refusal(save(x=X, y=Y * 0 + 4)).startswith("labels=4: the only class of 60 training examples; there must be")
    assert refusal(save(x=X, y=Y), positive="7").startswith("--data.positive=7: unknown")
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},x\n" for i in range(20)))
    assert refused_process("--data.name", "t.csv", cwd=tmp_path).startswith("labels=x: the only class of 20 training")


def test_d14_a_class_of_one_example_cannot_be_split(save):
    for i in RNG.integers(0, 60, 10):
        message = refusal(save(x=X, y=put(Y, i, 9)))
        assert message.startswith("class 9=1 example: a stratified split needs 2 or more")
    loaded = load(save(x=X, y=put(Y, 5, 9)), test_fraction=0, validation_fraction=0)  # nothing is split
    assert loaded.classes == (0, 1, 2, 9) and loaded.train.y[5] == 3


# ---- images ----------------------------------------------------------------------------------------------------------


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_d15_channels_come_last_and_nothing_is_transposed_by_guess(save, channels):
    for size in ((8, 8), (12, 9), (5, 28)):
        last = RNG.integers(0, 256, (60, *size, channels), np.uint8)
        assert (load(save(x=last, y=Y), test_fraction=0, validation_fraction=0).train.x == last).all()
        first = np.moveaxis(last, -1, 1)
        for x in (first, first.astype(np.float32)):
            assert refusal(save(x=x, y=Y)).startswith(f"x={x.shape}: channels must come last, [n, H, W, C]")


def test_d15_other_channels_and_16_bits_are_refused_with_both_shapes(tmp_path):
    for i, (shape, given) in enumerate([((8, 8, 3), "=(8, 8, 3)"), ((8, 8, 4), "=(8, 8, 4)")]):
        paths = images(tmp_path / str(i))
        Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(paths[9])
        message = refusal(tmp_path / str(i))
        assert (
            message.startswith(f"{paths[9]}{given}: all images must have one size") and "[H, W, C]=(8, 8, 1)" in message
        )
    paths = images(tmp_path / "deep")
    for colour, channels in ((0, 1), (2, 3), (6, 4)):
        paths[9].write_bytes(png(8, 8, 16, colour, (b"\0" + bytes(16 * channels)) * 8))
        assert refusal(tmp_path / "deep").startswith(f"{paths[9]}=16-bit: images must have 8 bits a channel")


def test_d16_a_damaged_image_ends_with_exit_3_and_its_name(tmp_path):
    paths = images(tmp_path / "images")
    good = [path.read_bytes() for path in paths]
    for i, content in enumerate(good):
        paths[i].write_bytes(content[: RNG.integers(len(content) // 2)])
        assert refusal(tmp_path / "images", code=3).startswith(f"{paths[i]}: damaged image (")
        paths[i].write_bytes(content)
    paths[4].write_bytes(good[4][:50])
    message = refused_process("--data.name", "images", cwd=tmp_path, code=3)
    assert message.startswith("images/cat/04.png: damaged image (")


def test_d16_a_given_number_of_damaged_images_may_be_left_out(tmp_path):
    paths = images(tmp_path / "images")
    whole = load(tmp_path / "images", test_fraction=0, validation_fraction=0)
    bad = [0, 3, 7]
    for i in bad:
        paths[i].write_bytes(b"no image")
    loaded = load(tmp_path / "images", bad_records=3, test_fraction=0, validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, np.delete(whole.train.x, bad, 0))
    np.testing.assert_array_equal(loaded.train.y, np.delete(whole.train.y, bad))
    names = ", ".join(str(paths[i]) for i in bad)
    assert loaded.notes == (f"{tmp_path}/images: 3 damaged images left out: {names}",)
    assert refusal(tmp_path / "images", bad_records=2, code=3).startswith(f"{paths[7]}: damaged image (")
    for path in paths[:6]:
        path.write_bytes(b"no image")
    assert "images/cat=0 images: all of them are damaged" in refusal(tmp_path / "images", bad_records=9)
    assert refusal("iris", bad_records=1).startswith(
        "--data.bad_records=1: is for folder, table of images, coco, masks, voc, yolo data, not bundled"
    )


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_d17_a_test_set_that_holds_training_examples_is_refused_with_their_number(save, tmp_path):
    leaking = put(X_TEST, [4, 9], X[[50, 7]])
    path = save(**given(x_test=leaking))
    message = refusal(path)
    assert message == (
        "test x[4]=train x[50]: 2 of 20 test examples are training examples too; "
        "leave them out of one, or add --data.allow_overlap"
    )
    loaded = load(path, allow_overlap=True)
    assert loaded.notes == ("2 of 20 test examples are training examples too, the first is test x[4]",)
    np.testing.assert_array_equal(loaded.test.x, leaking)
    assert load(save(**given())).notes == ()
    validation = save("other.npz", x=put(X_TEST, 1, X[2]), y=Y_TEST)
    message = refusal(save(x=X, y=Y), validation=validation)
    assert message.startswith("validation x[1]=train x[2]: 1 of 20 validation examples are training examples too")


def test_d17_one_bit_makes_another_example(save):
    almost = put(X_TEST, 4, X[50])
    almost[4, 2] = np.nextafter(almost[4, 2], np.float32(9))
    assert load(save(**given(x_test=almost))).notes == ()


def test_d17_copies_in_one_file_are_told_where_the_split_parts_them(save):
    path = save(x=np.concatenate([X, X]), y=np.concatenate([Y, Y]))
    loaded = load(path)  # no one chose which copy to test on: said, not refused
    train = {row.tobytes() for row in loaded.train.x}
    counts = [sum(row.tobytes() in train for row in split.x) for split in (loaded.validation, loaded.test)]
    assert min(counts) > 0
    assert sorted(int(note.split()[0]) for note in loaded.notes) == sorted(counts)
    for name in ("iris", "digits", "wine", "breast_cancer", "diabetes"):
        assert load(name).notes == ()


@pytest.mark.slow
def test_d17_a_million_examples():
    train = RNG.integers(0, 256, (900_000, 784), np.uint8)
    test = RNG.integers(0, 256, (100_000, 784), np.uint8)
    rows = RNG.choice(100_000, 1000, replace=False)
    test[rows] = train[rows * 7]
    found = overlap.repeated(test, train, *map(overlap.hashes, (test, train)))
    assert found == [(i, 7 * i) for i in sorted(rows.tolist())]


def same(a: Batch, b: Batch) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(a, b, strict=True))


def test_d18_statistics_do_not_depend_on_the_test_examples(save):
    first = load(save(**given()), standardize=True)
    second = load(save(**given(x_test=X_TEST * 100 - 7, y_test=Y_TEST[::-1])), standardize=True)
    assert same(first.train, second.train) and same(first.validation, second.validation)
    assert first.mean.tobytes() == second.mean.tobytes() and first.std.tobytes() == second.std.tobytes()
    # and where the test is split off: change the rows that went there
    path = save(x=X, y=Y)
    first = load(path, standardize=True)
    held = {row.tobytes() for row in np.concatenate([first.test.x, first.validation.x])}
    changed = np.array([row * 100 - 7 if row.tobytes() in held else row for row in X])
    second = load(save(x=changed, y=Y), standardize=True)
    assert same(first.train, second.train) and not same(first.test, second.test)
    assert first.mean.tobytes() == second.mean.tobytes() and first.std.tobytes() == second.std.tobytes()


def test_d18_categories_are_those_of_the_training_examples(tmp_path):
    def write(colours: list[str]) -> Path:
        rows = (f"{i}.5,{colour},{i % 2}" for i, colour in enumerate(colours))
        (tmp_path / "t.csv").write_text("a,colour,y\n" + "\n".join(rows) + "\n")
        return tmp_path / "t.csv"

    colours = ["red" if i % 3 else "blue" for i in range(40)]
    first = load(write(colours), standardize=True)
    assert first.features == ("a", "colour=blue", "colour=red") and first.notes == ()
    held = (np.concatenate([first.test.x, first.validation.x])[:, 0] - 0.5).astype(int)
    for i in held:
        colours[i] = f"pink {i}"
    second = load(write(colours), standardize=True)
    assert second.features == first.features and same(first.train, second.train)
    assert first.mean.tobytes() == second.mean.tobytes()
    assert second.test.x.shape == first.test.x.shape and not second.test.x[:, 1:].any()
    (note,) = second.notes
    assert note.startswith(f"colour=pink {min(map(str, held))}, ") and note.endswith(
        "in no training example; read as no category"
    )


def test_d19_lengths_that_differ_and_a_column_of_labels_are_refused_with_both_shapes(save):
    assert refusal(save(x=X, y=Y[:59])).startswith("x=(60, 3), y=(59,): must have the same length")
    assert refusal(save(x=X, y=Y[:, None])).startswith("y=(60, 1): classes must be [n]; pass y[:, 0]")
    assert refusal(save(**given(y_test=Y_TEST[:7]))).startswith("test x=(20, 3), y=(7,): must have the same length")
    assert refusal(save(x=X, y=Y, weight=np.ones((60, 1)))).startswith("weight=(60, 1): must have the shape (60,)")
    data = Batch(X, Y[:59], np.ones(60, np.float32))
    with pytest.raises(InputError, match=r"x=\(60,\), y=\(59,\), weight=\(60,\): x, y and weight must have the same"):
        feeds.check_lengths(data)


def idx_files(root: Path, x: np.ndarray, y: np.ndarray) -> list[Path]:
    root.mkdir(exist_ok=True)
    paths = [root / "train-images-idx3-ubyte", root / "train-labels-idx1-ubyte"]
    for path, array in zip(paths, (x, y), strict=True):
        path.write_bytes(struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes())
    return paths


def test_d20_one_flipped_bit_of_a_file_is_refused_or_another_digest(save, tmp_path):
    idx = idx_files(tmp_path / "idx", RNG.integers(0, 256, (60, 4, 4), np.uint8), Y.astype(np.uint8))
    table = tmp_path / "t.csv"
    table.write_text("a,b,y\n" + "\n".join(f"{RNG.integers(99)},{RNG.integers(99)},{y}" for y in Y))
    npz = save(x=X, y=Y)
    for path, name in {idx[0]: tmp_path / "idx", idx[1]: tmp_path / "idx", table: table, npz: npz}.items():
        before, good = load(name).digest, path.read_bytes()
        unseen = []
        for bit in RNG.choice(8 * len(good), 100, replace=False):
            content = bytearray(good)
            content[bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)
            try:
                unseen += [bit] * (load(name).digest == before)
            except InputError:
                pass
        # Only in the zip's own book-keeping may a bit mean nothing, a time stamp for one: the arrays are the same.
        assert not unseen if path != npz else len(unseen) < 20, (path, unseen)
        path.write_bytes(good)
        assert load(name).digest == before


# ---- names -----------------------------------------------------------------------------------------------------------

FOLDERS = [
    "with space", " leading and trailing ", "ünïcödé", "数据", "данные", "🌸", "e\u0301 combining", "a'b", 'a"b',
    "a$HOME`b`", "a;b&c|d", "a#b%20c", "[red]x[/red]", "[/]", "{name}", "a\\b", "--epochs=3", "a\tb\nc", "x" * 250,
    "a/" * 100, "~",
]  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=range(len(FOLDERS)))
def test_d21_any_path_that_the_disk_takes_is_read(folder, tmp_path):
    path = tmp_path / folder / "data.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, x=X, y=Y)
    loaded = load(path)
    assert loaded.digest == load(os.fspath(path)).digest and loaded.name == str(path)


def test_d21_a_path_that_no_disk_takes_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 300 + ".npz", "a/" * 3000 + "data.npz", "a\0b.npz", "no such/ü.npz"):
        message = refused_run("--data.name", name)
        assert name[:200].replace("\0", "\\x00") in message and message.endswith("check the path")


def test_d21_names_that_are_no_unicode_are_refused_since_no_json_could_hold_them(tmp_path):
    (tmp_path / "\udcff").mkdir()
    np.savez(tmp_path / "\udcff" / "d.npz", x=X, y=Y)
    assert refusal("\udcff/d.npz") == "--data.name='\\udcff/d.npz': must be Unicode text; rename it"
    assert "--data.name='\\udcff/d.npz': must be" in refused_process("--data.name", "\udcff/d.npz", cwd=tmp_path)
    paths = images(tmp_path / "images")
    paths[0].parent.rename(tmp_path / "images" / "\udcff")
    assert refusal(tmp_path / "images") == "class or feature='\\udcff': must be Unicode text; rename it"


def test_d21_a_run_reads_and_writes_such_paths(tmp_path):
    place = tmp_path / "[red] ü 数据 'x'"
    place.mkdir()
    np.savez(place / "d.npz", x=X, y=Y)
    done = process("--data.name", place / "d.npz", *RUN, "--epochs", 1, "--workdir", place / "run", cwd=tmp_path)
    assert done.returncode == 0 and str(place / "d.npz") in done.stdout, done.stderr
    assert jaxnn.load_run(place / "run").data["name"] == str(place / "d.npz")


# ---- every example once ----------------------------------------------------------------------------------------------


@functools.cache
def compiled_rows(n: int, batch: int, width: int) -> Any:
    return quickly(lambda key, step: order.rows(key, step, n, batch, width))


def check_order(n: int, batch: int, numbers: Sequence[int]) -> None:
    """Over an epoch the shards together read every example once, none of them twice."""
    key, steps = jax.random.key(n), -(-n // batch)
    data = Batch(np.zeros(n, np.float32), np.zeros(n, np.float32), np.ones(n, np.float32))
    for shards in numbers:
        with mesh.use(shards):  # how a batch of this run is laid over the shards
            window = jax.eval_shape(lambda: feeds.shuffled(data, key, 0, 1, batch, multiple=mesh.count()))
        width = window.real.shape[1]
        assert width % shards == 0
        for epoch in range(2):
            read: list[list[int]] = [[] for _ in range(shards)]
            for step in range(epoch * steps, (epoch + 1) * steps):
                index, real = map(np.asarray, compiled_rows(n, batch, width)(key, np.int32(step)))
                for mine, i, r in zip(read, np.split(index, shards), np.split(real, shards), strict=True):
                    mine += i[r].tolist()
            assert sorted(sum(read, [])) == list(range(n)), (n, shards, epoch)


# There are no data workers, and one process has all shards: the rows of a step are computed, not handed out.
@pytest.mark.parametrize("n", [1, 11])
def test_d22_every_example_once_an_epoch_on_any_number_of_shards(n):
    check_order(n, 4, (1, 2, 3, 8))


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 101))
def test_d22_every_example_once_for_a_hundred_sizes_and_eight_shards(n):
    check_order(n, 7, range(1, 9))


def test_d22_a_packed_file_has_the_examples_of_the_plain_one(tmp_path):
    paths = idx_files(tmp_path / "idx", RNG.integers(0, 256, (60, 4, 4), np.uint8), Y.astype(np.uint8))
    before = load(tmp_path / "idx").digest
    for path in paths:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load(tmp_path / "idx").digest == before
