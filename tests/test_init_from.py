"""`--init_from`: a run that begins with the weights of another, or goes on with all of its state."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from test_train import ROOT, here, history, home, weights  # noqa: F401  (`home` is a fixture)

import jaxnn
from jaxnn import data, recipe
from jaxnn.commands import arguments
from jaxnn.errors import InputError
from jaxnn.store import arrays, checkpoint, identity, origin, program
from jaxnn.store import weights as stored
from jaxnn.training.plan import plan
from jaxnn.training.programs import start_of

NET = "iris_mlp --model.hidden 8 --batch-size 32 --eval-every 1epoch --epochs 1".split()
NET += "--checkpoint.every 1epoch --checkpoint.keep 9".split()
TRAIN_ONLY = "--data.validation-fraction 0 --data.test-fraction 0".split()


def run(folder: Path, *flags: object, net: Sequence[str] = NET) -> Path:
    """The folder of a run to its end."""
    assert here(*argv(flags, net), "--workdir", folder) == 0
    return folder


def argv(flags: Sequence[object], net: Sequence[str] = NET) -> list[str]:
    """The command line of a run; a flag that is given takes the place of the network's, with its value."""
    words = list(net)
    for flag in map(str, flags):
        if flag.startswith("--") and flag in words:
            at = words.index(flag)
            end = next((i for i, word in enumerate(words) if i > at and word.startswith("--")), len(words))
            del words[at:end]
    return [*words, *TRAIN_ONLY, *map(str, flags)]


def first(folder: Path) -> dict[str, np.ndarray]:
    """The weights that a run began with."""
    path = checkpoint.steps(folder / "checkpoints")[0]
    leaves = checkpoint.read(path).leaves
    return {name.removeprefix("params/"): leaf for name, leaf in leaves.items() if name.startswith("params/")}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def begun(*flags: object) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """The weights and the rest of the state that a run would begin with, and what it would tell."""
    config = arguments.parse(argv(flags), ROOT / "configs").flags.run
    loaded = data.from_config(config.data, config.task.name)
    known, steps = loaded.describe(), plan(config, len(loaded.train.weight))
    model, task, example = recipe.network(config, known, mean=loaded.mean, std=loaded.std)
    with jaxnn.devices.use(1):
        made, key = recipe.recipe(config, known, model, task, example, steps), jax.random.key(config.seed)
        make, shapes = start_of(made, config, example, key)
        about = identity.describe(config, known, "cpu", source=None, own_model=False, jax=program.settings())
        source, steps, about = origin.find(
            config, about, steps, shapes, None, lambda: recipe.head(config, task, example)
        )
        state = source.put(made, make(key), shapes)
    assert int(state.step) == steps.first
    return arrays.flatten(state.params), arrays.flatten(state.opt_state), list(source.lines)


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of the history, without what a clock says and the row of the end."""
    return [{k: v for k, v in row.items() if "second" not in k and k[-2:] != "_s"} for row in history(folder)[:-1]]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("source") / "run")


OPTIMIZERS = {
    "sgd": "--optim.name sgd --optim.lr 0.05 --optim.momentum 0.9 --optim.ema 0.9",
    "adam": "--optim.name adam --optim.lr 0.01 --optim.weight-decay 0.01",
}


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_epochs_and_two_more_are_four_bit_for_bit(name, tmp_path, capsys):
    flags = [*OPTIMIZERS[name].split(), "--model.dropout", "0.2"]
    whole = run(tmp_path / "whole", *flags, "--epochs", 4)
    half = run(tmp_path / "half", *flags, "--epochs", 2)
    more = run(tmp_path / "more", *flags, "--epochs", 2, "--init-from", half)
    said = capsys.readouterr().out
    assert "at step 10, with its optimizer's state" in said and "epoch 4 " in said
    assert same(weights(more), weights(whole)) and not same(weights(more), weights(half))
    assert rows(more) == rows(whole)[2:] and [row["epoch"] for row in rows(more)] == [3, 4]
    assert json.loads((more / "config.json").read_text())["start"]["step"] == 10


@pytest.mark.slow
def test_a_schedule_begins_anew_over_its_own_epochs(tmp_path, capsys):
    flags = "--optim.name sgd --optim.lr 0.05 --optim.momentum 0.9 --optim.schedule cosine --eval-every 1".split()
    half = run(tmp_path / "half", *flags, "--epochs", 2)
    more = run(tmp_path / "more", *flags, "--epochs", 2, "--init-from", half)
    assert "goes on from" in capsys.readouterr().out
    assert [row["lr"] for row in rows(more)] == [row["lr"] for row in rows(half)]
    assert [row["step"] for row in rows(more)] == list(range(11, 21))


@pytest.mark.long
def test_the_same_network_on_other_terms_begins_with_the_weights_alone(source, tmp_path, capsys):
    other = run(tmp_path / "run", "--seed", 1, "--init-from", source)
    said = capsys.readouterr().out
    assert f"begins with 6 arrays (dense_0/b, dense_0/w, dense_1/b, ...) of {source}, and a new state" in said
    assert same(first(other), weights(source)) and [row["step"] for row in rows(other)] == [5]
    for flags, whole in (((), True), (("--optim.lr", 0.02), False), (("--optim.ema", 0.5), False)):
        params, state, lines = begun(*flags, "--init-from", source)
        assert same(params, weights(source)) and lines[0].startswith("goes on" if whole else "begins with")
        moments = [leaf for name, leaf in state.items() if "/mu/" in name or "/nu/" in name]
        assert moments and any(leaf.any() for leaf in moments) is whole
        averages = {name: leaf for name, leaf in state.items() if name.startswith("average/average")}
        assert all(leaf.tobytes() == params[name[16:]].tobytes() for name, leaf in averages.items())


def test_a_file_of_weights_is_begun_with_and_never_gone_on_from(source):
    params, _, lines = begun("--init-from", source / "weights.safetensors")
    assert same(params, weights(source)) and lines[0].startswith("begins with 6 arrays")


@pytest.mark.long
def test_another_width_begins_as_initialised(source):
    flags = ["--model.hidden", 8, 5]
    plain, *_ = begun(*flags)
    wider, _, lines = begun(*flags, "--init-from", source)
    assert lines[0].startswith("begins with 4 arrays (dense_0/b, dense_0/w, input_stats/mean, ...)")
    assert lines[1:] == [
        "of another shape, begin as initialised: 2 arrays (dense_1/b, dense_1/w)",
        "not there, begin as initialised: 2 arrays (dense_2/b, dense_2/w)",
    ]
    taken = {name: weights(source)[name] for name in ("dense_0/b", "dense_0/w", "input_stats/mean", "input_stats/std")}
    assert same(wider, plain | taken) and not same(wider, plain)


def table(path: Path, classes: int | None, unit: float = 1.0) -> list[object]:
    """Four features, whose means are those of no other table; `classes`, or an amount in some unit."""
    rng = np.random.default_rng(classes or 0)
    x = rng.normal(3, 2, (64, 4)).astype(np.float32)
    y = np.arange(64) % classes if classes else (unit * (5 + x.sum(1))).astype(np.float32)
    np.savez(path, x=x, y=y)
    return ["--data.name", path, "--data.standardize"]


def test_a_new_head_on_other_data_keeps_the_rest_and_the_scale_of_its_inputs(source, tmp_path):
    params, _, lines = begun(*table(tmp_path / "five.npz", 5), "--init-from", source)
    kept = ("dense_0/b", "dense_0/w", "input_stats/mean", "input_stats/std")
    assert all(params[name].tobytes() == weights(source)[name].tobytes() for name in kept)
    assert params["dense_1/w"].shape == (5, 8)
    assert lines[1] == "of another shape, begin as initialised: 2 arrays (dense_1/b, dense_1/w)"


def test_as_many_classes_that_are_others_have_a_new_head_unless_a_file_is_named(source, tmp_path):
    plain, *_ = begun(*table(tmp_path / "three.npz", 3))
    params, _, lines = begun(*table(tmp_path / "three.npz", 3), "--init-from", source)
    head = ("dense_1/b", "dense_1/w")
    assert lines[1] == "of other classes, begin as initialised: 2 arrays (dense_1/b, dense_1/w)"
    assert all((params[name] == (plain if name in head else weights(source))[name]).all() for name in params)
    by_place, *_ = begun(*table(tmp_path / "three.npz", 3), "--init-from", source / "weights.safetensors")
    assert same(by_place, weights(source))


@pytest.mark.long
def test_amounts_instead_of_classes_have_a_new_head(tmp_path):
    binary = run(tmp_path / "binary", *table(tmp_path / "two.npz", 2))
    _, _, lines = begun(*table(tmp_path / "amounts.npz", None), "--init-from", binary)
    assert "of other classes, begin as initialised: 2 arrays (dense_1/b, dense_1/w)" in lines


def test_a_model_that_knows_one_number_of_outputs_alone_is_refused_in_one_line():
    config = arguments.parse(argv([]), ROOT / "configs").flags.run
    _, task, example = recipe.network(config, data.from_config(config.data).describe())
    with pytest.raises(
        InputError, match=r"^--init_from: the classes are others, .* fails \(KeyError: 4\); name the weights"
    ):
        recipe.head(config, task, example, lambda outputs: jaxnn.mlp((8,), {3: 3}[outputs]))


def test_the_head_is_what_depends_on_the_number_of_outputs():
    for flags, head in (([], {"dense_1/b", "dense_1/w"}), (["--model.hidden", 8, 8], {"dense_2/b", "dense_2/w"})):
        config = arguments.parse(argv(flags), ROOT / "configs").flags.run
        _, task, example = recipe.network(config, data.from_config(config.data).describe())
        assert recipe.head(config, task, example) == head
    parsed = arguments.parse(["digits_flax"], ROOT / "configs")
    known = data.from_config(parsed.flags.run.data).describe()
    _, task, example = recipe.network(parsed.flags.run, known, parsed.brought)
    assert recipe.head(parsed.flags.run, task, example, parsed.brought.model) == {"Dense_1/bias", "Dense_1/kernel"}


@pytest.mark.long
def test_columns_in_another_order_are_refused_and_taken_by_place_from_a_file(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 3)), columns=["a", "b", "y"])
    frame.to_csv(tmp_path / "one.csv", index=False)
    frame[["b", "a", "y"]].to_csv(tmp_path / "two.csv", index=False)
    source = run(tmp_path / "run", "--data.name", tmp_path / "one.csv", "--batch-size", "full")
    with pytest.raises(InputError, match=r"has learned from other features \(feature 0 is a, here b\); order the"):
        begun("--data.name", tmp_path / "two.csv", "--init-from", source)
    params, *_ = begun("--data.name", tmp_path / "two.csv", "--init-from", source / "weights.safetensors")
    assert same(params, weights(source))


def test_amounts_are_in_the_units_of_the_run_unless_its_last_layer_is_not_taken(tmp_path):
    a, b = table(tmp_path / "a.npz", None), table(tmp_path / "b.npz", None, unit=1000.0)
    theirs, *_ = begun(*a)
    stored.save(tmp_path, theirs)
    file = ["--init-from", tmp_path / "weights.safetensors"]
    assert same(begun(*b, *file)[0], theirs)  # the same function
    stored.save(tmp_path, {name: leaf for name, leaf in theirs.items() if name != "dense_1/w"})
    anew, _, lines = begun(*b, *file)
    assert "of the new data: 2 arrays (target_stats/mean, target_stats/std)" in lines
    np.testing.assert_allclose(anew["target_stats/mean"], 1000 * theirs["target_stats/mean"], rtol=1e-5)


def test_a_file_of_another_program_is_taken_by_path(tmp_path):
    given = {"dense_0/w": np.full((8, 4), 0.25, np.float32), "encoder/w": np.ones((2, 2), np.float32)}
    safetensors.numpy.save_file(given, tmp_path / "other.safetensors")
    params, _, lines = begun("--init-from", tmp_path / "other.safetensors")
    assert lines[0].startswith("begins with 1 array (dense_0/w)")
    assert lines[2] == "not in this network, left out: 1 array (encoder/w)"
    assert params["dense_0/w"].tobytes() == given["dense_0/w"].tobytes()


def bad_sources(source: Path, folder: Path) -> None:
    """What --init_from refuses, and why."""
    about = json.loads((source / "config.json").read_text())
    for ending in (stored.STOPPED, stored.FAILED):
        (folder / ending).mkdir()
        (folder / ending / "config.json").write_text(json.dumps(about))
        stored.save(folder / ending, weights(source), ending, 1)
    shutil.copytree(source, folder / "damaged")
    whole = bytearray((source / "weights.safetensors").read_bytes())
    whole[-1] ^= 1
    (folder / "damaged" / "weights.safetensors").write_bytes(whole)
    (folder / "flipped.safetensors").write_bytes(whole)
    (folder / "cut.safetensors").write_bytes(whole[:100])
    w = weights(source)["dense_0/w"]
    for name, leaf in {"f64": w.astype(np.float64), "f16": w.astype(np.float16), "nan": w * np.float32(np.nan)}.items():
        safetensors.numpy.save_file({"dense_0/w": leaf}, folder / f"{name}.safetensors")
    bfloat16 = {"dense_0/w": np.asarray(jnp.asarray(w, "bfloat16"))}
    (folder / "bf16.safetensors").write_bytes(arrays.header(bfloat16) + bytes(arrays.content(bfloat16["dense_0/w"])))
    safetensors.numpy.save_file({"encoder/w": w, "dense_0/w": w[:3]}, folder / "other.safetensors")
    stats = {name: leaf for name, leaf in weights(source).items() if name.startswith("input_stats")}
    safetensors.numpy.save_file(stats, folder / "stats.safetensors")
    (folder / "empty").mkdir()


BAD = {
    "no": r"=no: cannot be read \(No such file .*\); name a run's folder, or a \.safetensors file",
    "empty": r"=empty: has no weights \(No such file .*\); name the --workdir of a finished run",
    "stopped": r"=stopped: the run was stopped before the end of its 1 epochs; run the same command again"
    r" to finish it, or name stopped/weights\.safetensors for the weights so far",
    "failed": "=failed: the run ended with a number that is not finite",
    "failed/weights.safetensors": r"=failed/weights\.safetensors: the run ended with a number that is not finite",
    "damaged": r"=damaged: weights\.safetensors is not what was saved; run the same command again",
    "flipped.safetensors": r"=flipped\.safetensors: is not what was saved; bring it back from a copy",
    "cut.safetensors": r"=cut\.safetensors: cannot be read \(.*\); name a run's folder",
    "f64.safetensors": "dense_0/w is float64, and in this network float32, nothing is rounded in silence; convert",
    "f16.safetensors": "dense_0/w is float16, and in this network float32, nothing is rounded in silence; convert",
    "bf16.safetensors": "dense_0/w is bfloat16, and in this network float32, nothing is rounded in silence; convert",
    "nan.safetensors": "dense_0/w has a number that is not finite",
    "other.safetensors": r"has no array of the same path and shape; it has 2 arrays \(dense_0/w, encoder/w\),"
    r" this network 6 arrays \(dense_0/b, dense_0/w, dense_1/b, \.\.\.\)",
    "stats.safetensors": "has no array of the same path and shape",
    "x" * 300: "cannot be read",
}


@pytest.fixture(scope="module")
def bad(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    bad_sources(source, folder)
    return folder


@pytest.mark.parametrize("name", BAD, ids=lambda name: name[:20])
def test_what_cannot_be_begun_with_is_refused_in_one_line_and_nothing_is_written(name, bad, monkeypatch):
    monkeypatch.chdir(bad)
    before = sorted(bad.rglob("*"))
    with pytest.raises(InputError, match=f"^--init_from.*{BAD[name]}") as refusal:
        here(*NET, *TRAIN_ONLY, "--init-from", name, "--workdir", "run")
    assert "\n" not in str(refusal.value) and sorted(bad.rglob("*")) == before


def test_the_weights_of_a_run_that_was_stopped_are_taken_from_their_file(bad, source):
    assert same(begun("--init-from", bad / "stopped" / "weights.safetensors")[0], weights(source))


@pytest.mark.long
def test_a_replay_begins_with_the_same_weights_or_is_refused(source, tmp_path):
    origin = shutil.copytree(source, tmp_path / "origin")
    tuned = run(tmp_path / "tuned", "--seed", 1, "--init-from", origin)
    saved = json.loads((tuned / "config.json").read_text())
    assert saved["config"]["init_from"] == str(origin) and saved["start"]["step"] == 0
    replay = ["--config", str(tuned / "config.json")]
    again = run(tmp_path / "again", net=replay)
    assert same(weights(again), weights(tuned)) and rows(again) == rows(tuned)
    stored.save(origin, weights(tuned), epochs=1)
    with pytest.raises(InputError, match=f"^--init_from={origin}: is not what the run that is replayed began with"):
        run(tmp_path / "third", net=replay)
    assert not (tmp_path / "third").exists()
    with pytest.raises(InputError, match="^--init_from=gone"):  # another --init_from is another run
        run(tmp_path / "other", "--init-from", "gone", net=replay)
