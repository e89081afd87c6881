"""jaxnn's estimators beside scikit-learn's: `python benchmarks/estimators.py [epoch|iris|grid|accuracy ...]`.

Fits alternate in one process and medians are compared. Data and settings are the same for both; MNIST comes from the
folder that MNIST_DIR names.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.model_selection import train_test_split

import jaxnn
from jaxnn.estimators.solvers import Spec, programs

BOTH = {"scikit-learn": neural_network, "jaxnn": jaxnn}


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(what: str, run: Callable[[Any], float], rounds: int) -> None:
    """Alternating rounds of `run(module) -> seconds`, after one of each that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in BOTH}
    for i in range(rounds + 1):
        for name, module in BOTH.items():
            spent = run(module)
            if i:
                taken[name].append(spent)
    ratios = sorted(a / b for a, b in zip(*taken.values(), strict=True))
    each = ", ".join(f"{name} {1e3 * median(values):.1f} ms" for name, values in taken.items())
    print(f"{what}: {each}; ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


def epoch(rounds: int = 7) -> None:
    """An epoch of the default settings on MNIST: the difference between fits of 4 epochs and of 1, divided by 3."""
    data = jaxnn.data.load("mnist", dir=os.environ["MNIST_DIR"])
    parts = [part for part in (data.train, data.validation) if part is not None]
    X = np.concatenate([part.x for part in parts]).reshape(-1, 784) / 255
    y = np.concatenate([part.y for part in parts])
    for dtype in ("float32", "float64"):
        x = X.astype(dtype)

        def run(module: Any, x: np.ndarray = x) -> float:
            fit = lambda n: seconds(lambda: module.MLPClassifier(max_iter=n, random_state=0).fit(x, y))
            return (fit(4) - fit(1)) / 3

        compare(f"MNIST, {len(x):,} rows, {dtype}, an epoch", run, rounds)


def iris(rounds: int = 15) -> None:
    """A whole fit of 200 iterations, the second of its shapes."""
    X, y = datasets.load_iris(return_X_y=True)
    run = lambda module: seconds(lambda: module.MLPClassifier(random_state=0).fit(X, y))
    compare("iris, a fit of 200 iterations", run, rounds)


def grid() -> None:
    """How many programs 20 fits over learning rates compile."""
    X, y = datasets.load_iris(return_X_y=True)
    epoch: Any = programs(Spec((17,), 3, "multiclass", "adam")).epoch
    for lr in np.geomspace(1e-4, 1e-2, 20):
        jaxnn.MLPClassifier((17,), learning_rate_init=lr, max_iter=3, random_state=0).fit(X, y)
    print(f"20 fits over learning rates: {epoch._cache_size()} program compiled")


def accuracy(seeds: int = 20) -> None:
    """Test accuracy of the default settings over seeds: mean and standard error."""
    for name in ("digits", "iris", "wine", "breast_cancer"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        X = X / np.maximum(abs(X).max(0), 1e-12)
        scores: dict[str, list[float]] = {who: [] for who in BOTH}
        for seed in range(seeds):
            a, b, c, d = train_test_split(X, y, random_state=seed, stratify=y)
            for who, module in BOTH.items():
                scores[who].append(module.MLPClassifier(random_state=seed).fit(a, c).score(b, d))
        text = ", ".join(f"{who} {mean(s):.4f} ± {stdev(s) / seeds**0.5:.4f}" for who, s in scores.items())
        print(f"{name}: {text}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # 200 iterations are not always enough
    cases = {"epoch": epoch, "iris": iris, "grid": grid, "accuracy": accuracy}
    for case in sys.argv[1:] or cases:
        cases[case]()
