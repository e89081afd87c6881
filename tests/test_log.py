"""`--log`: what the loggers of a run are given, and what becomes of one that fails."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from jaxnn.commands import arguments, main
from jaxnn.errors import Error
from jaxnn.report import log

ROOT = Path(__file__).parent.parent
IRIS = ["iris_mlp", "--epochs", "3", "--eval-every", "1epoch", "--devices", "1"]
CONFIG = arguments.parse(IRIS, ROOT / "configs").flags.run
OWN = """
import json

class Lines:
    def __init__(self, folder, config, name, step):
        self.file = open(folder / "seen.jsonl", "a", buffering=1)
        self.file.write(json.dumps(["open", name, config.epochs, step]) + "\\n")

    def log(self, step, scalars):
        self.file.write(json.dumps([step, scalars]) + "\\n")

    def close(self):
        self.file.close()

class Failing:
    def __init__(self, *given):
        pass

    def log(self, step, scalars):
        raise ConnectionError("the server is gone\\nand so on")

    close = log = log

def late(*given):
    raise TimeoutError("no answer")

def nothing(*given):
    return None

number = 3
"""


def train(*argv: Any) -> int:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return main.train([str(word) for word in argv])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def scalars(folder: Path) -> dict[tuple[str, int], list[float]]:
    """Every scalar that TensorBoard's own reader finds, by tag and step."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    by_place: dict[tuple[str, int], list[float]] = {}
    for tag in found.Tags()["scalars"]:
        for event in found.Scalars(tag):
            by_place.setdefault((tag, event.step), []).append(event.value)
    return by_place


def expected(folder: Path) -> dict[tuple[str, int], list[Any]]:
    """Every number of a run's history, by its name and step, in the form of `scalars`."""
    found = {}
    for line in (folder / "history.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name != "step" and value is not None and not (name == "epoch" and "seconds" not in row):
                found[name, row["step"]] = [pytest.approx(value, rel=1e-6)]
    return found


def seen(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> Iterator[Path]:
    """A run that was logged to TensorBoard and to a function of one's own."""
    folder = tmp_path_factory.mktemp("logged")
    (folder / "lines.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        assert train(*IRIS, "--log", "tensorboard,lines:Lines", "--workdir", folder / "run") == 0
        yield folder / "run"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The same run without loggers."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    assert train(*IRIS, "--workdir", folder) == 0
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_a_logger_is_given_every_number_of_the_history_once(logged):
    assert scalars(logged) == expected(logged) and len(expected(logged)) > 30
    begun, *rows = seen(logged)
    assert begun == ["open", "run", 3, 0]
    assert [step for step, _ in rows] == [7, 14, 21, 21]  # the test metrics come last, by the step of the end
    given = {(name, step): [value] for step, row in rows for name, value in row.items()}
    assert given == expected(logged)


def test_what_is_logged_is_no_part_of_the_run(logged, plain):
    assert weights(logged) == weights(plain)
    about = [json.loads((folder / "config.json").read_text()) for folder in (logged, plain)]
    assert about[0] == about[1]
    assert not (plain / log.NAME).exists() and not (plain / "tensorboard").exists()


def test_a_finished_run_is_logged_later_and_then_no_more(logged, plain, tmp_path):
    (tmp_path / "history.jsonl").write_bytes((plain / "history.jsonl").read_bytes())
    for _ in range(2):
        log.complete(tmp_path, log.found(["tensorboard", "lines:Lines"]), CONFIG)
    assert [row[0] for row in seen(tmp_path)] == ["open", 7, 14, 21, 21]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1 and scalars(tmp_path) == expected(plain)


def test_after_a_kill_amid_its_rows_tensorboard_forgets_them_and_others_are_not_given_them_again(plain, tmp_path):
    """What a kill leaves: log.json says that rows were being given, and no more."""
    rows = (plain / "history.jsonl").read_text().splitlines(keepends=True)
    for end, since in ((2, 14), (4, 21)):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / "history.jsonl").write_text("".join(rows[:end]))
        log.complete(folder, log.found(["tensorboard", "lines:Lines"]), CONFIG)
        kept = json.loads((folder / log.NAME).read_text())
        for mark in kept["loggers"].values():
            mark["since"] = since
        (folder / log.NAME).write_text(json.dumps(kept))
        (folder / "history.jsonl").write_text("".join(rows))
        log.complete(folder, log.found(["tensorboard", "lines:Lines"]), CONFIG)
        assert len(list((folder / "tensorboard").iterdir())) == 2 and scalars(folder) == expected(plain)
        assert [row[0] for row in seen(folder) if row[0] != "open"] == [7, 14, 21, 21]


@pytest.mark.parametrize("name", ["lines:Failing", "lines:late"])
def test_a_logger_that_fails_is_told_of_once_and_the_run_goes_on(logged, plain, tmp_path, capsys, name):
    assert train(*IRIS, "--log", name, "--workdir", tmp_path / "run") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "--log" in line]
    reason = "ConnectionError: the server is gone; " if "Failing" in name else "TimeoutError: no answer; "
    assert len(lines) == 1 and lines[0].startswith(f"warning: --log={name}: {reason}the run goes on")
    assert weights(tmp_path / "run") == weights(plain)
    kept = json.loads((tmp_path / "run" / log.NAME).read_text())
    assert kept["loggers"][name]["to"] == [0, False]  # the same command would give it all rows


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "--log=tensorbord: unknown; did you mean tensorboard? Choose from mlflow, module:function, te"),
        ("lines:", "--log=lines:: unknown; "),
        ("tensorboard,tensorboard", "--log=tensorboard: named twice; keep one"),
        (
            "no_such_module:f",
            "--log=no_such_module:f: there is no module no_such_module; check the name, or PY",
        ),
        ("lines:nowhere", "--log=lines:nowhere: lines has no function nowhere; write def nowhere(folder, config, nam"),
        ("lines:number", "--log=lines:number: number is no function; write def number("),
        ("lines:nothing", "--log=lines:nothing: gave a NoneType without log; return what has log(step, scalars) and"),
    ],
)
def test_a_logger_that_is_not_there_is_refused_before_the_run(logged, tmp_path, name, message):
    with pytest.raises(Error) as refusal:
        train(*IRIS, "--log", name, "--workdir", tmp_path / "run")
    assert str(refusal.value).startswith(message) and refusal.value.exit_code == 2
    assert not list(tmp_path.glob("run/weights*"))


def test_a_package_that_is_not_installed_is_refused_with_its_name(monkeypatch):
    monkeypatch.setitem(log.LOGS, "wandb", "a_package_that_is_not_there")
    message = "--log=wandb: needs the package a_package_that_is_not_there, which is not installed; pip install a_p"
    with pytest.raises(Error, match=message):
        log.found(["wandb"])


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"id": "a", "loggers": {"tensorboard": {"to": [3], "since": 1}}}'])
def test_a_log_that_cannot_be_read_is_refused(text, plain, tmp_path):
    (tmp_path / log.NAME).write_text(text)
    (tmp_path / "history.jsonl").write_bytes((plain / "history.jsonl").read_bytes())
    with pytest.raises(Error, match=r"log.json: does not say what was logged; remove it"):
        log.complete(tmp_path, log.found(["tensorboard"]), CONFIG)


def test_members_of_a_sweep_are_logged_in_their_own_folders(tmp_path):
    assert train(*IRIS, "--seeds", "2", "--log", "tensorboard", "--workdir", tmp_path / "all") == 0
    for folder in (tmp_path / "all").glob("*seed=*"):
        assert scalars(folder) == expected(folder) and expected(folder)
    assert len(list((tmp_path / "all").glob("*/tensorboard/*"))) == 2


def test_mlflow_keeps_every_number_once_over_two_processes(plain, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    rows = (plain / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run").mkdir()
    for some in (rows[:2], rows):  # what a process that was killed has logged, and what the next one finds
        (tmp_path / "run" / "history.jsonl").write_text("".join(some))
        log.complete(tmp_path / "run", log.found(["mlflow"]), CONFIG)
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient()
    experiment: Any = client.get_experiment_by_name("jaxnn")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "run" and run.data.params["model.hidden"] == "(16,)" and run.info.status == "FINISHED"
    found = {
        (name, each.step): [each.value]
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    }
    total = {("seconds" if name == "seconds/elapsed" else name, step): value for (name, step), value in found.items()}
    assert total == expected(plain)


def records(data: bytes) -> Iterator[bytes]:
    """Those of a .wandb file: LevelDB's log format, blocks of 32 KiB, after a header of 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # no room for the head of a record
            at += 2**15 - at % 2**15
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_is_given_every_number_offline(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "history.jsonl").write_bytes((plain / "history.jsonl").read_bytes())
    log.complete(tmp_path, log.found(["wandb"]), CONFIG)
    number = json.loads((tmp_path / log.NAME).read_text())["id"]
    (file,) = (tmp_path / "wandb").glob(f"offline-run-*-{number}/run-{number}.wandb")
    from wandb.proto import wandb_internal_pb2  # pyright: ignore[reportMissingImports]

    found = {}
    for data in records(file.read_bytes()):
        record = cast(Any, wandb_internal_pb2).Record()
        record.ParseFromString(data)
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                found.setdefault((name, items["_step"]), []).append(value)
    assert found == expected(plain)
