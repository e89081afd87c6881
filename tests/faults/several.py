"""Runs of several local processes, to be killed, stopped, signalled and started again.

`python tests/faults/several.py [REPEATS]` tries each fault so often while the runs train, and once while they compile,
and prints a table.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from processes import saved, write_data

ROOT = Path(__file__).parent.parent.parent

# A model that is called back in each step, and sleeps there once the file `stuck` is there.
STUCK = """
import os, time
import jax, jaxnn
from jaxnn.config import Config

config = Config(name="own")

def look(x):
    while os.path.exists({file!r}):
        time.sleep(1)
    return x

def model(outputs):
    net = jaxnn.linear(outputs)
    def apply(params, x, key=None):
        total = jax.pure_callback(look, jax.ShapeDtypeStruct((), "float32"), x.sum(), vmap_method="sequential")
        return net.apply(params, x, key=key) + 0 * total
    return jaxnn.Model(net.init, apply)
"""
FLAGS = """
--model.hidden 8 --model.dropout 0.2 --batch-size 16 --optim.name adam --optim.lr 0.003 --optim.schedule constant
--checkpoint.every 60
"""


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


class Several:
    """`train.py flags` in several local processes; `programs` is the folder of compiled programs that they share."""

    def __init__(
        self, flags: list[str], count: int, programs: Path | None, *, each: dict[int, list[str]] | None = None
    ):
        env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(programs)}
        env |= {"PYTHONFAULTHANDLER": "1", "JAX_ENABLE_COMPILATION_CACHE": "true"}  # what is left says where it is
        self.folder = Path(tempfile.mkdtemp(prefix="several-"))
        at = ["--coordinator", f"localhost:{free_port()}", "--processes", str(count)]
        self.processes: list[subprocess.Popen[bytes]] = []
        for rank in range(count):
            words = [*flags, *(["--no-cache"] if programs is None else []), *at, "--process-id", str(rank)]
            argv = [sys.executable, str(ROOT / "train.py"), *words, *(each or {}).get(rank, [])]
            with (self.folder / f"out{rank}").open("wb") as out, (self.folder / f"err{rank}").open("wb") as err:
                self.processes.append(subprocess.Popen(argv, stdout=out, stderr=err, env=env))

    def until(self, seen: Callable[[], bool], seconds: float = 240) -> None:
        """Wait until something is seen. Raises `TimeoutError` where all have ended, or it takes too long."""
        end = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > end or any(each.poll() is not None for each in self.processes):
                said = [(each.poll(), *self.printed(rank)) for rank, each in enumerate(self.processes)]
                self.kill()
                raise TimeoutError(str(said)[-3000:])
            time.sleep(0.01)

    def printed(self, rank: int) -> tuple[str, str]:
        out, err = ((self.folder / f"{name}{rank}").read_text(errors="replace") for name in ("out", "err"))
        return out, err

    def end(self, seconds: float = 240, *, but: tuple[int, ...] = ()) -> tuple[list[Ended], float]:
        """Wait for all but some: how each ended, and after how many seconds the last one did."""
        began = time.monotonic()
        try:
            for rank, each in enumerate(self.processes):
                if rank not in but:
                    each.wait(max(0.1, seconds - (time.monotonic() - began)))
            took = time.monotonic() - began
        finally:
            self.kill()
        codes = [each.returncode for each in self.processes]
        return [Ended(code, *self.printed(rank)) for rank, code in enumerate(codes)], took

    def kill(self) -> None:
        """All that are left."""
        left = [each for each in self.processes if each.poll() is None]
        for number in (signal.SIGABRT, signal.SIGKILL):
            for each in left:
                each.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                for each in left:
                    each.wait(2)


def flags_of(data: Path, folder: Path, epochs: int, eval_every: int = 30) -> list[str]:
    """Of a small run whose steps go on for as long as the epochs are many, 22 steps each."""
    return f"--data.name {data} --epochs {epochs} --eval_every {eval_every} --workdir {folder} {FLAGS}".split()


def trains(folder: Path) -> bool:
    """Whether a run has come past its first interval."""
    path = folder / "history.jsonl"
    return path.exists() and bool(path.read_text())


# ---- the table -------------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What is done to which process, what the others are to end with, and after how many seconds at most."""

    name: str
    number: signal.Signals | None  # None: its steps do not end
    rank: int
    codes: tuple[int, ...]
    seconds: float


FAULTS = (
    Fault("kill -9 of a worker", signal.SIGKILL, 1, (6,), 5),
    Fault("a worker stopped (SIGSTOP)", signal.SIGSTOP, 1, (6,), 15),
    Fault("a process alive and stuck in a step", None, -1, (6,), 15),
    Fault("kill -9 of process 0", signal.SIGKILL, 0, (6, -signal.SIGABRT), 15),
    Fault("SIGTERM to a worker", signal.SIGTERM, 1, (143,), 30),
    Fault("SIGTERM to process 0", signal.SIGTERM, 0, (143,), 30),
)


def tried(fault: Fault, base: Path, data: Path, *, compiling: bool, wait: float = 0.0) -> tuple[bool, float, str]:
    """Whether a fault was answered as it is to be, after how many seconds, and what was said."""
    folder = Path(tempfile.mkdtemp(dir=base)) / "run"
    flags = flags_of(data, folder, 10_000)
    stuck = folder.parent / "stuck"
    if fault.number is None:
        (folder.parent / "own.py").write_text(STUCK.format(file=str(stuck)))
        flags = [str(folder.parent / "own.py"), *flags]
    several = Several(flags, 2, None if compiling else base / "programs")
    if compiling:
        several.until(lambda: (folder / "config.json").exists())
        wait = 1.0
    else:
        several.until(lambda: trains(folder))
    time.sleep(wait)
    if fault.number is None:
        stuck.touch()
    else:
        os.kill(several.processes[fault.rank].pid, fault.number)
    gone = () if fault.number in (None, signal.SIGTERM) else (fault.rank,)
    try:
        ended, took = several.end(90, but=gone)
    except subprocess.TimeoutExpired:
        hung = [several.printed(rank)[1][-3000:] for rank in range(2)]
        return False, 90.0, f"hung: {hung}"
    others = [each for rank, each in enumerate(ended) if rank not in gone]
    good = all(each.code in fault.codes for each in others) and took <= (60 if compiling else fault.seconds)
    if fault.number == signal.SIGTERM:
        good = good and len(saved(folder)) >= 1
    said = next((line for line in others[0].err.splitlines() if line.startswith("error")), "")
    return good, took, f"{[each.code for each in others]} {said}"


def main(repeats: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        base, data = Path(folder), Path(folder) / "data.npz"
        write_data(data)
        Several(flags_of(data, base / "first", 2), 2, base / "programs").end()  # compiles for all
        print("| fault | while | good | seconds: median, most | the last one said |\n|---|---|---|---|---|", flush=True)
        for fault in FAULTS:
            for when, times in (("training", repeats), ("compiling", 0 if fault.number is None else 1)):
                if not times:
                    continue
                seen = [tried(fault, base, data, compiling=when == "compiling", wait=0.1 * i) for i in range(times)]
                good, took = sum(each[0] for each in seen), [each[1] for each in seen]
                bad = next((each[2] for each in seen if not each[0]), seen[-1][2])
                middle = f"{statistics.median(took):.1f}, {max(took):.1f}"
                print(f"| {fault.name} | {when} | {good} of {times} | {middle} | {bad} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
