"""Settings: every bound is checked as a value is made, in one line that names the flag."""

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import optax
import pytest

import jaxnn
from jaxnn.config import names
from jaxnn.config.data import DataConfig
from jaxnn.config.durations import steps
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.config.settings import CheckpointConfig, Config
from jaxnn.config.task import TaskConfig
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import InputError

REFUSED = [
    (OptimConfig, "lr", [float("nan"), float("inf"), 0.0, -0.1]),
    (OptimConfig, "momentum", [1.0, -0.1, float("nan")]),
    (OptimConfig, "b1", [1.0, -1.0]),
    (OptimConfig, "b2", [1.0]),
    (OptimConfig, "eps", [0.0]),
    (OptimConfig, "weight_decay", [-1.0, float("nan")]),
    (OptimConfig, "alpha", [-1.0, float("inf")]),
    (OptimConfig, "clip_norm", [-1.0, 0.0]),
    (OptimConfig, "clip_value", [0.0]),
    (OptimConfig, "max_norm", [-1.0]),
    (OptimConfig, "decay", [0.0, 1.0]),
    (OptimConfig, "power", [0.0]),
    (OptimConfig, "accumulate", [0]),
    (OptimConfig, "ema", [1.0, 0.0]),
    (OptimConfig, "name", ["adm"]),
    (OptimConfig, "schedule", ["cos"]),
    (OptimConfig, "warmup", ["-1", "x", "1.5", ""]),
    (OptimConfig, "nesterov", [True]),
    (ModelConfig, "dropout", [1.0, 1.5, -0.1, float("nan")]),
    (ModelConfig, "input_dropout", [1.0]),
    (ModelConfig, "hidden", [(0,), (50, -1)]),
    (ModelConfig, "channels", [(0,)]),
    (ModelConfig, "pieces", [1]),
    (ModelConfig, "kernel", [0]),
    (ModelConfig, "depth", [0, 9]),
    (ModelConfig, "width", [0]),
    (ModelConfig, "norm", ["layer"]),
    (ModelConfig, "kind", ["mpl"]),
    (ModelConfig, "init", ["zeros"]),
    (ModelConfig, "activation", [("rellu",), ("relu", "relu", "relu")]),
    (TaskConfig, "name", ["classification"]),
    (TaskConfig, "loss", ["mse"]),
    (TaskConfig, "label_smoothing", [1.0]),
    (TaskConfig, "quantiles", [(), (0.0,), (0.5, 1.0), (0.9, 0.1), (0.5, 0.5), (0.1, 0.9)]),  # the last: not asked for
    (TaskConfig, "metrics", [("acu",), ("top5",), ("top_0",), ("auc", "f2")]),
    (DataConfig, "validation_fraction", [1.0, -0.1]),
    (DataConfig, "test_fraction", [1.0]),
    (DataConfig, "split_seed", [-1]),
    (DataConfig, "bad_records", [-1]),
    (DataConfig, "max_boxes", [0]),
    (TaskConfig, "dice", [-0.1, float("nan")]),
    (TaskConfig, "label_dropout", [1.0, -0.1]),
    (TaskConfig, "latent", [0]),
    (TaskConfig, "beta", [-1.0]),
    (TaskConfig, "deviation", [0.0, -1.0]),
    (DataConfig, "nan", ["keep"]),
    (DataConfig, "class_weight", ["equal", (1.0, -1.0)]),
    (Config, "seed", [-1, 2**32]),
    (Config, "epochs", [0]),
    (Config, "report", ["pdf", ""]),
    (Config, "batch_size", [0, -3]),
    (Config, "tol", [-1.0, float("nan")]),
    (Config, "patience", [0]),
    (Config, "exact", [0, -1]),
    (Config, "devices", [0]),
    (Config, "eval_every", ["never"]),
    (CheckpointConfig, "every", ["0", "0s", "often", "-1s", "1.5"]),
    (CheckpointConfig, "keep", [0]),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(kind, name, value) for kind, name, values in REFUSED for value in values]
)
def test_a_value_out_of_bounds_is_refused_by_name(kind, name, value):
    with pytest.raises(InputError) as refusal:
        kind(**{name: value})
    text = str(refusal.value)
    assert name in text and "\n" not in text


def test_every_number_that_has_a_bound_is_tested():
    numbers = {
        (kind, f.name)
        for kind in (OptimConfig, ModelConfig, TaskConfig, DataConfig, CheckpointConfig, Config)
        for f in dataclasses.fields(kind)
        if re.search(r"\b(int|float)\b", str(f.type))
    }
    assert numbers <= {(kind, name) for kind, name, _ in REFUSED}


def test_an_unknown_name_gets_the_nearest_spelling():
    with pytest.raises(InputError, match="did you mean adam"):
        OptimConfig(name="adm")


def test_a_linear_model_has_nothing_to_drop_but_its_inputs():
    with pytest.raises(InputError, match="--model.input_dropout"):
        ModelConfig(kind="linear", dropout=0.5)
    assert ModelConfig(kind="linear", input_dropout=0.5).input_dropout == 0.5


def test_lbfgs_needs_the_full_batch():
    with pytest.raises(InputError, match="--batch-size full"):
        Config(optim=OptimConfig(name="lbfgs"))
    assert Config(optim=OptimConfig(name="lbfgs"), batch_size="full").batch_size == "full"


@pytest.mark.parametrize(
    ("text", "expected"), [("7", 7), ("7steps", 7), ("1step", 1), ("1.5epochs", 15), ("2 epochs", 20), ("25%", 50)]
)
def test_durations_are_steps_epochs_or_percent(text, expected):
    assert steps("--x", text, steps_per_epoch=10, total=200) == expected


def test_a_config_survives_json_and_keeps_its_types():
    config = Config(data=DataConfig(class_weight=(1.0, 2.0)), optim=OptimConfig(lr=0.1), batch_size="full")
    assert from_dict(json.loads(json.dumps(to_dict(config))), Config) == config


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"epochs": "3"}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epoch": 3}, "epochs"),
        ({"optim": 3}, "optim"),
        ({"optim": {"lr": "0.1"}}, "optim.lr"),
        ({"optim": {"rate": 0.1}}, "optim.rate"),
        ({"model": {"hidden": [1.5]}}, "model.hidden"),
    ],
)
def test_json_with_a_wrong_key_or_type_is_refused_by_name(values, word):
    with pytest.raises(InputError, match=word):
        from_dict(values, Config)


def test_every_optimizer_that_is_listed_is_optaxs():
    assert all(hasattr(optax, name) or hasattr(optax.contrib, name) for name in names.OPTIMIZERS)


# ---- what a task is, only jaxnn/tasks knows --------------------------------------------------------------------------
KINDS = {
    *("binary", "multiclass", "multilabel", "regression"),
    *("detection", "flow_matching", "segmentation", "vae"),
}
PACKAGE = Path(jaxnn.__file__).parent
OWN = {*(PACKAGE / "tasks").glob("*.py"), PACKAGE / "config" / "settings.py"}


def compared(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each task that a value is compared with: ==, !=, in, not in, match."""
    for node in ast.walk(ast.parse(source)):
        sides = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            sides = [node.pattern]
        for leaf in (leaf for side in sides for leaf in ast.walk(side)):
            if isinstance(leaf, ast.Constant) and leaf.value in KINDS:
                yield leaf.lineno, str(leaf.value)


def test_the_names_of_the_tasks_are_those_of_the_settings():
    assert {*names.TASKS} == {"auto"} | KINDS


@pytest.mark.parametrize(
    "condition",
    ["t == 'binary'", "'multiclass' != t", "t in ('x', 'multilabel')", "t not in {'regression'}", "a < t == 'binary'"],
)
def test_a_comparison_with_a_task_is_seen(condition):
    assert len([*compared(f"if {condition}: pass")]) == 1


def test_a_match_on_a_task_is_seen():
    assert [*compared("match t:\n  case 'binary' | 'other': pass\n  case _: pass")] == [(2, "binary")]
    assert [*compared("t = 'binary'; f('binary')[{'binary': 1}]")] == []


def test_nothing_but_the_tasks_compares_the_name_of_one():
    rest = sorted({*PACKAGE.rglob("*.py")} - OWN)
    found = [(str(path.relative_to(PACKAGE)), *place) for path in rest for place in compared(path.read_text())]
    assert len(rest) > 50 and found == []


def test_the_tasks_themselves_do():
    assert any([*compared(path.read_text())] for path in OWN)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"norm": "group"},
            "--model.norm=group: is for a resnet, and this is a network of kind cnn; add --model.kind ",
        ),
        (
            {"depth": 20},
            "--model.depth=20: is for a resnet, and this is a network of kind cnn; add --model.kind resnet",
        ),
        (
            {"kind": "linear", "remat": True},
            "--model.remat=True: a linear model has one layer, nothing to compute again",
        ),
    ],
)
def test_what_only_a_residual_network_has_is_refused_for_others(given, message):
    with pytest.raises(InputError) as refusal:
        ModelConfig(**({"kind": "cnn"} | given))
    assert str(refusal.value).startswith(message)
