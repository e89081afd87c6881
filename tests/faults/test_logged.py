"""A run that is killed and resumed logs each row once, and no row before the checkpoint that it is safe with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import Runs, history, kill, until

OWN = """
import json
from pathlib import Path

class Lines:
    def __init__(self, folder, config, name, step):
        self.folder, self.file = folder, open(folder / "seen.jsonl", "a", buffering=1)

    def log(self, step, scalars):
        newest = max(int(path.name) for path in (self.folder / "checkpoints").iterdir() if path.name.isdigit())
        self.file.write(json.dumps([step, newest, sorted(scalars)]) + "\\n")

    def close(self):
        self.file.close()
"""


@pytest.fixture(scope="module")
def resumed(runs: Runs) -> Path:
    """The folder of a run with rows and checkpoints at different steps, killed amid and resumed."""
    (runs.base / "lines.py").write_text(OWN)
    folder, argv = runs.base / "logged", ("--log", "tensorboard,lines:Lines")
    rows = folder / "history.jsonl"
    process = runs.start(folder, *argv)
    assert until(process, lambda: rows.exists() and rows.read_text().count("\n") >= 7)
    kill(process)
    assert not (folder / "weights.safetensors").exists()
    code, _, err = runs.run(folder, *argv)
    assert (code, err) == (0, "")
    return folder


def test_l01_tensorboards_reader_finds_every_scalar_once(resumed):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(resumed / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    places = [(tag, event.step) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)]
    rows = [json.loads(line) for line in (resumed / "history.jsonl").read_text().splitlines()]
    expected = {(name, row["step"]): row[name] for row in rows for name in row if name != "step"}
    assert sorted(places) == sorted(expected) and len(places) > 100
    for tag in found.Tags()["scalars"]:
        for event in found.Scalars(tag):
            assert event.value == pytest.approx(expected[tag, event.step], rel=1e-6)
    assert len(list((resumed / "tensorboard").iterdir())) == 2


def test_l02_a_function_of_ones_own_is_given_each_row_once_after_its_checkpoint(resumed):
    seen = [json.loads(line) for line in (resumed / "seen.jsonl").read_text().splitlines()]
    rows = [(row["step"], "val/loss" in row) for row in history(resumed)]
    given = [(step, "val/loss" in names) for step, _, names in seen]
    assert len(set(given)) == len(given) and all(step <= newest for step, newest, _ in seen)
    # A kill within the moment in which rows are given may leave them out: at most those of one checkpoint.
    assert set(given) <= set(rows) and len(set(rows) - set(given)) <= 2
