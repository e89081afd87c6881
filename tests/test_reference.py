"""The reference is complete, and each public name says what its reader needs: equation, shapes, errors, an example."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference

CONSTANTS = {  # public, but no page has them: parts of a file's format, and numbers that a docstring names
    *("activations.MONOTONE", "activations.TABLE", "checkpoint.BEST_IS_LOST", "checkpoint.FORMAT"),
    *("checkpoint.MANIFEST", "checkpoint.STATE", "image.BLUE", "image.GREEN", "image.RED", "tree.STATISTICS"),
}
PUBLIC = {name: value for name, value in reference.public().items() if name not in CONSTANTS}
DOCUMENTED = sorted(PUBLIC.keys() - reference.ALIASES.keys())
RAISING = re.compile(r"\braise \w*(Error|choices)|\b(check|choices|fraction|positive|decay|same_shape)\(")
SHAPE = re.compile(r"\b(f|i|u|float|bool)\d*\[")
MATHEMATICAL = {
    *("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softmax"),
    *("log_softmax", "logit", "binary_cross_entropy", "cross_entropy", "log_likelihood", "squared", "absolute"),
    *("huber", "quantile", "poisson", "gaussian", "dense", "maxout", "dropout", "conv2d", "conv_transpose"),
    *("batch_norm", "layer_norm", "group_norm", "standardized", "mlp", "linear", "resnet", "flow_matching", "vae"),
    *("auc", "balanced_accuracy", "macro_f1", "top_k", "coco_map", "frechet_distance", "iou", "giou", "diou"),
    *("metrics.r_squared", "backpropagation", "logistic_gradient", "finite_differences", "fd_curve"),
    *("augment.mixup", "augment.cutmix", "augment.affine", "image.rgb_to_hsv", "image.hsv_to_rgb"),
    *("image.rgb_to_ycbcr", "image.ycbcr_to_rgb", "image.to_gray", "style_transfer"),
}
EQUATION = re.compile(r"[=^|/]|sum|mean|max\(|\b\w+\(\w")


def doc(name: str) -> str:
    return inspect.getdoc(PUBLIC[name]) or ""


def annotated_with_arrays(value: Callable[..., Any]) -> bool:
    """Whether a function takes or gives arrays, the key of a random number aside."""
    given = {name: str(kind) for name, kind in getattr(value, "__annotations__", {}).items() if "key" not in name}
    return any("Array" in kind for kind in given.values())


def test_each_public_name_is_on_one_page():
    listed = [path.removeprefix("jaxnn.") for page, path in reference.entries() if "jaxnn.keras" not in path]
    assert sorted(listed) == sorted(PUBLIC)


def test_each_page_is_in_the_index_and_all_its_entries_are():
    assert {f"{page}.md" for page in reference.ORDER} | {"index.md"} == {p.name for p in reference.PAGES.glob("*.md")}
    assert (reference.PAGES / "index.md").read_text() == reference.index(), "run python tests/reference.py"


def test_each_module_of_keras_is_on_its_page():
    listed = {path.split(".")[2] for _, path in reference.entries() if path.startswith("jaxnn.keras.")}
    assert listed == set(reference.modules_of_keras())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_an_example(name):
    first, *rest = doc(name).splitlines()
    assert first and ">>>" in doc(name)


@pytest.mark.parametrize("name", sorted(MATHEMATICAL))
def test_a_mathematical_name_has_its_equation_and_its_source(name):
    before = doc(name).partition(">>>")[0]
    assert EQUATION.search(before) and "Source: " in doc(name)


@pytest.mark.parametrize("name", [n for n in DOCUMENTED if inspect.isfunction(PUBLIC[n])])
def test_a_function_says_its_shapes_and_its_errors(name):
    missing = []
    if annotated_with_arrays(PUBLIC[name]) and not SHAPE.search(doc(name)):
        missing.append("shapes")
    if RAISING.search(inspect.getsource(PUBLIC[name]).replace(doc(name), "")) and "Error" not in doc(name):
        missing.append("errors")
    assert not missing


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed (the extra dev)")
def test_the_types_of_the_installed_package_are_complete(tmp_path):
    """pyright counts the symbols of a `py.typed` package whose types are known without inference."""
    root = Path(__file__).resolve().parents[1]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(root)]
    subprocess.run(install, check=True)
    verify = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--verifytypes", "jaxnn"]
    done = subprocess.run(
        [*verify, "--ignoreexternal", "--outputjson"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)["typeCompleteness"]
    unknown = [each["name"] for each in found["symbols"] if each["isExported"] and not each["isTypeKnown"]]
    assert found["completenessScore"] >= 0.95, unknown
