"""Sweeps: which runs are asked for, the bits of single runs, resume, halving, folds."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors
from test_train import here as run_here
from test_train import weights

import jaxnn
from jaxnn import data
from jaxnn.commands import arguments
from jaxnn.config.settings import Config
from jaxnn.config.sweep import SweepFlags, expand
from jaxnn.data import split
from jaxnn.errors import InputError, NumericsError
from jaxnn.sweep.halving import rungs
from jaxnn.sweep.together import Together

ROOT = Path(__file__).parent.parent
QUICK = ["iris_mlp", "--epochs", "3", "--eval-every", "1epoch", "--data.test-fraction", "0"]
ONE_PART = ["--data.validation-fraction", "0"]  # a program less


def alone(*argv: object) -> subprocess.Popen:
    """`jaxnn train ARGV` in a process of its own, which has the locks of its folders no longer than it lives."""
    command = [sys.executable, str(ROOT / "train.py"), *map(str, argv), "--devices", "1", "--no-cache"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=os.environ | here, **quiet)


def here(*argv: object) -> int:
    """The exit code of `jaxnn train ARGV` in this process, on one of its devices unless told otherwise."""
    return run_here(*argv, "--no-cache")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a history, but for what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    clock = lambda name: name.startswith("seconds") or name == "examples_per_s"
    return [{name: value for name, value in line.items() if not clock(name)} for line in lines]


def assert_same(one: Path, other: Path, *, atol: float = 0.0) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=atol, err_msg=name)
    if not atol:
        assert rows(one) == rows(other)


def folders(sweep: Path) -> list[Path]:
    return sorted(path for path in sweep.iterdir() if path.is_dir())


def asked(*over: str, seeds: int | None = None, folds: int | None = None, **flags: Any) -> Any:
    return expand(Config(), SweepFlags(over=over or None, **flags), seeds, folds)


# ---- which runs ----


def test_ranges_are_evenly_spaced_in_the_logarithm_or_evenly():
    log, linear = asked("optim.lr=1e-4..1e-1:16"), asked("optim.momentum=0..0.9:4:linear")
    np.testing.assert_allclose([m.config.optim.lr for m in log.members], np.geomspace(1e-4, 1e-1, 16), rtol=1e-5)
    np.testing.assert_allclose([m.config.optim.momentum for m in linear.members], np.linspace(0, 0.9, 4))


def test_several_fields_are_a_grid_whose_members_have_names_of_their_own():
    sweep = asked("optim.lr=0.1,0.2", "model.hidden=50,100+50", "optim.name=sgd,adam", seeds=2)
    values = [(m.config.optim.lr, m.config.model.hidden, m.config.optim.name, m.config.seed) for m in sweep.members]
    assert len(set(values)) == 16 and {v[1] for v in values} == {(50,), (100, 50)}
    assert len({m.name for m in sweep.members}) == 16
    assert sweep.members[0].name == "00-lr=0.1-hidden=50-name=sgd-seed=0"


def test_random_settings_are_a_function_of_the_seed_and_lie_within_the_range():
    draw = lambda seed: expand(
        Config(seed=seed),
        SweepFlags(over=("optim.lr=1e-4..1e-1", "epochs=2..50", "optim.name=sgd,adam"), random=40),
        2,
        None,
    )
    first, again, other = draw(0), draw(0), draw(1)
    assert first == again and first != other and first is not None
    rates = [m.values["optim.lr"] for m in first.members]
    assert len(rates) == 80 and len(set(rates)) == 40 and all(1e-4 <= r <= 1e-1 for r in rates)
    assert 0.2 < np.mean(np.log10(rates) < -2.5) < 0.8  # half of the draws, in the logarithm
    assert {m.config.optim.name for m in first.members} == {"sgd", "adam"}


REFUSED = [
    (["--sweep", "optim.lrr=1,2"], "--sweep=optim.lrr: unknown; did you mean optim.lr?"),
    (["--sweep", "optim.lr=1..0.1:3"], "1 is not below 0.1"),
    (["--sweep", "optim.lr=0..1:3"], "0 has no logarithm; begin above 0, or write :linear"),
    (["--sweep", "optim.lr=0.1..1:0"], "must be of 1 value or more"),
    (["--sweep", "optim.lr=0.1..1"], "needs how many values; write 0.1..1:8"),
    (["--sweep", "optim.lr=0.1..inf:3"], "both ends must be finite"),
    (["--sweep", "optim.name=a..b:3"], "optim.name is no number"),
    (["--sweep", "optim.lr=a..b:3"], "must be LOW..HIGH:COUNT, two numbers"),
    (["--sweep", "epochs=1..4:9"], "has not so many different values"),
    (["--sweep", "optim.lr=0.1,0.1"], "names a value twice"),
    (["--sweep", "optim.lr=0.1,0.2", "optim.lr=1,2"], "--sweep=optim.lr: given twice"),
    (["--sweep", "optim.lr"], "must be FIELD=VALUES"),
    (["--sweep"], "must be FIELD=VALUES"),
    (["--sweep", "optim.lr=fast,slow"], "fast must be a number or none"),
    (["--sweep", "optim.lr=-1,2"], "--optim.lr=-1.0: must be finite and > 0"),
    (["--sweep", "seed=1,2", "--seeds", "2"], "--seeds=2: --sweep has seeds of its own"),
    (["--sweep", "data.name=wine,iris"], "data.name is the same for all runs"),
    (["--sweep", "workdir=a,b"], "workdir is the same for all runs"),
    (["--sweep", "devices=1,2"], "devices is the same for all runs"),
    (["--sweep", "optim.lr=1e-9..1:5000"], "--sweep=5,000 runs: must be at most 4,096"),
    (["--seeds", "0"], "--seeds=0: must be >= 1"),
    (["--folds", "1"], "--folds=1: must be >= 2"),
    (["--folds", "3", "--data.fold", "1/3"], "the config has fold 1/3 already"),
    (["--data.fold", "4/3"], "must be K/N with K <= N"),
    (["--data.fold", "third"], "must be K/N"),
    (["--sweep.random", "3"], "--sweep.random=3: needs what is swept"),
    (["--sweep", "optim.lr=1e-3..1", "--sweep.random", "0"], "--sweep.random=0: must be >= 1"),
    (["--sweep", "optim.lr=1e-3..1:4", "--sweep.random", "3"], "--sweep.random says how many; leave :4 out"),
    (["--sweep.halve"], "--sweep.halve=True: needs what is swept"),
    (["--seeds", "3", "--sweep.halve"], "needs two settings to choose from"),
    (["--seeds", "3", "--sweep.mode", "vamp"], "--sweep.mode=vamp: unknown; did you mean vmap?"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "words"), REFUSED, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_sweep_that_cannot_be_is_refused_in_one_line(flags, words):
    with pytest.raises(InputError) as refused:
        arguments.parse(["iris_mlp", *flags], ROOT / "configs")
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sweep", "model.hidden=4,8", "--sweep.mode", "vmap"], "the runs need 2 programs"),
        (["--sweep", "optim.lr=0.1,0.2", "--sweep.halve", "--epochs", "1"], "have one row of the history"),
        (["--sweep", "epochs=2,4", "--sweep.halve"], "the runs have 2 or 4 rows of the history"),
        (["--folds", "500"], "there are 120 examples to cut"),
        (["--sweep", "optim.momentum=0,0.9", "--optim.name", "adam"], "adam has no momentum"),
        (["--sweep", "batch_size=10,1000"], "--batch_size=1000: there are 108 training examples"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(flags, words, tmp_path):
    with pytest.raises(InputError) as refused:
        here("iris_mlp", "--eval-every", "1epoch", *flags, "--workdir", tmp_path / "sweep")
    assert words in str(refused.value) and not (tmp_path / "sweep").exists()


# ---- the same runs ----


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "swept"
    assert here(*QUICK, "--sweep", "optim.lr=0.01,0.1,1e30", "--seeds", "2", "--workdir", folder) == 0
    return folder


@pytest.mark.long
def test_members_are_ordinary_runs_to_the_bits_of_single_ones(swept, tmp_path):
    assert len(folders(swept)) == 6
    for k, lr, seed in ((0, 0.01, 0), (3, 0.1, 1)):
        here(*QUICK, "--optim.lr", lr, "--seed", seed, "--workdir", tmp_path / str(k))
        assert_same(tmp_path / str(k), folders(swept)[k])
    here("--config", folders(swept)[3] / "config.json", "--workdir", tmp_path / "replayed")
    assert_same(tmp_path / "replayed", folders(swept)[3])
    iris = data.load("iris", test_fraction=0)
    assert iris.validation is not None and iris.classes is not None
    answers = jaxnn.load_run(folders(swept)[3]).predict(iris.validation.x)
    score = np.mean([answer == iris.classes[y] for answer, y in zip(answers, iris.validation.y, strict=True)])
    assert score == pytest.approx(rows(folders(swept)[3])[-2]["val/accuracy"])


@pytest.mark.long
def test_a_member_that_diverges_is_told_and_costs_the_others_nothing(swept, tmp_path, capfd):
    with safetensors.safe_open(folders(swept)[4] / "weights.safetensors", "numpy") as file:
        assert file.metadata()["ending"] == "failed"
    saved = json.loads((swept / "sweep.json").read_text())
    assert [m["ending"] for m in saved["members"]] == ["finished"] * 4 + ["failed"] * 2
    losses = [rows(folder)[-2]["val/loss"] for folder in folders(swept)[:4]]
    best = int(np.argmin([np.mean(losses[:2]), np.mean(losses[2:])]))  # of the setting with the best mean
    assert saved["best"] == folders(swept)[2 * best + int(np.argmin(losses[2 * best : 2 * best + 2]))].name
    with pytest.raises(NumericsError):
        here(*QUICK, "--sweep", "optim.lr=1e30,2e30", "--workdir", tmp_path / "all")
    assert "lower --optim.lr" in capfd.readouterr().err


@pytest.mark.long
def test_the_same_command_finds_nothing_left_to_do_and_another_sweep_is_refused(swept, tmp_path):
    shutil.copytree(swept, tmp_path / "sweep")  # whose locks nobody holds
    again = lambda *over: here(*QUICK, "--sweep", *over, "--seeds", "2", "--workdir", tmp_path / "sweep")
    assert again("optim.lr=0.01,0.1,1e30") == 0
    for folder in folders(swept):
        assert_same(folder, tmp_path / "sweep" / folder.name)
    with pytest.raises(InputError, match="holds another sweep"):
        here(*QUICK, "--sweep", "optim.lr=0.01,0.2", "--workdir", swept)
    with pytest.raises(InputError, match="holds a run, which is no sweep"):
        here(*QUICK, "--seeds", "2", "--workdir", folders(swept)[0])


VARIANTS = {
    "momentum": ["--sweep", "optim.momentum=0.5,0.9", "optim.lr=0.01,0.1", "--optim.name", "sgd",
                 "--optim.schedule", "cosine"],
    "adamw": ["--sweep", "optim.weight_decay=0.01,0.1", "optim.alpha=0.001,0.1", "--optim.name", "adamw",
              "--model.dropout", "0.5", "--optim.warmup", "4"],
    "decay": ["--sweep", "optim.lr=0.01,0.1", "--optim.name", "sgd", "--optim.schedule", "cosine",
              "--optim.weight_decay", "0.0001"],
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("flags", VARIANTS.values(), ids=VARIANTS)
def test_numbers_that_a_program_takes_give_the_bits_that_they_give_inside_it(flags, tmp_path):
    here(*QUICK, *ONE_PART, *flags, "--workdir", tmp_path / "sweep")
    last = folders(tmp_path / "sweep")[-1]
    here("--config", last / "config.json", "--workdir", tmp_path / "single")
    assert_same(tmp_path / "single", last)


@pytest.mark.long
def test_vmap_agrees(swept, tmp_path):
    flags = ["--sweep", "optim.lr=0.01,0.1", "--seeds", "2", "--sweep.mode", "vmap"]
    here(*QUICK, *flags, "--workdir", tmp_path / "vmap")
    for one, other in zip(folders(swept)[:4], folders(tmp_path / "vmap"), strict=True):
        assert_same(one, other, atol=1e-4)


@pytest.mark.long
def test_members_on_two_devices_have_the_bits_of_one(swept, tmp_path):
    flags = ["--sweep", "optim.lr=0.01,0.1", "--seeds", "2", "--devices", "2"]
    here(*QUICK, *flags, "--workdir", tmp_path / "two")
    for one, other in zip(folders(swept)[:4], folders(tmp_path / "two"), strict=True):
        assert_same(one, other)


@pytest.mark.long
def test_one_program_for_equal_shapes_and_one_more_for_others(tmp_path, capsys):
    names: list[str] = []

    def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(str(kwargs["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        here(*QUICK, "--sweep", "model.hidden=3,5", "optim.lr=0.1,0.2,0.3", "--workdir", tmp_path / "sweep")
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert names.count("jit(chunk)") == 2 and names.count("jit(sums)") == 2
    assert "6 runs of" in (told := capsys.readouterr().out) and "in 2 programs, one after the other" in told


# ---- what can happen to it ----


@pytest.mark.long
def test_a_sweep_that_was_killed_ends_with_the_weights_of_the_undisturbed_one(swept, tmp_path):
    argv = [*QUICK, "--sweep", "optim.lr=0.01,0.1,1e30", "--seeds", "2", "--workdir", str(tmp_path / "sweep")]
    process = alone(*argv)
    end = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.glob("sweep/0-*/history.jsonl")) and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert here(*argv) == 0
    for one, other in zip(folders(swept)[:4], folders(tmp_path / "sweep"), strict=False):
        assert_same(one, other)


def test_threads_that_meet_are_answered_together_and_share_what_goes_wrong():
    calls: list[set[int]] = []

    def program(given: dict[int, int]) -> dict[int, int]:
        calls.append(set(given))
        if 0 in given.values():
            raise ZeroDivisionError
        return {k: -value for k, value in given.items()}

    together, barrier = Together(), threading.Barrier(3)
    for k in range(3):
        together.join(k)

    def member(k: int) -> list[int]:
        barrier.wait()
        answers = [together(k, program, 10 * k + i) for i in range(1, 3 + k)]
        together.leave(k)
        return answers

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(member, range(3)))
    assert answers == [[-1, -2], [-11, -12, -13], [-21, -22, -23, -24]]
    assert calls == [{0, 1, 2}, {0, 1, 2}, {1, 2}, {2}]
    together.join(0)
    with pytest.raises(ZeroDivisionError):
        together(0, program, 0)


@pytest.mark.long
def test_the_better_half_goes_on(tmp_path):
    rates = [0.001, 0.01, 0.03, 0.1, 0.3]
    flags = [
        "iris_mlp",
        "--epochs",
        "8",
        "--eval-every",
        "1epoch",
        "--data.test-fraction",
        "0",
        "--sweep",
        f"optim.lr={','.join(map(str, rates))}",
        "--seeds",
        "2",
    ]
    here(*flags, "--workdir", tmp_path / "whole")
    here(*flags, "--sweep.halve", "--workdir", tmp_path / "halved")
    whole = [[row["val/loss"] for row in rows(folder)[:-1]] for folder in folders(tmp_path / "whole")]
    left, wanted = list(range(5)), [8] * 5
    for rung in (2, 4):  # of 8 rows, for 5 settings
        order = sorted(left, key=lambda i: whole[2 * i][rung - 1] + whole[2 * i + 1][rung - 1])
        for i in order[-(-len(order) // 2) :]:
            wanted[i] = rung
        left = order[: -(-len(order) // 2)]
    lengths = [len(rows(folder)) - 1 for folder in folders(tmp_path / "halved")]
    assert lengths == [n for n in wanted for _ in range(2)] and sorted(wanted)[-1] == 8
    assert_same(folders(tmp_path / "whole")[2 * left[0]], folders(tmp_path / "halved")[2 * left[0]])
    shutil.copytree(tmp_path / "halved", tmp_path / "again")  # whose lock nobody holds
    assert here(*flags, "--sweep.halve", "--workdir", tmp_path / "again") == 0  # decides the same
    assert [len(rows(folder)) - 1 for folder in folders(tmp_path / "again")] == lengths


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_rungs_come_before_the_end_and_double(count):
    found = rungs(rows=count, settings=16)
    assert all(0 < rung < count for rung in found) and len(set(found)) == len(found)
    assert all(later <= 2 * rung for rung, later in itertools.pairwise([*found, count]))


# ---- folds ----


def test_each_example_is_validated_on_once_and_classes_are_spread_evenly():
    y = np.random.default_rng(0).integers(0, 3, 100)
    fold = split.folds(np.random.default_rng(1), y, 7)
    counts = np.array([np.bincount(y[fold == k], minlength=3) for k in range(7)])
    assert counts.sum() == 100 and (np.ptp(counts, axis=0) <= 1).all() and np.ptp(counts.sum(1)) <= 1


@pytest.mark.long
def test_folds_are_runs_that_differ_in_their_validation_examples(tmp_path, capsys):
    here("iris_mlp", "--epochs", "2", "--folds", "3", "--workdir", tmp_path / "sweep")
    sets = [data.from_config(jaxnn.DataConfig("iris", fold=f"{k}/3")) for k in (1, 2, 3)]
    whole = data.from_config(jaxnn.DataConfig("iris"))
    assert whole.test is not None and whole.validation is not None
    for each in sets:
        assert each.test is not None
        np.testing.assert_array_equal(each.test.y, whole.test.y)
    validated = np.concatenate([each.validation.x for each in sets if each.validation is not None])
    trained = np.concatenate([whole.train.x, whole.validation.x])
    np.testing.assert_array_equal(np.sort(validated, axis=0), np.sort(trained, axis=0))
    last = folders(tmp_path / "sweep")[1]
    here("iris_mlp", "--epochs", "2", "--data.fold", "2/3", "--workdir", tmp_path / "single")
    assert_same(tmp_path / "single", last)
    losses = [rows(folder)[-2]["val/loss"] for folder in folders(tmp_path / "sweep")]
    assert f"{np.mean(losses):.4f} ± {np.std(losses, ddof=1):.4f}" in capsys.readouterr().out
