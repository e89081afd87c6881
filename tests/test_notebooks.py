"""The notebooks run from their first cell to the last, and print what the pages show."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: pip install -e '.[docs]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[docs]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "notebooks"
PAGES = sorted(FOLDER.glob("*.md"))
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)?\.?\d+")
HOLDS = {  # a sentence of each notebook: the number in it, and its range
    "first_steps": (r"([\d.]+) of 359 test images are read correctly", 0.95, 1.0),
    "lecture": (r"([\d.]+)% of the test images are read correctly", 95.0, 100.0),
    "many_runs": (r"finite difference [-\d.]+, gradient ([-\d.]+)", -1.0, -0.6),
}


def shown(page: Path) -> list[tuple[str, str]]:
    """The code of each cell, with the text below it where the page shows what the cell prints."""
    text = page.read_text(encoding="utf-8")
    pairs = re.findall(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", text, re.DOTALL | re.MULTILINE)
    assert pairs, page
    return pairs


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def alike(found: str, expected: str) -> bool:
    """The same words, and numbers that differ by 2 % or by 2 of the last digit shown at most."""
    if NUMBER.sub("#", found).split() != NUMBER.sub("#", expected).split():
        return False
    for a, b in zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True):
        last_digit = 10.0 ** -len(b.partition(".")[2])
        a, b = (float(number.replace(",", "")) for number in (a, b))
        if not math.isclose(a, b, rel_tol=0.02, abs_tol=2 * last_digit if last_digit < 1 else 0):
            return False
    return True


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("loss 0.17", "loss 0.18", True),
        ("loss 0.17", "loss 0.20", False),
        ("loss 0.17", "loss  0.17\n", True),
        ("los 0.17", "loss 0.17", False),
        ("1,931 evaluations", "1,931 evaluations", True),
        ("1,830 evaluations", "1,931 evaluations", False),
        ("shape (8, 5)", "shape (8, 6)", False),
        ("slope -0.80", "slope 0.80", False),
        ("[ .1  0]", "[ .3  0]", True),
    ],
)
def test_what_counts_as_alike(found, expected, same):
    assert alike(found, expected) == same


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs_and_prints_what_its_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAXNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXNN_REPORT", raising=False)  # the page says what a run writes
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which shows pictures
    notebook = jupytext.read(page)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source.rstrip() for cell in cells] == [code.rstrip() for code, _ in shown(page)]
    (tmp_path / "there").mkdir()
    resources = {"metadata": {"path": str(tmp_path / "there")}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()

    for cell, (code, expected) in zip(cells, shown(page), strict=True):
        assert alike(printed(cell), expected), f"{code}\nprints\n{printed(cell)}\nand the page shows\n{expected}"
        makes_a_picture = "plt.subplots" in code or code.startswith("jaxnn.plot.")
        assert any("image/png" in output.get("data", {}) for output in cell.outputs) == makes_a_picture, code
    pattern, least, most = HOLDS[page.stem]
    found = re.search(pattern, "".join(map(printed, cells)))
    assert found and least <= float(found[1]) <= most


def test_each_notebook_has_a_number_to_hold():
    assert {page.stem for page in PAGES} == HOLDS.keys()
