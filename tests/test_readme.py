"""The README is true: its commands and its Python run, and its table says what the configs say."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
PROGRAMS = [block for kind, block in BLOCKS if kind == "python"]


def run(command: list[str], cwd: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the commands are run, in their order: the later ones read what the earlier ones wrote."""
    folder = tmp_path_factory.mktemp("readme")
    iris: Any = load_iris(as_frame=True)
    iris.data.assign(species=iris.target_names[iris.target]).to_csv(folder / "flowers.csv", index=False)
    for line in COMMANDS:
        program, script, *flags = shlex.split(line)
        if program == "jaxnn":
            run([sys.executable, "-m", "jaxnn", script, *flags], folder)
            continue
        assert (program, script) == ("python", "train.py")
        quick = [] if "--help" in flags or "--config" in flags else ["--epochs", "1"] * ("--epochs" not in flags)
        run([sys.executable, str(ROOT / script), *flags, *quick], folder)
    return folder


@pytest.mark.long
def test_the_commands_run(folder):
    assert len(COMMANDS) >= 5
    first, again = (folder / "runs" / name / "weights.safetensors" for name in ("cnn", "again"))
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.split()[-1])
def test_the_python_runs(program, folder):
    assert run([sys.executable, "-W", "error", "-c", program], folder)


def test_the_two_commands_are_single_lines_that_set_everything_up():
    for extra, last in (("", "train.py"), ("[test]", "-m pytest")):
        package = f"'.{extra}'" if extra else "."
        line = f"python3 -m venv .venv && .venv/bin/pip install -e {package} && .venv/bin/python {last}"
        assert f"    {line}\n" in README


def test_the_table_has_every_config_with_what_it_promises():
    for path in (ROOT / "configs").glob("*.py"):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, path
        row = re.search(rf"\| `{path.stem}` \|(.*)\|", README)
        assert row, f"{path.stem} is not in the table"
        figure = re.search(r"\d[\d.]+( ± [\d.]+)? (%|R²)", doc)
        assert figure and figure[0] in row[1], f"{path.stem}: {doc}"


def test_the_links_lead_to_files():
    paths = [path for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README) if not path.startswith("http")]
    assert len(paths) > 20 and [path for path in paths if not (ROOT / path).is_file()] == []
