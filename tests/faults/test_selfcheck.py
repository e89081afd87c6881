"""`jaxnn selfcheck` tries faults with real processes, and would say so if one were not met."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import QUICKLY

from jaxnn.commands import selfcheck

ROOT = Path(__file__).parent.parent.parent


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m jaxnn selfcheck`, in a folder that is not the project's."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_COMPILATION_CACHE"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jaxnn", "selfcheck", *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env | {"COLUMNS": "160"})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    done = run(str(tmp_path / "none"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: folder={tmp_path / 'none'}: is not there; name one that is\n"


FLAGS = "iris_mlp --model.kind linear --epochs 1 --data.validation-fraction 0 --data.test-fraction 0".split()


@pytest.mark.long
def test_what_was_not_expected_is_said(tmp_path, monkeypatch, capsys):
    checks = {"nothing at all": ("exit 0", lambda runs: f"exit {runs.run(runs.new(), '--optim.lrr', '1').returncode}")}
    monkeypatch.setattr(selfcheck, "CHECKS", checks)
    monkeypatch.setattr(selfcheck, "FLAGS", FLAGS)
    monkeypatch.chdir(tmp_path)
    for name, value in ({"PYTHONPATH": str(ROOT)} | QUICKLY).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE")  # of the programs in the folder that is checked
    assert selfcheck.selfcheck([str(tmp_path)]) == 1
    assert "NOT AS EXPECTED" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_fault_is_met(tmp_path):
    done = run(str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("as expected") == len(selfcheck.CHECKS)


def test_the_page_has_the_faults_and_what_is_expected():
    page = (ROOT / "docs" / "guide" / "faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", page.partition("| fault |")[2], re.MULTILINE)
    assert rows == [(fault, expected) for fault, (expected, _) in selfcheck.CHECKS.items()]
