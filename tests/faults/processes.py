"""Real runs in real processes, to be killed, signalled and started again."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

ROOT = Path(__file__).parent.parent.parent
EVERY, OFTEN = 60, 4  # steps between two checkpoints
MEMBERS = """
--data.name {data} --epochs 30 --batch-size 16 --eval-every 40 --model.hidden 16 --model.dropout 0.2
--optim.name sgd --optim.lr 0.05 --optim.momentum 0.9 --optim.schedule cosine --optim.warmup 20 --optim.ema 0.99
--optim.accumulate 2 --optim.clip_norm 5 --checkpoint.every 60
"""  # whatever a state can hold, in a run of 660 steps whose events do not coincide
TRAIN = [sys.executable, "-W", "error", str(ROOT / "train.py")]
# Compiled in half the time, to programs that are slower, as runs of few steps like it; conftest.py empties it at night.
QUICKLY = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"}
COMPILED = Path(tempfile.gettempdir(), "cache")  # of programs, which all runs share; conftest.py says where


def write_data(path: Path, rows: int = 480) -> None:
    """Three classes in eight dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    x = rng.normal(size=(rows, 8)) + y[:, None]
    np.savez(path, x=x.astype(np.float32), y=y)


# ---- a process that finds its imports done ---------------------------------------------------------------------------


class Forked:
    """`train.py argv` in a process of its own, forked from one that has imported jax: a second of each start is saved.

    It has what the tests use of a `subprocess.Popen`. What it prints goes to files.
    """

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]):
        folder = Path(tempfile.mkdtemp(prefix="printed-", dir=COMPILED.parent))
        self.printed = [folder / name for name in ("out", "err")]
        args = (argv, str(cwd), dict(env), *map(str, self.printed))
        self.process = _server().Process(target=_forked, args=args, daemon=True)
        self.process.start()
        self.pid: int = self.process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.process.join(timeout)
        if self.returncode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired("train.py", timeout or 0)
        out, err = (path.read_text(errors="surrogateescape") if path.exists() else "" for path in self.printed)
        return out, err


@functools.cache
def _server() -> Any:
    """Where processes are forked: one thread, jax imported and no device looked at."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jaxnn.train", "jaxnn.commands.arguments", "jaxnn.data"])
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


def _forked(argv: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """What the new process does: it becomes `python -W error train.py argv`."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    warnings.simplefilter("error")

    import jax

    jax.config.update("jax_enable_compilation_cache", env.get("JAX_ENABLE_COMPILATION_CACHE") != "false")
    from jaxnn.commands.main import main

    main(["train", *argv])


Process = Forked | subprocess.Popen[str]


def start(argv: list[Any], cwd: Path, *, fresh: bool = False, **env: str) -> Process:
    """`python -W error train.py argv`, its programs compiled once for all tests; `fresh`: by a new Python."""
    words = [str(word) for word in argv]
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_COMPILATION_CACHE"}
    env = inherited | {"XDG_CACHE_HOME": str(COMPILED), "PYTHONPATH": str(ROOT)} | QUICKLY | env
    if not fresh:
        return Forked(words, cwd, env)
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*TRAIN, *words], cwd=cwd, text=True, errors="surrogateescape", env=env, **pipe)


class Runs:
    """Starts the same run in folders of its own."""

    def __init__(self, base: Path, *, fresh: bool = False):
        self.base, self.data, self.fresh = base, base / "data.npz", fresh
        if not self.data.exists():
            write_data(self.data)
        self.argv = MEMBERS.format(data=self.data).split()

    def start(self, folder: Path, *more: object, argv: list[str] | None = None, **env: str) -> Process:
        flags = [*(self.argv if argv is None else argv)]
        for flag, value in zip(more[::2], more[1::2], strict=True):  # a flag that is given takes the default's place
            if flag in flags:
                at = flags.index(str(flag))
                del flags[at : at + 2]
            flags += [str(flag), str(value)]
        return start([*flags, "--workdir", str(folder)], self.base, fresh=self.fresh, **env)

    def run(self, folder: Path, *more: object, argv: list[str] | None = None, **env: str):
        """To its end: the return code, what was printed, and the errors."""
        process = self.start(folder, *more, argv=argv, **env)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def until(process: Process, seen: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until something is seen, or the process has ended; whether it was seen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if seen():
            return True
        time.sleep(0.002)
    return False


def catches(process: Process, number: int) -> bool:
    """Whether the process has a handler for a signal yet."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def kill(process: Process) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def sha(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def history(folder: Path) -> list[dict]:
    """The rows of the history, without what a clock says."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "second" not in k and k != "examples_per_s"} for row in rows]


def saved(folder: Path) -> list[int]:
    """The steps of the checkpoints."""
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit())
