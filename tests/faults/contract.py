"""The contract of every refusal: one line on stderr, the exit code, nothing on stdout, nothing written."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import processes
import pytest

from jaxnn import data
from jaxnn.commands import main
from jaxnn.errors import Error

ROOT = Path(__file__).parent.parent.parent


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


def refusal(*args: Any, code: int = 2, **kwargs: Any) -> str:
    """What `load` says as it refuses."""
    with pytest.raises(Error) as caught:
        data.load(*args, **kwargs)
    assert caught.value.exit_code == code and "\n" not in str(caught.value)
    return str(caught.value)


def train(argv: list[str]) -> int:
    """`jaxnn train` in this process: a start of Python for each would take minutes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return main.train(argv)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def refused_run(*argv: Any, code: int = 2) -> str:
    """What `jaxnn train` says as it refuses, called in this process."""
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(Error) as caught:
        train([str(word) for word in argv])
    assert caught.value.exit_code == code and "\n" not in str(caught.value)
    assert sorted(Path.cwd().iterdir()) == before
    return str(caught.value)


def process(
    *argv: Any, cwd: Path, fresh: bool = False, seconds: float = 300, **env: str
) -> subprocess.CompletedProcess[str]:
    """`python train.py argv`, warnings as errors; `fresh`: by a new Python."""
    started = processes.start([*argv], cwd, fresh=fresh, **env)
    out, err = started.communicate(timeout=seconds)
    return subprocess.CompletedProcess([*map(str, argv)], started.returncode or 0, out, err)


def refused_process(*argv: Any, cwd: Path, code: int = 2, fresh: bool = False) -> str:
    """The line that train.py ends with in a process of its own."""
    before = sorted(cwd.rglob("*"))
    done = process(*argv, cwd=cwd, fresh=fresh)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sorted(cwd.rglob("*")) == before
    return done.stderr.removeprefix("error: ").rstrip("\n")
