"""jaxnn compare, and the page of a sweep: what histories say, with no network looked at."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from test_report import EVIL, check

from jaxnn import Config
from jaxnn.commands import compare, report
from jaxnn.config.values import to_dict
from jaxnn.errors import InputError
from jaxnn.report.page import compare as compared


def run_in(folder: Path, losses: list[float | None], digest: str = "d" * 64, **settings: Any) -> Path:
    """The folder of a run with these validation losses."""
    folder.mkdir(parents=True)
    config = to_dict(Config(epochs=len(losses)) if "epochs" not in settings else Config())
    config |= settings
    about = {"format": 2, "config": config, "data": {"digest": digest}, "source": None, "own_model": False}
    (folder / "config.json").write_text(json.dumps(about))
    rows = [
        {"step": k, "epoch": float(k), "train/loss": 1.0, "val/loss": loss, "seconds": 1.0}
        for k, loss in enumerate(losses, 1)
    ]
    last = {"step": len(losses), "epoch": float(len(losses)), "test/loss": 0.5}
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, last]))
    return folder


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    one = run_in(tmp_path / "a" / "run", [3.0, 1.0, 2.0], seed=0)
    two = run_in(tmp_path / "b" / "run", [3.0, 2.0, 4.0], seed=1)
    return [one, two, run_in(tmp_path / EVIL.replace("/", "|"), [None, 5.0, 6.0], seed=0, batch_size=7)]


def test_a_pipe_gets_the_runs_as_csv(runs, capsys):
    assert compare.compare(list(map(str, runs))) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["run"] for row in rows][:2] == ["run", "b/run"]
    assert [row["val/loss"] for row in rows] == ["2.0", "4.0", "6.0"] and rows[0]["test/loss"] == "0.5"
    assert [(row["best val/loss"], row["at epoch"]) for row in rows] == [("1.0", "2.0"), ("2.0", "2.0"), ("5.0", "2.0")]
    assert [(row["seed"], row["batch_size"]) for row in rows] == [("0", "32"), ("1", "32"), ("0", "7")]
    assert set(rows[0]) & {"optim.lr", "name", "workdir", "report", "data.digest"} == set()


def test_means_are_of_runs_that_differ_in_their_seed_only(runs):
    names, rows = compared.repeated(compared.read(runs))
    (row,) = rows
    values = dict(zip(names, row, strict=True))
    assert values["mean ± std"] == "batch_size=32" and values["seeds"] == "2"
    assert values["val/loss"] == f"3.0000 ± {statistics.stdev([2, 4]):.4f}"
    assert compared.repeated(compared.read([runs[0], runs[0]]))[1] == []  # one seed twice
    assert compared.settings(compared.read(runs[:2])) == {"seed": ["0", "1"]}


def test_a_page_has_tables_and_curves_and_is_safe(runs, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert compare.compare([*map(str, runs), "--output", str(out)]) == 0
    found = check(out.read_text(encoding="utf-8"))
    assert found.tables["What differs"][0][0] == "setting" and found.tags.count("svg") == 1
    assert found.tables["Over seeds"][1][1] == "2"
    with pytest.raises(InputError, match="is there already"):
        compare.compare([*map(str, runs), "--output", str(out)])


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    for words, expected in (
        ([], "needs RUN and RUN"),
        ([str(runs[0])], "is one run; name another one, or the folder of a sweep"),
        ([str(runs[0]), str(tmp_path)], "is no run's folder"),
        ([str(runs[0]), "n" * 300], "is no run's folder"),
        ([str(runs[0]), str(runs[1]), "--output", "a.txt"], "--output=a.txt: must end with .html"),
    ):
        with pytest.raises(InputError, match=expected):
            compare.compare(words)


def test_data_that_differ_are_told_by_their_digest(runs, tmp_path):
    other = run_in(tmp_path / "c", [1.0], digest="e" * 64)
    assert compared.settings(compared.read([runs[0], other]))["data.digest"] == ["d" * 12, "e" * 12]


# ---- a sweep ----


def sweep_in(folder: Path, ending: str = "finished") -> Path:
    members = []
    for k, lr in enumerate([0.01, 0.1, 1.0]):
        for seed in (0, 1):
            name = f"{2 * k + seed}-lr={lr}-seed={seed}"
            run_in(folder / name, [1.0 + lr, lr + seed], seed=seed)
            row = {"step": 2, "val/loss": None if lr == 1.0 else lr + seed}
            values = {"optim.lr": lr, "seed": seed, "optim.name": EVIL}
            members.append({"folder": name, "values": values, "ending": ending, "row": row})
    about = {"format": 1, "halve": False, "members": members, "metric": "val/loss", "best": members[0]["folder"]}
    (folder / "sweep.json").write_text(json.dumps(about))
    return folder


def test_the_page_of_a_sweep_has_its_metric_over_what_was_swept(tmp_path, capsys):
    folder = sweep_in(tmp_path / "sweep")
    assert report.report([str(folder), "--pictures", "svg"]) == 0
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = check(text)
    assert found.tags.count("svg") == 2 and "val/loss over optim.lr, a dot for each run" in text
    table = found.tables["The runs"]
    assert table[0] == ["run", "optim.lr", "seed", "optim.name", "val/loss", ""] and len(table) == 7
    assert table[1][0] == "0-lr=0.01-seed=0 (best)" and table[1][4] == "0.01" and table[5][4] == "–"
    assert {path.name for path in folder.glob("report-*")} == {"report-swept.svg", "report-curves.svg"}
    assert compare.compare([str(folder)]) == 0  # all of its runs
    assert len(capsys.readouterr().out.splitlines()) == 1 + 7


def test_a_sweep_that_is_none_or_leads_elsewhere_is_refused(tmp_path):
    folder = sweep_in(tmp_path / "sweep")
    for text, expected in (("[]", "no sweep's list of runs"), ("{", "sweep.json"), ("\xff", "sweep.json")):
        (folder / "sweep.json").write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match=expected):
            report.report([str(folder)])
    member = {"folder": "../../etc", "values": {}}
    (folder / "sweep.json").write_text(json.dumps({"members": [member]}))
    with pytest.raises(InputError, match="no sweep's list of runs"):
        report.report([str(folder)])
