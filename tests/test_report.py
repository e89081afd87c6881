"""report.html: one file that is safe and whole, of every kind of run, and what goes wrong with it costs no result."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics
from test_train import here

import jaxnn
from jaxnn import data
from jaxnn.commands import report
from jaxnn.errors import InputError, StorageError
from jaxnn.report import reported
from jaxnn.report.page import amounts, drawing, images
from jaxnn.report.page import html as pages
from jaxnn.report.page import run as of_run
from jaxnn.report.page.answers import Answers, answered, question
from jaxnn.store import identity

EVIL = "<script>alert(1)</script>"


class Texts(html.parser.HTMLParser):
    """The tables of a page as texts, by the heading before them, and its tags."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.heading, self.cell, self.inside = "", False, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in ("h2", "h3"):
            self.heading, self.inside = "", True
        if tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        if tag in ("td", "th"):
            self.tables[self.heading][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("h2", "h3")
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.heading += data
        if self.cell:
            self.tables[self.heading][-1][-1] += data


def check(text: str) -> Texts:
    """The page, once all has been looked at that holds for every page."""
    html5lib.HTMLParser(strict=True).parse(text)
    without = re.sub(r'src="data:image/(png|jpeg);base64,[A-Za-z0-9+/=]*"', "src", text)
    assert not re.search(
        r"(?i)<(script|link|iframe|object|embed|base)\b|\son\w+=|javascript:|//|@import|url\((?!#)", without
    )
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert "could not be looked at" not in text and "Traceback" not in text
    found = Texts(text)
    assert re.findall("<svg[^>]*>", text) == re.findall('<svg role="img" aria-label="[^"]+" viewBox="[^"]*">', text)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A run with its report."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    assert here("digits_mlp", "--epochs", 3, "--report", "html", "--workdir", folder) == 0
    return folder


def page_of(folder: Path, *flags: object) -> str:
    assert report.report([str(folder), *map(str, flags)]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_of_digits_is_small_and_says_what_scikit_learn_says(digits):
    text = (digits / "report.html").read_text(encoding="utf-8")
    found = check(text)
    assert len(text) <= 400_000
    run, test = jaxnn.load_run(digits), data.load("digits").test
    assert test is not None
    answers = run.predict(test.x)
    matrix = [[int(cell or 0) for cell in row[1:]] for row in found.tables["Confusion matrix"][1:]]
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(test.y, answers))
    scores: Any = metrics.precision_recall_fscore_support(test.y, answers)
    rows = found.tables["Precision and recall by class"][1:]
    assert [row[1] for row in rows] == [pages.percent(share) for share in scores[0]]
    assert [row[2] for row in rows] == [pages.percent(share) for share in scores[1]]
    wrong = np.flatnonzero(answers != test.y)
    sure = run.predict_proba(test.x).max(1)
    first = wrong[np.argmax(sure[wrong])]
    shown = re.findall(r"row (\d+)<br>", text)
    assert shown[0] == str(first) and {int(row) for row in shown} <= set(wrong.tolist())
    assert f"{len(wrong)} of {len(test.y)}" in text and pages.percent(1 - len(wrong) / len(test.y)) in text
    assert "First-layer weights" in text and f"jaxnn predict {digits}" in text


def test_sections_come_in_their_order(digits):
    headings = re.findall(r"<h2>(.*?)</h2>", (digits / "report.html").read_text(encoding="utf-8"))
    assert headings == [
        "Learning curves", "Confusion matrix", "Most confident mistakes", "Precision and recall by class",
        "Calibration", "First-layer weights", "Where the time went", "Use it",
    ]  # fmt: skip


def test_the_command_writes_the_bytes_that_the_run_wrote(digits, capsys):
    before = (digits / "report.html").read_text(encoding="utf-8")
    assert page_of(digits) == before and capsys.readouterr().out == f"{digits / 'report.html'}\n"


def test_off_is_no_other_run_and_writes_nothing(digits, tmp_path):
    assert here("digits_mlp", "--epochs", 3, "--report", "off", "--workdir", tmp_path / "run") == 0
    assert not (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (digits / "weights.safetensors").read_bytes()
    on, off = (json.loads((folder / "config.json").read_text()) for folder in (digits, tmp_path / "run"))
    assert off["config"]["report"] == "off"  # and so it is replayed
    assert identity.check_same(digits, on, off, step=9, per_epoch=41) == [] and identity.takes_the_same_steps(on, off)


def test_what_fails_is_a_warning(digits, tmp_path, capsys):
    """Of the library that draws, and of a folder that cannot be written."""
    failed: Future[Any] = Future()
    failed.set_exception(RuntimeError("no letters left"))
    run: Any = jaxnn.load_run(digits)
    trained = (run.config, run.data, jaxnn.Recipe(run.model, run.task, None), run.params, {})  # pyright: ignore[reportArgumentType]
    reported.end(failed, digits, *trained)
    told = capsys.readouterr().err
    assert told.startswith("warning: report.html: could not be made (RuntimeError: no letters left); try jaxnn report")
    folder, ready = copied(digits, tmp_path / "run"), Future[Any]()
    (folder / "report.html").mkdir()  # root may write anywhere, but no file over a folder
    ready.set_result(None)
    reported.end(ready, folder, *trained)
    assert "could not be made (StorageError: " in capsys.readouterr().err
    with pytest.raises(StorageError, match="report.html: cannot be written"):
        report.report([str(folder)])


def test_a_process_that_draws_and_has_ended_is_a_warning(digits, tmp_path, capsys, monkeypatch):
    run: Any = jaxnn.load_run(digits)
    folder, ready = copied(digits, tmp_path / "run"), Future[Any]()
    ready.set_result(None)
    trained = (run.config, run.data, jaxnn.Recipe(run.model, run.task, None), run.params, {})  # pyright: ignore[reportArgumentType]
    with drawing.beside() as drawn:
        assert drawn
        with pytest.raises(RuntimeError, match="TemplateNotFound"):
            drawn.page("none.html", [])
        drawn.connection.close()
        reported.end(ready, folder, *trained, drawn)
    assert "could not be made (RuntimeError: the process that draws has ended); try" in capsys.readouterr().err
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with drawing.beside() as none:
        assert none is None


def test_a_process_that_draws_ends_with_its_run_however_that_ends():
    code = "import time\nfrom jaxnn.report.page import drawing\n"
    code += "with drawing.beside():\n    print(1, flush=True)\n    time.sleep(60)"
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert run.stdout and run.stdout.readline() == b"1\n"
    run.kill()
    run.communicate(timeout=50)  # until nobody is left who has standard output


def test_names_of_a_table_are_text_and_rows_have_their_numbers(digits, tmp_path):
    folder, run = copied(digits, tmp_path / "<b>run's"), jaxnn.load_run(digits)
    config = json.loads((folder / "config.json").read_text())
    names = [EVIL, "日本 $\\frac$ & \"'", "x" * 200, "a\x1b[31m\nb", *map(str, range(6))]
    config["data"] |= {"classes": names, "features": ["<i>f</i>", "$g"], "shape": [2], "name": EVIL}
    (folder / "config.json").write_text(json.dumps(config))
    y, answers = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 3])
    proba = np.full((4, 10), 0.01, np.float32)
    proba[np.arange(4), answers] = [0.5, 0.9, 0.7, 0.91]
    text = made(run, folder, found_of(y, proba, answers)._replace(rows=np.array([10, 20, 30, 40])))
    found = check(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "x" * 200 in text and "a\\x1b[31m\\nb" in text
    head, *rows = found.tables["Most confident mistakes"]
    assert head == ["row", "truth", "answer", "probability", "values"]
    assert [row[0] for row in rows] == ["20", "30", "10"] and rows[0][4] == "<i>f</i> 0; $g 0"


def test_one_test_row_one_row_of_history_and_no_validation(digits, tmp_path):
    folder, run = copied(digits, tmp_path / "run"), jaxnn.load_run(digits)
    first = json.loads((folder / "history.jsonl").read_text().splitlines()[0])
    first = {name: value for name, value in first.items() if not name.startswith("val/")}
    (folder / "history.jsonl").write_text(json.dumps(first) + "\n")
    proba = np.full((1, 10), 0.1, np.float32)
    text = made(run, folder, found_of(np.array([3]), proba, np.array([4])))
    check(text)
    assert "1 of 1" in text and "by the training examples" in text


# ---- runs that are not whole ----


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("checkpoints", "report.html"))
    return to


def test_an_unfinished_run_has_a_page_of_its_history(digits, tmp_path):
    run = copied(digits, tmp_path / "run")
    (run / "weights.safetensors").unlink()
    lines = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join([*lines[:2], '{"step": 3, "epo']))
    text = page_of(run)
    check(text)
    assert "has not come to its end" in text and "Confusion matrix" not in text and text.count("<svg") == 3
    (run / "history.jsonl").write_text("")
    assert "The history has no rows yet" in page_of(run)


def test_null_losses_and_other_data_are_said_and_the_rest_is_there(digits, tmp_path):
    run = copied(digits, tmp_path / "run")
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for row in rows:
        row.update({name: None for name in row if name.endswith(("/loss", "/accuracy"))})
    (run / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = json.loads((run / "config.json").read_text())
    config["data"]["digest"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config))
    text = page_of(run)
    check(text)
    assert "The data are not those that the run had" in text and "First-layer weights" in text and "–" in text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["nowhere"], "folder=nowhere: is no run's folder"),
        ([], "report: needs one RUN"),
        (["{run}", "--output", "page.txt"], "--output=page.txt: must end with .html"),
        (["{run}", "--output", "there.html"], "--output=there.html: is there already"),
        (["{run}", "--pictures", "gif"], "--pictures=gif: unknown; did you mean"),
        (["{run}", "--config", "no.py"], "--config=no.py: the run brought nothing of its own"),
    ],
)
def test_what_cannot_be_reported_is_refused(digits, flags, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there.html").write_text("mine")
    with pytest.raises(InputError) as refused:
        report.report([flag.format(run=digits) for flag in flags])
    assert expected.partition(" did")[0] in str(refused.value) and Path("there.html").read_text() == "mine"


@pytest.mark.long
def test_pictures_are_files_beside_the_page(digits, tmp_path):
    assert report.report([str(digits), "--output", str(tmp_path / "page.html"), "--pictures", "png"]) == 0
    names = ["page-accuracy.png", "page-calibration.png", "page-loss.png", "page-lr.png", "page.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / "page-loss.png") as picture:
        assert picture.size == (630, 420)
    (tmp_path / "page.html").unlink()
    with pytest.raises(InputError, match="page-loss.png is there already; add --force"):
        report.report([str(digits), "--output", str(tmp_path / "page.html"), "--pictures", "png"])
    assert not (tmp_path / "page.html").exists()


# ---- other labels ----


def found_of(y: np.ndarray, outputs: np.ndarray, answers: np.ndarray, total: int | None = None) -> Answers:
    rows = np.arange(len(y))
    x = np.zeros((len(y), 2), np.float32)
    return Answers("test", total or len(y), rows, x, y, outputs, answers, False)


def made(run: Any, folder: Path, found: Answers) -> str:
    return of_run.made(folder, run, lambda: found).text


def test_a_thousand_classes_are_a_list_of_those_that_went_wrong(digits):
    run = jaxnn.load_run(digits)
    names = [f"class {k} {'z' * 200}" for k in range(1000)]
    rng = np.random.default_rng(0)
    y = rng.integers(0, 1000, 3000)
    answers = np.where(rng.uniform(size=3000) < 0.9, y, (y + 1) % 1000)
    proba = np.full((3000, 1000), 1e-4, np.float32)
    proba[np.arange(3000), answers] = 0.9
    run = run._replace(task=jaxnn.multiclass(1000))
    values = of_run._answered(run.config, run.task, run.data | {"classes": names}, found_of(y, proba, answers))
    assert values["matrix"] is None and len(values["pairs"]) == 40 and len(values["by_class"]) == 40
    often = metrics.confusion_matrix(y, answers)
    np.fill_diagonal(often, 0)
    assert values["pairs"][0][2] == often.max()


def test_several_labels_have_no_matrix(digits):
    task, rng = jaxnn.multilabel(3), np.random.default_rng(0)
    y, p = rng.integers(0, 2, (50, 3)), rng.uniform(size=(50, 3)).astype(np.float32)
    known = {"classes": None, "targets": ["a", "b", EVIL], "scale": None}
    values = of_run._answered(jaxnn.Config(), task, known, found_of(y, p, p > 0.5))
    expected = metrics.precision_recall_fscore_support(y, p > 0.5)
    np.testing.assert_allclose([row[1:3] for row in values["by_class"]], np.stack(expected[:2], 1))
    assert values["tiles"][0][1] == pages.percent(metrics.accuracy_score(y, p > 0.5))


def test_amounts_have_the_r2_of_scikit_learn_and_an_interval_around_it():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 2)) * [1, 100] + 1000
    answers = y + rng.normal(size=(200, 2)) * [0.5, 30]
    values = amounts.of({"targets": ["a", "b"], "scale": None}, found_of(y, answers, answers), (0.5,))
    (_, r2, interval), (_, mae, _), _ = values["tiles"]
    assert r2 == f"{metrics.r2_score(y, answers):.4g}" and mae == f"{metrics.mean_absolute_error(y, answers):.4g}"
    low, high = (float(number) for number in re.findall(r"0\.\d+", interval))
    assert low < float(r2) < high < low + 0.2
    quantiles = np.stack([answers - 1, answers, answers + 1], -1)
    wide = amounts.of({"targets": ["a", "b"], "scale": None}, found_of(y, quantiles, quantiles), (0.1, 0.5, 0.9))
    assert wide["tiles"] == values["tiles"]


@pytest.mark.long
def test_a_regression_has_its_scatter_and_says_that_it_was_sampled(digits):
    run, y = jaxnn.load_run(digits), np.linspace(0, 1, 40)
    text = made(run._replace(task=jaxnn.regression()), digits, found_of(y, y**2, y**2, total=999))
    check(text)
    assert "Predicted against true" in text and "Farthest off" in text and "of 40 of 999 test examples" in text


def test_a_task_of_ones_own_that_fails_here_leaves_all_else(digits):
    text = of_run.made(digits, jaxnn.load_run(digits), lambda: 1 / 0).text  # pyright: ignore[reportArgumentType]
    html5lib.HTMLParser(strict=True).parse(text)
    assert "could not be looked at (ZeroDivisionError: division by zero)" in text and "First-layer weights" in text


def test_images_that_are_bytes_are_not_black():
    """Bytes that are multiplied as bytes overflow."""
    x = np.random.default_rng(0).integers(200, 256, (2, 40, 50, 3)).astype(np.uint8)
    found = found_of(np.zeros(2), np.zeros(2), np.zeros(2))._replace(x=x)
    for each in images.examples(found, [0, 1], {"scale": None}, [("a", "b", 0.5)] * 2):
        shown = Image.open(io.BytesIO(base64.b64decode(each["image"].removeprefix("data:image/jpeg;base64,"))))
        assert shown.size == (50, 40) and np.asarray(shown).mean() > 200


def test_weights_are_blue_below_0_white_at_0_and_red_above():
    sheet, _ = images.filters({"dense_0": {"w": np.array([[4.0, -4.0, 0.0, 2.0]])}}, (2, 2, 1)) or ("", "")
    content = base64.b64decode(sheet.removeprefix("data:image/png;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(content)))[[10, 10, 50, 50], [10, 50, 10, 50]]
    assert pixels.tolist() == [[213, 94, 0], [0, 114, 178], [255, 255, 255], [234, 174, 128]]


@pytest.mark.parametrize(
    ("path", "shape", "image"),
    [
        ("dense_0/w", (5, 48), (4, 4, 3)), ("Dense_0/kernel", (48, 5), (4, 4, 3)),
        ("conv_0/w", (3, 3, 1, 5), (4, 4, 1)), ("maxout_0/w", (5, 2, 16), (4, 4, 1)),
    ],
)  # fmt: skip
def test_the_weights_of_the_first_layer_are_found(path, shape, image):
    layer, leaf = path.split("/")
    params = {layer: {leaf: np.random.default_rng(0).normal(size=shape)}, "z": {"w": np.zeros((3, 5))}}
    sheet, name = images.filters(params, image) or ("", "")
    assert name == path and sheet.startswith("data:image/png;base64,")
    assert images.filters(params, (48,)) is None and images.filters({"z": params["z"]}, image) is None


def test_the_question_is_answered_as_the_run_answers(digits):
    run, parts = jaxnn.load_run(digits), data.load("digits").parts
    asked = question(run.model, run.task, run.params, parts)
    assert asked is not None
    found = answered(asked, run.task, run.params, parts)
    np.testing.assert_array_equal(found.answers, run.predict(parts["test"].x))


# ---- notebooks, and a browser ----


def test_a_run_shows_itself_in_a_notebook(digits):
    run: Any = jaxnn.load_run(digits)
    card = run._repr_html_()
    html5lib.HTMLParser(strict=True).parseFragment(card)
    assert "digits_mlp" in card and "test/accuracy" in card and "<svg role" in card
    assert "<svg" not in run._replace(folder=None)._repr_html_()
    assert len(jaxnn.plot.history(run).axes) == 3
    assert len(jaxnn.plot.history([digits, run]).axes) == 2


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_a_browser_draws_it_light_and_dark_and_nothing_sticks_out_on_a_phone(digits, tmp_path):
    frame = tmp_path / "phone.html"
    page = digits / "report.html"
    frame.write_text(f'<body style="margin:0"><iframe src="{page}" width="390" height="3000" style="border:0">')
    means = []
    for scheme in (1, 0):  # light, dark
        out = tmp_path / f"{scheme}.png"
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={out}"]
        command += ["--window-size=600,3000", f"--blink-settings=preferredColorScheme={scheme}", frame.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=os.environ | {"HOME": str(tmp_path)})
        pixels = np.asarray(Image.open(out).convert("L"), float)[:, :390]
        means.append(pixels[:, :8].mean())  # the margin
        assert pixels.std() > 20 and pixels[:, -3:].std() < 1  # something is drawn, and nothing over the right edge
    assert means[0] > 230 and means[1] < 60
