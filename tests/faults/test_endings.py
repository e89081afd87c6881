"""How a run ends and where it begins: the same bits, killed or not, by its best checkpoint and from another run."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from contract import refused_run
from processes import history, kill, saved, sha, until

import jaxnn
from jaxnn import data, tree
from jaxnn.errors import InputError, StorageError
from jaxnn.store import identity, weights
from jaxnn.types import Batch

# A metric that is soon as good as it gets: the run stops long before its 30 epochs, and its last row is not the best.
STOPS = ["--stop_on", "val/accuracy", "--patience", 4, "--restore", "best"]
BEST = ["--checkpoint.best", "val/accuracy", "--checkpoint.keep", 1, "--checkpoint.every", "never"]
CONSTANT = ["--optim.schedule", "constant", "--optim.warmup", 0, "--checkpoint.every", 22]


@pytest.fixture(scope="module")
def stopped(runs) -> Path:
    """The folder of a run that stopped early and ended with its best weights."""
    code, out, err = runs.run(runs.base / "stopped", *STOPS)
    assert code == 0, err
    assert f", the weights of step {history(runs.base / 'stopped')[-1]['best_step']}" in " ".join(out.split())
    return runs.base / "stopped"


@pytest.fixture(scope="module")
def kept(runs) -> Path:
    """The folder of a run that kept its best checkpoint and ended with its last weights."""
    code, _, err = runs.run(runs.base / "kept", *BEST)
    assert code == 0, err
    return runs.base / "kept"


@pytest.mark.long
def test_a_run_stops_by_the_metric_and_ends_with_its_best_row(stopped, runs):
    """The rule in plain Python, and the metrics of the rows recomputed with the weights that were written."""
    *rows, last = history(stopped)
    scores = [row["val/accuracy"] for row in rows]
    gains = [i for i, score in enumerate(scores) if score > max(scores[:i], default=-1)]
    assert len(scores) == gains[-1] + 1 + 4 and rows[-1]["step"] < 660 == 30 * 22
    best = rows[gains[-1]]
    assert (last["step"], last["best_step"]) == (rows[-1]["step"], best["step"])
    run, loaded = jaxnn.load_run(stopped), data.load(str(runs.data))
    for part, row in ((loaded.validation, best), (loaded.test, last)):
        assert isinstance(part, Batch)
        p = run.predict_proba(part.x)
        name = "val" if row is best else "test"
        assert row[f"{name}/accuracy"] == pytest.approx(np.mean(p.argmax(1) == part.y), abs=1e-6)
        assert row[f"{name}/loss"] == pytest.approx(-np.log(p[np.arange(len(p)), part.y]).mean(), rel=1e-5)


@pytest.mark.long
def test_killed_at_any_moment_it_ends_with_the_same_bits(stopped, runs, tmp_path):
    rng, rows = random.Random(0), tmp_path / "run" / "history.jsonl"
    for _ in range(2):
        process = runs.start(tmp_path / "run", *STOPS)
        more = rng.randint(1, 3) + (rows.read_text().count("\n") if rows.exists() else 0)
        assert until(process, lambda n=more: rows.exists() and rows.read_text().count("\n") >= n)
        kill(process)
    for end in ("killed among its steps", "killed as it ended: its last checkpoint is there, weights and last row not"):
        code, out, err = runs.run(tmp_path / "run", *STOPS)
        assert code == 0 and "resumed at step" in out, err
        assert sha(tmp_path / "run") == sha(stopped) and history(tmp_path / "run") == history(stopped), end
        (tmp_path / "run" / "weights.safetensors").unlink()
        rows.write_text("".join(line + "\n" for line in rows.read_text().splitlines()[:-1]))


@pytest.mark.long
def test_the_best_weights_of_a_run_are_read_and_a_finished_run_is_ended_with_them(kept, runs, tmp_path):
    rows = history(kept)[:-1]
    best = max(rows, key=lambda row: row["val/accuracy"])
    assert saved(kept) == [best["step"], 660] and best["step"] < 660
    part, last = data.load(str(runs.data)).validation, jaxnn.load_run(kept)
    assert part is not None
    for run, row in ((jaxnn.load_run(kept, weights="best"), best), (last, rows[-1])):
        p = run.predict_proba(part.x)  # of the average, as --optim.ema keeps one
        assert row["val/loss"] == pytest.approx(-np.log(p[np.arange(len(p)), part.y]).mean(), rel=1e-5)
    copy = shutil.copytree(kept, tmp_path / "copy")
    code, _, err = runs.run(copy, *BEST, "--restore", "best")
    assert code == 0 and history(copy)[-1]["best_step"] == best["step"], err
    written = safetensors.numpy.load_file(copy / "weights.safetensors")
    read = tree.by_name(jaxnn.load_run(kept, weights="best").params)
    assert written.keys() == read.keys() and all(written[name].tobytes() == read[name].tobytes() for name in read)
    code, _, err = runs.run(copy, *BEST, "--restore", "last")  # and back
    assert code == 0 and sha(copy) == sha(kept) and history(copy) == history(kept), err


def test_a_best_checkpoint_that_is_damaged_or_gone_is_never_replaced_by_another(kept, runs, tmp_path):
    step = saved(kept)[0]
    for harm in ("state", "manifest", "gone"):
        copy = shutil.copytree(kept, tmp_path / harm)
        path = copy / "checkpoints" / f"{step:09d}"
        if harm == "gone":
            shutil.rmtree(path)
        else:
            file = next(path.glob(f"{harm}*"))
            file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(StorageError, match="was the best|the best checkpoint is not there"):
            jaxnn.load_run(copy, weights="best")
    before = sha(tmp_path / "gone")
    code, _, err = runs.run(tmp_path / "gone", *BEST, "--restore", "best")
    assert code == 5 and "or take the last weights (--restore last)" in err and err.count("\n") == 1, err
    assert sha(tmp_path / "gone") == before
    newest = shutil.copytree(kept, tmp_path / "newest")  # which says what the best score was
    (newest / "checkpoints" / "000000660" / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="000000660: its manifest is not what was saved"):
        jaxnn.load_run(newest, weights="best")


def test_best_weights_that_are_not_there_or_of_an_unfinished_run_are_refused(kept, golden, runs, tmp_path):
    with pytest.raises(InputError, match="^weights=best: the run in .* kept no best checkpoint; train"):
        jaxnn.load_run(golden, weights="best")
    with pytest.raises(InputError, match="^weights=bst: unknown; did you mean best"):
        jaxnn.load_run(kept, weights="bst")
    process = runs.start(tmp_path / "run", *BEST)
    assert until(process, lambda: len(saved(tmp_path / "run")) > 1)
    kill(process)
    with pytest.raises(InputError, match="was stopped before the end of its 30 epochs; .*partial=True"):
        jaxnn.load_run(tmp_path / "run", weights="best")
    assert jaxnn.load_run(tmp_path / "run", weights="best", partial=True).params
    copy = shutil.copytree(kept, tmp_path / "failed")
    weights.save(copy, safetensors.numpy.load_file(copy / "weights.safetensors"), weights.FAILED)
    with pytest.raises(InputError, match="ended with a number that is not finite"):
        jaxnn.load_run(copy, weights="best", partial=True)


REFUSED = [
    (["--stop_on", "val/acuracy"], "--stop_on=val/acuracy: unknown; did you mean val/accuracy? Choose from train/acc"),
    (["--stop_on", "val/loss", "--data.validation-fraction", 0], "Choose from train/accuracy, train/loss"),
    (["--restore", "best"], "--restore=best: needs the metric that says which is best; add --checkpoint.best val/loss"),
    (["--restore", "bset", "--stop_on", "val/loss"], "--restore=bset: unknown; did you mean best?"),
    (["--patience", 0, "--stop_on", "val/loss"], "--patience=0: must be >= 1"),
]


@pytest.mark.parametrize(("flags", "words"), REFUSED, ids=[words[:24] for _, words in REFUSED])
def test_what_cannot_be_stopped_by_or_restored_is_refused_and_nothing_is_written(
    flags, words, runs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert words in refused_run("--data.name", runs.data, "--workdir", "run", *flags)


def test_what_decides_the_end_of_a_run_cannot_be_changed_in_its_folder(stopped, runs):
    old = json.loads((stopped / "config.json").read_text())
    for flag, value, words in (
        ("stop_on", "val/loss", "--stop_on: val/accuracy -> val/loss"),
        ("checkpoint", {"best": "val/loss"}, "--checkpoint.best: None -> val/loss"),
        ("eval_every", "20", "--eval_every: 40 -> 20"),
    ):
        new = old | {"config": old["config"] | {flag: value}}
        with pytest.raises(InputError, match=f"{words}.*name another folder"):
            identity.check_same("f", old, new, step=60, per_epoch=20)
    for free in ({"restore": "last"}, {"patience": 9}, {"name": "other"}):
        assert not identity.check_same("f", old, old | {"config": old["config"] | free}, step=60, per_epoch=20)


@pytest.mark.slow
def test_a_run_that_is_made_longer_is_that_of_the_whole_length_or_is_refused(kept, runs, tmp_path):
    """Its last interval was cut short by its end: a row that the longer run does not have."""
    flags = ["--checkpoint.best", "train/loss", *CONSTANT, "--eval-every", "2epochs"]
    code, _, err = runs.run(tmp_path / "run", *flags, "--epochs", 5)
    assert code == 0, err
    code, _, err = runs.run(tmp_path / "run", *flags, "--epochs", 6)
    cure = f"name another folder, with --init_from {tmp_path / 'run'}"
    assert code == 2 and "ended within an interval of --eval_every" in err and cure in err, err


@pytest.mark.long
def test_a_run_from_another_goes_on_in_its_folder_when_that_is_gone(runs, tmp_path):
    """Twenty epochs and twenty more, killed among these, are forty; and two more in the same folder are 42."""
    flags = [*CONSTANT, "--eval-every", "1epoch"]
    for name, epochs in (("half", 20), ("whole", 42)):
        code, _, err = runs.run(tmp_path / name, *flags, "--epochs", epochs)
        assert code == 0, err
    more = [*flags, "--epochs", 20, "--init_from", tmp_path / "half"]
    process = runs.start(tmp_path / "more", *more)
    assert until(process, lambda: saved(tmp_path / "more")[-1:] > [20 * 22])
    kill(process)
    code, _, err = runs.run(tmp_path / "more", *more, "--init_from", tmp_path / "whole")
    assert code == 2 and f"(--init_from: {tmp_path / 'half'} -> {tmp_path / 'whole'}); name another" in err, err
    shutil.rmtree(tmp_path / "half")
    code, out, err = runs.run(tmp_path / "more", *more, "--epochs", 22)
    assert code == 0 and "resumed at step" in out, err
    whole, found = (safetensors.numpy.load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "more"))
    assert all(whole[name].tobytes() == found[name].tobytes() for name in whole)
    assert history(tmp_path / "more") == history(tmp_path / "whole")[20:]
