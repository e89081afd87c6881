"""What is wrong with a network is found and named, and nothing else: dead units, vanished gradients, broken runs."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken import BROKEN
from test_train import here

import jaxnn
from jaxnn import data
from jaxnn.commands import diagnose as command
from jaxnn.commands import main, words
from jaxnn.config import paths
from jaxnn.config.own import Own
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.report import diagnosis as diagnose
from jaxnn.report import evidence, findings, signals
from jaxnn.store import weights


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """Compiled in half the time: the programs here run for milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0}))
        yield


@pytest.fixture(scope="module")
def digits():
    split = data.load("digits").train
    return split.x.reshape(len(split.x), -1)[:300] / np.float32(16)


def begin(model, x, seed=0):
    return jax.jit(model.init)(jax.random.key(seed), x[0])


def dead_units(model, params, x):
    return jax.jit(functools.partial(diagnose.dead_units, model))(params, x)


@pytest.mark.long
def test_a_bias_of_minus_100_kills_every_unit_and_all_are_reported(digits):
    model = models.mlp((20, 10), 3)
    params = begin(model, digits)
    params["dense_0"]["b"] = jnp.full(20, -100.0)
    dead = dead_units(model, params, digits)
    assert dead["dense_0/b"].all() and not dead["dense_2/b"].any()


def test_dead_units_are_those_whose_activation_is_zero_for_every_example(digits):
    model = models.mlp((30,), 3)
    params = begin(model, digits, seed=1)
    params["dense_0"]["b"] = jnp.linspace(-4.0, 0.0, 30)
    hidden = np.maximum(0, digits @ np.asarray(params["dense_0"]["w"]).T + np.asarray(params["dense_0"]["b"]))
    expected = (hidden == 0).all(0)
    assert 0 < expected.sum() < 30
    np.testing.assert_array_equal(dead_units(model, params, digits)["dense_0/b"], expected)


@pytest.mark.long
def test_leaky_units_never_die(digits):
    model = models.mlp((20,), 3, activation="leaky_relu")
    params = begin(model, digits)
    params["dense_0"]["b"] = jnp.full(20, -100.0)
    assert not dead_units(model, params, digits)["dense_0/b"].any()


def test_gradient_norms_are_numpys():
    tree = {"a": {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, "b": np.ones(4, np.float32)}
    norms = diagnose.gradient_norms(tree)
    assert float(norms["a/w"]) == pytest.approx(np.linalg.norm(tree["a"]["w"])) and float(norms["b"]) == 2


# ---- what passes through a network ---------------------------------------------------------------------------------


def test_the_size_of_inputs_and_the_saturated_share_are_numpys(digits):
    model = models.mlp((20, 30), 3, activation=["tanh", "sigmoid"])
    params = begin(model, digits)
    params["dense_0"]["w"] = params["dense_0"]["w"] * 5
    params["dense_1"]["b"] = jnp.linspace(-8.0, 8.0, 30)
    watch = signals.Watch(model)
    seen = watch.read(jax.jit(watch)(params, digits))
    of = lambda layer: (np.asarray(params[layer]["w"]).T, np.asarray(params[layer]["b"]))
    (w, b), (v, c) = of("dense_0"), of("dense_1")
    first = np.tanh(digits @ w + b)
    second = 1 / (1 + np.exp(-(first @ v + c)))
    sizes = {"dense_0/w": digits, "dense_1/w": first, "dense_2/w": second}
    assert list(seen.inputs) == list(sizes) and seen.first == ("dense_0/w",)
    assert seen.inputs == pytest.approx({name: np.sqrt(np.mean(x**2)) for name, x in sizes.items()}, rel=1e-4)
    flat = {"dense_0/w": np.abs(first) > 0.99, "dense_1/w": np.abs(2 * second - 1) > 0.99}
    assert seen.saturated == pytest.approx({name: share.mean() for name, share in flat.items()}, abs=2e-3)
    assert 0.05 < seen.saturated["dense_0/w"] < 0.95 and 0.05 < seen.saturated["dense_1/w"] < 0.95


def test_a_gate_is_not_saturated_and_layers_of_flax_are_seen_by_their_paths():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.silu(nn.Conv(4, (3, 3))(x)).reshape(*x.shape[:-3], -1)
            return nn.Dense(2)(nn.tanh(nn.Dense(4)(x)))

    model, x = jaxnn.from_linen(Network()), jnp.full((5, 6, 6, 1), 40.0)
    watch = signals.Watch(model)
    seen = watch.read(jax.jit(watch)(begin(model, x), x))
    assert list(seen.inputs) == ["Conv_0/kernel", "Dense_1/kernel", "Dense_0/kernel"]  # as they are used
    assert seen.inputs["Conv_0/kernel"] == 40 and seen.saturated.keys() == {"Dense_1/kernel"}


# ---- broken runs ---------------------------------------------------------------------------------------------------


def found_in(folder: Path, config: Path) -> list[str]:
    path, saved = words.known(str(folder))
    brought = saved["own_model"] or saved.get("own")
    own = words.brought(str(folder), saved, str(config) if brought else None)
    return [finding.name for finding in findings.findings(evidence.gather(path, saved, own))]


def broken(name: str, seed: int, folder: Path) -> list[str]:
    """What is found in a run of one of the eight."""
    config = folder / "broken.py"
    config.write_text(BROKEN[name].text)
    assert here(config, *BROKEN[name].flags, "--seed", seed, "--workdir", folder / "run") == 0
    return found_in(folder / "run", config)


@pytest.mark.long
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_is_named_rightly(name, tmp_path):
    assert broken(name, 0, tmp_path)[0] == BROKEN[name].finding


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_is_named_rightly_whatever_the_seed(name, seed, tmp_path):
    assert broken(name, seed, tmp_path)[0] == BROKEN[name].finding


CONFIGS = paths.CONFIGS
FEW = {"digits_detection": 1, "digits_segmentation": 1, "digits_flow": 20, "mnist_maxout": 3, "fashion_resnet": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.stem for p in CONFIGS.glob("*.py") if p.stem not in ("emoji", "mnist_m")))
def test_nothing_is_found_in_the_shipped_configs(name, tmp_path, request):
    epochs = ["--epochs", FEW[name]] if name in FEW else []
    folder = ["--data.dir", request.getfixturevalue("mnist_dir")] if name.startswith(("mnist", "fashion")) else []
    assert here(name, *epochs, *folder, "--workdir", tmp_path / "run") == 0
    assert found_in(tmp_path / "run", CONFIGS / f"{name}.py") == []


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("healthy") / "run"
    assert here("iris_mlp", "--epochs", "30", "--workdir", folder) == 0
    return folder


def test_the_command_gives_json_in_a_pipe_and_a_table_on_a_terminal(healthy, capsys):
    assert main.command("diagnose")([str(healthy)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == [] and list(told["layers"]) == ["dense_0", "dense_1"]
    assert told["guess"] == pytest.approx(np.log(3)) and told["loss"]["end"] < told["loss"]["start"]
    layer = told["layers"]["dense_0"]
    assert layer["parameters"] == 80 and layer["start"].keys() == {"gradient", "update", "dead", "saturated"}
    # Adam's first step is of the size of the rate for each parameter: 0.01 sqrt(80) / |theta|
    params = jaxnn.load_run(healthy).params["dense_0"]
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in params.values()))
    assert layer["end"]["update"] == pytest.approx(0.01 * np.sqrt(80) / norm, rel=1e-3)
    path, saved = words.known(str(healthy))
    seen = evidence.gather(path, saved, Own())
    command.show(seen, [findings.Finding("rate_low", "lr=1: too low; raise it, --optim.lr 2")])
    out = capsys.readouterr().out
    assert "dense_1" in out and "update / weights" in out and "rate_low: lr=1: too low; raise it" in out


def test_a_failed_run_is_diagnosed_too(healthy, tmp_path):
    shutil.copytree(healthy, tmp_path / "run")
    weights.save(tmp_path / "run", jaxnn.load_run(healthy).params, weights.FAILED)
    assert found_in(tmp_path / "run", tmp_path) == ["rate_high"]


def refused(*argv: object) -> str:
    with pytest.raises(InputError) as caught:
        main.command("diagnose")([*map(str, argv)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_diagnosed_is_one_line(healthy, tmp_path):
    assert "is no run's folder" in refused(tmp_path)
    assert "needs one RUN" in refused()
    assert "--flips: unknown flag" in refused(healthy, "--flips")
    assert "leave it out" in refused(healthy, "--config", "x.py")

    def changed(**values: Any) -> Path:
        shutil.copytree(healthy, tmp_path / "other", dirs_exist_ok=True)
        about = json.loads((healthy / "config.json").read_text())
        about["config"]["data"] |= values
        (tmp_path / "other" / "config.json").write_text(json.dumps(about))
        return tmp_path / "other"

    assert "bring its data back" in refused(changed(split_seed=7))
    assert "/no/such.csv" in refused(changed(name="/no/such.csv"))
    (changed() / "weights.safetensors").unlink()
    assert "has no weights" in refused(tmp_path / "other")
