"""The command line: one list of options, each mistake answered in one line, without importing jax."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jaxnn
from jaxnn import data
from jaxnn.commands import arguments as cli
from jaxnn.commands import selfcheck
from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.settings import Config
from jaxnn.errors import InputError

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def parsed(*argv: str) -> Config:
    return cli.parse(argv, CONFIGS).flags.run


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--optm.lr", "0.1"], "--optm.lr: unknown flag; did you mean --optim.lr?"),
        (["--lr", "0.1"], "--lr: unknown flag; did you mean --optim.lr?"),
        (["--augment", "1"], "--augment: unknown flag; did you mean --data.augment?"),
        (
            ["--epochs", "2", "digits_cnn"],
            "digits_cnn: a config's name comes first, before all flags; write digits_cnn",
        ),
        (["--dry-run", "digits_cnn"], "digits_cnn: a config's name comes first"),
        (["--model.hidden", "100", "digits_cnn"], "digits_cnn: a config's name comes first"),
        (["--model.hidden", "100,x"], "--model.hidden=100,x: must be a whole number"),
        (["--seed", "1,2"], "--seed=1,2: must be a whole number"),
        (["--epoch", "3"], "--epoch: unknown flag; did you mean --epochs?"),
        (["--epochs", "2", "stray"], "stray: belongs to no flag; a config's name comes first, before all flags"),
        (["--epochs", "1.5"], "--epochs=1.5: must be a whole number; see --help"),
        (["--optim.lr=abc"], "--optim.lr=abc: must be a number; see --help"),
        (["--batch-size", "many"], "--batch-size=many: must be a whole number or full; see --help"),
        (["--model.hidden", "5", "x"], "--model.hidden=5 x: must be a whole number; see --help"),
        (
            ["--data.class-weight", "1", "x"],
            "--data.class_weight=1: must be numbers in the order of the classes",
        ),
        (["--data.standardize", "--data.no-standardize"], "--data.standardize: given twice; keep one"),
        (["--epochs"], "--epochs: needs a value; see --help"),
        (["--optim.lr", "nan"], "--optim.lr=nan: must be finite and > 0"),
        (["--epochs", "2", "--epochs=3"], "--epochs: given twice; keep one"),
        (["--batch-size", "2", "--batch_size", "3"], "--batch-size: given twice; keep one"),
        (["--model.hidden", "5", "0"], "--model.hidden=0: must be >= 1"),
        (["no_such_config.py"], "config=no_such_config.py: no such file"),
        (["a" * 300 + ".py"], f"config={'a' * 300}.py: no such file"),
        (["digits_mpl"], "config=digits_mpl: unknown; did you mean digits_mlp?"),
        (["--config", "missing.json"], "--config=missing.json: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_with_its_cure(argv, expected):
    with pytest.raises(InputError) as refusal:
        parsed(*argv)
    assert str(refusal.value).startswith(expected)
    assert "\n" not in str(refusal.value)


def test_lists_may_have_commas():
    for words in (["100,50"], ["100,", "50"], ["100", "50"]):
        assert parsed("--model.hidden", *words).model.hidden == (100, 50)
    assert parsed("--model.hidden=100,50", "--model.activation", "relu,tanh").model.activation == ("relu", "tanh")
    assert parsed("--data.class_weight", "1,9").data.class_weight == (1.0, 9.0)
    assert parsed("--data.class-weight", "a,b=2", "c=1e3").data.class_weight == ("a,b=2", "c=1e3")
    assert parsed("--data.text", "zip,code", "digits_cnn").data.text == ("zip,code", "digits_cnn")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("my data/churn.csv", "churn"),
        ("photos/", "photos"),
        ("tfds:mnist", "mnist"),
        ("?x?.npz", "_x_"),
        ("iris", "iris"),
    ],
)
def test_a_run_on_own_data_is_called_as_they_are(data, name):
    assert parsed("digits_mlp", "--data.name", data).name == name
    assert parsed("digits_mlp", "--data.name", data, "--name", "mine").name == "mine"
    assert parsed("iris_mlp").name == "iris_mlp"


def test_flags_go_on_top_of_a_config_and_dashes_are_underscores():
    assert parsed() == parsed("digits_mlp") == parsed("digits-mlp")
    config = parsed("digits_softmax", "--batch-size", "full", "--model.hidden", "7", "--optim.lr=0.25")
    assert (config.name, config.batch_size) == ("digits_softmax", "full")
    assert (config.model.hidden, config.optim.lr) == ((7,), 0.25)
    assert config == parsed("digits-softmax", "--batch_size", "full", "--model.hidden", "7", "--optim.lr", "0.25")


def test_another_optimizer_does_not_inherit_the_learning_rate_of_the_configs_own():
    assert parsed().optim.lr == parsed("--optim.name", "sgd").optim.lr == 0.3
    assert parsed("--optim.name", "adam").optim.lr is None
    assert parsed("--optim.name", "adam").optim.alpha == parsed().optim.alpha
    assert parsed("--optim.name=adam", "--optim.lr=0.01").optim.lr == 0.01


def test_a_config_can_be_a_file_of_ones_own(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("from jaxnn.config import Config\nconfig = Config(name='own', epochs=3)\n")
    assert parsed(str(own)).name == "own"
    own.write_text("x = 1\n")
    with pytest.raises(InputError, match="must define `config = Config"):
        parsed(str(own))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"config": {}, "data": [], "source": null, "own_model": false}',
        '{"config": {}, "data": {"x": NaN}, "source": null, "own_model": false}',
    ]
    + ['{"config": {"optim": {"lr": 1' + "0" * 400 + '}}, "data": {}, "source": null, "own_model": false}']
    + ['{"config": {}, "data": {}, "source": 3, "own_model": false}']
    + ['{"config": {}, "data": {}, "source": null, "own_model": false, "extra": 1}']
    + ['{"config": {"sede": 1}, "data": {}, "source": null, "own_model": false}'],
)
def test_what_is_no_runs_config_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError) as refusal:
        parsed("--config", str(tmp_path / "config.json"))
    assert "\n" not in str(refusal.value)


def test_a_replay_needs_the_file_that_brought_the_model_and_no_other(tmp_path):
    run = '{"config": {"name": "mine"}, "data": {"digest": "0"}, "source": %s, "own_model": true}'
    for source, argv, message in (
        ('"own"', [], "name it: train.py own.py"),
        ('"own"', ["digits_flax"], "is of own"),
        ('"digits_flax"', ["digits_mlp"], "is of digits_flax"),
    ):
        (tmp_path / "config.json").write_text(run % source)
        with pytest.raises(InputError, match=message):
            parsed(*argv, "--config", str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text(run.replace("true", "false") % "null")
    assert parsed("--config", str(tmp_path / "config.json")).name == "mine"


def test_help_lists_the_configs_with_their_promises_and_imports_no_jax():
    code = (
        "import sys\nfrom jaxnn.commands.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'jax', 'numpy', 'sklearn', 'flax'} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in CONFIGS.glob("*.py"):
        assert path.stem in done.stdout
    for flag in ("--epochs", "--batch-size", "--seed", "--workdir", "--optim.lr", "--data.dir", "--dry-run"):
        assert flag in done.stdout


HEAD = "from jaxnn.config import Config, OptimConfig\nconfig = Config(name='own')\n"


def config_file(folder: Path, text: str, **neighbours: str) -> str:
    """The path of a config file with these neighbours."""
    for name, content in neighbours.items():
        (folder / f"{name}.py").write_text(content)
    (folder / "own.py").write_text(text)
    return str(folder / "own.py")


@pytest.fixture
def modules(monkeypatch):
    """What a config file puts on `sys.path`, and imports, is gone after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
def test_a_config_file_imports_its_neighbours_at_once_and_later(tmp_path, monkeypatch):
    later = """
def model(outputs):
    import dataclasses
    import neighbour_b

    @dataclasses.dataclass  # looks the module of its class up, where annotations are text
    class Sum:
        value: int

    return Sum(neighbour_b.VALUE + outputs).value
"""
    imports = "from __future__ import annotations\nfrom neighbour_a import EPOCHS\nfrom jaxnn.config import Config\n"
    text = f"{imports}config = Config(epochs=EPOCHS)\n{later}"
    folder = tmp_path / "a folder"
    folder.mkdir()
    config_file(folder, text, neighbour_a="EPOCHS = 7", neighbour_b="VALUE = 5", optax="raise SystemExit")
    monkeypatch.chdir(folder)
    request = cli.parse(["own.py"], CONFIGS)
    monkeypatch.chdir(tmp_path)
    assert request.flags.run.epochs == 7
    assert request.brought.model is not None and request.brought.model(3) == 8
    assert sys.path[-1] == str(folder)  # what is installed goes before a neighbour of its name
    spec = importlib.util.find_spec("optax")
    assert spec and not str(spec.origin).startswith(str(tmp_path))


@pytest.mark.usefixtures("modules")
def test_a_neighbour_that_something_installed_stands_before_is_refused_by_name(tmp_path):
    own = config_file(tmp_path, f"import colorsys\n{HEAD}", colorsys="RED = 1")
    with pytest.raises(InputError, match=r"config=\S+own.py: import colorsys finds \S+; rename the neighbour"):
        parsed(own)


DEFINED = [
    ("def build_model(outputs): ...", "nothing uses build_model; did you mean model?"),
    ("def models(outputs): ...", "nothing uses models; did you mean model?"),
    ("def fn(outputs, y): ...", "nothing uses fn; a config file brings config, data, loss, metrics, mo"),
    ("rate = lambda outputs, y: outputs - y", "nothing uses rate;"),
    ("def schedules(lr, steps): ...", "nothing uses schedules; did you mean schedule?"),
    ("class Model: ...", "nothing uses Model; did you mean model?"),
    ("import operator\nupdate = operator.add", "nothing uses update;"),
    ("import functools\n@functools.cache\ndef score(): ...", "nothing uses score;"),
    ("if True:\n    def metric(): ...", "nothing uses metric; did you mean metrics?"),
    ("def score(n): return score(n - 1)", "nothing uses score;"),
    ("async def fetch(): ...", "nothing uses fetch;"),
    ("conf = Config(epochs=3)", "nothing uses conf; did you mean config?"),
    ("run = Config(epochs=3)", "nothing uses run; did you mean config?"),
    ("optim = OptimConfig(lr=0.5)", "nothing uses optim;"),
    ("model = 3", "model is a int, and must be a function, outputs -> network"),
    ("model = None", "model is a NoneType"),
    ("model = OptimConfig()", "model is a OptimConfig"),
    ("def model(): ...", "model() must take outputs; write def model(outputs): return ..."),
    ("def model(a, b): ...", "model(a, b) must take outputs"),
    ("def loss(y): ...", "loss(y) must take outputs, y; write def loss(outputs, y): return ..."),
    ("loss = 'squared'", "loss is a str, and must be a function, outputs, y -> f[B]"),
    ("def optimizer(): ...", "optimizer() must take learning_rate"),
    ("optimizer = 'adam'", "optimizer is a str, and must be a function, learning_rate -> optax transformation"),
    ("def schedule(step): ...", "schedule(step) must take learning_rate, total_steps"),
    ("schedule = 0.1", "schedule is a float, and must be a function, learning_rate, total_steps -> function of the"),
    ("def metrics(outputs, y): ...", "metrics is a function, and must be a dict of them by name; write metrics = {"),
    ("metrics = {}", "metrics is a dict, and must be a dict of them by name"),
    ("config = 3", "own.py must define `config = Config(...)`"),
    ("def model(:", "is no Python (line 3: "),
    ("\0", "is no Python ("),
]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("text", "words"), DEFINED, ids=[text for text, _ in DEFINED])
def test_what_a_config_file_defines_and_nothing_takes_is_refused_by_name(text, words, tmp_path):
    own = config_file(tmp_path, f"{HEAD}{text}\n")
    with pytest.raises(InputError) as refusal:
        parsed(own)
    assert str(refusal.value).startswith(f"config={own}: {words}") and "\n" not in str(refusal.value)


HELPERS = """
import functools
from collections import OrderedDict
from jaxnn import metrics
from pathlib import Path as path
from jaxnn.config import DataConfig as data

EPOCHS, rates = 3, [0.1]

def _helper(): ...
def used(): return EPOCHS
def model(outputs):
    def inner(): ...
    return used, Layer
class Layer: ...
@functools.singledispatch
def _rule(x): ...
@_rule.register
def rule(x: int): ...
total = sum(rate for rate in rates)
"""


@pytest.mark.usefixtures("modules")
def test_helpers_of_a_config_file_are_private_imported_or_used(tmp_path):
    assert cli.parse([config_file(tmp_path, HEAD + HELPERS)], CONFIGS).brought.model is not None


@pytest.mark.parametrize("columns", ["1", "20", "x", "0"])
def test_a_mistake_is_answered_whatever_the_width_of_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(InputError, match="^--data.validation-fraction=x: must be a number; see --help$"):
        parsed("--data.validation-fraction", "x")
    assert os.environ["COLUMNS"] == columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--workdir=: must be a path"),
        ("a\0b", r"--workdir=a\x00b: must be a path"),
        ("~nobodyhere/r", "--workdir=~nobodyhere/r: ~nobodyhere is no user's home here"),
    ],
)
def test_a_path_that_is_none_is_refused(text, words):
    with pytest.raises(InputError) as refusal:
        paths.expand("--workdir", text)
    assert str(refusal.value).startswith(words)


def test_every_path_that_is_typed_is_expanded(monkeypatch, tmp_path):
    """A home and a user, as the shell would have it that leaves them alone inside quotes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config_file(tmp_path, "from jaxnn.config import Config\nconfig = Config(name='mine')\n")
    assert parsed("~/own.py").name == "mine"
    for argv, flag in ((["~nobodyhere/own.py"], "config"), (["--config", "~nobodyhere/config.json"], "--config")):
        with pytest.raises(InputError, match=f"^{flag}=~nobodyhere/.*: ~nobodyhere is no user's home here"):
            parsed(*argv)
    for flag, value in (("name", "~nobodyhere/x.csv"), ("validation", "~nobodyhere/x.csv"), ("dir", "~nobodyhere")):
        values: dict[str, Any] = {"name": "mnist" if flag == "dir" else "~/x.csv", flag: value}
        with pytest.raises(InputError, match=f"^--data.{flag}=~nobodyhere.*: ~nobodyhere is no user's home here"):
            (tmp_path / "x.csv").write_text("a,label\n1,x\n2,y\n")
            data.from_config(DataConfig(**values))
    with pytest.raises(InputError, match="^--data.name=: must be a path"):
        data.from_config(DataConfig(name=""))
    with pytest.raises(InputError, match="^folder=~nobodyhere: ~nobodyhere is no user's home here"):
        jaxnn.load_run("~nobodyhere")
    with pytest.raises(InputError, match="^folder=~nobodyhere: ~nobodyhere is no user's home here"):
        selfcheck.selfcheck(["~nobodyhere"])
    with pytest.raises(InputError, match="^config=: unknown"):
        parsed("")
