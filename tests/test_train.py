"""`jaxnn train`, as a person runs it: real files, and real processes where a process is what is shown.

Compiled programs are kept from one run to the next, as they are for a person: most of a short run is compilation.
"""

import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console

import jaxnn
from jaxnn import data, recipe, tree
from jaxnn.commands import main
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.devices import cache
from jaxnn.engine.tally import Tally
from jaxnn.errors import Error, InputError
from jaxnn.report import flops, screen
from jaxnn.report.stopwatch import Stopwatch
from jaxnn.training.loop import Event
from jaxnn.training.plan import plan

ROOT = Path(__file__).parent.parent
QUICK = ["digits_softmax", "--epochs", "2", "--batch-size", "128"]
TRAIN_ONLY = ["--data.validation-fraction", "0", "--data.test-fraction", "0"]  # two programs less


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory) -> Iterator[None]:
    """A user's cache folder for the runs of this file, in processes of their own or in this one."""
    before: Any = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()
        yield
    cache.keep_programs(False)
    jax.config.update("jax_compilation_cache_dir", before)


def train(*argv: object, cwd: Path | str = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """`python train.py ARGV`, a process of its own."""
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *map(str, argv)]
    env = {**os.environ, **env}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env, timeout=300)


def here(*argv: object) -> int:
    """The exit code of `jaxnn train ARGV` in this process, on one of its devices unless told otherwise."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    devices = [] if "--devices" in argv else ["--devices", "1"]
    try:
        return main.train([*map(str, argv), *devices])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "weights.safetensors")


def digits_test() -> jaxnn.Batch:
    test = data.load("digits").test
    assert test is not None
    return test


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = train(*QUICK, "--workdir", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_writes_its_config_history_and_weights(finished):
    saved = json.loads((finished / "config.json").read_text())
    assert saved["config"]["epochs"] == 2 and len(saved["data"]["digest"]) == 64
    assert {"python", "jax", "optax", "jaxnn"} <= set(saved["versions"])
    *rows, last = history(finished)
    assert [row["step"] for row in rows] == [11, 22] and [row["epoch"] for row in rows] == [1, 2]
    needed = {"train/loss", "val/loss", "val/accuracy", "lr", "grad_norm", "examples_per_s"}
    assert all(needed <= row.keys() for row in rows)
    assert {"step", "epoch", "test/loss", "test/accuracy"} == {name for name in last if "seconds" not in name}
    parts = {name: value for name, value in last.items() if name.startswith("seconds/")}
    assert parts.keys() == {
        f"seconds/{part}" for part in ("start", "data", "compilation", "steps", "saving", "evaluation", "report")
    }
    assert min(parts.values()) > 0 and rows[-1]["seconds"] < sum(parts.values())
    assert {name: w.shape for name, w in weights(finished).items()} == {"dense_0/w": (10, 64), "dense_0/b": (10,)}


@pytest.mark.long
def test_a_run_is_replayed_bit_for_bit(finished, tmp_path):
    """In this process, and cut within the epochs, which have 11 steps."""
    cut = ["--eval-every", "2", "--checkpoint.every", "never"]
    assert here("--config", finished / "config.json", "--workdir", tmp_path / "again", *cut) == 0
    assert [row["step"] for row in history(tmp_path / "again")] == [*range(2, 23, 2), 22]
    first, again = ((folder / "weights.safetensors").read_bytes() for folder in (finished, tmp_path / "again"))
    assert first == again
    assert here("--config", finished / "config.json", "--workdir", tmp_path / "other", "--seed", "1") == 0
    assert (tmp_path / "other" / "weights.safetensors").read_bytes() != first


def test_fit_and_a_run_agree(tmp_path):
    """The same weights, rates, norms and validation, bit for bit; sums over the steps in float32 beside float64."""
    net = ["--model.hidden", "20", "--model.dropout", "0.2", "--model.input-dropout", "0.1"]
    argv = ["--epochs", "3", "--batch-size", "128", "--data.test-fraction", "0", "--workdir", tmp_path]
    assert here("digits_mlp", *net, *argv) == 0
    config = from_dict(json.loads((tmp_path / "config.json").read_text())["config"], Config)
    assert (config.model.kind, config.model.dropout, config.optim.schedule) == ("mlp", 0.2, "cosine")
    loaded, key = data.from_config(config.data, config.task.name), jax.random.key(config.seed)
    model, task, example = recipe.network(config, loaded.describe())
    made = recipe.recipe(config, loaded.describe(), model, task, example, plan(config, len(loaded.train.weight)))
    with jaxnn.devices.use(1):
        lengths = {"epochs": config.epochs, "batch_size": 128}
        given = {"validation": loaded.validation, "alpha": made.alpha}
        state, told = jaxnn.fit(key, model, task, made.tx, loaded.train, **lengths, **given)
    params, saved = tree.by_name(state.params), weights(tmp_path)
    assert params.keys() == saved.keys()
    for name, value in params.items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)
    *rows, _ = history(tmp_path)
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "grad_norm"} == told.keys()
    for name, values in told.items():
        ran = np.array([row[name] for row in rows])
        if name.startswith("train/"):  # 11 steps: 11 roundings of 2^-24 at most
            np.testing.assert_allclose(values, ran, rtol=1e-6, err_msg=name)
        else:
            assert values.dtype == np.float32 and values.tolist() == ran.tolist(), name


@pytest.mark.long
def test_class_weights_are_in_the_training_loss_and_in_no_other_metric(tmp_path):
    """Against NumPy, with a learning rate that leaves the weights as they began."""
    still = ["--epochs", "2", "--eval-every", "1epoch", "--optim.name", "sgd", "--optim.lr", "1e-30"]
    weighed = ["--data.class-weight", "versicolor=5", "setosa=0.5"]
    assert here("iris_mlp", *weighed, *still, "--workdir", tmp_path) == 0
    train = data.load("iris").train
    p = jaxnn.load_run(tmp_path).predict_proba(train.x)
    factor = np.array([0.5, 5.0, 1.0])[train.y]
    loss = np.average(-np.log(p[np.arange(len(p)), train.y]), weights=factor)
    for row in history(tmp_path)[:2]:
        assert row["train/accuracy"] == pytest.approx(np.mean(p.argmax(1) == train.y), abs=1e-6)
        assert row["train/loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.long
def test_load_run_predicts_in_a_new_process_what_the_run_reported(finished):
    code = f"""
import jaxnn, numpy as np
run = jaxnn.load_run({str(finished)!r})
test = jaxnn.data.load("digits").test
labels, p = run.predict(test.x), run.predict_proba(test.x)
print(np.mean(labels == test.y), p.shape, abs(p.sum(-1) - 1).max() < 1e-5, run.predict(test.x[:3]).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    accuracy, *rest = done.stdout.split(maxsplit=1)
    assert float(accuracy) == pytest.approx(history(finished)[-1]["test/accuracy"], abs=1e-6), done.stderr
    assert rest[0].startswith("(359, 10) True")


def test_load_run_and_predict_refuse_what_does_not_fit(finished, tmp_path):
    run = jaxnn.load_run(finished)
    with pytest.raises(InputError, match=r"x.shape=\(64,\): must be \(n, 8, 8, 1\)"):
        run.predict(np.zeros(64, np.uint8))
    with pytest.raises(InputError, match="is no uint8"):
        run.predict(np.full((1, 8, 8, 1), 0.5))
    with pytest.raises(InputError, match="must be an array of numbers"):
        run.predict([["a"]])
    with pytest.raises(InputError, match="config.json"):
        jaxnn.load_run(tmp_path)


def test_a_replay_on_other_data_is_refused(finished, tmp_path):
    saved = json.loads((finished / "config.json").read_text())
    saved["data"]["digest"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="the data have changed"):
        here("--config", tmp_path / "config.json", "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_the_average_of_the_weights_is_what_is_saved_and_tested(finished, tmp_path):
    assert here(*QUICK, "--optim.ema", "0.5", "--workdir", tmp_path / "run") == 0
    plain, mean = weights(finished), weights(tmp_path / "run")
    assert not np.array_equal(plain["dense_0/w"], mean["dense_0/w"])
    test = digits_test()
    accuracy = np.mean(jaxnn.load_run(tmp_path / "run").predict(test.x) == test.y)
    assert accuracy == pytest.approx(history(tmp_path / "run")[-1]["test/accuracy"], abs=1e-6)


@pytest.mark.long
@pytest.mark.usefixtures("finished")  # its programs are kept: none has to be written
def test_a_result_that_cannot_be_written_ends_with_exit_5(tmp_path):
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500)); "
    run = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    argv = [str(ROOT / "train.py"), *QUICK, "--workdir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", limit + run, *argv], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 5 and done.stderr.startswith("error: "), done.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()


LINEN = """
import flax.linen as nn
from jaxnn.config import Config

config = Config(name="linen")


class Network(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(x.reshape(*x.shape[:-3], -1))


model = Network
"""


@pytest.mark.parametrize("source", ["linen.py", pytest.param("digits_flax.py", marks=pytest.mark.slow)])
def test_a_config_with_its_own_model_trains_and_loads(source, tmp_path):
    (tmp_path / "linen.py").write_text(LINEN)
    path = (ROOT / "configs" if source == "digits_flax.py" else tmp_path) / source
    argv = ["--epochs", "1", "--batch-size", "128", *TRAIN_ONLY[:2]]
    assert here(path, *argv, "--workdir", tmp_path / "flax") == 0
    with pytest.raises(InputError, match="brought its own model"):
        jaxnn.load_run(tmp_path / "flax")

    own = runpy.run_path(str(path))["model"]
    run = jaxnn.load_run(tmp_path / "flax", model=own)
    test = digits_test()
    assert np.mean(run.predict(test.x) == test.y) == pytest.approx(
        history(tmp_path / "flax")[-1]["test/accuracy"], abs=1e-6
    )


OWN = """
from jaxnn.config import Config
import jaxnn
config = Config(name="own", epochs=1, batch_size=128)
def model(outputs):
    return {}
"""


@pytest.mark.long
def test_a_file_of_ones_own_trains_and_replays(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN.format("jaxnn.chain(jaxnn.flatten(), jaxnn.dense(outputs))"))
    run = tmp_path / "run"
    assert here(own, "--workdir", run) == 0
    replay = ["--config", run / "config.json", "--workdir", tmp_path / "again"]
    with pytest.raises(InputError, match="name it: train.py own.py"):
        here(*replay)
    assert here(own, *replay) == 0
    again = tmp_path / "again" / "weights.safetensors"
    assert (run / "weights.safetensors").read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("jaxnn.chain(jaxnn.flatten(), jaxnn.dense(3))", "gives [3] for one example: must give [10]"),
        ("jaxnn.dense(outputs)", "gives [8, 8, 10] for one example"),
        ("None", "must be a flax.linen.Module"),
    ],
)
def test_a_model_of_ones_own_that_does_not_fit_is_refused_before_anything_is_written(
    model, words, tmp_path, monkeypatch
):
    (tmp_path / "own.py").write_text(OWN.format(model))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        here("own.py", "--workdir", "run")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


TABLE = "size,colour,label\n" + "\n".join(
    f"{i},{'red' if i % 3 else 'blue'},{'yes' if i > 20 else 'no'}" for i in range(40)
)


@pytest.mark.long
def test_labels_come_back_as_the_users_own(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    argv = ["--data.name", tmp_path / "t.csv", "--data.standardize", "--batch-size", "8", "--epochs", "60"]
    assert here(*argv, "--model.kind", "linear", *TRAIN_ONLY, "--workdir", tmp_path / "run") == 0
    run = jaxnn.load_run(tmp_path / "run")
    assert run.task.name == "binary" and run.data["classes"] == ["no", "yes"]
    assert run.predict(np.array([[0.0, 0, 1], [39.0, 0, 1]])).tolist() == ["no", "yes"]


def test_dry_run_and_print_config_take_no_step(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert here("digits_mlp", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "parameters" in said and "6,310" in said
    assert "memory: 0.02 MiB of state" in said  # 6,310 floats: plain SGD keeps nothing else
    assert here("digits_mlp", "--print_config", "--epochs", "7") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 7
    assert list(tmp_path.iterdir()) == []


def bad_files(folder: Path) -> None:
    (folder / "nan.csv").write_text("a,b,y\n1,2,0\n3,nan,1\n4,5,0\n6,7,1\n")
    (folder / "missing.csv").write_text("a,b,y\n1,2,0\n3,,1\n")
    (folder / "ragged.csv").write_text("a,b,y\n1,2,0\n3,1\n")
    (folder / "one_class.csv").write_text("a,y\n" + "1,x\n" * 20)
    np.savez(folder / "lengths.npz", x=np.zeros((5, 2), np.float32), y=np.arange(4) % 2)
    np.savez(folder / "inf.npz", x=np.array([[0, 1], [np.inf, 2]] * 10, np.float32), y=np.arange(20) % 2)
    np.savez(folder / "labels.npz", x=np.zeros((20, 2), np.float32), y=np.array([0.5, np.nan] * 10))
    np.savez(folder / "empty.npz", x=np.zeros((0, 2), np.float32), y=np.zeros(0, np.int32))
    (folder / "negative.csv").write_text("a,y\n" + "1,0.5\n2,-0.5\n" * 40)
    idx = folder / "idx"
    idx.mkdir()
    (idx / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + bytes(20))


REFUSED = [
    (["--optm.lr", "0.1"], "did you mean --optim.lr"),
    (["--optim.lr", "nan"], "--optim.lr=nan"),
    (["--batch-size", "2000"], "--batch_size=2000: there are 1294 training examples"),
    (["--optim.warmup", "99epochs"], "--optim.warmup=99epochs"),
    (["--devices", "99"], "--devices=99"),
    (["--epochs", "1", "--batch-size", "full", "--eval_every", "10%"], "--eval_every=10%"),
    (["--workdir", "w" * 300], "--workdir=www"),
    (["--workdir", "/proc/no"], "--workdir=/proc/no"),
    (["mnist_mlp"], "--data.dir"),
    (["mnist_mlp", "--data.dir", "no_folder"], "no_folder"),
    (["mnist_mlp", "--data.dir", "{}/idx"], "train-images-idx3-ubyte"),
    (["--data.name", "diggits"], "digits"),
    (["--data.name", "{}/no.csv"], "no.csv"),
    (["--data.name", "{}/nan.csv"], "nan"),
    (["--data.name", "{}/missing.csv"], "missing.csv"),
    (["--data.name", "{}/ragged.csv"], "ragged.csv"),
    (["--data.name", "{}/one_class.csv"], "class"),
    (["--data.name", "{}/lengths.npz"], "5"),
    (["--data.name", "{}/inf.npz"], "inf"),
    (["--data.name", "{}/labels.npz"], "labels"),
    (["--data.name", "{}/empty.npz"], "0"),
    (["--task.name", "regression"], "task"),
    (["--task.loss", "poisson"], "--task.loss=poisson"),
    (["iris_mlp", "--model.kind", "cnn"], "cnn needs images"),
    (["--optim.b1", "0.5"], "--optim.b1=0.5"),
    (["--data.name", "{}/negative.csv", "--task.loss", "poisson"], "--task.loss poisson"),
]


@pytest.mark.parametrize(("argv", "words"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(argv, words, tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    bad_files(files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error) as refusal:
        here(*(word.format(files) for word in argv))
    assert refusal.value.exit_code == 2
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.long
@pytest.mark.parametrize("argv", [["--optm.lr", "0.1"], ["--data.name", "no.csv"]])
def test_a_refusal_is_a_line_on_stderr_and_exit_code_2(argv, tmp_path):
    done = train(*argv, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.long
def test_a_refusal_can_show_where_it_was_raised(tmp_path):
    done = train("--data.name", "no.csv", "--traceback", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("Traceback") and "\nerror: --data.name" in done.stderr


@pytest.mark.long
def test_divergence_stops_with_exit_4_and_keeps_what_was_good(tmp_path):
    folder = tmp_path / "run"
    diverge = ["--optim.name", "sgd", "--optim.lr", "1e18", "--task.loss", "squared"]
    with pytest.raises(Error) as stop:
        here("diabetes_regression", "--model.kind", "linear", *diverge, *TRAIN_ONLY, "--workdir", folder)
    assert stop.value.exit_code == 4
    assert re.match(r"step=\d+: \S+ is not finite at lr=", str(stop.value))
    assert all(np.isfinite(w).all() for w in weights(folder).values())


@pytest.mark.long
def test_a_run_stops_where_the_loss_no_longer_falls(tmp_path):
    argv = [*QUICK[:1], "--epochs", "50", "--batch-size", "128", "--tol", "1e9", "--patience", "3"]
    assert here(*argv, "--workdir", tmp_path / "run") == 0
    epochs = [row["epoch"] for row in history(tmp_path / "run")]
    assert epochs == [1, 2, 3, 4, 4]  # the first, three that are no better, and the test


@pytest.mark.long
def test_a_reader_that_leaves_does_not_end_the_run(tmp_path):
    command = f"'{sys.executable}' '{ROOT}/train.py' {' '.join(QUICK)} --workdir '{tmp_path}/run' | head -n 1"
    subprocess.run(command, shell=True, capture_output=True, check=True)
    assert "test/accuracy" in history(tmp_path / "run")[-1]


@pytest.mark.long
def test_a_platform_that_is_not_there_is_one_line():
    done = train(*QUICK, JAX_PLATFORMS="tpu")
    assert done.returncode == 2 and done.stderr.startswith("error: JAX_PLATFORMS=tpu"), done.stderr


def test_a_folder_that_holds_results_and_no_checkpoint_is_left_alone(finished, tmp_path):
    for name in ("config.json", "history.jsonl", "weights.safetensors"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(InputError, match="holds a run without checkpoints"):
        here(*QUICK, "--workdir", tmp_path)
    for name in ("config.json", "history.jsonl", "weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_at_the_next_edge_with_everything_written(number, code, tmp_path):
    argv = [*QUICK[:1], "--epochs", "1000000", "--batch-size", "128", "--workdir", str(tmp_path / "run")]
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        rows = tmp_path / "run" / "history.jsonl"
        while process.poll() is None and not (rows.exists() and rows.stat().st_size):
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    last = history(tmp_path / "run")[-1]
    assert "test/accuracy" in last and (tmp_path / "run" / "weights.safetensors").exists()


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines():
    row = {"step": 5, "epoch": 1.0, "train/loss": 0.5, "val/accuracy": 0.75, "examples_per_s": 1234.5}
    pipe, terminal = io.StringIO(), io.StringIO()
    with screen.progress(Console(file=pipe, width=200), 5, 1.0) as show:
        show(row)
    assert pipe.getvalue() == "epoch 1      step 5        train/loss 0.5000  val/accuracy 0.7500  1,234 examples/s\n"
    with screen.progress(Console(file=terminal, force_terminal=True, width=200), 5, 1.0) as show:
        show(row)
    assert "━" in terminal.getvalue() and "0:00:00" in terminal.getvalue()


@pytest.mark.long
def test_two_devices_train_as_one_does(finished, tmp_path, capsys):
    assert here(*QUICK, "--workdir", tmp_path / "run", "--devices", "2") == 0
    assert "2 devices" in capsys.readouterr().out
    one, two = weights(finished), weights(tmp_path / "run")
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_says_where_its_time_went_and_how_fast_the_steps_were(stopped, monkeypatch):
    """3000 examples in two seconds, or none."""
    monkeypatch.setattr(flops, "of_example", lambda *_: 2e11 / 3000)
    monkeypatch.setattr(flops, "benchmark_peak", lambda _: 4e11)

    def ending(first_step: int, **seconds: float) -> list[str]:
        file, clock = io.StringIO(), Stopwatch("start", since=0.0)
        clock.seconds.update(seconds)
        steps = plan(Config(epochs=20 if stopped else 10, batch_size=30), 300)
        facts = {"recipe": None, "plan": steps, "splits": {"train": None}, "stop": lambda: stopped, "clock": clock}
        session: Any = SimpleNamespace(**facts)
        progress: Any = SimpleNamespace(state=SimpleNamespace(params=None), tally=Tally())
        event = Event(100, progress)
        screen.ending(Console(file=file, width=80), "run", session, event, {"step": 100}, first_step)
        return [line for line in file.getvalue().splitlines() if "%" in line]

    shares, *peak = ending(0, start=1.0, compilation=1.0, steps=2.0)
    assert shares == "start 25%, compilation 25%, steps 50%; 1,500 examples/s"
    reached = "matrix products: 100 GFLOP/s on this machine, 25% of the 400 that it reaches on large ones"
    assert peak == ([] if stopped else [reached])
    assert ending(100, start=1.0) == ["start 100%"]


def test_the_default_reads_digits(tmp_path):
    assert here("--workdir", tmp_path / "run") == 0
    assert history(tmp_path / "run")[-1]["test/accuracy"] > 0.96
    assert json.loads((tmp_path / "run" / "config.json").read_text())["source"] == "digits_mlp"


@pytest.mark.slow
@pytest.mark.mnist
def test_the_lectures_network_reads_mnist(mnist_dir, tmp_path):
    assert here("mnist_mlp", "--data.dir", mnist_dir, "--workdir", tmp_path / "run") == 0
    assert history(tmp_path / "run")[-1]["test/accuracy"] >= 0.97
    about = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert about["examples"] == {"train": 55000, "validation": 5000, "test": 10000}
