"""Processes that are killed, told to stop, or fail: the next one goes on where they were, bit for bit.

P08 (a data worker is killed) and P12 (workers outlive their parent) have no test: jaxnn reads its data in threads of
its own process, and starts no other.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from processes import EVERY, MEMBERS, OFTEN, ROOT, Process, Runs, catches, history, kill, saved, sha, until

import jaxnn
from jaxnn.commands import arguments as cli
from jaxnn.config.values import to_dict
from jaxnn.store import checkpoint, identity


def assert_same(folder, golden):
    assert sha(folder) == sha(golden)
    assert history(folder) == history(golden)


def lost(out: str) -> int:
    """How many steps a run says it does again."""
    found = re.search(r"the ([\d,]+) steps? after it", out)
    return int(found[1].replace(",", "")) if found else 0


def rows(folder: Path) -> list[str]:
    """Lines of the history, half ones too."""
    path = folder / "history.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def wait_for_the_moment(process: Process, folder, aim: str, rng: random.Random, whole: float) -> None:
    """Any moment of a run, or one while it trains, or while it saves: by the clock alone most would be in start-up."""
    if aim == "any":
        until(process, lambda: False, rng.uniform(0, whole))
    elif aim == "training":
        told = len(rows(folder))
        until(process, lambda: len(rows(folder)) > told)
        time.sleep(rng.uniform(0, 0.1))
    else:
        until(process, lambda: rng.random() < 0.2 and any(folder.glob("checkpoints/*.tmp")))


AIMS = ("any", "training", "saving")


def kill_at_random(runs: Runs, golden, base, kills: int, seed: int) -> dict[str, int]:
    """Lives that end by kill -9 at a random moment, or at their end; each that ends is held against the golden one."""
    rng, seen = random.Random(seed), {"starting": 0, "compiling": 0, "training": 0, "saving": 0, "done": 0}
    start = time.monotonic()
    assert runs.run(base / "timed")[0] == 0
    whole, run, left = time.monotonic() - start, 0, kills
    while left or (base / f"{run}").exists():
        folder = base / f"{run}"
        told = len(rows(folder))
        process = runs.start(folder, "--checkpoint.every", rng.choice((OFTEN, EVERY)))
        if left:
            wait_for_the_moment(process, folder, AIMS[left % 3], rng, whole)
        if left and process.poll() is None:
            locked = (folder / "lock").exists() and f"process {process.pid} " in (folder / "lock").read_text()
            phase = "starting" if not locked else "training" if len(rows(folder)) > told else "compiling"
            if any(folder.glob("checkpoints/*.tmp")):
                phase = "saving"
            kill(process)
            seen[phase] += 1
            left -= 1
            continue
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert lost(out) <= EVERY, out
        assert_same(folder, golden)
        seen["done"] += 1
        run += 1
    return seen


@pytest.mark.long
def test_p01_p02_p03_killed_at_random_moments_a_run_ends_with_the_same_bits(runs, golden, tmp_path):
    seen = kill_at_random(runs, golden, tmp_path, kills=3, seed=0)
    assert seen["done"] >= 1


@pytest.mark.slow
def test_p01_p02_p03_two_hundred_kills(runs, golden, tmp_path):
    seen = kill_at_random(Runs(runs.base, fresh=True), golden, tmp_path, kills=200, seed=1)
    print(seen)  # pytest -s
    assert min(seen.values()) >= 5


# What must be seen before the signal is sent, and flags that make the phase long.
PHASES = {
    "start": ([], lambda process, folder: catches(process, signal.SIGTERM)),
    "compile": ([], lambda process, folder: (folder / "config.json").exists()),
    "train": ([], lambda process, folder: len(history(folder)) >= 1 if (folder / "history.jsonl").exists() else False),
    "evaluate": (["--eval-every", "1"], lambda process, folder: (folder / "history.jsonl").read_text().count("\n") > 9),
    "save": (["--checkpoint.every", OFTEN], lambda process, folder: saved(folder)[-1:] > [9]),
    "restore": ([], lambda process, folder: f"process {process.pid} " in (folder / "lock").read_text()),
}


def terminate(runs: Runs, golden, folder, phase: str, number: int = signal.SIGTERM, wait: float = 0.0) -> None:
    """Send a signal in a phase: all is saved, and the next run goes on to the same bits."""
    flags, reached = PHASES[phase]
    if phase == "restore":
        process = runs.start(folder)
        assert until(process, lambda: saved(folder)[-1:] > [0])
        kill(process)
    process = runs.start(folder, *flags)

    def seen() -> bool:
        try:
            return reached(process, folder)
        except (OSError, ValueError):  # not there yet, or half a line
            return False

    assert until(process, seen), process.communicate()
    time.sleep(wait)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "")
    assert ("resume   jaxnn train --config " in out) != ("predict  jaxnn predict " in out), out
    found = checkpoint.latest(folder / "checkpoints")
    assert found is not None
    assert max([0, *(row["step"] for row in history(folder))]) == found.step  # nothing was lost
    assert not list(folder.glob("checkpoints/*.tmp"))
    code, out, err = runs.run(folder)
    assert (code, lost(out)) == (0, 0), err
    assert f"resumed at step {found.step}" in out or f"finished at step {found.step}" in out
    assert sha(folder) == sha(golden)
    if "--eval-every" not in flags:
        assert history(folder) == history(golden)


QUICK = ("start", "train", "save")


@pytest.mark.parametrize("phase", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PHASES])
def test_p04_sigterm_saves_and_exits_143_in_every_phase(runs, golden, tmp_path, phase):
    terminate(Runs(runs.base, fresh=phase == "start"), golden, tmp_path / "run", phase)


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_p04_ten_of_each_phase(runs, golden, tmp_path, phase):
    for i in range(10):
        number = (signal.SIGTERM, signal.SIGINT)[i % 2]
        terminate(Runs(runs.base, fresh=True), golden, tmp_path / str(i), phase, number, wait=0.01 * i)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_p05_a_second_signal_ends_at_once_and_leaves_the_earlier_checkpoint(runs, tmp_path, number):
    long = f"--data.name {runs.data} --model.kind linear --eval-every 100000 --epochs 100000 --checkpoint.every never"
    process, rows = runs.start(tmp_path / "run", argv=long.split()), tmp_path / "run" / "history.jsonl"
    assert until(process, lambda: rows.exists() and rows.stat().st_size > 0), process.communicate()
    time.sleep(0.1)  # now it is in the second chunk of 100,000 steps, a second or so
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == -number  # by the signal, not by an exit of its own
    found = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert found is not None and found.step == 0


PEAK = """
import resource, sys
from pathlib import Path
import jax.numpy as jnp
from jaxnn import checkpoint
size, peak = 2**27, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
tree = {f"w{i}": jnp.arange(size // 64, dtype="float32") + i for i in range(16)}
checkpoint.save(Path(sys.argv[1]), 0, {"w": jnp.ones(3)}, {}, keep=1)
before = peak()
checkpoint.save(Path(sys.argv[1]), 1, tree, {}, keep=1)
print((peak() - before) / size)
"""


def test_p06_a_save_needs_little_memory_beside_the_state(tmp_path):
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "c")], capture_output=True, text=True, cwd=ROOT)
    assert float(done.stdout) <= 0.3, done.stderr


OWN = """
import jax
import jaxnn
from jaxnn.config import CheckpointConfig, Config, DataConfig
config = Config(name="own", epochs=10, batch_size=48, data=DataConfig(name={data!r}), eval_every="10",
                checkpoint=CheckpointConfig(every="never"))
calls = []

def fail(x):
    calls.append(1)
    if len(calls) > {fail}:
        raise RuntimeError("the user's own mistake")
    return x

def model(outputs):
    net = jaxnn.linear(outputs)
    def apply(params, x, key=None):
        y = net.apply(params, x, key=key)
        if key is None:
            return y
        total = jax.pure_callback(fail, jax.ShapeDtypeStruct((), "float32"), x.sum(), vmap_method="sequential")
        return y + 0 * total
    return jaxnn.Model(net.init, apply)
"""


def test_p07_an_exception_in_the_users_code_shows_its_place_and_saves_what_was_good(runs, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN.format(data=str(runs.data), fail=35))
    code, _, err = runs.run(tmp_path / "run", argv=[str(own)])
    assert code == 1 and "the user's own mistake" in err and "own.py" in err, err
    found = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert found is not None and found.step == 30 and found.about["tally"]["sums"] == {}
    own.write_text(OWN.format(data=str(runs.data), fail=10**9))
    code, _, err = runs.run(tmp_path / "run", argv=[str(own)])
    assert code == 2 and "the model's program" in err  # another model, for all that is known


STUCK = """
import threading, time
from jaxnn.config import Config, DataConfig
config = Config(name="own", epochs=1, data=DataConfig(name={data!r}))
def model(outputs):
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise {error}
"""


@pytest.mark.parametrize(("error", "code"), [("RuntimeError('x')", 1), ("__import__('jaxnn').InputError('x')", 2)])
def test_p09_an_error_ends_the_process_whatever_its_threads_do(runs, tmp_path, error, code):
    (tmp_path / "own.py").write_text(STUCK.format(data=str(runs.data), error=error))
    process = runs.start(tmp_path / "run", argv=[str(tmp_path / "own.py")])
    process.communicate(timeout=60)  # the thread would sleep ten minutes
    assert process.returncode == code


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--eval-every", 7, "--checkpoint.every", 11),  # chunks of 1, 2, 4, ...
        ("--eval-every", "100%", "--checkpoint.every", "never"),
    ],
    ids=["7-11", "whole"],
)
def test_p10_however_a_run_is_cut_its_weights_are_the_same(runs, golden, tmp_path, flags):
    code, _, err = runs.run(tmp_path / "run", *flags)
    assert code == 0, err
    assert sha(tmp_path / "run") == sha(golden)


def grow(folder, saves: int) -> tuple[float, int, int]:
    """By what factor memory grew over the second half of many saves; open files, entries of the folder."""
    tree, half = {"w": jnp.ones(1000)}, 0
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
    for step in range(saves):
        checkpoint.save(folder, step, tree, {"step": step}, keep=2)
        half = resident() if step == saves // 2 else half
    return resident() / half, len(os.listdir("/proc/self/fd")), len(list(folder.iterdir()))


@pytest.mark.parametrize("saves", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_p11_many_saves_leave_nothing_behind(tmp_path, saves):
    before = len(os.listdir("/proc/self/fd"))
    memory, files, entries = grow(tmp_path / "c", saves)
    assert memory <= 1.01 and files == before and entries == 2


def run_in_two(runs: Runs, folder, flags: list[str], first: int, whole: int) -> None:
    """A run that is ended, and then made longer."""
    code, _, err = runs.run(folder, "--epochs", first, argv=flags)
    assert code == 0, err
    code, out, err = runs.run(folder, "--epochs", whole, argv=flags)
    assert code == 0 and "resumed at step" in out, err


OTHERS = {
    "adam, plateau": "--optim.name adam --optim.schedule plateau --optim.decay_every 2epochs --model.dropout 0.1",
    "rmsprop, step, max-norm": "--optim.name rmsprop --optim.schedule step --optim.decay_every 40 --optim.max_norm 1",
}


@pytest.mark.parametrize("name", ["adam, plateau", pytest.param("rmsprop, step, max-norm", marks=pytest.mark.slow)])
def test_p02_a_run_that_was_made_longer_is_the_one_that_was_long(runs, tmp_path, name):
    flags = [
        *f"--data.name {runs.data} --batch-size 32 --model.hidden 8 --eval-every 22".split(),
        *OTHERS[name].split(),
    ]
    code, _, err = runs.run(tmp_path / "whole", "--epochs", 6, argv=flags)
    assert code == 0, err
    run_in_two(runs, tmp_path / "two", flags, 3, 6)
    assert_same(tmp_path / "two", tmp_path / "whole")


def test_p01_a_finished_run_is_left_alone(runs, golden):
    before = {path: path.read_bytes() for path in golden.rglob("*") if path.is_file() and path.name != "lock"}
    code, out, err = runs.run(golden)
    assert code == 0 and "finished at step" in out, err
    assert before == {path: path.read_bytes() for path in golden.rglob("*") if path.is_file() and path.name != "lock"}


IDENTITY = {
    "--seed": 1, "--batch-size": 15, "--model.hidden": 17, "--model.dropout": 0.1, "--model.activation": "tanh",
    "--optim.name": "adam", "--optim.lr": 0.06, "--optim.momentum": 0.8, "--optim.ema": 0.9, "--optim.alpha": 0.1,
    "--optim.schedule": "constant", "--optim.warmup": 21, "--optim.accumulate": 3, "--optim.clip_norm": 4,
    "--data.split-seed": 1, "--data.validation-fraction": 0.2, "--task.label-smoothing": 0.1,
}  # fmt: skip


def test_f08_every_setting_that_matters_is_refused_with_old_and_new(golden):
    """All at once through the parser and the check of train.py; one of them through a process, below."""
    old = json.loads((golden / "config.json").read_text())
    argv = MEMBERS.format(data=golden.parent / "data.npz").split()
    for flag, value in IDENTITY.items():
        changed = [word for word in argv]
        if flag in changed:
            at = changed.index(flag)
            del changed[at : at + 2]
        config = cli.parse([*changed, flag, str(value)], ROOT / "configs").flags.run
        new = old | {"config": to_dict(config)}
        name = flag.lstrip("-").replace("-", "_")
        with pytest.raises(jaxnn.InputError, match=rf"--{re.escape(name)}: \S+ -> \S*{value}"):
            identity.check_same("f", old, new, step=60, per_epoch=20)


def test_f08_a_changed_flag_ends_with_exit_2_and_leaves_the_run_as_it_was(runs, golden):
    before = {path: path.read_bytes() for path in golden.rglob("*") if path.is_file() and path.name != "lock"}
    code, _, err = runs.run(golden, "--seed", 3, "--optim.lr", 0.5)
    assert code == 2 and "--seed: 0 -> 3; --optim.lr: 0.05 -> 0.5" in err and err.count("\n") == 1, err
    code, _, err = runs.run(golden, "--epochs", 40)
    cure = f"name another folder, with --init_from {golden} to go on from its weights"
    assert code == 2 and f"--optim.schedule cosine depends on it; {cure}" in err, err
    assert before == {path: path.read_bytes() for path in golden.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.long
def test_f09_p10_other_intervals_are_accepted_and_however_a_run_is_cut_no_bit_changes(runs, golden, tmp_path):
    process = runs.start(tmp_path / "run")
    assert until(process, lambda: saved(tmp_path / "run")[-1:] > [0])
    kill(process)
    other = ["--eval-every", "100%", "--checkpoint.every", "0.1s", "--checkpoint.keep", 5, "--patience", 3]
    code, out, err = runs.run(tmp_path / "run", *other)
    assert code == 0 and "resumed" in out, err
    assert sha(tmp_path / "run") == sha(golden)


def test_d20_data_that_changed_between_two_runs_are_refused(runs, golden, tmp_path):
    other = Runs(tmp_path)
    code, _, err = other.run(tmp_path / "run")
    assert code == 0, err
    with np.load(other.data) as arrays:
        x, y = arrays["x"].copy(), arrays["y"]
    x.view(np.uint8).reshape(-1)[100] ^= 1
    np.savez(other.data, x=x, y=y)
    code, _, err = other.run(tmp_path / "run")
    assert code == 2 and "the data have changed" in err, err
