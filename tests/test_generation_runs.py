"""Runs that learn to generate, by `jaxnn train` in this process; and `jaxnn sample`."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_train import here, history, home, weights  # noqa: F401  (`home` is a fixture)

import jaxnn
from jaxnn.commands.sample import sample
from jaxnn.errors import InputError, NumericsError

VAE = ["digits_flow", "--task.name", "vae"]
TINY = {
    "flow": ["digits_flow", "--model.hidden", "8"],
    "vae": [*VAE, "--model.hidden", "8", "--task.latent", "2"],
}
LENGTH = ["--epochs", "2", "--batch-size", "512", "--optim.schedule", "constant", "--data.test-fraction", "0"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in TINY.items():
        assert (
            here(*flags, *LENGTH, "--checkpoint.every", "1epoch", "--checkpoint.keep", "9", "--workdir", folder / name)
            == 0
        )
    return folder


@pytest.mark.long
@pytest.mark.parametrize("name", TINY)
def test_a_finished_run_has_a_picture_of_what_its_weights_generate(runs, name):
    run = jaxnn.load_run(runs / name)
    images = jaxnn.sample(run, jax.random.key(0), 64)
    with Image.open(runs / name / "pictures" / "samples.png") as picture:
        assert (np.asarray(picture)[2:66:8, 2:66:8] == np.round(images[0, ..., 0] / 16 * 255)).all()


@pytest.mark.long
def test_a_run_that_has_failed_has_no_picture(tmp_path):
    x = np.random.default_rng(0).uniform(size=(40, 4, 4, 1)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(40) % 2)
    flags = [*TINY["vae"], "--epochs", "1", "--batch-size", "full", "--data.name", tmp_path / "x.npz"]
    flags += ["--optim.schedule", "constant", "--optim.name", "sgd", "--optim.lr", "1e30", "--optim.ema", "None"]
    with pytest.raises(NumericsError, match="loss=nan: must be finite"):
        here(*flags, "--workdir", tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").exists() and not (tmp_path / "run" / "pictures").exists()


def copied(runs: Path, name: str, folder: Path) -> Path:
    return shutil.copytree(runs / name, folder / name)


def assert_same(a: Path, b: Path) -> None:
    for name, leaf in weights(a).items():
        np.testing.assert_array_equal(leaf, weights(b)[name])


@pytest.mark.long
@pytest.mark.parametrize("name", TINY)
def test_a_run_is_resumed_bit_for_bit(runs, name, tmp_path):
    run = copied(runs, name, tmp_path)
    shutil.rmtree(max(run.glob("checkpoints/0*")))
    (run / "weights.safetensors").unlink()
    assert here(*TINY[name], *LENGTH, "--checkpoint.every", "1epoch", "--checkpoint.keep", "9", "--workdir", run) == 0
    assert_same(run, runs / name)
    first, last = (history(folder)[1]["val/loss"] for folder in (run, runs / name))
    assert first == last and np.isfinite(first)


@pytest.mark.long
@pytest.mark.parametrize("name", ["flow", "vae"])
def test_a_run_has_the_same_bits_however_it_is_cut(runs, name, tmp_path):
    assert here(*TINY[name], *LENGTH, "--checkpoint.every", "1", "--workdir", tmp_path / "run") == 0
    assert_same(tmp_path / "run", runs / name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["flow", "vae"])
def test_on_eight_devices_a_run_takes_the_same_steps(runs, name, tmp_path):
    assert here(*TINY[name], *LENGTH, "--workdir", tmp_path / "run", "--devices", "8") == 0
    for key in ("train/loss", "val/loss"):
        one, eight = (np.array([row[key] for row in history(f) if key in row]) for f in (runs / name, tmp_path / "run"))
        np.testing.assert_allclose(one, eight, rtol=1e-5)


@pytest.mark.long
def test_the_learned_labels_and_the_metrics_are_in_the_history(runs):
    assert {"val/loss", "val/kl", "val/reconstruction"} <= history(runs / "vae")[0].keys()
    row = history(runs / "vae")[-2]
    assert row["val/loss"] == pytest.approx(row["val/kl"] + row["val/reconstruction"], rel=1e-5)


@pytest.mark.long
def test_the_command_writes_what_the_function_gives(runs, tmp_path, capsys):
    run = copied(runs, "flow", tmp_path)
    assert sample([str(run), "-n", "5", "--label", "3", "--seed", "7", "--guidance", "1", "--steps", "3"]) == 0
    assert capsys.readouterr().out == f"5 images in {run}/samples\n"
    given = np.load(run / "samples" / "samples.npz")
    images = jaxnn.sample(jaxnn.load_run(run), jax.random.key(7), 5, label=3, guidance=1.0, steps=3)
    assert (given["x"] == images).all() and given["x"].dtype == np.uint8 and (given["y"] == 3).all()
    with Image.open(run / "samples" / "grid.png") as picture:
        assert picture.mode == "L" and picture.size == (3 * 66 + 2, 2 * 66 + 2)
        assert (np.asarray(picture)[2:66:8, 2:66:8] == np.round(images[0, ..., 0] / 16 * 255)).all()
    with pytest.raises(InputError, match=r"flow: has checkpoints, which --force does not remove; name another folder"):
        sample([str(run), "--output", str(run), "--force"])
    before = (run / "samples" / "samples.npz").read_bytes()
    with pytest.raises(InputError, match=r"samples: is there already; name another folder, or add --force"):
        sample([str(run)])
    assert (run / "samples" / "samples.npz").read_bytes() == before
    assert sample([str(run), "-n", "1", "--force"]) == 0
    given = np.load(run / "samples" / "samples.npz")
    assert given.files == ["x"] and given["x"].shape == (1, 8, 8, 1)
    assert sorted(path.name for path in run.iterdir() if "samples" in path.name) == ["samples"]
    assert (
        here(*TINY["flow"], *LENGTH, "--checkpoint.every", "1epoch", "--checkpoint.keep", "9", "--workdir", run) == 0
    )  # a finished run, still


@pytest.mark.long
def test_a_vae_is_sampled_by_the_command(runs, tmp_path):
    assert sample([str(runs / "vae"), "-n", "4", "--output", str(tmp_path / "new")]) == 0
    assert np.load(tmp_path / "new" / "samples.npz")["x"].shape == (4, 8, 8, 1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--label", "12"], "label=12: unknown; "),
        (["-n", "0"], "-n=0: must be a whole number >= 1"),
        (["-n", "many"], "-n=many: must be a whole number >= 1"),
        (["--seed", "-1"], "--seed=-1: must be a whole number >= 0"),
        (["--steps", "0"], "--steps=0: must be a whole number >= 1"),
        (["--guidance", "nan"], "--guidance=nan: must be finite and >= 0"),
        (["--guidance", "much"], "--guidance=much: must be a number"),
        (["--guidance", "1"], "guidance=1.0: needs a label"),
        (["--lable", "3"], "--lable: unknown flag; did you mean --label?"),
        (["another"], "sample flow another: needs one RUN"),
        (["--output", "nowhere/new"], "--output=nowhere/new: nowhere is no folder"),
        (["--config", "own.py"], "--config=own.py: the run brought nothing of its own"),
    ],
)
def test_what_cannot_be_sampled_is_one_line_and_leaves_nothing(runs, flags, told, monkeypatch):
    monkeypatch.chdir(runs)
    before = sorted(runs.rglob("*"))
    with pytest.raises(InputError) as error:
        sample(["flow", *flags])
    assert str(error.value).startswith(told)
    assert sorted(runs.rglob("*")) == before


OWN = """
import jax.numpy as jnp, jaxnn
from jaxnn.config import *
config = Config(name="own", epochs=1, batch_size=512, data=DataConfig(test_fraction=0), model=ModelConfig(hidden=(8,)))
"""


@pytest.mark.long
def test_a_vae_of_a_config_file_is_sampled_by_its_own_latent(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(f"{OWN}\ndef task(data):\n    return jaxnn.vae(data['shape'], 3, scale=data['scale'])")
    assert here(file, "--workdir", tmp_path / "run") == 0
    assert sample([str(tmp_path / "run"), "-n", "2", "--config", str(file)]) == 0
    assert np.load(tmp_path / "run" / "samples" / "samples.npz")["x"].shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("apply", "told"),
    [
        ("jnp.zeros((*x['x'].shape[:-3], outputs))", "(fails: KeyError: 'x'); see jaxnn.vae"),
        ("jnp.zeros(outputs)", "(gives [80]); see jaxnn.vae"),
    ],
)
def test_a_model_that_decodes_no_z_is_refused_before_it_is_trained(apply, told, tmp_path):
    file = tmp_path / "own.py"
    model = f"jaxnn.Model(lambda key, x: {{'w': jnp.zeros(1)}}, lambda params, x, key=None: {apply})"
    file.write_text(f"{OWN}\ndef model(outputs):\n    return {model}")
    with pytest.raises(InputError) as error:
        here(file, "--task.name", "vae", "--workdir", tmp_path / "run")
    assert str(error.value) == f"model: must decode {{'z': f32[8]}} to [64], the pixels of an image {told}"
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_classifier_and_a_folder_that_is_no_run_generate_nothing(tmp_path):
    flags = ["--model.hidden", "4", "--epochs", "1", "--batch-size", "512", "--data.test-fraction", "0"]
    assert here("digits_mlp", *flags, "--workdir", tmp_path / "run") == 0
    with pytest.raises(InputError, match="run=multiclass: generates no images; train one with --task.name flow"):
        sample([str(tmp_path / "run")])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"^folder={folder}: is no run's folder"):
            sample([str(folder)])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["digits_mlp", "--task.latent", "3"], "--task.latent=3: is for --task.name vae; add it"),
        ([*VAE, "--task.label-dropout", "0.2"], "--task.label_dropout=0.2: is for --task.name flow_matching"),
        (["digits_flow", "--model.hidden", "8", "9"], "--model.hidden=8 9: must be one width for all blocks"),
        (["digits_flow", "--model.kind", "cnn"], "--model.kind=cnn: generates no images as this task does; use"),
        ([*VAE, "--model.kind", "unet"], "--model.kind=unet: generates no images as this task does; use"),
        (["digits_flow", "--model.kind", "unet", "--model.channels", "4", "4", "4", "4"], "x=[8, 8, 1]: 4 levels need"),
        (["digits_flow", "--data.class-weight", "balanced"], "--data.class_weight=balanced: weighs the answers"),
        (["digits_flow", "--data.standardize"], "--data.standardize=True: a flow_matching has its own range"),
        (
            ["digits_flow", "--data.augment", "mixup:0.2"],
            "--data.augment=mixup:0.2: a flow_matching has no soft",
        ),
        (["digits_flow", "--data.name", "iris"], "--task.name=flow_matching: needs images [H, W, C]"),
        (
            ["digits_flow", "--model.activation", "maxout"],
            "--model.activation=maxout: must be one name, and",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_a_folder_is_made(flags, told, tmp_path):
    with pytest.raises(InputError) as error:
        here(*flags, "--workdir", tmp_path / "run")
    assert str(error.value).startswith(told)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_images_of_one_class_can_be_learned(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "one.npz", x=x, y=np.full(40, "cat"))
    flags = [*TINY["flow"], "--epochs", "1", "--batch-size", "8", "--data.name", tmp_path / "one.npz"]
    assert here(*flags, "--data.test-fraction", "0", "--workdir", tmp_path / "run") == 0
    run = jaxnn.load_run(tmp_path / "run")
    assert jaxnn.sample(run, jax.random.key(0), 2, label="cat", steps=1).shape == (2, 4, 4, 1)
    with pytest.raises(InputError, match=r"predict: a flow_matching answers no examples; it generates"):
        run.predict(x)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["classes"] == ["cat"]
