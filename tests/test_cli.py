"""The command line: one list of options, each mistake answered in one line, without importing jax."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxnn.commands import arguments as cli
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
        (["--epoch", "3"], "--epoch: unknown flag; did you mean --epochs?"),
        (["--epochs", "2", "stray"], "stray: belongs to no flag; a config's name comes first, before all flags"),
        (["--epochs", "1.5"], "--epochs=1.5: must be a whole number; see --help"),
        (["--optim.lr=abc"], "--optim.lr=abc: must be a number; see --help"),
        (["--batch-size", "many"], "--batch-size=many: must be a whole number or full; see --help"),
        (["--model.hidden", "5", "x"], "--model.hidden=5 x: must be a whole number; see --help"),
        (["--data.class-weight", "1", "x"], "--data.class-weight=1 x: must be a number or balanced; see --help"),
        (["--data.standardize", "--data.no-standardize"], "--data.standardize: given twice; keep one"),
        (["--epochs"], "--epochs: needs a value; see --help"),
        (["--optim.lr", "nan"], "--optim.lr=nan: must be finite and > 0"),
        (["--epochs", "2", "--epochs=3"], "--epochs: given twice; keep one"),
        (["--batch-size", "2", "--batch_size", "3"], "--batch-size: given twice; keep one"),
        (["--model.hidden", "5", "0"], "--model.hidden=0: must be >= 1"),
        (["no_such_config.py"], "config=no_such_config.py: no such file"),
        (["digits_mpl"], "config=digits_mpl: unknown; did you mean digits_mlp?"),
        (["--config", "missing.json"], "--config=missing.json: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_with_its_cure(argv, expected):
    with pytest.raises(InputError) as refusal:
        parsed(*argv)
    assert str(refusal.value).startswith(expected)
    assert "\n" not in str(refusal.value)


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
    (tmp_path / "config.json").write_text(run % "null")
    assert parsed("--config", str(tmp_path / "config.json")).name == "mine"


def test_help_lists_the_configs_with_their_promises_and_imports_no_jax():
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'jax', 'numpy', 'sklearn', 'flax'} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in CONFIGS.glob("*.py"):
        assert path.stem in done.stdout
    for flag in ("--epochs", "--batch-size", "--seed", "--workdir", "--optim.lr", "--data.dir", "--dry-run"):
        assert flag in done.stdout
