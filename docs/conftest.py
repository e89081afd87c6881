"""The blocks of these pages are run: `python -m pytest docs`.

The blocks of a page are run in their order, in a temporary folder of the page's own, which has `train.py` and the
folders of a clone:

    ```python    in one namespace for the page; after `>>>` the output is compared, numbers to the digits shown
    ```bash      by bash, with the `python` and the `jaxnn` of this environment

Comments before a block: `<!-- mark: slow -->` and `<!-- mark: mnist -->` mark its test, `<!-- not run: REASON -->`
leaves the block out. Blocks in other languages are not run. tests/test_docs.py looks that no block is forgotten.
"""

import atexit
import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.doctest import NUMBER
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

# Sybil's own filter takes the second entry of the traceback, which an error without one (a warning) does not have.
SybilItem._traceback_filter = lambda self, excinfo: excinfo.traceback

ROOT = Path(__file__).parent.parent
collect_ignore = ["fenced.py", "figures.py"]
CLONE = ("train.py", "configs", "examples", "benchmarks")


def pytest_configure() -> None:
    """Keeps programs in a folder of these tests, which the workers of pytest-xdist inherit, and draws on no screen."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("MPLBACKEND", "agg")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # most of the time is compilation
    if "JAXNN_DOCS_CACHE" not in os.environ:
        os.environ["JAXNN_DOCS_CACHE"] = tempfile.mkdtemp(prefix="jaxnn-docs-")
        atexit.register(shutil.rmtree, os.environ["JAXNN_DOCS_CACHE"], ignore_errors=True)
    os.environ["JAXNN_CACHE"] = os.environ["JAXNN_DOCS_CACHE"]


class Block(NamedTuple):
    """A fenced block of a page: what its comments say, its language and text, and where it stands in the page."""

    comments: dict[str, str]
    language: str
    source: str
    start: int
    end: int


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    found = re.finditer(r"^((?:<!-- .* -->\n)*)```(\w*).*\n((?s:.*?))^```$", text, re.MULTILINE)
    said = lambda comments: dict(re.findall(r"<!-- (mark|not run): (.*?) -->", comments))
    return [Block(said(match[1]), match[2], match[3], match.start(), match.end()) for match in found]


def bash(example: Example) -> None:
    """Runs a block as a reader does; what it prints is shown where it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-e", "-o", "pipefail", "-c", str(example.parsed)]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout}{done.stderr}"


PARSERS = (
    PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | NUMBER),
    CodeBlockParser("bash", bash),
)


def runnable(document: Document) -> Iterator[Region]:
    """What is run of a page."""
    left_out = [block for block in blocks(document.text) if "not run" in block.comments]
    for parser in PARSERS:
        for region in parser(document):
            if not any(block.start <= region.start < block.end for block in left_out):
                yield region


def enter(namespace: dict[str, Any]) -> None:
    """Goes to a folder of the page's own."""
    namespace["__folder"] = folder = Path(tempfile.mkdtemp(prefix="jaxnn-page-"))
    for name in CLONE:
        (folder / name).symlink_to(ROOT / name)
    namespace["__back"] = os.getcwd()
    os.chdir(folder)


def leave(namespace: dict[str, Any]) -> None:
    """Comes back, closes the figures and removes the folder."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    os.chdir(namespace["__back"])
    shutil.rmtree(namespace["__folder"], ignore_errors=True)


pytest_collect_file = Sybil([runnable], pattern="*.md", setup=enter, teardown=leave).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each block the marks that the page has for it; what needs MNIST is skipped without it."""
    for item in items:
        if not isinstance(item, SybilItem):
            continue
        region, text = item.example.region, item.example.document.text
        marks = [block.comments.get("mark", "") for block in blocks(text) if block.start <= region.start < block.end]
        for mark in re.findall(r"\w+", " ".join(marks)):
            item.add_marker(mark)
            if mark == "mnist" and not os.environ.get("MNIST_DIR"):
                item.add_marker(pytest.mark.skip(reason="MNIST_DIR is not set: the folder of MNIST's four IDX files"))
