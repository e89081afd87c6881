"""Compiled programs are kept; a folder that is no good costs one warning and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ["iris_mlp", "--epochs", "1", "--data.validation-fraction", "0"]  # a program less


def train(home: Path, workdir: Path, *flags: str, path: Path = ROOT) -> tuple[bytes, str]:
    """The weights, and what was said on stderr."""
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *RUN, "--workdir", str(workdir), *flags]
    env = {**os.environ, "XDG_CACHE_HOME": str(home), "JAX_ENABLE_COMPILATION_CACHE": "true", "PYTHONPATH": str(path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return (workdir / "weights.safetensors").read_bytes(), done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, bytes]:
    home = tmp_path_factory.mktemp("home")
    weights, said = train(home, tmp_path_factory.mktemp("runs") / "first")
    assert said == ""
    return home, weights


def kept(home: Path, ending: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob(f"*-{ending}")}


@pytest.mark.long
def test_the_next_run_finds_its_programs_and_traces_none(first, tmp_path):
    home, weights = first
    before = kept(home, "program"), kept(home, "run")
    assert len(before[0]) == len(before[1]) == 3  # the first state, the steps, the evaluation of the test rows
    hidden = tmp_path / "sitecustomize.py"  # what is imported before all else: to trace a step is an error
    hidden.write_text(
        "import jaxnn.engine.scan as scan\ndef fail(*_, **__): raise RuntimeError('traced')\nscan.step = fail\n"
    )
    assert train(home, tmp_path / "run", path=tmp_path) == (weights, "")
    assert (kept(home, "program"), kept(home, "run")) == before
    with pytest.raises(AssertionError, match="traced"):  # another config comes from elsewhere
        train(home, tmp_path / "other", "--optim.lr", "0.037", path=tmp_path)


@pytest.mark.long
def test_programs_that_compute_the_same_are_kept_once(first, tmp_path):
    home = shutil.copytree(first[0], tmp_path / "home")
    before = kept(home, "program"), kept(home, "run")
    train(home, tmp_path / "run", "--patience", "7")  # another config, of which no program knows
    assert kept(home, "program") == before[0]
    assert len(kept(home, "run")) == 2 * len(before[1])


@pytest.mark.long
def test_rubbish_is_compiled_anew(first, tmp_path):
    home, weights = shutil.copytree(first[0], tmp_path / "home"), first[1]
    before = kept(home, "program"), kept(home, "run")
    for path, content in (before[0] | before[1]).items():
        path.write_bytes(content[:100] + b"rubbish")
    assert train(home, tmp_path / "run") == (weights, "")
    assert kept(home, "run").items() >= before[1].items()  # what was damaged has been replaced
    assert train(home, tmp_path / "after") == (weights, "")


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
