"""The words of the command line: `data`, `configs`, `completion`, and what a terminal and a pipe are given."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import jaxnn
from jaxnn.commands import arguments, main, shown
from jaxnn.commands import predict as command
from jaxnn.errors import Error
from jaxnn.report import screen

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
PEOPLE = pd.DataFrame(
    {
        "age": np.r_[np.nan, np.arange(1.0, 40)],
        "colour": np.resize(["red", "blue", "red", "red"], 40),
        "kind": np.resize(["a", "b"], 40),
    }
)
PEOPLE.loc[7, "colour"] = None
ENV = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
TWICE = PEOPLE.index[[10, 10]]


def out(capsys: Any, word: str, *argv: object) -> str:
    """What a command prints into a pipe."""
    assert main.command(word)([*map(str, argv)]) == 0
    return capsys.readouterr().out


def refused(word: str, *argv: object) -> str:
    with pytest.raises(Error) as caught:
        main.command(word)([*map(str, argv)])
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    return str(caught.value)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    """To be made standard output: a terminal of 80 columns without colours."""
    monkeypatch.setenv("TERM", "dumb")
    return Terminal()


# ---- data ------------------------------------------------------------------------------------------------------------


def test_data_counts_classes_missing_cells_and_duplicates(tmp_path, capsys):
    frame = pd.concat([PEOPLE, PEOPLE.loc[TWICE]])
    frame.to_csv(tmp_path / "people.csv", index=False)
    printed = json.loads(out(capsys, "data", tmp_path / "people.csv"))
    assert printed["task"] == "binary" and sum(printed["examples"].values()) == 42
    parts = list(printed["examples"])
    for each in printed["classes"]:
        assert sum(each[part] for part in parts) == (frame["kind"] == each["class"]).sum()
    assert printed["missing"] == {"age": 1, "colour": 1}
    assert sum(printed["duplicates"].values()) in (2, 3)  # three rows are alike; 3 where each is in another part
    age, colour = printed["columns"]
    assert (age["column"], colour["column"], colour["categories"]) == ("age", "colour", 2)
    assert 1 <= age["least"] <= age["mean"] <= age["greatest"] <= 39
    assert "--data.nan" in refused("train", "--data.name", tmp_path / "people.csv")  # which a run is refused for


def test_data_from_standard_input_are_called_so(capsys, monkeypatch):
    text = PEOPLE.to_csv(index=False)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    printed = json.loads(out(capsys, "data", "-", "--data.nan", "drop"))
    assert printed["name"] == "standard input" and sum(printed["examples"].values()) == 38
    assert printed["notes"] == ["standard input: 2 of 40 rows left out, with a missing value"]


def test_data_are_those_that_a_run_has(capsys):
    for name, positive in (("iris", None), ("digits", "3"), ("digits_softmax", None), ("diabetes_regression", None)):
        printed = json.loads(out(capsys, "data", name, *["--data.positive", "3"][: 2 * bool(positive)]))
        loaded = jaxnn.data.load(printed["name"], positive=positive)
        assert printed["examples"] == {part: shape[0] for part, shape in loaded.shapes.items()}
        assert printed["x"]["shape"] == list(loaded.shape) and printed["x"]["range"] == loaded.range
        if loaded.classes:
            counts = [each["train"] for each in printed["classes"]]
            assert counts == np.bincount(loaded.train.y).tolist()
        else:
            y = np.concatenate([split.y for split in loaded.splits if split])
            assert printed["targets"][0]["mean"] == pytest.approx(y.mean(), rel=1e-6)


def test_data_of_masks_and_boxes_are_counted_by_pixel_and_box(tmp_path, capsys):
    x = np.zeros((10, 4, 6, 1), np.uint8)
    masks = np.resize([0, 1, 2, 255], (10, 4, 6)).astype(np.uint8)
    np.savez(tmp_path / "m.npz", x=x + np.arange(10, dtype=np.uint8)[:, None, None, None], y=masks)
    printed = json.loads(out(capsys, "data", tmp_path / "m.npz"))
    counts = [sum(each[part] for part in printed["examples"]) for each in printed["classes"]]
    assert counts == [60, 60, 60] and printed["task"] == "segmentation"
    boxes = np.tile(np.array([[1, 0, 0, 3, 2], [0, 1, 1, 4, 4], [-1, 0, 0, 0, 0]], np.float32), (10, 1, 1))
    np.savez(tmp_path / "b.npz", x=np.repeat(x, 2, 1) + np.arange(10, dtype=np.uint8)[:, None, None, None], y=boxes)
    printed = json.loads(out(capsys, "data", tmp_path / "b.npz"))
    assert [sum(each[part] for part in printed["examples"]) for each in printed["classes"]] == [10, 10]


def test_an_image_is_the_lectures_table_of_numbers(terminal):
    with redirect_stdout(terminal):
        assert main.command("data")(["digits", "--image", "3"]) == 0
    title, *lines = terminal.getvalue().splitlines()
    data = jaxnn.data.load("digits")
    assert title == f"image 3, {data.train.y[3]}"
    assert [[int(v) for v in line.split()] for line in lines] == data.train.x[3, ..., 0].tolist()


@pytest.mark.long
def test_the_contact_sheets_show_training_examples_before_and_after_augmentation(tmp_path, capsys):
    argv = ["digits", "--data.augment", "flip,cutout:4", "--seed", "1", "--output", tmp_path / "look"]
    out(capsys, "data", *argv)
    shown = {name: np.asarray(Image.open(tmp_path / "look" / f"{name}.png")) for name in ("images", "augmented")}
    data = jaxnn.data.load("digits")
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["augmented.png", "images.png"]
    for k in range(10):  # a row a class: its first example stands first
        first = data.train.x[np.flatnonzero(data.train.y == k)[0], ..., 0]
        cell = shown["images"][2 + 66 * k :, 2:][:64, :64]
        np.testing.assert_array_equal(cell, np.round(first / 16 * 255).astype(np.uint8).repeat(8, 0).repeat(8, 1))
    assert shown["augmented"].shape == shown["images"].shape and (shown["augmented"] != shown["images"]).mean() > 0.1
    assert "is there already" in refused("data", *argv)
    out(capsys, "data", *argv, "--force")


def test_labels_are_drawn_on_the_contact_sheet(tmp_path, capsys):
    boxes = np.tile(np.array([[0, 8, 8, 40, 40]], np.float32), (10, 1, 1))
    x = np.random.default_rng(0).integers(0, 9, (10, 64, 64, 1)).astype(np.uint8)
    np.savez(tmp_path / "b.npz", x=x, y=boxes)
    out(capsys, "data", tmp_path / "b.npz", "--output", tmp_path / "look")
    sheet = np.asarray(Image.open(tmp_path / "look" / "images.png"))
    assert (sheet[2 + 6 * 20, 2 + 6 * 8] == (255, 89, 89)).all()  # the left edge of the first box, six times as large
    np.savez(tmp_path / "m.npz", x=x, y=np.ones((10, 64, 64), np.uint8))
    out(capsys, "data", tmp_path / "m.npz", "--output", tmp_path / "masks")
    sheet = np.asarray(Image.open(tmp_path / "masks" / "images.png"))
    assert (abs(sheet[2:66, 2:66] - [64 + 4, 4, 4]) <= 4).all()  # half (128, 0, 0), half the dark image


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "data: needs DATA"),
        (["--data.nan", "drop"], "data: needs DATA"),
        (["digits_mpl"], "data=digits_mpl: unknown; did you mean digits_mlp? Choose from "),
        (["no.csv"], "--data.name=no.csv: no such file or folder"),
        (["digits", "--model.hidden", "3"], "--model.hidden: is no flag of data, which has --data.*"),
        (["digits", "--imge", "3"], "--imge: unknown flag; did you mean --image?"),
        (["digits", "--dta.augment", "flip"], "--dta.augment: unknown flag; did you mean --data.augment?"),
        (["digits", "--image", "-1"], "--image=-1: must be a whole number"),
        (["digits", "--image", "1294"], "--image=1294: must be in [0, 1294)"),
        (["digits", "--image"], "--image: needs a value"),
        (["digits", "--image", "1", "--image", "2"], "--image: given twice; keep one"),
        (["iris", "--image", "1"], "--image=1: the examples are no images"),
        (["iris", "--output", "there"], "--output=there: the examples are no images"),
        (["digits", "--output", "no/such/there"], "--output=no/such/there: no/such is no folder"),
        (["digits", "--data.name", "iris"], "--data.name: given twice; keep one"),
    ],
)
def test_what_data_refuses(argv, message):
    assert refused("data", *argv).startswith(message)


# ---- configs ---------------------------------------------------------------------------------------------------------


def test_configs_are_listed_printed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = list(csv.reader(io.StringIO(out(capsys, "configs"))))
    assert [name for name, _ in rows[1:]] == NAMES and rows[0] == ["config", "what"]
    text = (ROOT / "configs" / "iris_mlp.py").read_text()
    assert out(capsys, "configs", "iris-mlp") == text
    for argv, file in ((["--copy"], "iris_mlp.py"), (["--copy", "mine.py"], "mine.py"), (["--copy=my.py"], "my.py")):
        assert out(capsys, "configs", "iris_mlp", *argv) == "" and Path(file).read_text() == text
    parsed = [arguments.parse([name], ROOT / "configs").flags.run for name in ("mine.py", "iris_mlp")]
    assert parsed[0] == parsed[1]
    assert refused("configs", "iris_mlp", "--copy") == (
        "--copy=iris_mlp.py: is there already; name another file, or add --force to replace it"
    )
    Path("mine.py").write_text("")
    out(capsys, "configs", "iris_mlp", "--copy", "mine.py", "--force")
    assert Path("mine.py").read_text() == text


def test_a_terminal_lists_configs_without_jax_and_numpy():
    code = """
import io, sys
class Terminal(io.StringIO):
    isatty = lambda self: True
sys.stdout = Terminal()
from jaxnn.commands.main import command
assert command("configs")([]) == 0 and "iris_mlp" in sys.stdout.getvalue()
assert not {"jax", "numpy"} & sys.modules.keys()"""
    subprocess.run([sys.executable, "-c", code], env=ENV, check=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["iris_mpl"], "config=iris_mpl: unknown; did you mean iris_mlp? Choose from "),
        (["--copy"], "--copy: needs the config to copy"),
        (["iris_mlp", "x.py"], "x.py: configs takes one NAME"),
        (["iris_mlp", "--copy", "x.txt"], "--copy=x.txt: must end with .py"),
        (["iris_mlp", "--copi"], "--copi: unknown flag; did you mean --copy?"),
    ],
)
def test_what_configs_refuses(argv, message):
    assert refused("configs", *argv).startswith(message)


# ---- completion ------------------------------------------------------------------------------------------------------


def test_bash_completes_words_flags_and_configs(tmp_path, capsys):
    (tmp_path / "jaxnn.sh").write_text(out(capsys, "completion", "bash"))
    asked = {
        "jaxnn ev": {"evaluate"},
        "jaxnn train iris": {"iris_mlp"},
        "jaxnn configs mnist_": {name for name in NAMES if name.startswith("mnist_")},
        "jaxnn train iris_mlp --optim.": {flag for flag in arguments.FLAGS if flag.startswith("--optim.")},
        "jaxnn predict run --p": {"--partial", "--proba"},
        "jaxnn data iris --data.aug": {"--data.augment"},
        "jaxnn predict ru": set(),  # then bash itself completes names of files
    }
    lines = [f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}; _jaxnn; echo ${{COMPREPLY[@]}}" for line in asked]
    script = "\n".join(["source ./jaxnn.sh", *lines, "complete -p jaxnn"])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    *found, registered = done.stdout.split("\n")[:-1]
    assert done.stderr == "" and "-F _jaxnn jaxnn" in registered
    assert [set(line.split()) for line in found] == list(asked.values())


def test_each_shell_has_every_word_and_every_flag(capsys):
    scripts = {shell: out(capsys, "completion", shell) for shell in ("bash", "zsh", "fish")}
    for script in scripts.values():
        assert all(re.search(rf"\b{word}\b", script) for word in (*main.COMMANDS, *NAMES))
    for flag in arguments.FLAGS:
        assert flag in scripts["bash"] and f"-l {flag.removeprefix('--')}\n" in scripts["fish"]
    assert scripts["zsh"].endswith(scripts["bash"])
    assert refused("completion", "bsh").startswith("shell=bsh: unknown; did you mean bash?")
    assert refused("completion").startswith("completion: needs one shell, bash, zsh, fish")


def test_the_versions_are_those_that_a_run_keeps(run):
    command = [sys.executable, "-m", "jaxnn", "--version"]
    told = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True).stdout
    first, *rest, platform = told.splitlines()
    kept = json.loads((run / "config.json").read_text())["versions"]
    assert first == f"jaxnn {kept.pop('jaxnn')}" and platform
    assert dict(line.split(" ") for line in rest) == {name: kept[name] for name in kept.keys() - {"devices"}}


# ---- a terminal and a pipe -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run on iris, and beside it new.csv, of 150 flowers, and labelled.csv."""
    folder = tmp_path_factory.mktemp("words")
    handlers, printed = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}, io.StringIO()
    with redirect_stdout(printed):
        assert main.train(["iris_mlp", "--epochs", "2", "--devices", "1", "--workdir", str(folder / "run")]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    run = f"{folder}/run"
    told = f"predict  jaxnn predict {run} new.csv\nreport   jaxnn report {run}\nexport   jaxnn export {run} --to"
    assert told in printed.getvalue()
    data = jaxnn.data.load("iris", validation_fraction=0, test_fraction=0)
    frame = pd.DataFrame(data.train.x, columns=data.features)
    frame.to_csv(folder / "new.csv", index=False)
    frame.assign(species=np.array(data.classes)[data.train.y]).to_csv(folder / "labelled.csv", index=False)
    return folder / "run"


def test_predictions_are_a_table_on_a_terminal_and_csv_in_a_pipe(run, terminal):
    with redirect_stdout(terminal):
        assert command.predict([str(run), str(run.parent / "new.csv"), "--proba"]) == 0
    answers = jaxnn.load_run(run).predict(run.parent / "new.csv")
    lines = [line.split() for line in terminal.getvalue().splitlines() if line.strip(" ─━")]
    assert lines[0] == ["prediction", "P(setosa)", "P(versicolor)", "P(virginica)"]
    assert [line[0] for line in lines[1:]] == answers[: shown.ROWS].tolist()
    assert all(re.fullmatch(r"[01]\.\d{4}|\d\.\d+e-\d+", cell) for line in lines[1:] for cell in line[1:])


def test_rows_and_columns_that_a_terminal_has_no_room_for_are_told_of(terminal, capsys):
    with redirect_stdout(terminal), shown.predictions() as write:
        for _ in range(2):
            write({f"c{k}": np.full(80, k) for k in range(12)})
    lines = [line.split() for line in terminal.getvalue().splitlines() if line.strip(" ─━")]
    assert lines[0] == [f"c{k}" for k in range(8)] and len(lines) == 1 + shown.ROWS
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "note: 4 of 12 columns have no room here", "note: 60 more rows; --output FILE.csv has all 160",
    ]  # fmt: skip


def test_metrics_are_a_table_on_a_terminal_and_json_in_a_pipe(run, capsys, terminal):
    metrics = jaxnn.load_run(run).evaluate(run.parent / "labelled.csv")
    argv = [str(run), str(run.parent / "labelled.csv")]
    assert command.evaluate(argv) == 0
    assert json.loads(capsys.readouterr().out) == metrics
    with redirect_stdout(terminal):
        assert command.evaluate(argv) == 0
    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert ["accuracy", f"{metrics['accuracy']:.4f}"] in lines


def test_a_terminal_is_obeyed_by_no_name(terminal):
    with redirect_stdout(terminal):
        shown.table(["a\x1b[31m"], [["b\x1b[2J"], [None], [True]])
    assert "\x1b" not in terminal.getvalue() and r"b\x1b[2J" in terminal.getvalue()


def test_a_pipe_that_is_closed_early_is_no_error(run):
    line = f"cat new.csv | {sys.executable} -W error -m jaxnn predict run - | head -2"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=run.parent, env=ENV, capture_output=True)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 2), done.stderr


def test_a_real_terminal(run):
    """In a pseudo-terminal: a table, and the notes beside it."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "jaxnn", "evaluate", "run", "labelled.csv"]
    done = subprocess.run(command, cwd=run.parent, env=ENV, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    text = os.read(reader, 10_000).decode()
    os.close(reader)
    assert done.returncode == 0 and "accuracy" in text and "{" not in text, done.stderr


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--data.resize fil", "error: --data.resize=fil: unknown; did you mean fill? Choose from fill, fit, stretch"),
        ("--epochs twenty", "error: --epochs=twenty: must be "),
    ],
)
def test_a_wrong_value_is_one_line_in_a_terminal_too(flags, line):
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "jaxnn", "train", "iris_mlp", *flags.split()]
    done = subprocess.run(command, env=ENV, stdin=writer, stdout=writer, stderr=writer)
    os.close(writer)
    text = os.read(reader, 10_000).decode()
    os.close(reader)
    assert done.returncode == 2 and text.startswith(line) and text.count("\n") == 1 and "\x1b" not in text, text


# ---- the progress line -----------------------------------------------------------------------------------------------


def test_the_best_value_so_far_is_marked_on_a_terminal_alone():
    file = io.StringIO()
    console = screen.Screen(file=file, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    with screen.progress(console, 3, 3) as show:
        for step, (loss, accuracy) in enumerate(((0.5, 0.8), (0.6, 0.9)), 1):
            show({"step": step, "epoch": step, "train/loss": 0.1, "val/loss": loss, "val/accuracy": accuracy})
    last = [line for line in file.getvalue().split("\r") if "val/loss" in line][-1]
    assert "train/loss 0.1000  val/loss 0.6000  val/accuracy 0.9000 best" in last
    file = io.StringIO()
    with screen.progress(screen.Screen(file=file), 1, 1) as show:
        show({"step": 1, "epoch": 1, "val/loss": 0.5})
    assert "best" not in file.getvalue()
