"""Compiled programs are kept; a folder that is no good costs one warning and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ["iris_mlp", "--epochs", "1", "--data.validation-fraction", "0"]  # a program less


def train(home: Path, workdir: Path, *flags: str) -> tuple[bytes, str]:
    """The weights, and what was said on stderr."""
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *RUN, "--workdir", str(workdir), *flags]
    env = {**os.environ, "XDG_CACHE_HOME": str(home), "JAX_ENABLE_COMPILATION_CACHE": "true"}
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
    return sorted(path for path in home.rglob("*-cache"))


@pytest.mark.long
def test_the_next_run_finds_its_programs(first, tmp_path):
    home, weights = first
    kept = programs(home)
    assert any("run_steps" in path.name for path in kept)
    assert train(home, tmp_path / "run") == (weights, "")
    assert programs(home) == kept


@pytest.mark.long
def test_rubbish_is_compiled_anew_with_one_warning(first, tmp_path):
    home, weights = first
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
