"""Rows on the disk: the order on the host, files read by position, and runs that end with the bits of resident ones."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from test_train import here

from jaxnn import data
from jaxnn.commands import main
from jaxnn.config import paths
from jaxnn.data import order
from jaxnn.data.streams import memory
from jaxnn.data.streams.order import Order, permute
from jaxnn.data.streams.rows import Npy
from jaxnn.errors import DataError, InputError, NumericsError

KEY = jax.random.key(7)
QUICK = ["digits_softmax", "--no-cache"]
SHORT = ["--epochs", 2, "--batch-size", 128]


def converted(source: str, folder: Path, *flags: str) -> Path:
    assert main.command("convert")([source, "--to", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return converted("digits", tmp_path_factory.mktemp("converted") / "digits")


def outcome(folder: Path) -> tuple[dict, list[dict]]:
    """The weights of a run, and its history but for what was timed."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if not k.startswith(("seconds", "examples_per_s"))} for row in rows]
    arrays = safetensors.numpy.load_file(folder / "weights.safetensors")
    return {name: array.tobytes() for name, array in arrays.items()}, kept


def both(tmp_path: Path, *argv: object) -> None:
    for feed in ("stream", "resident"):
        assert here(*argv, "--data.feed", feed, "--workdir", tmp_path / feed) == 0
    assert outcome(tmp_path / "stream") == outcome(tmp_path / "resident")


@pytest.mark.long
@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 300, 1797, 60_000, 2**20 + 1, 2**30 - 3])
def test_the_order_on_the_host_is_that_of_the_devices(n):
    index = np.unique(np.linspace(0, n - 1, 500).astype(np.int64))
    keys = np.asarray(jax.random.bits(KEY, (8,), jnp.uint32))
    on_device = order.permute(KEY, jnp.asarray(index, jnp.int32), n)
    np.testing.assert_array_equal(permute(keys, index, n), on_device)


@pytest.mark.long
@pytest.mark.parametrize(("n", "batch", "width", "first"), [(10, 3, 4, 0), (64, 64, 64, 5), (300, 7, 8, 40)])
def test_windows_of_steps_are_those_of_the_devices(n, batch, width, first):
    index, real = Order(KEY, n, batch, width)(first, 60)
    rows = jax.jit(jax.vmap(lambda t: order.rows(KEY, t, n, batch, width)))
    for mine, theirs in zip((index, real), rows(first + jnp.arange(60)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    epoch = -(-n // batch)
    start = -first % epoch
    assert sorted(index[start : start + epoch][real[start : start + epoch]].tolist()) == list(range(n))


@pytest.mark.parametrize("shape", [(5000,), (5000, 3), (900, 28, 28, 1), (7, 400, 400)])
def test_rows_of_a_file_are_those_of_the_array(tmp_path, shape):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 1000, shape).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    rows, n = Npy(tmp_path / "x.npy"), shape[0]
    assert (rows.shape, rows.dtype, rows.nbytes) == (array.shape, array.dtype, array.nbytes)
    for index in (rng.permutation(n), rng.integers(0, n, 3), rng.integers(0, n, 2 * n), np.arange(2, 6), []):
        index = np.asarray(index, np.int64)
        np.testing.assert_array_equal(rows[index], array[index])
    for part in (slice(None), slice(3, None, 2), slice(None, None, -1), slice(5, 5), -1, np.array([-1, 0])):
        np.testing.assert_array_equal(rows[part], array[part])
    np.testing.assert_array_equal(np.asarray(rows), array)
    with pytest.raises(IndexError):
        rows[np.array([n])]


@pytest.mark.parametrize("how", ["shorter", "touched", "replaced", "removed"])
def test_a_file_that_changes_is_named(tmp_path, how):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 10)))
    rows = Npy(path)
    rows[:5]
    if how == "shorter":
        os.truncate(path, 1000)
    if how == "touched":
        os.utime(path, (1, 1))
    if how == "replaced":
        np.save(tmp_path / "y.npy", np.zeros((100, 10)))
        (tmp_path / "y.npy").replace(path)
    if how == "removed":
        path.unlink()
    with pytest.raises(DataError, match=r"x.npy: .*since the run began.*bring the file back"):
        rows[:5]


@pytest.mark.long
@pytest.mark.parametrize(
    "flags",
    [
        ("--epochs", 1, "--batch-size", 32), ("--devices", 3, "--epochs", 2, "--batch-size", 100),
        (*SHORT, "--data.class_weight", "balanced", "--checkpoint.best", "val/loss", "--restore", "best"),
    ],
)  # fmt: skip
def test_a_streamed_run_ends_with_the_bits_of_a_resident_one(digits, tmp_path, flags):
    both(tmp_path, *QUICK, "--data.name", digits, *flags)


@pytest.mark.long
def test_the_digest_is_that_of_the_source_and_the_feed_may_change_when_a_run_goes_on(digits, tmp_path):
    assert data.load(digits).digest == data.load("digits").digest
    long = ["--epochs", 4, "--batch-size", 128, "--optim.schedule", "constant"]
    assert here(*QUICK, *long, "--workdir", tmp_path / "whole") == 0
    argv = ["--data.name", digits, "--workdir", tmp_path / "cut", "--optim.schedule", "constant"]
    command = [sys.executable, "-m", "jaxnn", "train", *QUICK, *SHORT, *argv, "--data.feed", "stream", "--devices", 1]
    strict = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    subprocess.run([*map(str, command)], check=True, capture_output=True, env=os.environ | strict)  # its lock ends
    assert here(*QUICK, *long, *argv[:-2], "--data.feed", "stream") == 0
    assert outcome(tmp_path / "whole")[0] == outcome(tmp_path / "cut")[0]


@pytest.mark.slow
def test_metrics_of_a_whole_split_and_those_about_a_center_have_the_same_bits(tmp_path):
    net = ["table", "--epochs", "1", "--model.hidden", "4", "--no-cache"]
    amounts = converted("diabetes", tmp_path / "amounts")
    both(tmp_path / "a", *net, "--data.name", amounts)
    pair = converted("breast_cancer", tmp_path / "pair")
    both(tmp_path / "b", *net, "--data.name", pair, "--task.metrics", "auc")


@pytest.mark.long
def test_masks_stay_on_the_disk_too(tmp_path):
    folder = converted("digits_masks", tmp_path / "masks")
    loaded = data.load(folder, feed="stream")
    whole = data.load("digits_masks")
    assert isinstance(loaded.train.x, Npy) and loaded.digest == whole.digest == data.load(folder).digest
    np.testing.assert_array_equal(loaded.train.y[3:9], whole.train.y[3:9])


@pytest.mark.long
def test_a_file_cut_short_in_mid_run_ends_it_with_3_and_what_was_good_is_saved(digits, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in digits.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    from jaxnn.report import screen

    def shown(row):  # the line of a row of the history: the first of them is there, and the file is not
        os.truncate(folder / "train-x.npy", 5000)
        return "cut"

    monkeypatch.setattr(screen, "line", shown)
    argv = [*QUICK, "--epochs", 20, "--batch-size", 128, "--data.name", folder, "--data.feed", "stream"]
    with pytest.raises(DataError, match=r"train-x.npy: has changed since the run began \(bytes \d+ -> 5000"):
        here(*argv, "--workdir", tmp_path / "run")
    steps = sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit())
    assert steps[-1] % 11 == 0 and steps[-1] < 220


@pytest.mark.long
def test_a_fault_is_found_by_replaying_windows(digits, tmp_path):
    argv = [*QUICK, *SHORT, "--data.name", digits, "--data.feed", "stream", "--optim.lr", "1e38"]
    with pytest.raises(NumericsError, match=r"step=\d+: .* is not finite at lr=1e\+38, training rows \d+"):
        here(*argv, "--workdir", tmp_path / "run")


REFUSED = [
    ({"name": "iris"}, {"feed": "stream"}, "--data.feed=stream: bundled data are read whole; convert them with jaxnn"),
    ({}, {"feed": "disk"}, "--data.feed=disk: unknown"),
    ({}, {"validation_fraction": 0.3}, "was converted with 0.1; use --data.validation_fraction 0.1"),
    ({}, {"positive": 3}, "--data.positive=3: .* was converted with None; leave it out"),
    ({}, {"standardize": True}, "the data were converted without"),
    ({}, {"task": "regression"}, "was converted as multiclass; convert it with --task.name regression"),
    ({}, {"target": "y"}, "--data.target=y: is for table data, not converted"),
]


@pytest.mark.parametrize(("name", "flags", "message"), REFUSED)
def test_what_a_converted_folder_cannot_be_is_refused(digits, name, flags, message):
    with pytest.raises(InputError, match=message):
        data.load(name.get("name", digits), **flags)


def test_files_that_are_not_those_of_the_manifest_are_named(digits, tmp_path):
    for path in digits.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.save(tmp_path / "test-y.npy", np.zeros(3, np.int32))
    with pytest.raises(DataError, match=r"test-y.npy=\d+ bytes: dataset.json has"):
        data.load(tmp_path)
    (tmp_path / "test-y.npy").unlink()
    with pytest.raises(DataError, match="test-y.npy: no such file, which dataset.json names"):
        data.load(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 9}')
    with pytest.raises(InputError, match="is of format 9, this jaxnn reads 1"):
        data.load(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(InputError, match="is not of `jaxnn convert`"):
        data.load(tmp_path)


def test_rows_that_do_not_fit_are_refused_with_both_numbers_and_auto_streams_them():
    have = memory.there()
    assert 2**28 < have < 2**50
    with pytest.raises(InputError, match=rf"--data.feed=resident: needs {2 * have:,} bytes .*, has {have:,}"):
        memory.is_streamed("resident", have)
    assert memory.is_streamed("auto", have // 2) and not memory.is_streamed("auto", have // 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (have // 2, hard))
        assert memory.there() == have // 2
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.slow
def test_reading_is_done_while_other_threads_read(tmp_path):
    """Rows are read by several threads at once from one file."""
    array = np.random.default_rng(0).integers(0, 256, (50_000, 100), np.uint8)
    np.save(tmp_path / "x.npy", array)
    rows, wrong = Npy(tmp_path / "x.npy"), []

    def read(seed: int) -> None:
        for _ in range(20):
            index = np.random.default_rng(seed).integers(0, len(array), 5000)
            wrong.extend([seed] if not np.array_equal(rows[index], array[index]) else [])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
def test_a_run_over_ten_times_its_memory_ends_well(tmp_path):
    """Under RLIMIT_AS: 25 GiB of rows, of which the file is one hole."""
    sys.path.insert(0, str(Path(paths.PACKAGE).parent))
    from benchmarks import streams

    streams.large(tmp_path, 25)
    limit = int(2.5 * 2**30)
    command = [sys.executable, "-m", "jaxnn", "train", "mnist_mlp", "--data.name", tmp_path, "--eval-every", 2000]
    command = ["timeout", "-s", "TERM", 60, *command, "--batch-size", 1024, "--workdir", tmp_path / "run"]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 143 or "after" in done.stdout, done.stderr[-2000:]
