"""Real runs in real processes, to be killed, signalled and started again."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
EVERY = 60  # steps of an interval
MEMBERS = """
--data.name {data} --epochs 30 --batch-size 16 --eval-every 45 --model.hidden 16 --model.dropout 0.2
--optim.name sgd --optim.lr 0.05 --optim.momentum 0.9 --optim.schedule cosine --optim.warmup 20 --optim.ema 0.99
--optim.accumulate 2 --optim.clip_norm 5 --checkpoint.every 60
"""  # whatever a state can hold, in a run of 660 steps whose events do not coincide


def write_data(path: Path, rows: int = 480) -> None:
    """Three classes in eight dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    x = rng.normal(size=(rows, 8)) + y[:, None]
    np.savez(path, x=x.astype(np.float32), y=y)


class Runs:
    """Starts `train.py` in folders of its own, with a cache of compiled programs that all of them share."""

    def __init__(self, base: Path):
        self.base, self.data = base, base / "data.npz"
        write_data(self.data)
        self.env = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_COMPILATION_CACHE"}
        self.env |= {"XDG_CACHE_HOME": str(base / "cache"), "PYTHONPATH": str(ROOT)}
        self.argv = MEMBERS.format(data=self.data).split()

    def start(self, folder: Path, *more: object, argv: list[str] | None = None, **env: str) -> subprocess.Popen[str]:
        flags = self.argv if argv is None else argv
        flags = [word for word in flags]
        for flag, value in zip(more[::2], more[1::2], strict=True):  # a flag that is given takes the default's place
            if flag in flags:
                at = flags.index(str(flag))
                del flags[at : at + 2]
            flags += [str(flag), str(value)]
        command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *flags, "--workdir", str(folder)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.base, stdout=pipe, stderr=pipe, text=True, env=self.env | env)

    def run(self, folder: Path, *more: object, argv: list[str] | None = None, **env: str):
        """To its end: the return code, what was printed, and the errors."""
        process = self.start(folder, *more, argv=argv, **env)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def until(process: subprocess.Popen[str], seen: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until something is seen, or the process has ended; whether it was seen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if seen():
            return True
        time.sleep(0.002)
    return False


def catches(process: subprocess.Popen[str], number: int) -> bool:
    """Whether the process has a handler for a signal yet."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def kill(process: subprocess.Popen[str]) -> None:
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
