"""Compiled programs are kept; a folder that is no good costs one warning and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import jaxnn
from jaxnn.config import kept
from jaxnn.devices import cache
from jaxnn.devices.cache import Programs, keeping

ROOT = Path(__file__).parent.parent
RUN = ["iris_mlp", "--epochs", "1", "--data.validation-fraction", "0"]  # a program less


def train(home: Path, workdir: Path, *flags: str, path: Path = ROOT) -> tuple[bytes, str]:
    """The weights, and what was said on stderr."""
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *RUN, "--workdir", str(workdir), *flags]
    env: dict[str, str] = {**os.environ, "XDG_CACHE_HOME": str(home), "JAX_ENABLE_COMPILATION_CACHE": "true"}
    env["PYTHONPATH"] = str(path)
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return (workdir / "weights.safetensors").read_bytes(), done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, bytes]:
    home = tmp_path_factory.mktemp("home")
    weights, said = train(home, tmp_path_factory.mktemp("runs") / "first")
    assert said == ""
    return home, weights


def programs(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*.xla"))


def of_runs(home: Path) -> tuple[list[Path], list[Path]]:
    """The programs of runs, and what says which of them a run needs."""
    return sorted(home.rglob("program-*.xla")), sorted(home.rglob("run-*.xla"))


@pytest.mark.long
def test_the_next_run_finds_its_programs_and_traces_none(first, tmp_path):
    home, weights = first
    before = programs(home)
    assert [len(each) for each in of_runs(home)] == [
        3,
        3,
    ]  # the first state, the steps, an evaluation
    hidden = tmp_path / "sitecustomize.py"  # is imported before all else: to trace a step is an error
    hidden.write_text(
        "import jaxnn.engine.scan as scan\ndef fail(*_, **__): raise RuntimeError('traced')\nscan.step = fail\n"
    )
    assert train(home, tmp_path / "run", path=tmp_path) == (weights, "")
    assert programs(home) == before
    with pytest.raises(AssertionError, match="traced"):  # another config comes from elsewhere
        train(home, tmp_path / "other", "--optim.lr", "0.037", path=tmp_path)


@pytest.mark.long
def test_programs_that_compute_the_same_are_kept_once(first, tmp_path):
    home = shutil.copytree(first[0], tmp_path / "home")
    train(home, tmp_path / "run", "--patience", "7")  # another config, of which no program knows
    assert [len(each) for each in of_runs(home)] == [3, 6]


@pytest.mark.long
def test_rubbish_is_compiled_anew_with_one_warning(first, tmp_path):
    home, weights = shutil.copytree(first[0], tmp_path / "home"), first[1]
    for path in programs(home):
        path.write_bytes(path.read_bytes()[:100] + b"rubbish")
    again, said = train(home, tmp_path / "run")
    assert again == weights
    assert said.startswith(f"warning: {home}") and said.endswith("compiled anew\n") and said.count("\n") == 1
    assert train(home, tmp_path / "after") == (weights, "")  # what was damaged has been replaced


@pytest.mark.long
def test_a_folder_that_cannot_be_written_is_one_warning(first, tmp_path):
    (tmp_path / "file").touch()
    weights, said = train(tmp_path / "file", tmp_path / "run")
    assert weights == first[1]
    assert said.startswith("warning: compiled programs are not kept (") and said.count("\n") == 1


@pytest.mark.long
def test_the_flag_keeps_nothing(first, tmp_path):
    assert train(tmp_path / "home", tmp_path / "run", "--no-cache") == (first[1], "")
    assert not (tmp_path / "home").exists()


@pytest.mark.long
def test_the_environment_switches_it_off(first, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_CACHE", "off")
    assert train(tmp_path / "home", tmp_path / "run") == (first[1], "")
    assert not (tmp_path / "home").exists()


# ---- estimators, in this process -------------------------------------------------------------------------------------
@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's cache folder, in a process that has compiled nothing yet and whose JAX has no cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JAXNN_CACHE", raising=False)
    settings: Any = jax.config
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(settings, name) for name in names}
    for name, value in zip(names, (None, 1.0), strict=True):
        settings.update(name, value)
    compilation_cache.reset_cache()
    keeping.__init__()
    yield tmp_path / "home"
    jaxnn.keep_programs(False)
    keeping.__init__()
    for name, value in before.items():
        settings.update(name, value)


def compile_one() -> None:
    """The same program each time, by a function that JAX has not seen."""

    def one(x: jax.Array) -> jax.Array:
        return x * 2 + 1

    jax.block_until_ready(jax.jit(one)(np.ones(3, np.float32)))


def found(caplog: pytest.LogCaptureFixture, run: Callable[[], Any]) -> list[str]:
    """The names of the programs that were found meanwhile."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run()
    return re.findall(r"Persistent compilation cache hit for 'jit_(\w+)'", caplog.text)


def fit() -> Any:
    """A new process' fit, and one outside of it."""
    jax.clear_caches()
    X = np.linspace(-1, 1, 12).reshape(6, 2)
    model = jaxnn.MLPClassifier((3,), max_iter=2, tol=0, random_state=0, batch_size=6).fit(X, [0, 1, 2] * 2)
    model.predict(X)
    compile_one()
    return model


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_find_their_programs_and_keep_no_others(home, caplog):
    first = fit()
    kept_ones = programs(home)
    assert [path.name.split("-")[0] for path in kept_ones] == ["jit_epoch", "jit_outputs"]
    again: list[Any] = []
    assert found(caplog, lambda: again.append(fit())) == ["epoch", "outputs"]
    assert all((a == b).all() for a, b in zip(first.coefs_, again[0].coefs_, strict=True))
    assert programs(home) == kept_ones
    settings: Any = jax.config
    assert settings.jax_persistent_cache_min_compile_time_secs == 1 and not settings.jax_compilation_cache_dir


@pytest.mark.long
def test_keras_keeps_its_programs(home):
    from jaxnn import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((4, 2), np.float32), np.ones(4, np.float32), verbose=0)
    assert programs(home)


def test_they_keep_none_where_they_are_told_so(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXNN_CACHE", "off")
    with keeping:
        compile_one()
    monkeypatch.delenv("JAXNN_CACHE")
    jaxnn.keep_programs(False)
    with keeping:
        compile_one()
    assert not list(tmp_path.iterdir())


def test_the_environment_names_the_folder(home, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_CACHE", str(tmp_path / "named"))
    with keeping:
        compile_one()
    assert programs(tmp_path / "named" / "jaxnn" / "programs") and not home.exists()


def test_with_a_folder_all_is_kept_there(home, tmp_path, caplog):
    jaxnn.keep_programs(tmp_path / "mine")
    compile_one()
    assert programs(tmp_path / "mine") and not home.exists()
    assert found(caplog, compile_one) == ["one"]


def test_the_users_own_cache_is_left_alone(home, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with keeping:
        compile_one()
    jaxnn.keep_programs(tmp_path / "mine")
    assert list((tmp_path / "own").iterdir()) and not home.exists() and not (tmp_path / "mine").exists()


def test_it_ends_with_the_last_of_those_who_are_within(home, caplog):
    with keeping:
        with keeping:
            pass
        compile_one()
    assert programs(home)
    assert found(caplog, compile_one) == []


def test_a_damaged_program_is_one_warning_and_is_replaced(home, caplog):
    with keeping:
        compile_one()
    (entry,) = programs(home)
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=f"{entry.parent}: .* compiled anew"), keeping:
        compile_one()
    with keeping:
        assert found(caplog, compile_one) == ["one"]


def test_a_folder_that_cannot_be_written_is_one_warning_of_a_fit(home):
    home.touch()
    with pytest.warns(UserWarning, match="compiled programs are not kept .*JAXNN_CACHE=off"), keeping:
        compile_one()
    with keeping:
        compile_one()


def test_programs_that_were_not_used_for_longest_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 1000)
    told: list[str] = []
    of_this_cpu = Programs(tmp_path / "cpu", told.append)
    Programs(tmp_path / "another", told.append).put("old", bytes(200))
    for i, name in enumerate("abc"):
        of_this_cpu.put(name, bytes([i]) * 200)
        os.utime(tmp_path / "cpu" / f"{name}.xla", (i + 1, i + 1))
    os.utime(tmp_path / "another" / "old.xla", (9, 9))
    assert of_this_cpu.get("a") == bytes(200)  # it is used
    of_this_cpu.put("d", b"3" * 200)
    assert [path.stem for path in programs(tmp_path)] == ["old", "a", "c", "d"]
    assert of_this_cpu.get("b") is None and not told


def test_nothing_of_a_write_that_fails_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").mkdir()
    with pytest.raises(OSError):
        kept.write(tmp_path / "folder" / "a", [b"1"])
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a"]
