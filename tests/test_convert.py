"""`jaxnn convert`: the arrays of the source, the same bytes after any kill, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import jaxnn
from jaxnn import data
from jaxnn.commands import convert as command
from jaxnn.commands import main
from jaxnn.config.data import DataConfig
from jaxnn.errors import InputError, StorageError
from jaxnn.store import converted

assert tfds  # it is imported once, before the clock of a test


def convert(source: object, folder: Path, *flags: object) -> Path:
    assert main.command("convert")([str(source), "--to", str(folder), *map(str, flags)]) == 0
    return folder


def table(path: Path, n: int = 400) -> Path:
    rng = np.random.default_rng(0)
    lines = ["a,b,c,y"]
    lines += [f"{rng.normal():.6f},{rng.integers(50)},{rng.choice(list('pqr'))},{rng.integers(3)}" for _ in range(n)]
    path.write_text("\n".join(lines) + "\n")
    return path


def photos(root: Path, n: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for i in range(n):
        folder = root / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3) if i % 3 else (20, 24), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((), {}), (("--data.target", "a"), {"target": "a"}), (("--data.split_by", "b"), {"split_by": "b"}),
        (("--data.drop", "a", "--data.positive", "1"), {"drop": "a", "positive": "1"}),
    ],
)  # fmt: skip
def test_a_table_has_the_arrays_that_it_has_when_it_is_read_whole(tmp_path, flags, named):
    path = table(tmp_path / "t.csv")
    whole, mine = data.load(path, **named), data.load(convert(path, tmp_path / "c", *flags))
    assert mine.digest == whole.digest
    about, expected = mine.describe(), whole.describe()
    expected |= {"name": about["name"], "settings": about["settings"]}
    assert about == expected
    np.testing.assert_array_equal(mine.mean, whole.mean)
    np.testing.assert_array_equal(mine.std, whole.std)


def test_rows_with_a_missing_value_are_left_out_and_parquet_is_read_in_groups(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.read_csv(table(tmp_path / "t.csv"))
    frame.loc[3, "a"] = np.nan
    frame.loc[4, "c"] = None
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=50)
    with pytest.raises(InputError, match="column a=.*: missing value; fill it in"):
        convert(tmp_path / "t.parquet", tmp_path / "c")
    mine = data.load(convert(tmp_path / "t.parquet", tmp_path / "d", "--data.nan", "drop"))
    assert mine.digest == data.load(tmp_path / "t.parquet", nan="drop").digest
    assert any("2 of 400 rows left out" in note for note in mine.notes)


def test_images_of_all_colours_are_those_that_are_read_whole(tmp_path):
    root = photos(tmp_path / "p")
    mine = data.load(convert(root, tmp_path / "c", "--data.image_size", "8x10"), feed="stream")
    whole = data.load(root, image_size="8x10")
    assert mine.digest == whole.digest and mine.shape == (8, 10, 3) and mine.range == whole.range


@pytest.mark.long
def test_prepared_data_sets_are_streamed_and_converted(tmp_path):
    whole = data.load("tfds:digits", dir=tmp_path / "tfds")
    streamed = data.load("tfds:digits", dir=tmp_path / "tfds", feed="stream")
    folder = next((tmp_path / "tfds" / "digits").iterdir())
    mine = data.load(convert("tfds:digits", tmp_path / "c", "--data.dir", tmp_path / "tfds"))
    assert streamed.is_streamed and streamed.describe() == whole.describe()
    assert whole.digest == mine.digest == data.load(folder, feed="stream").digest
    for record in folder.glob("*.array_record*"):
        os.utime(record, (1, 1))
    with pytest.raises(Exception, match="has changed since the run began"):
        streamed.train.x[:3]


def test_a_conversion_that_is_cut_off_anywhere_ends_with_the_same_bytes(tmp_path, monkeypatch):
    root = photos(tmp_path / "p")
    whole = contents(convert(root, tmp_path / "whole", "--data.image_size", 8))
    assert "progress.json" not in whole and "lock" not in whole
    monkeypatch.setattr("jaxnn.data.streams.sources.IMAGES", 7)
    monkeypatch.setattr(converted, "SECONDS", 0.0)  # each block is made safe
    replace, left = converted.durable.replace, [0]

    def stop(*args):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return replace(*args)

    monkeypatch.setattr(converted.durable, "replace", stop)
    for n in range(1, 40):
        left[0] = n
        try:
            convert(root, tmp_path / "cut", "--data.image_size", 8)
            break
        except KeyboardInterrupt:
            continue
    assert n > 3 and contents(tmp_path / "cut") == whole


def test_what_was_not_written_well_is_found_when_it_is_read_back(tmp_path, monkeypatch):
    pwrite = os.pwrite
    flip = lambda number, content, at: pwrite(number, bytes(content[:-1]) + b"\x07" if at > 200 else content, at)
    monkeypatch.setattr(converted.os, "pwrite", flip)
    monkeypatch.setattr("jaxnn.data.streams.sources.IMAGES", 7)
    with pytest.raises(StorageError, match="train-x.npy: what was read back is not what was written"):
        convert(photos(tmp_path / "p"), tmp_path / "c", "--data.image_size", 8)


def test_other_folders_sources_and_settings_are_refused(tmp_path, capsys):
    path, folder = table(tmp_path / "t.csv"), tmp_path / "c"
    convert(path, folder)
    before = contents(folder)
    convert(path, folder)  # again: nothing is left to do
    assert {name: content for name, content in contents(folder).items()} == before
    with pytest.raises(InputError, match=r"--to=.*c: was begun with another settings; name another"):
        convert(path, folder, "--data.target", "a")
    with path.open("a") as file:
        file.write("1,2,p,1\n")
    with pytest.raises(InputError, match="was begun with another source, or its files have changed since"):
        convert(path, folder)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("x")
    with pytest.raises(InputError, match=r"--to=.*own: holds letter.txt, which is no conversion"):
        convert(path, tmp_path / "own")
    with pytest.raises(InputError, match="is converted already"):
        convert(folder, tmp_path / "e")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "needs a SOURCE and --to DIR"), (["iris"], "needs a SOURCE and --to DIR"),
        (["iris", "--to"], "--to: needs a value"),
        (["iris", "--to", "x", "--epochs", "3"], "--epochs: is no flag of convert"),
        (["iris", "--to", "x", "--data.feed", "stream"], "--data.feed: does not change what is converted"),
        (["iris", "--to", "x", "--data.targt", "y"], "--data.targt: unknown flag; did you mean --data.target"),
        (["irs", "--to", "x"], "--data.name=irs: unknown; did you mean iris"),
        (["iris", "--to", "x", "--data.target", "y"], "--data.target=y: is for table data, not bundled"),
    ],
)  # fmt: skip
def test_command_lines_that_cannot_be_are_refused(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        command.convert(argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_kill_9_three_times(tmp_path):
    root = photos(tmp_path / "p", 3000)
    whole = contents(convert(root, tmp_path / "whole", "--data.image_size", 64))
    argv = [sys.executable, "-m", "jaxnn", "convert", root, "--to", tmp_path / "cut", "--data.image_size", 64]
    for seconds in (1.0, 1.5, 2.0):
        process = subprocess.Popen([*map(str, argv)])
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    subprocess.run([*map(str, argv)], check=True)
    assert contents(tmp_path / "cut") == whole and json.loads(whole["dataset.json"])["parts"]["train"] > 2000


def test_a_fold_is_decided_when_data_are_converted(tmp_path):
    folder = convert("iris", tmp_path / "c")
    with pytest.raises(InputError, match=re.escape("--data.fold=1/3: ")):
        data.from_config(DataConfig(str(folder), fold="1/3"))


def test_another_data_set_is_not_taken_for_the_one_that_was_converted(tmp_path):
    convert("iris", tmp_path / "c")
    with pytest.raises(InputError):
        main.command("convert")(["wine", "--to", str(tmp_path / "c")])
    one = images(tmp_path / "img")
    convert(one, tmp_path / "i", "--data.image_size", 4)
    (one / "cat").rename(one / "cats")
    with pytest.raises(InputError):
        main.command("convert")([str(one), "--to", str(tmp_path / "i"), "--data.image_size", "4"])


@pytest.mark.long
def test_a_run_on_converted_images_reads_new_ones_as_they_were_converted(tmp_path):
    folder = convert(images(tmp_path / "img"), tmp_path / "c", "--data.image_size", 4)
    flags = ["--data.name", str(folder), "--epochs", "1", "--batch-size", "4", "--devices", "1", "--no-cache"]
    assert main.train(["digits_softmax", *flags, "--workdir", str(tmp_path / "run")]) == 0
    file = next((tmp_path / "img/cat").iterdir())
    assert jaxnn.load_run(tmp_path / "run").predict_proba(file).shape == (1, 2)


def images(folder: Path) -> Path:
    """Ten pictures of 6 x 5 in two classes."""
    for k in range(20):
        path = folder / ("cat" if k % 2 else "dog") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (6, 5, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder
