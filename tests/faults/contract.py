"""The contract of every refusal: one line on stderr, the exit code, nothing on stdout, nothing written."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxnn import data
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


def refused_run(*argv: Any, code: int = 2) -> str:
    """What train.py says as it refuses, called in this process: a start of Python for each would take minutes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    main = runpy.run_path(str(ROOT / "train.py"))["main"]
    before = sorted(Path.cwd().iterdir())
    try:
        with pytest.raises(Error) as caught:
            main([str(word) for word in argv])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert caught.value.exit_code == code and "\n" not in str(caught.value)
    assert sorted(Path.cwd().iterdir()) == before
    return str(caught.value)


def process(*argv: Any, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`python train.py argv`, warnings as errors."""
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *map(str, argv)]
    env = {**os.environ, **env}
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, errors="surrogateescape", env=env, timeout=120
    )


def refused_process(*argv: Any, cwd: Path, code: int = 2) -> str:
    """The line that train.py ends with in a process of its own."""
    before = sorted(cwd.rglob("*"))
    done = process(*argv, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sorted(cwd.rglob("*")) == before
    return done.stderr.removeprefix("error: ").rstrip("\n")
