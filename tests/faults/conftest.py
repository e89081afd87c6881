"""The runs of the fault tests share their data and their compiled programs, and one that was never disturbed."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import processes
import pytest
from processes import Runs


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory, pytestconfig) -> Path:
    """A folder that all the processes of one `pytest` have in common."""
    if pytestconfig.option.markexpr != "not slow":
        processes.QUICKLY.clear()  # programs are compiled as users have them
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    processes.COMPILED = folder / "cache"
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def golden(runs, shared):
    """The folder of a run from beginning to end: made once, and a copy of it for each process of `pytest`."""
    first = Runs(shared)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "golden").exists():
            code, _, err = first.run(shared / "begun")
            assert code == 0, err
            (shared / "begun").rename(shared / "golden")
    shutil.copytree(shared / "golden", runs.base / "golden")
    return runs.base / "golden"
