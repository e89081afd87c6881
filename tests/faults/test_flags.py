"""Flags that would be taken wrongly: each is refused in one line, before anything is read or compiled."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import pytest
from contract import ROOT, process, refused_process, refused_run, train

from jaxnn.commands import arguments as cli
from jaxnn.config.data import DataConfig
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.config.request import Flags
from jaxnn.config.settings import Config
from jaxnn.config.sweep import SweepFlags
from jaxnn.config.task import TaskConfig
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import Error, InputError

CONFIGS = ROOT / "configs"


def fields(kind: Any = Flags, path: str = "") -> dict[str, tuple[Any, dataclasses.Field]]:
    """Every flag by its dotted name (`optim.lr`), with the class and the field that it sets."""
    found = {}
    for item in dataclasses.fields(kind):
        inner = typing.get_type_hints(kind)[item.name]
        if dataclasses.is_dataclass(inner):
            found |= fields(inner, "" if inner is Config else f"{path}{item.name}.")
        else:  # of several runs, `--sweep` is a flag, and the beginning of others
            found["sweep" if item.name == "over" else path + item.name] = (kind, item)
    return found


FLAGS = fields()
OF_A_RUN = {name for name, (kind, _) in FLAGS.items() if kind not in (Flags, SweepFlags)}
# Those of several runs and processes are refused in test_sweeps.py and test_hosts.py.
NUMBERS = {name: FLAGS[name] for name in FLAGS if re.search(r"\b(int|float)\b", str(FLAGS[name][1].type))}
NUMBERS = {name: pair for name, pair in NUMBERS.items() if name in OF_A_RUN}
SWITCHES = {name for name, (_, item) in FLAGS.items() if "bool" in str(item.type)}


def spelled(name: str, *, dashes: bool = True) -> str:
    return "--" + (name.replace("_", "-") if dashes else name)


def refused(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        cli.parse(argv, CONFIGS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parsed(*argv: str) -> Config:
    return cli.parse(argv, CONFIGS).flags.run


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_f01_the_numeric_flags_are_found():
    assert len(NUMBERS) >= 30 and {"optim.lr", "epochs", "model.hidden", "data.class_weight", "tol"} <= NUMBERS.keys()


def refuse_numbers(name: str, values: Sequence[str]) -> None:
    for value in values:
        message = refused(spelled(name), value) if value == "-1" else refused(f"{spelled(name)}={value}")
        flag = re.escape(f"--{name}").replace("_", "[-_]")
        assert re.match(rf"{flag}=({value}|{value}\.0): must be ", message), message


def takes_none(name: str) -> bool:
    return "None" in str(NUMBERS[name][1].type)


@pytest.mark.parametrize(("i", "name"), list(enumerate(NUMBERS)), ids=NUMBERS)
def test_f01_a_numeric_flag_takes_no_number_that_is_none(i, name):
    """One of the values for each flag, in turn: the classes refuse all of them, below."""
    values = ["nan", "inf", "-1", *(["None"] * (not takes_none(name)))]
    refuse_numbers(name, [values[i % len(values)]])


@pytest.mark.parametrize("name", [name for name in NUMBERS if takes_none(name)])
def test_f01_none_means_what_help_says(name):
    """The optimizer's own value, or no limit; never a number."""
    config: Any = parsed(f"{spelled(name)}=None")
    for part in name.split("."):
        config = getattr(config, part)
    assert config is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMBERS)
def test_f01_no_numeric_flag_takes_nan_infinity_or_minus_one(name):
    refuse_numbers(name, ["nan", "inf", "-1", *(["None"] * (not takes_none(name)))])


@pytest.mark.parametrize("name", NUMBERS)
def test_f01_the_same_values_are_refused_as_arguments(name):
    kind, item = NUMBERS[name]
    many = "tuple" in str(item.type)
    values: list[Any] = [float("nan"), float("inf"), -1, "0.1", True, [1], {}]
    values += [] if "None" in str(item.type) else [None]
    for value in values:
        with pytest.raises(InputError) as caught:
            kind(**{item.name: (value,) if many and value is not None else value})
        assert f"--{name}=" in str(caught.value) and "must be" in str(caught.value)


def test_f01_bounds_are_those_of_float32_which_it_is_computed_in():
    for argv, rule in (
        (["--optim.lr", "1e39"], "--optim.lr=1e+39: must be finite and > 0"),
        (["--optim.lr", "1e-50"], "--optim.lr=1e-50: must be finite and > 0"),  # 0, and nothing would be learned
        (["--optim.name", "adam", "--optim.b2", "0.99999999999"], "--optim.b2=0.99999999999: must be in [0, 1)"),
        (["--optim.ema", "0.99999999999"], "--optim.ema=0.99999999999: must be in (0, 1)"),
        (["--optim.alpha", "4e38"], "--optim.alpha=4e+38: must be finite and >= 0"),
    ):
        assert refused(*argv).startswith(rule)
    assert parsed("--optim.lr", "1e-30").optim.lr == 1e-30


# ---- names -----------------------------------------------------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-._"


def one_edit(word: str) -> set[str]:
    """All words that are one insertion, deletion or replacement away (after Norvig 2007)."""
    cuts = [(word[:i], word[i:]) for i in range(2, len(word) + 1)]  # the two dashes stay
    deletions = {a + b[1:] for a, b in cuts if b}
    replaced = {a + c + b[1:] for a, b in cuts if b for c in LETTERS}
    return deletions | replaced | {a + c + b for a, b in cuts for c in LETTERS}


def test_f02_a_misspelt_flag_names_one_that_is_as_near():
    names = {spelled(name) for name in FLAGS} | {"--help"}
    names |= {spelled(name).replace(".", ".no-") for name in SWITCHES & OF_A_RUN}
    # With a _ for a - the flag is the same, and not misspelt.
    near = {name: {word for word in one_edit(name) if word.replace("_", "-") not in names} for name in names}
    rng, twice = random.Random(0), []
    for name in sorted(names):
        once = sorted(near[name] - names)
        for word in rng.sample(once, 6):
            there = suggested(word)
            assert there and word in near[there]
        for word in rng.sample(once, 2):
            word = rng.choice(sorted(one_edit(word) - names))
            if word.startswith("--") and word.strip("-"):
                if (there := suggested(word)) is None:  # too far from any
                    continue
                twice.append(word in near[there] or not near[there].isdisjoint(one_edit(word)))
    assert len(twice) > 100 and sum(twice) >= 0.98 * len(twice)


def suggested(word: str) -> str | None:
    found = re.fullmatch(re.escape(word) + r": unknown flag; (?:did you mean (\S+)\?|see --help)", refused(word, "1"))
    assert found, word
    return found[1]


@pytest.mark.long
def test_f02_short_names_a_swap_of_letters_and_an_underscore(tmp_path):
    for word, name in (("--ced", "--seed"), ("--ol", "--tol"), ("--dta.dir", "--data.dir")):
        assert refused(word, "1") == f"{word}: unknown flag; did you mean {name}?"
    assert refused("--optim.rl", "1") == "--optim.rl: unknown flag; did you mean --optim.lr?"
    assert refused("--weight_decya", "1").endswith("did you mean --optim.weight-decay?")
    assert refused("--xyzzyxyzzy", "1") == "--xyzzyxyzzy: unknown flag; see --help"
    assert refused_process("--epohcs=5", cwd=tmp_path) == "--epohcs: unknown flag; did you mean --epochs?"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--epochs=1.5"], "--epochs=1.5: must be a whole number; see --help"),
        (["--epochs=1e3"], "--epochs=1e3: must be a whole number; see --help"),
        (["--epochs=0x10"], "--epochs=0x10: must be a whole number; see --help"),
        (["--epochs="], "--epochs=: must be a whole number; see --help"),
        (["--epochs"], "--epochs: needs a value; see --help"),
        (["--optim.lr", "fast"], "--optim.lr=fast: must be a number; see --help"),
        (["--batch-size", "half"], "--batch-size=half: must be a whole number or full; see --help"),
        (
            ["--data.standardize=maybe"],
            "--data.standardize=maybe: is a switch, which takes no value; write --data.",
        ),
        (
            ["--data.standardize", "False"],
            "--data.standardize=False: is a switch, which takes no value; write --d",
        ),
        (["--dry-run=1"], "--dry-run=1: is a switch, which takes no value; write --dry-run alone"),
        (["--optim.warmup=soon"], "--optim.warmup=soon: must be a number of steps, epochs or percent"),
        (["--optim.warmup=1.5"], "--optim.warmup=1.5: steps must be whole; write 2"),
    ],
)
def test_f03_a_value_of_another_type_is_refused(argv, expected):
    assert refused(*argv).startswith(expected)


def test_f03_in_a_process(tmp_path):
    assert refused_process("--epochs=1.5", cwd=tmp_path) == "--epochs=1.5: must be a whole number; see --help"


def value_of(name: str) -> list[str]:
    """A good value for a flag, as words of a command line."""
    if name in SWITCHES:
        return []
    return [{"optim.warmup": "1", "config": "c.json"}.get(name, "1")]


@pytest.mark.parametrize("name", FLAGS)
def test_f04_no_flag_may_be_given_twice_cut_short_or_negated_as_well(name):
    value, flag = value_of(name), spelled(name)
    for again in (spelled(name), spelled(name, dashes=False)):
        assert refused(flag, *value, again, *value) == f"{flag}: given twice; keep one"
        if value:
            assert refused(f"{flag}=1", f"{again}=2") == f"{flag}: given twice; keep one"
    known = {spelled(other) for other in FLAGS} | {"--help"}
    for n in range(2, len(flag)):
        if flag[:n] not in known:
            assert refused(flag[:n], *value).startswith(f"{flag[:n]}: unknown flag; "), flag[:n]
    if name in SWITCHES & OF_A_RUN:
        assert refused(flag, re.sub(r"\.(\w)", r".no-\1", flag)) == f"{flag}: given twice; keep one"


def test_f04_stray_words_are_refused(tmp_path):
    assert refused("--epochs", "2", "lr=5").startswith("lr=5: belongs to no flag")
    assert refused("digits_mlp", "iris_mlp").startswith("iris_mlp: belongs to no flag")
    assert refused("-epochs", "3").startswith("-epochs: unknown flag; flags begin with two dashes")
    assert refused("--", "--epochs", "3").startswith("--: unknown flag")
    assert refused_process("--epochs", "2", "stray", cwd=tmp_path).startswith("stray: belongs to no flag")


BOUNDS = [  # flag, refused, accepted
    ("optim.b1", ["1", "-0.1", "1.5"], ["0", "0.999"]),
    ("optim.b2", ["1", "-0.1"], ["0", "0.9999"]),
    ("optim.momentum", ["1", "-0.1"], ["0", "0.99"]),
    ("optim.eps", ["0", "-1e-8"], ["1e-8"]),
    ("optim.weight_decay", ["-1", "-1e-9"], ["0", "10"]),
    ("optim.alpha", ["-1e-9"], ["0", "10"]),
    ("optim.clip_norm", ["-1", "0"], ["0.001"]),
    ("optim.clip_value", ["-1", "0"], ["0.001"]),
    ("optim.max_norm", ["-1", "0"], ["0.001"]),
    ("optim.ema", ["0", "1", "1.5"], ["0.001", "0.9999"]),
    ("optim.decay", ["0", "1"], ["0.5"]),
    ("optim.power", ["0", "-1"], ["0.5"]),
    ("optim.accumulate", ["0", "-1"], ["1"]),
    ("optim.lr", ["0", "-0.1"], ["1e-9"]),
    ("model.dropout", ["1.5", "1", "-0.1"], ["0", "0.99"]),
    ("model.input_dropout", ["1.5", "1", "-0.1"], ["0", "0.99"]),
    ("model.hidden", ["0", "-5"], ["1"]),
    ("model.channels", ["0", "-5"], ["1"]),
    ("model.kernel", ["0"], ["1"]),
    ("model.depth", ["0", "9", "2"], ["8", "56"]),
    ("model.width", ["0", "-5"], ["1"]),
    ("model.pieces", ["1", "0"], ["2"]),
    ("task.label_smoothing", ["1", "-0.1"], ["0", "0.99"]),
    ("task.label_dropout", ["1", "-0.1"], ["0", "0.9"]),
    ("task.latent", ["0", "-1"], ["1", "64"]),
    ("task.beta", ["-1"], ["0", "4"]),
    ("task.deviation", ["0", "-1"], ["0.1"]),
    ("task.quantiles", ["0", "1", "-0.1"], ["0.5"]),
    ("task.dice", ["-0.1", "nan", "inf"], ["0"]),
    ("data.validation_fraction", ["1", "-0.1"], ["0", "0.99"]),
    ("data.test_fraction", ["1", "-0.1"], ["0", "0.99"]),
    ("data.split_seed", ["-1"], ["0"]),
    ("data.bad_records", ["-1"], ["0", "7"]),
    ("data.max_boxes", ["0", "-1"], ["1"]),
    ("data.class_weight", ["-1"], ["0", "2.5"]),
    ("checkpoint.keep", ["0", "-1"], ["1"]),
    ("seed", ["-1", str(2**32)], ["0", str(2**32 - 1)]),
    ("epochs", ["0", "-1"], ["1"]),
    ("batch_size", ["0", "-1"], ["1"]),
    ("tol", ["-1e-9"], ["0"]),
    ("patience", ["0"], ["1"]),
    ("devices", ["0", "-1"], ["1"]),
    ("exact", ["0", "-1"], ["1"]),
]


def test_f05_every_numeric_flag_has_its_bounds_here():
    assert NUMBERS.keys() <= {name for name, *_ in BOUNDS}


NEEDS = {  # a flag that is refused without another
    **dict.fromkeys(("model.depth", "model.width"), ("kind", "resnet")),
    "task.label_dropout": ("name", "flow_matching"),
    **dict.fromkeys(("task.latent", "task.beta", "task.deviation"), ("name", "vae")),
}


@pytest.mark.parametrize(("name", "bad", "good"), BOUNDS, ids=[name for name, *_ in BOUNDS])
def test_f05_each_bound(name, bad, good):
    """In the class of the flag; that the command line asks the class is shown above."""
    kind, item = NUMBERS[name]
    more: Any = dict([NEEDS[name]]) if name in NEEDS else {}
    for value in (*bad, *good):
        number: Any = float(value) if "float" in str(item.type) else int(value)
        number = (number,) if "tuple" in str(item.type) else number
        if value in good:
            assert getattr(kind(**more, **{item.name: number}), item.name) == number
            continue
        with pytest.raises(InputError, match=rf"^--{re.escape(name)}=({value}|{float(value)}): must be "):
            kind(**more, **{item.name: number})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bad", "good"), BOUNDS, ids=[name for name, *_ in BOUNDS])
def test_f05_each_bound_by_the_command_line(name, bad, good):
    for value in bad:
        message = refused(f"{spelled(name)}={value}")
        assert re.match(rf"--{re.escape(name)}=({value}|{float(value)}): must be ", message), message
    for value in good:
        flag, needed = NEEDS.get(name, ("", ""))
        config: Any = parsed(f"{spelled(name)}={value}", *[f"--{name.split('.')[0]}.{flag}", needed] * (name in NEEDS))
        for part in name.split("."):
            config = getattr(config, part)
        assert config in (float(value), (float(value),))


def test_f06_a_warmup_longer_than_the_run_and_no_evaluation_are_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    iris = ["iris_mlp", "--epochs", "2"]  # 7 steps an epoch
    message = refused_run(*iris, "--optim.warmup", "15")
    assert message.startswith("--optim.warmup=15: ") and "14" in message, message
    message = refused_run(*iris, "--eval_every", "0")
    assert message == "--eval_every=0: is less than one of the 14 steps; write 1epoch"
    assert refused_process(*iris, "--optim.warmup", "15", cwd=tmp_path).startswith("--optim.warmup=15: ")


# ---- files of flags --------------------------------------------------------------------------------------------------


def run_config(path: Path, **config: Any) -> str:
    saved = {"config": config or to_dict(Config()), "source": None, "own_model": False, "data": {}}
    path.write_text(json.dumps(saved, indent=1))
    return path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"seed": 0', '"seed": NaN', "4:11: NaN is no JSON"),
        ('"seed": 0', '"seed": -Infinity', "4:12: Infinity is no JSON"),
        ('"seed": 0', '"seed": 1e999', "4:11: 1e999 does not fit float64"),
        ('"seed": 0', '"seed": 0, "seed": 1', '4:14: "seed" stands twice; keep one'),
        ('"seed": 0', '"seed": 0,,', "4:13: is no JSON"),
        ('"seed": 0', '"seed": ' + "[" * 100_000 + "]" * 100_000, "4:73: must be nested at most 64 deep"),
        ('"seed": 0', "'seed': 0", "4:3: is no JSON"),
    ],
)
def test_f07_json_that_is_none_is_refused_with_line_and_column(old, new, expected, tmp_path):
    path = tmp_path / "config.json"
    text = run_config(path)
    assert old in text.splitlines()[3]
    path.write_text(text.replace(old, new, 1))
    assert refused("--config", str(path)).startswith(f"--config={path}: {expected}")


def test_f07_unknown_keys_and_wrong_types_are_refused_by_name(tmp_path):
    path = tmp_path / "config.json"
    for config, expected in (
        ({"sede": 1}, "config=sede: unknown; did you mean seed?"),
        ({"optim": {"rate": 0.1}}, "config=optim.rate: unknown"),
        ({"optim": {"lr": "0.1"}}, "--optim.lr='0.1': must be float | None"),
        ({"epochs": True}, "--epochs=True: must be int"),
        ({"model": {"hidden": [1.5]}}, "--model.hidden=(1.5,): must be tuple[int, ...]"),
        ({"model": 3}, "--model=3: must be ModelConfig"),
        ({"epochs": 0}, "--epochs=0: must be >= 1"),
    ):
        run_config(path, **config)
        assert refused("--config", str(path)).startswith(expected)
    path.write_text(run_config(path).replace('"source"', '"scource"'))
    assert refused("--config", str(path)).startswith(f"--config={path}: is no run's config (source is missing)")
    assert refused_process("--config", "config.json", cwd=tmp_path).startswith(
        "--config=config.json: is no run's config"
    )


def test_f07_what_every_config_writes_is_read_back():
    for kind in (Config, DataConfig, ModelConfig, OptimConfig, TaskConfig):
        assert from_dict(json.loads(json.dumps(to_dict(kind()))), kind) == kind()


# ---- looking only ----------------------------------------------------------------------------------------------------


def test_f10_help_is_all_on_stdout_and_touches_nothing(tmp_path):
    done = process(
        "--help", cwd=tmp_path, fresh=True, JAX_PLATFORMS="none"
    )  # a JAX that was asked for its devices would fail
    assert (done.returncode, done.stderr) == (0, "") and list(tmp_path.iterdir()) == []
    for name in FLAGS:
        assert spelled(name) in done.stdout


def dry_run(*argv: str) -> int:
    return train([*argv, "--dry-run"])


def test_f10_a_dry_run_compiles_no_part_of_the_network_and_keeps_nothing_on_a_device(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    before = len(jax.live_arrays())
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        assert dry_run("digits_cnn") == 0
    compiled = set(re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text))
    assert not compiled & {"apply", "both", "run_steps", "evaluate", "train_step", "init", "<lambda>"}, compiled
    assert len(jax.live_arrays()) <= before and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--batch-size", "2000"], "--batch_size=2000: there are 1294 training examples"),
        (["--optim.warmup", "99epochs"], "--optim.warmup=99epochs"),
        (["--eval_every", "0"], "--eval_every=0"),
        (["--devices", "99"], "--devices=99"),
        (["--task.loss", "poisson"], "--task.loss=poisson"),
        (["--data.name", "no.csv"], "--data.name=no.csv"),
        (["iris_mlp", "--model.kind", "cnn"], "cnn needs images"),
        (["digits_flax", "--model.remat"], "--model.remat=True: the model is the config file's own; wrap its blocks"),
    ],
)
def test_f10_a_dry_run_checks_what_a_run_checks(argv, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error) as caught:
        dry_run(*argv)
    assert expected in str(caught.value) and list(tmp_path.iterdir()) == []
