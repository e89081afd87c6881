"""Files are data: nothing in them is run, moves a cursor or names a path; and a run tells nobody anything."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from contract import process
from PIL import Image
from processes import QUICKLY

import jaxnn
from jaxnn import data
from jaxnn.commands import arguments as cli
from jaxnn.errors import Error, InputError, printable
from jaxnn.report.screen import Screen, table

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "jaxnn").rglob("*.py"), *(ROOT / "configs").glob("*.py"), ROOT / "train.py"]
QUICK = ["digits_softmax", "--epochs", "2", "--batch-size", "128"]


def listening(pid: int) -> list[str]:
    """The addresses that a process listens on, by its own sockets."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
        except OSError:
            pass  # closed since
    found = []
    for kind, states in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == states:
                found.append(f"{kind} {fields[1]}")
    return found


class Watched(NamedTuple):
    """A run, in an environment of secrets, that was looked at while it went."""

    folder: Path
    printed: str
    secrets: list[str]
    sockets: set[str]
    looks: int


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    names = ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "HF_TOKEN", "WANDB_API_KEY", "PASSWORD", "DATABASE_URL"]
    names += [f"CANARY_{i}" for i in range(20 - len(names))]
    env = {name: f"canary-{i}-{os.urandom(8).hex()}" for i, name in enumerate(names)}
    home = root / f"home-{os.urandom(8).hex()}"
    home.mkdir()
    secrets = [*env.values(), home.name]
    env = os.environ | QUICKLY | env | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, str(ROOT / "train.py"), *QUICK, "--workdir", str(root / "run")]
    sockets, looks = set(), 0
    with (root / "out").open("w+") as out:
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out) as process:
            while process.poll() is None:
                try:
                    sockets |= set(listening(process.pid))
                    looks += 1
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    pass  # it has just ended, or there is no /proc
                time.sleep(0.02)
        out.seek(0)
        printed = out.read()
    assert process.returncode == 0, printed
    return Watched(root / "run", printed, secrets, sockets, looks)


@pytest.fixture(scope="module")
def run(watched):
    return watched.folder


# ---- X01: no code in files ---------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle", "yaml", "code", "imp"}
CALLS = {"eval", "exec", "compile", "__import__"}  # by their bare names: re.compile and jit's .compile are others
METHODS = {"import_module", "run_path", "run_module", "system", "popen", "unsafe_load", "load_module", "exec_module"}
SAFE = {"safe_load", "YAMLError"}  # of yaml
# A config file in Python, whose path or name only a person types, and so --log module:function; the commands of jaxnn,
# by their table; and the names of classes, by yaml.safe_load.
ALLOWED = {
    *(("config_file.py", "compile"), ("config_file.py", "exec"), ("log.py", "import_module")),
    *(("main.py", "import_module"), ("yolo.py", "yaml")),
}


def forbidden(source: str) -> list[str]:
    """What in a module could run code that stands in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom):
            found += [node.module for _ in "x" if node.module and node.module.split(".")[0] in MODULES]
            found += [alias.name for alias in node.names if alias.name in METHODS | CALLS]
        if isinstance(node, ast.Name) and node.id in CALLS:
            found.append(node.id)
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            found.append(node.attr)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yaml":
            found += [f"yaml.{node.attr}"] * (node.attr not in SAFE)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += ["allow_pickle"] * (not (isinstance(node.value, ast.Constant) and node.value.value is False))
    return found


@pytest.mark.long
def test_x01_no_module_can_run_what_stands_in_a_file():
    found = {(path.name, name) for path in SOURCES for name in forbidden(path.read_text(encoding="utf-8"))}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "eval('1')", "exec(x)", "f = eval",
        "compile(x, '', 'exec')", "__import__(name)", "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=yes)",
        "importlib.import_module(name)", "from importlib import import_module", "os.system(x)", "runpy.run_path(x)",
        "import marshal", "from yaml import load", "yaml.load(x, loader)", "yaml.full_load(x)",
        "spec.loader.exec_module(m)",
    ],
)  # fmt: skip
def test_x01_the_search_finds_each_of_these(source):
    assert forbidden(source)


class Canary:
    """A pickle that, loaded, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def canary_works(payload: bytes, path: Path) -> None:
    pickle.loads(payload)
    assert path.exists()
    path.rmdir()


@pytest.mark.long
def test_x01_a_pickle_given_as_data_weights_or_config_is_refused_and_never_runs(tmp_path, run):
    canary = tmp_path / "sung"
    payload = pickle.dumps(Canary(canary))
    canary_works(payload, canary)

    objects = np.array([Canary(canary)], dtype=object)
    np.savez(tmp_path / "objects.npz", x=objects, y=objects)
    np.savez(tmp_path / "labels.npz", x=np.zeros((1, 2), np.float32), y=objects)
    (tmp_path / "bare.npz").write_bytes(payload)
    beside = io.BytesIO()
    np.save(beside, objects)
    (tmp_path / "array.npz").write_bytes(beside.getvalue())
    (tmp_path / "table.csv").write_bytes(payload)
    for folder in ("images/a", "images/b", "idx"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("images/a/0.png", "images/b/0.png", "idx/train-images-idx3-ubyte", "idx/train-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(payload)
    for name in ("objects.npz", "labels.npz", "bare.npz", "array.npz", "table.csv", "images", "idx"):
        with pytest.raises(Error):
            data.load(tmp_path / name)
        assert not canary.exists(), name

    names = f"!!python/object/apply:os.mkdir [{canary}]"
    yaml.unsafe_load(names)
    assert canary.exists()
    canary.rmdir()
    for folder in ("boxes/images", "boxes/labels"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "boxes/images/0.png")
    (tmp_path / "boxes/labels/0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "boxes/data.yaml").write_text(f"names: {names}\n")
    with pytest.raises(InputError, match="data.yaml: is no YAML"):
        data.load(tmp_path / "boxes")
    assert not canary.exists()

    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "weights.safetensors"):
        for other in ("config.json", "weights.safetensors"):
            (copy / other).write_bytes((run / other).read_bytes())
        (copy / name).write_bytes(payload)
        with pytest.raises(InputError):
            jaxnn.load_run(copy)
        assert not canary.exists(), name


def harmful(path: Path) -> list[tuple[str, object]]:
    """Where in a config.json a name stands, and what would run code if it were more than one of a closed list."""
    code = f"__import__('os').mkdir({str(path)!r})"
    return [
        ("source", str(path.with_suffix(".py"))),
        ("source", f"../{path.parent.name}/{path.name}"),
        ("own_model", code),
        ("config.optim.name", "os.system"),
        ("config.optim.name", code),
        ("config.optim.schedule", code),
        ("config.model.kind", code),
        ("config.model.init", code),
        ("config.model.activation", [code]),
        ("config.task.name", code),
        ("config.task.loss", "__class__"),
        ("config.optim.lr", {"py/object": "os.system"}),
        ("config.epochs", f"!!python/object/apply:os.mkdir [{path}]"),
        ("config.__class__", code),
        ("data.task", code),
    ]


@pytest.mark.long
def test_x01_code_in_a_config_is_a_name_that_is_not_known(tmp_path, run):
    canary = tmp_path / "sung"
    canary.with_suffix(".py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes())
    for where, value in harmful(canary):
        saved = json.loads((run / "config.json").read_text())
        *parents, last = where.split(".")
        place = saved
        for name in parents:
            place = place[name]
        place[last] = value
        (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
        if where != "source":  # which only replaying looks at
            with pytest.raises(InputError):
                jaxnn.load_run(tmp_path / "run")
        if where != "data.task":  # which replaying reads off the data
            with pytest.raises(InputError):
                cli.parse(["--config", str(tmp_path / "run" / "config.json"), "--dry-run"], ROOT / "configs")
        assert not canary.exists(), where


# ---- X04: names are shown, not obeyed ----------------------------------------------------------------------------

NAMES = ["<script>alert(1)</script>", "../../up", "\x1b[31mred\x1b[0m\x1b]0;title\x07", "two\nlines", "a\rb",
         "[red]rich[/red]", "[/]", ":smile:", "\u202eright to left", "\x9b31m"]  # fmt: skip
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_x04_printable_text_is_one_line_without_control_characters_and_else_unchanged():
    for name in NAMES:
        assert not CONTROL.search(printable(name)) and "\n" not in printable(name)
    for plain in ("Zürich", "数字", "a b", "[red]", "<b>", "../x"):
        assert printable(plain) == plain
    assert printable("\udcff") == "\\udcff"  # a file's name that is not UTF-8: print would fail on it


@pytest.mark.parametrize("terminal", [True, False])
def test_x04_the_screen_shows_names_as_they_are(terminal):
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=terminal, width=200, color_system=None)
    for name in NAMES:
        screen.print(f"run: {name}", soft_wrap=True)
    table(screen, {"train/loss": 1.0}, "[red]" + NAMES[2])
    text = out.getvalue()
    assert not CONTROL.search(text) and len(text.splitlines()) >= len(NAMES)
    for shown in ("[red]rich[/red]", "[/]", ":smile:", r"two\nlines", r"\x1b[31mred"):
        assert shown in text


def test_x04_names_of_classes_and_columns_stay_one_line_in_every_refusal_and_come_back_exact(tmp_path):
    labels = jaxnn.Labels.fit(NAMES)
    assert sorted(labels.decode(labels.encode(NAMES)).tolist()) == sorted(NAMES)
    assert jaxnn.Labels.from_json(labels.to_json()) == labels
    refusals = []
    for name in NAMES:
        for attempt in (
            lambda name=name: jaxnn.Labels.fit(["a", "b"]).encode([name]),
            lambda: labels.encode(["zzz"]),
            lambda name=name: data.load("iris", positive=name),
            lambda name=name: data.load(tmp_path / "none" / name),
            lambda name=name: jaxnn.load_run(tmp_path / name),
            lambda name=name: jaxnn.Config(name=name),
            lambda name=name: jaxnn.activation(name),
        ):
            with pytest.raises(Error) as refusal:
                attempt()
            refusals.append(str(refusal.value))
    for name in NAMES:
        np.savez(tmp_path / "t.npz", x=np.zeros((5, 1), np.float32), y=np.array(["a", "a", "b", "b", name]))
        with pytest.raises(InputError) as refusal:
            data.load(tmp_path / "t.npz")
        refusals.append(str(refusal.value))
    assert len(refusals) == 8 * len(NAMES)
    assert not any(CONTROL.search(text) or "\n" in text for text in refusals)


@pytest.mark.parametrize("name", ["../../up", "/etc/x", "a/b", "%Y", "", ".", "..", "a\nb", "\x1b[31m", "x" * 101])
def test_x04_a_name_cannot_lead_out_of_the_folder_of_runs(name):
    with pytest.raises(InputError, match="--name="):
        jaxnn.Config(name=name)


@pytest.mark.long
def test_x04_a_run_on_such_classes_prints_and_writes_no_control_character(tmp_path):
    images = tmp_path / "[red]images\x1b[31m"
    for k, name in enumerate(("<script>", "\x1b[31mred\n", "[red]")):
        (images / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.full((4, 4), 80 * k + i, np.uint8)
            Image.fromarray(pixels).save(images / name / f"{i}.png")
    flags = ["--data.name", images, "--epochs", "1", "--batch-size", "8", "--model.kind", "linear"]
    done = process(*flags, "--workdir", tmp_path / "run [red]\x1b[32m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"[red]images\x1b[31m" in done.stdout and r"run [red]\x1b[32m" in done.stdout
    folder = tmp_path / "run [red]\x1b[32m"
    written = [(folder / name).read_text() for name in ("config.json", "history.jsonl")]
    assert not any(CONTROL.search(text) for text in (done.stdout, done.stderr, *written))
    assert set(jaxnn.load_run(folder).predict(np.zeros((2, 4, 4, 1), np.uint8)).tolist()) <= {
        "<script>", "\x1b[31mred\n", "[red]"
    }  # fmt: skip
    again = process(*flags, "--workdir", folder, cwd=tmp_path)
    assert again.returncode == 0 and not CONTROL.search(again.stderr + again.stdout.replace("\n", ""))


@pytest.mark.long
def test_x04_the_help_of_a_replay_shows_its_values_as_they_are(tmp_path, run):
    saved = json.loads((run / "config.json").read_text())
    saved["config"]["data"]["name"] = NAMES[2]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    done = process("--config", tmp_path / "config.json", "--help", cwd=tmp_path)
    assert done.returncode == 0 and r"\x1b[31mred" in done.stdout and not CONTROL.search(done.stdout)


# ---- X06, X07: nothing is told -----------------------------------------------------------------------------------


@pytest.mark.long
def test_x06_nothing_of_the_environment_is_written_or_printed(watched):
    refused = process(*QUICK, "--optim.lr", "nan", "--traceback", cwd=ROOT, CANARY=watched.secrets[0])
    assert refused.returncode == 2 and "Traceback" in refused.stderr
    files = [path for path in watched.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3 and len(watched.secrets) == 21
    texts = [watched.printed.encode(), refused.stdout.encode(), refused.stderr.encode()]
    texts += [path.read_bytes() + str(path.relative_to(watched.folder)).encode() for path in files]
    assert not [word for word in watched.secrets for text in texts if word.encode() in text]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="reads /proc")
def test_x07_a_run_listens_on_no_socket(watched):
    before = listening(os.getpid())
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening(os.getpid())) == len(before) + 1  # so it would be seen
    assert watched.looks > 20 and not watched.sockets
