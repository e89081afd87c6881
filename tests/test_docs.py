"""The documentation is whole: every block is run, both builders take it, and nothing in the pages is missing or remote.

The blocks themselves are run by `python -m pytest docs`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import faults
from sybil import Document

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RUN = {"python", "bash"}
SHOWN = {"text"}  # output, messages and trees of files
OTHER = {"slurm", "yaml"}  # files that are no commands of a page: a script for sbatch, a JobSet of Kubernetes

spec = importlib.util.spec_from_file_location("docs_conftest", ROOT / "docs" / "conftest.py")
assert spec and spec.loader
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_every_block_is_run_or_says_why_not(path):
    """Each fence is a block that is found, of a language that is run, or output; and what is run has a test."""
    text = path.read_text(encoding="utf-8")
    found = pages.blocks(text)
    assert 2 * len(found) == len(re.findall(r"^ *(```|~~~)", text, re.MULTILINE)), "a fence is indented, or not closed"
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"\n\n( {4}|\t)(?![ *-])", prose), "an indented block: nothing runs it; fence it"
    starts = [region.start for region in pages.runnable(Document(text, str(path)))]
    for block in found:
        assert block.language in RUN | SHOWN | OTHER, f"{block.language or 'no language'}: {block.source}"
        tested = any(block.start <= start < block.end for start in starts)
        assert tested == (block.language in RUN and "not run" not in block.comments), block.source


def test_nobody_is_told_to_install_the_package_of_another_project():
    for path in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        assert not re.search(r"(pip3?|uv|pipx)( add| install)( -\S+)* '?jaxnn\b", path.read_text(encoding="utf-8")), (
            path
        )


def build(builder: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds `folder/site` as CONTRIBUTING.md says."""
    if importlib.util.find_spec(builder) is None:
        pytest.skip(f"{builder} is not installed; it is in the extra docs")
    flags = ["build", "--strict", "--clean"] if builder == "zensical" else ["build", "--strict"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ""}
    return subprocess.run([sys.executable, "-m", builder, *flags], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.long
@pytest.mark.parametrize("builder", ["zensical", "mkdocs"])
def test_the_pages_are_built_strictly_and_nothing_is_missing(builder, tmp_path):
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "jaxnn", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)  # zensical builds beside the file that a link leads to
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    done = build(builder, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert faults(tmp_path / "site") == []
    built = {path.relative_to(tmp_path / "site").with_suffix(".md") for path in (tmp_path / "site").rglob("*.html")}
    assert {path.relative_to(ROOT / "docs") for path in PAGES} == built - {Path("404.md")}
    assert not list((tmp_path / "site").rglob("*.py"))
    formula = (tmp_path / "site" / "lecture" / "models.html").read_text(encoding="utf-8")
    assert "<math" in formula and "<merror" not in formula


PLANTED = {  # what is added to a page, and the fault that is told
    "an image": ("![a picture](figures/none.svg)", r"index.html: .*figures/none.svg is missing"),
    "a CDN": (
        '<script src="https://cdn.jsdelivr.net/npm/mathjax"></script>',
        r"index.html: loads https://cdn.jsdelivr",
    ),
    "a font": ("<style>@import 'https://fonts.example.org/a.css'</style>", r"index.html: loads https://fonts.example"),
    "an anchor": ("[there](second.md#nowhere)", r"index.html: second.html#nowhere has no such anchor"),
    "a link": ("[there](third.html)", r"index.html: third.html leads nowhere"),
    "an orphan": ("", r"lonely.html: no page leads there"),
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.long
def test_a_planted_fault_is_found(planted, tmp_path):
    """In a site of two pages with the settings of the real one, but not strict."""
    text, told = PLANTED[planted]
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0].replace("strict: true", "")
    (tmp_path / "mkdocs.yml").write_text(settings + "\nnav:\n  - index.md\n  - second.md\n", encoding="utf-8")
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "assets" / "extra.css", tmp_path / "docs" / "assets")
    (tmp_path / "docs" / "index.md").write_text(f"# One\n\n[two](second.md#two) {text}\n", encoding="utf-8")
    (tmp_path / "docs" / "second.md").write_text("# Two\n", encoding="utf-8")
    if planted == "an orphan":
        (tmp_path / "docs" / "lonely.md").write_text("# Three\n", encoding="utf-8")
    build("zensical", tmp_path)
    found = faults(tmp_path / "site")
    assert len(found) == 1 and re.fullmatch(told + ".*", found[0]), found
