"""scikit-learn's own tests of its MLP, and its checks of any estimator, on ours."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from sklearn.neural_network import tests
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.slow
@parametrize_with_checks([jaxnn.MLPClassifier(), jaxnn.MLPRegressor()])
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def global_random_seed() -> int:
    return 42  # scikit-learn's default


def swapped() -> types.ModuleType:
    """scikit-learn's test module with one line changed: where the estimators come from."""
    path = Path(tests.__path__[0]) / "test_mlp.py"
    source = path.read_text()
    line = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert source.count(line) == 1
    module = types.ModuleType("swapped")
    exec(compile(source.replace(line, "from jaxnn import MLPClassifier, MLPRegressor"), path, "exec"), vars(module))
    return module


for name, test in vars(swapped()).items():
    if name.startswith("test_"):
        globals()[name] = pytest.mark.slow(test)
