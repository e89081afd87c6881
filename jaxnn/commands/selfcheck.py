"""Does a run survive what can happen to it, here? `jaxnn selfcheck [FOLDER]` tries, with real processes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from jaxnn.config import paths
from jaxnn.errors import InputError

USAGE = """Does a run survive what can happen to it, here? `jaxnn selfcheck [FOLDER]` tries, with real processes.

Each check starts `python -m jaxnn train` in a new folder below FOLDER (default: a temporary one; name one on the disk
that your runs are written to), does something to it, and says what was expected and what was seen. It takes a few
minutes and ends with exit code 1 if anything was not as expected.
"""
TRAIN = [sys.executable, "-m", "jaxnn", "train"]
FLAGS = "digits_mlp --epochs 12 --model.dropout 0.1 --optim.momentum 0.9 --checkpoint.every 20 --report off".split()
PATIENCE_S = 120  # a process that takes longer hangs


class Seen(NamedTuple):
    fault: str
    expected: str
    seen: str

    @property
    def good(self) -> bool:
        return self.expected == self.seen


class Runs:
    """`jaxnn train` in folders of its own, and what an uninterrupted run ends with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.env: dict[str, str] = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}  # programs are compiled once
        self.count: int = 0
        self.whole: Path = self.new()
        done = self.run(self.whole)
        if done.returncode:
            raise InputError(f"folder={folder}: an ordinary run fails there: {last_line(done)}; mend that first")
        start = time.monotonic()
        self.run(self.new())
        self.seconds: float = time.monotonic() - start  # of a run that finds its programs compiled

    def new(self) -> Path:
        self.count += 1
        return self.folder / f"run-{self.count}"

    def start(self, run: Path, *more: str, limit: int | None = None) -> subprocess.Popen[str]:
        command = [*TRAIN, *FLAGS, "--workdir", str(run), *more]
        if limit is not None:  # the largest file that it may write, in bytes
            command = [sys.executable, "-c", _LIMITED, str(limit), *command]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def run(self, run: Path, *more: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(run, *more, limit=limit)
        return finished(process)

    def stopped(self, run: Path, *signals: int, after: int) -> subprocess.CompletedProcess[str]:
        """A run that gets these signals once it has saved step `after` or a later one."""
        process = self.start(run)
        wait_until(lambda: process.poll() is not None or saved(run) >= after)
        for number in signals:
            process.send_signal(number)
        return finished(process)

    def resumed(self, run: Path) -> str:
        """What the same command in the same folder ends with, beside the uninterrupted run."""
        done = self.run(run)
        same = "same weights" if digest(run) == digest(self.whole) else "other weights"
        return f"exit {done.returncode}, {same}"


_LIMITED = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); \
os.execv(sys.argv[2], sys.argv[2:])"


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        _, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return subprocess.CompletedProcess([], -999, "", "hangs")
    return subprocess.CompletedProcess([], process.returncode, "", err)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


def saved(run: Path) -> int:
    """The newest step that is saved, -1 if there is none."""
    names = [path.name for path in (run / "checkpoints").glob("*") if path.name.isdigit()]
    return max(map(int, names), default=-1)


def newest(run: Path, name: str) -> Path:
    return run / "checkpoints" / max(p.name for p in (run / "checkpoints").glob("*") if p.name.isdigit()) / name


def digest(run: Path) -> str | None:
    path = run / "weights.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["nothing said"])[-1]


def flip(path: Path, rng: random.Random) -> None:
    """Another value for one bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def killed(runs: Runs) -> str:
    """kill -9 at random moments, in another run where one was through before."""
    run, rng, kills = runs.new(), random.Random(0), 0
    while kills < 5:
        process = runs.start(run)
        try:
            process.wait(rng.uniform(0, runs.seconds))
            run = runs.new()
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        finished(process)
    return f"{kills} kills; then {runs.resumed(run)}"


def signalled(runs: Runs, number: int) -> str:
    run = runs.new()
    code = runs.stopped(run, number, after=20).returncode
    return f"exit {code}; then {runs.resumed(run)}"


def bit_flipped(runs: Runs) -> str:
    run = runs.new()
    runs.stopped(run, signal.SIGTERM, after=60)
    flip(newest(run, "state.safetensors"), random.Random(0))
    return runs.resumed(run)


def cut_off(runs: Runs) -> str:
    run = runs.new()
    runs.stopped(run, signal.SIGTERM, after=60)
    os.truncate(newest(run, "manifest.json"), 100)
    return runs.resumed(run)


def all_damaged(runs: Runs) -> str:
    run = runs.new()
    runs.stopped(run, signal.SIGTERM, after=60)
    for path in (run / "checkpoints").glob("*/state.safetensors"):
        flip(path, random.Random(0))
    return f"exit {runs.run(run).returncode}"


def no_room(runs: Runs) -> str:
    """A limit on the size of files stands in for a full disk: the state does not fit, the rest does."""
    run = runs.new()
    runs.stopped(run, signal.SIGTERM, after=20)
    code = runs.run(run, limit=20_000).returncode
    return f"exit {code}; then {runs.resumed(run)}"


def two_in_one(runs: Runs) -> str:
    """The first is stopped while the second tries, so that it cannot be through before."""
    run = runs.new()
    first = runs.start(run)
    wait_until(lambda: first.poll() is not None or saved(run) >= 0)
    first.send_signal(signal.SIGSTOP)
    second = runs.run(run).returncode
    first.kill()
    finished(first)
    return f"exit {second}; then {runs.resumed(run)}"


def changed_flag(runs: Runs) -> str:
    run = runs.new()
    runs.stopped(run, signal.SIGTERM, after=20)
    return f"exit {runs.run(run, '--seed', '1').returncode}; then {runs.resumed(run)}"


def diverged(runs: Runs) -> str:
    return f"exit {runs.run(runs.new(), '--optim.lr', '1e30').returncode}"


def bad_table(runs: Runs) -> str:
    table = runs.folder / "bad.csv"
    table.write_text("a,b,y\n" + "1,2,yes\n" * 20 + "1,nan,no\n" * 20)
    run = runs.new()
    code = runs.run(run, "--data.name", str(table)).returncode
    return f"exit {code}, {'a folder' if run.exists() else 'no folder'}"


def misspelt(runs: Runs) -> str:
    return f"exit {runs.run(runs.new(), '--optim.lrr', '1').returncode}"


RESUMED = "exit 0, same weights"
CHECKS: dict[str, tuple[str, Callable[[Runs], str]]] = {
    "kill -9 at random moments": (f"5 kills; then {RESUMED}", killed),
    "SIGTERM while it trains": (f"exit 143; then {RESUMED}", lambda runs: signalled(runs, signal.SIGTERM)),
    "Ctrl-C while it trains": (f"exit 130; then {RESUMED}", lambda runs: signalled(runs, signal.SIGINT)),
    "a bit of the newest checkpoint flipped": (RESUMED, bit_flipped),
    "its manifest cut off": (RESUMED, cut_off),
    "all checkpoints damaged": ("exit 5", all_damaged),
    "no room for a checkpoint": (f"exit 5; then {RESUMED}", no_room),
    "a second run in the same folder": (f"exit 7; then {RESUMED}", two_in_one),
    "resumed with another seed": (f"exit 2; then {RESUMED}", changed_flag),
    "a learning rate at which it diverges": ("exit 4", diverged),
    "NaN in a table": ("exit 2, no folder", bad_table),
    "a misspelt flag": ("exit 2", misspelt),
}


def check(folder: Path, show: Callable[[str], None] = lambda line: None) -> list[Seen]:
    """Try every fault in a folder; `show` gets a line before each. Raises `InputError` if an ordinary run fails."""
    show("an ordinary run")
    runs, table = Runs(folder), []
    for fault, (expected, function) in CHECKS.items():
        show(fault)
        table.append(Seen(fault, expected, function(runs)))
    return table


def selfcheck(argv: list[str]) -> int:
    console = Console(markup=False, highlight=False)
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE.strip())
        return 0
    if len(argv) > 1:
        raise InputError(f"{' '.join(argv[1:])}: unknown; give one folder")
    parent = paths.expand("folder", argv[0]) if argv else None
    if parent and not os.path.isdir(parent):
        raise InputError(f"folder={parent}: is not there; name one that is")
    with tempfile.TemporaryDirectory(dir=parent, prefix="jaxnn-selfcheck-") as folder:
        table = check(Path(folder), lambda line: console.print(line, "...", style="dim"))
    result = Table("fault", "expected", "seen", "")
    for row in table:
        result.add_row(*row, "as expected" if row.good else "NOT AS EXPECTED")
    console.print(result)
    return 0 if all(row.good for row in table) else 1
