"""Whole processes, the second time, in turns: commands beside `import jax, optax`, an estimator beside scikit-learn's.

python benchmarks/startup.py [ROUNDS]      MNIST_DIR: the folder of MNIST's four files, without which it is left out
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIT = """
import warnings
from sklearn.datasets import load_iris
from {package} import MLPClassifier
warnings.simplefilter("ignore")
x, y = load_iris(return_X_y=True)
MLPClassifier(random_state=0, max_iter=200).fit(x, y).score(x, y)
"""


def commands() -> dict[str, list[str]]:
    """What is run, by its name."""
    python, train = sys.executable, str(ROOT / "train.py")
    found = {
        "import jax, optax": [python, "-c", "import jax, optax"],
        "train.py": [python, train],
        "train.py --report off": [python, train, "--report", "off"],
        "train.py iris_mlp": [python, train, "iris_mlp"],
        "scikit-learn, iris": [python, "-c", FIT.format(package="sklearn.neural_network")],
        "jaxnn.MLPClassifier, iris": [python, "-c", FIT.format(package="jaxnn")],
    }
    if folder := os.environ.get("MNIST_DIR"):
        found["train.py mnist_mlp --epochs 1"] = [python, train, "mnist_mlp", "--epochs", "1", "--data.dir", folder]
    return found


def seconds(command: list[str], env: dict[str, str]) -> float:
    """Of a process in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(command, env=env, cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - began


def main() -> None:
    rounds, found = int(sys.argv[1]) if len(sys.argv) > 1 else 7, commands()
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever installs a package has its bytecode
        first = {name: seconds(command, env) for name, command in found.items()}
        seen = [{name: seconds(command, env) for name, command in found.items()} for _ in range(rounds)]
    print(f"{'':32}{'first, s':>9}{'second, s':>10}{'/ import':>9}{'/ sklearn':>10}")
    for name in found:
        beside = lambda other, name=name: statistics.median(each[name] / each[other] for each in seen)
        ratios = f"{beside('import jax, optax'):9.2f}{beside('scikit-learn, iris'):10.2f}"
        print(f"{name:32}{first[name]:9.2f}{statistics.median(each[name] for each in seen):10.2f}{ratios}")


if __name__ == "__main__":
    main()
