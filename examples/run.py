"""A run of `train.py` as a terminal shows it, and three figures of its report.

python examples/run.py pictures
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import drawing
import numpy as np
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure

import jaxnn

COMMAND = "python train.py digits_mlp --workdir runs/digits"


def screen(printed: str) -> list[str]:
    """The lines that stay on the terminal, without the times."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", lambda code: "\r" if code[0].endswith("K") else "", printed)
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in plain.split("\n")]
    return [re.sub(r", [\d.]+ s$", "", line) for line in lines if line and "examples/s" not in line]


def printed(command: list[str]) -> str:
    """What a command writes to a terminal of 112 columns."""
    ours, its = pty.openpty()
    environment = {
        **os.environ,
        "COLUMNS": "112",
        "TERM": "xterm-256color",
        "JAX_PLATFORMS": "cpu",
        "JAXNN_REPORT": "html",
    }
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment):
        os.close(its)
        parts = []
        with contextlib.suppress(OSError):  # Linux tells so that the other end was closed
            while part := os.read(ours, 65536):
                parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


def data() -> dict[str, Any]:
    """What digits_mlp prints, its losses, how often each class was answered as each, and the mistakes."""
    train = Path(jaxnn.__file__).parent.parent / "train.py"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shown = screen(printed([sys.executable, str(train), *COMMAND.split()[2:], "--devices", "1"]))
        run = jaxnn.load_run("runs/digits")
        rows = [json.loads(line) for line in Path("runs/digits/history.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "train/loss" in row]
    test = jaxnn.data.load("digits").test
    assert test is not None
    answers = np.asarray(run.predict(test.x)).astype(int)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (test.y, answers), 1)
    wrong = np.flatnonzero(answers != test.y)
    return {
        "screen": shown,
        "accuracy": float(np.mean(answers == test.y)),
        **{name: [row[name] for row in rows] for name in ("epoch", "train/loss", "val/loss")},
        "confusion": confusion,
        "mistakes": test.x[wrong, ..., 0],
        "labels": test.y[wrong],
        "answers": answers[wrong],
    }


def draw(data: dict[str, Any]) -> Figure:
    picture = Figure(figsize=(10, 5.1), layout="constrained")
    parts: Any = picture.subfigures(2, 1, height_ratios=(0.72, 1))
    above, below = parts
    terminal = above.subplots()
    terminal.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), facecolor="#15181c")
    lines = [f"$ {COMMAND}", *map(str, data["screen"])]
    for number, line in enumerate(lines):
        color = "#8ec07c" if "━━━" in line and "epoch" in line else "white" if line.startswith("$") else "#c8ccd0"
        y = 1 - (number + 0.9) / (len(lines) + 0.8)
        terminal.text(0.015, y, line.replace("$", r"\$"), family="monospace", fontsize=8.5, color=color, va="center")
    loss, confusion, *mistakes = below.subplot_mosaic(
        [["loss", "confusion", 0, 1, 2], ["loss", "confusion", 3, 4, 5], ["loss", "confusion", 6, 7, 8]],
        width_ratios=(3.2, 3, 1, 1, 1),
    ).values()
    loss.semilogy(data["epoch"], data["train/loss"], color=BLUE, label="train")
    loss.semilogy(data["epoch"], data["val/loss"], color=VERMILION, ls="--", label="val")
    loss.set(title="loss", xlabel="epoch")
    loss.spines[["top", "right"]].set_visible(False)
    loss.legend(frameon=False)
    counts = np.asarray(data["confusion"])
    confusion.imshow(counts, cmap="Blues", vmax=1.6 * counts.max())
    for i, j in zip(*np.nonzero(counts), strict=True):
        confusion.text(j, i, counts[i, j], ha="center", va="center", fontsize=7)
    confusion.set(title=f"{data['accuracy']:.1%} of {counts.sum()} test images", xlabel="answer", ylabel="truth")
    confusion.set(xticks=range(10), yticks=range(10))
    for axes, image, label, answer in zip(mistakes, data["mistakes"], data["labels"], data["answers"], strict=False):
        axes.imshow(image, cmap="gray")
        axes.set_title(f"{label}, answered {answer}", fontsize=7)
    for axes in mistakes:
        axes.axis("off")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
