"""What is shipped is whole: the wheel, from another folder, trains its configs and checks itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that the wheel is installed in, without its dependencies, which are here already."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True, stderr=subprocess.DEVNULL)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "there", wheel], check=True)
    return folder / "there"


def run(installed: Path, *argv: str) -> str:
    """What `jaxnn ...` prints, in a folder that is none of the project's."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [installed / "bin" / "jaxnn", *argv]
    done = subprocess.run(command, cwd=installed.parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_wheel_trains_from_another_folder(installed):
    assert "test" in run(installed, "train", "--epochs", "1")
    run(installed, "configs", "iris_mlp", "--copy", "mine.py")
    assert "iris_mlp after 7 steps" in run(installed, "train", "mine.py", "--epochs", "1")
    first, second = (installed.parent / "runs").glob("*/weights.safetensors")
    assert "model.onnx" in run(installed, "export", str(first.parent), "--to", "onnx,stablehlo,numpy,safetensors")
    assert len(list((first.parent / "export").iterdir())) == 5 and not (second.parent / "export").exists()
    found = {path.name for path in (installed / "jaxnn" / "configs").glob("*.py")}
    assert found == {path.name for path in (ROOT / "configs").glob("*.py")}
    assert "jaxnn selfcheck" in run(installed, "--help")


@pytest.mark.long
def test_the_wheel_uses_a_run_in_another_folder(installed):
    """The run of the test before: predictions, in a pipe that is closed early, and metrics; and a look at the data."""
    folder = installed.parent
    (iris,) = (folder / "runs").glob("iris_mlp-*")
    flowers: Any = load_iris(as_frame=True)
    flowers.data.to_csv(folder / "new.csv", index=False)
    flowers.data.assign(species=flowers.target_names[flowers.target]).to_csv(folder / "labelled.csv", index=False)
    line = f"cat new.csv | {installed}/bin/jaxnn predict {iris} - | head -2"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 2, "")
    assert json.loads(run(installed, "evaluate", str(iris), "labelled.csv"))["accuracy"] > 0
    run(installed, "report", str(iris))
    assert "<svg" in (iris / "report.html").read_text()
    digits, *_ = (folder / "runs").glob("digits_mlp-*")
    assert run(installed, "compare", str(iris), str(digits)).count("\n") == 3
    assert json.loads(run(installed, "diagnose", str(iris)))["layers"]
    assert json.loads(run(installed, "data", "labelled.csv"))["task"] == "multiclass"


@pytest.mark.slow
def test_the_wheel_checks_itself_from_another_folder(installed):
    assert run(installed, "selfcheck").count("as expected") == 12
