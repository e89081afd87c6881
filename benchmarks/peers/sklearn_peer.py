"""scikit-learn's MLPClassifier: an epoch is a call of partial_fit, a whole fit a call of fit."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cases
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier


def build(case: cases.Case, x: np.ndarray, y: np.ndarray, args) -> tuple[Callable, Callable]:
    if case.hidden is None:
        raise SystemExit("sklearn: has no convolutions")
    warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are given, converged or not
    net = MLPClassifier(
        case.hidden, solver=case.opt, batch_size=case.batch, learning_rate_init=case.lr, alpha=0.0, momentum=0.0,
        random_state=args.seed, n_iter_no_change=10**6,
    )  # fmt: skip

    def run(epochs: int) -> None:
        if epochs > 1:
            net.set_params(max_iter=epochs).fit(x, y)
        else:
            net.partial_fit(x, y, classes=np.arange(case.classes))

    return run, net.score


cases.main("sklearn", build, ["scikit-learn"])
