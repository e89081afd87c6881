"""Who may import whom: arrows point down only, and nothing is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxnn

PACKAGE = Path(jaxnn.__file__).parent
LAYERS = [  # a folder or file may import from the rows above its own, and within its row
    {"errors", "types", "arrays", "fork"},
    {"config", "tree", "numerics"},
    {"nn", "tasks", "optim", "devices", "gradients", "image", "augment", "pictures"},
    {"data"},
    {"engine"},
    {"training", "store", "recipe"},
    {"predict", "generation", "estimators", "plot", "report", "style", "keras"},
    {"export"},
    {"train"},
    {"sweep"},
    {"commands"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxnn":
            rest = node.module.split(".")[1:]
            names |= {rest[0]} if rest else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("jaxnn.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports are absolute"
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path) - {own}:
        assert RANK[name] <= RANK[own], f"{own} imports {name}"


def test_no_folder_is_there_for_one_file():
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) > 1, folder


def test_types_imports_jax_only_and_flax_stays_in_its_files():
    for path in PACKAGE.rglob("*.py"):
        lines = [line.split() for line in path.read_text().splitlines()]
        words = {words[1].split(".")[0] for words in lines if words and words[0] in ("import", "from")}
        if path.stem == "types":
            assert words <= {"__future__", "collections", "typing", "jax", "optax"}
        if path.relative_to(PACKAGE).parts not in (("nn", "flax.py"), ("nn", "flax_norms.py")):
            assert "flax" not in words, path
        assert "pickle" not in words


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


HEAVY = {"jax", "numpy", "sklearn", "flax", "optax", "tensorflow_datasets", "PIL"}


def test_import_jaxnn_loads_nothing_heavy():
    assert not (HEAVY | {"rich"}) & loaded_by("import jaxnn")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0), (["--version"], 0), (["train", "--help"], 0), (["train", "--optim.lrr=1"], 2),
        (["predict", "--help"], 0), (["predict", "run", "new.csv", "--porba"], 2), (["evaluate", "--help"], 0),
        (["convert", "--help"], 0), (["data", "--help"], 0), (["data", "iris", "--imge", "3"], 2),
        (["configs"], 0), (["configs", "iris_mlp"], 0), (["completion", "bash"], 0), (["train", "--log", "wandbb"], 2),
        (["diagnose", "--help"], 0), (["diagnose", "run", "--porba"], 2),
        (["lr", "--help"], 0), (["lr", "--optim.lr", "1"], 2), (["lr", "--optim.lrr", "1"], 2),
        (["report", "--help"], 0), (["report", "r", "--picture", "svg"], 2), (["report", "r", "--pictures", "gif"], 2),
        (["compare", "--help"], 0), (["compare"], 2), (["compare", "run", "--outptu", "a.html"], 2),
        (["export", "--help"], 0), (["export", "run", "--too", "onnx"], 2), (["export", "run", "--to", "onx"], 2),
        (["sample", "--help"], 0), (["sample", "run", "--lable", "3"], 2), (["sample", "run", "-n", "0"], 2),
    ],
)  # fmt: skip
def test_help_and_a_misspelt_flag_are_answered_without_jax(argv, code):
    answer = f"""
import os, sys
from jaxnn.training import process
process.end = sys.exit  # so that what was loaded can be looked at
from jaxnn.commands.main import main
sys.stdout = open(os.devnull, "w")
try:
    main({argv})
except SystemExit as end:
    assert end.code == {code}, end.code
sys.stdout = sys.__stdout__"""
    assert not HEAVY & loaded_by(answer)


@pytest.mark.long
def test_data_are_read_without_jax():
    """They are read while jax is imported."""
    assert "jax" not in loaded_by("import jaxnn.data; jaxnn.data.load('iris')")


def test_the_whole_face_needs_no_optional_library():
    code = "import jaxnn\nfor name in jaxnn.__all__: name.startswith('MLP') or getattr(jaxnn, name)"
    unused = {"sklearn", "tensorflow_datasets", "PIL", "tensorflow", "orbax", "matplotlib", "jinja2", "onnx"}
    assert not unused & loaded_by(code)


@pytest.mark.long
def test_a_run_on_idx_files_loads_no_library_that_it_does_not_use(tmp_path):
    for part, n in (("train", 40), ("t10k", 10)):
        for name, array in (
            ("images-idx3-ubyte", np.random.default_rng(n).integers(0, 256, (n, 4, 4), np.uint8)),
            ("labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % 2),
        ):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (tmp_path / f"{part}-{name}").write_bytes(head + array.tobytes())
    argv = ["train", "mnist_mlp", "--data.dir", str(tmp_path), "--epochs", "1", "--workdir", str(tmp_path / "run")]
    code = f"""
from jaxnn.commands.main import main
try:
    main({argv})
except SystemExit as end:
    assert not end.code, end.code"""
    loaded = loaded_by(code)
    assert "optax" in loaded
    unused = {"flax", "orbax", "sklearn", "tensorflow_datasets", "tensorflow", "PIL", "rich.progress"}
    unused |= {"matplotlib", "jinja2", "tensorboardX", "wandb", "mlflow", "jaxnn.report.loggers"}
    assert not unused & loaded
