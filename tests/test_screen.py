"""What a person sees while a run goes."""

import io
import re

import pytest

from jaxnn.report import screen

ROW = {
    "step": 23, "epoch": 12.5, "train/loss": 0.2401, "train/accuracy": 0.9451, "lr": 0.1, "val/loss": 0.2316,
    "val/accuracy": 0.9583, "examples_per_s": 247_878.0,
}  # fmt: skip


def drawn(width: int, row: dict) -> list[str]:
    """The lines that a terminal of this width shows, one over the other."""
    out = io.StringIO()
    console = screen.Screen(file=out, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    with screen.progress(console, 46, 25) as show:
        show(row | {"step": 10, "epoch": 5})
        show(row)
    return [line for line in re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "\n", out.getvalue()).splitlines() if line.strip()]


@pytest.mark.parametrize(("width", "least"), [(60, 1), (80, 2), (100, 3), (160, 5)])
def test_the_progress_line_fits_its_terminal(width, least):
    """The bar, the epoch, the time left, and as many metrics as have room, none of them cut off."""
    lines = drawn(width, ROW)
    assert all(len(line) <= width for line in lines)
    match = re.fullmatch(r"epoch 12\.5/25 +[━╸╺ ]{16} (-:--:--|\d:\d\d:\d\d) ?(.*)", lines[-1].rstrip())
    assert match, lines[-1]
    shown = match[2].strip().split("  ")
    assert shown == screen.metrics(ROW)[: len(shown)] and len(shown) == least


def test_a_row_without_metrics_is_drawn_too():
    assert "epoch 1/25" in drawn(60, {"step": 1, "epoch": 1})[-1]


def test_a_pipe_gets_a_whole_line_a_row():
    out = io.StringIO()
    with screen.progress(screen.Screen(file=out, width=40), 46, 25) as show:
        show(ROW)
    assert out.getvalue().count("\n") == 1 and all(part in out.getvalue() for part in screen.metrics(ROW))
