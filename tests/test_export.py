"""Exported networks compute what the live one does: ONNX in onnxruntime, StableHLO, and a file of NumPy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from exporting import BYTES, IMAGES, RNG, F, agree, module, reading, session
from flax import nnx
from jax import lax

import jaxnn
from jaxnn import data, export, recipe
from jaxnn.commands import export as command
from jaxnn.commands import main
from jaxnn.config.data import DataConfig
from jaxnn.config.names import EXPORTS
from jaxnn.config.settings import Config
from jaxnn.config.task import TaskConfig
from jaxnn.errors import Error, InputError, StorageError
from jaxnn.store import identity, weights

# ---- networks --------------------------------------------------------------------------------------------------------


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(4, (3, 3))(x.astype(jnp.float32) / 255))
        x = nn.avg_pool(nn.BatchNorm(use_running_average=not train)(x), (2, 2), (2, 2))
        x = nn.max_pool(nn.ConvTranspose(3, (3, 3), strides=(2, 2))(nn.LayerNorm()(x)), (3, 3), (2, 2), "SAME")
        x = nn.gelu(nn.Dense(5)(x.reshape((x.shape[0], -1))))
        return nn.Dense(3)(nn.Dropout(0.5)(x, deterministic=not train))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.norm = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.dense, self.drop = nnx.Linear(256, 3, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)

    def __call__(self, x):
        x = nnx.silu(self.norm(self.conv(x.astype(jnp.float32) / 255)))
        return self.dense(self.drop(x.reshape(x.shape[0], -1)))


def raw(model: jaxnn.Model, x: np.ndarray = BYTES) -> jaxnn.Model:
    return jaxnn.adopt(model, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))


def with_params(model: jaxnn.Model, x: np.ndarray) -> tuple[Any, Any]:
    """Parameters and statistics of which none is 0 or 1, and the shape of an example."""
    example, rng = jax.ShapeDtypeStruct(x.shape[1:], x.dtype), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)

    def drawn(path: Any, a: Any) -> jax.Array:
        low = 0.5 if jaxnn.tree.is_kept(jaxnn.tree.name(path)) else -0.5
        return jnp.asarray(rng.uniform(low, 1, a.shape) / np.sqrt(a.size / a.shape[-1]), a.dtype)

    return jax.tree.map_with_path(drawn, shapes), example


NETWORKS: dict[str, tuple[jaxnn.Model, np.ndarray, Any]] = {
    "linear": (jaxnn.standardized(jaxnn.linear(2), F[0], np.abs(F[1])), F, jaxnn.multiclass(2)),
    "mlp": (jaxnn.mlp((5, 4), 1, activation=("tanh", "elu")), F, jaxnn.binary()),
    "maxout": (jaxnn.mlp((5,), 3, activation="maxout", pieces=3), F, jaxnn.multilabel(3)),
    "cnn": (raw(jaxnn.cnn((4,), 3, hidden=(5,), activation="gelu")), BYTES, jaxnn.multiclass(3)),
    "cnn of maxout": (raw(jaxnn.cnn((2, 2), 3, activation="maxout")), BYTES, None),
    "batch norm": (raw(jaxnn.resnet(3, depth=8, width=4)), BYTES, None),
    "group norm": (
        raw(jaxnn.resnet(3, blocks=(1, 1), width=4, norm="group", stem="imagenet", remat=True)),
        BYTES,
        None,
    ),
    "unet": (raw(jaxnn.unet(3, channels=(4, 6))), BYTES, jaxnn.segmentation(3, size=(16, 16))),
    "detector": (raw(jaxnn.detector(2, channels=(4, 4))), BYTES, jaxnn.detection(2, size=(16, 16))),
    "layers": (
        raw(
            jaxnn.chain(
                jaxnn.conv(4, 3, padding="REFLECT"),
                jaxnn.group_norm(2),
                jaxnn.conv_transpose(3),
                jaxnn.upsample(2, method="bilinear"),
                jaxnn.avg_pool(3, 2, padding="SAME"),
                jaxnn.residual(jaxnn.conv(3, 3, padding="SAME", groups=3)),
                jaxnn.max_pool((2, 3), 2),
                jaxnn.layer_norm(),
                jaxnn.global_max_pool(),
            )
        ),
        BYTES,
        None,
    ),
    "regression": (jaxnn.in_units(jaxnn.mlp((4,), 1), [200.0], [50.0]), F, jaxnn.regression()),
    "gaussian": (jaxnn.linear(4), F, jaxnn.regression("gaussian", outputs=2)),
    "linen": (jaxnn.from_linen(Linen(), core_axes=3, batch_stats=True), BYTES, jaxnn.multiclass(3)),
    "nnx": (jaxnn.from_nnx(lambda rngs: Nnx(rngs), core_axes=3), BYTES, jaxnn.multiclass(3)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_gives_what_it_gives_in_jax(name, tmp_path):
    model, x, task = NETWORKS[name]
    params, example = with_params(model, x)
    to = ("numpy", "onnx", "stablehlo") if name in ("mlp", "cnn", "linen") else ("numpy", "onnx")
    agree(tmp_path, export.of(model, params, example, task=task), x, to)


@pytest.mark.long
def test_bfloat16_is_float32_in_onnx_and_numpy_and_itself_in_stablehlo(tmp_path):
    inner = jaxnn.cnn((4,), 3)
    params, example = with_params(inner, IMAGES)
    (tmp_path / "a").mkdir()
    agree(tmp_path / "a", export.of(inner, params, example), IMAGES)
    half = export.of(jaxnn.in_bfloat16(inner), params, example)
    found = reading(export.write(half, tmp_path / "b", ["numpy", "onnx", "stablehlo"]))
    assert (found["numpy"](IMAGES) == reading(tmp_path / "a" / "exported")["numpy"](IMAGES)).all()
    np.testing.assert_array_equal(found["stablehlo"](IMAGES), jax.jit(half.apply)(params, IMAGES))


def test_a_dense_layer_is_one_product_and_its_weights_keep_their_names():
    params, example = with_params(jaxnn.mlp((5,), 2), F)
    graph = export.of(jaxnn.mlp((5,), 2), params, example).graph()
    assert [step.operation for step in graph.steps] == ["matmul", "add", "max", "matmul", "add"]
    assert list(graph.arrays()) == ["dense_0/w", "dense_0/b", "dense_1/w", "dense_1/b"]


def test_a_convolution_is_in_its_plain_form():
    model = raw(jaxnn.cnn((2,), 2))
    graph = export.of(model, *with_params(model, BYTES)).graph()
    blocks = ["conv", "window", "add", "max"]
    assert [step.operation for step in graph.steps] == ["cast", "mul", *blocks, "reshape", "matmul", "add"]


# ---- runs ------------------------------------------------------------------------------------------------------------


def as_run(folder: Path, source: Path | str, task: str = "auto", **flags: Any) -> Path:
    """A run's folder as it would be after training, with the parameters of the start."""
    config = Config(model=jaxnn.ModelConfig(hidden=(5,)), data=DataConfig(str(source), **flags), task=TaskConfig(task))
    loaded = data.from_config(config.data, task)
    model, _, example = recipe.network(config, loaded.describe(), mean=loaded.mean, std=loaded.std)
    folder.mkdir(parents=True)
    about = identity.describe(config, loaded.describe(), "cpu", source="mine", own_model=False, source_digest=None)
    identity.write(folder, about)
    weights.save(folder, model.init(jax.random.key(0), example), epochs=config.epochs)
    return folder


@pytest.fixture(scope="module")
def flowers(tmp_path_factory) -> SimpleNamespace:
    """A run on a table whose times float32 cannot hold, exported; and new rows of it."""
    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(1)
    kinds = ['"<b>,""é"' if i % 3 else "plain" for i in range(60)]
    rows = [f"{1.7e9 + 10 * i:.0f},{rng.normal():.4f},{kind}" for i, kind in enumerate(kinds)]
    (folder / "seen.csv").write_text("\n".join(["time,size,kind", *rows]) + "\n")
    (folder / "new.csv").write_text("\n".join(["size,more,time", "0.5,7,1700000005", "-1.25,8,1700000595"]) + "\n")
    run = as_run(folder / "run", folder / "seen.csv", standardize=True)
    assert command.export([str(run), "--to", "onnx,numpy,safetensors"]) == 0
    x = np.array([[1700000005, 0.5], [1700000595, -1.25]])
    return SimpleNamespace(folder=folder, run=jaxnn.load_run(run), x=x, to=run / "export")


def test_a_run_is_exported_with_its_offset_and_answers_with_its_labels(flowers):
    assert flowers.run.data["offset"] is not None
    expected = flowers.run.predict_proba(flowers.x)
    for name, outputs in reading(flowers.to).items():
        np.testing.assert_allclose(outputs(flowers.x), expected, atol=1e-6, err_msg=name)
    loaded = module(flowers.to)
    assert loaded.predict(flowers.x).tolist() == flowers.run.predict(flowers.x).tolist()
    assert set(loaded.LABELS) == {"plain", '<b>,"é'}


def test_stablehlo_of_a_run_with_an_offset_is_refused(flowers, tmp_path):
    message = refused(flowers.to.parent, "--to=stablehlo", "--output", tmp_path / "e")
    assert message.startswith("--to=stablehlo: some columns need float64")
    assert not (tmp_path / "e").exists()


def test_labels_and_columns_are_inside_each_format(flowers, tmp_path):
    labels, features = flowers.run.data["classes"], ["time", "size"]
    loaded = module(flowers.to)
    assert (loaded.LABELS, loaded.FEATURES, loaded.SHAPE) == (labels, features, (2,))
    told = session(flowers.to).get_modelmeta().custom_metadata_map
    assert (json.loads(told["labels"]), json.loads(told["features"])) == (labels, features)
    with safetensors.safe_open(flowers.to / "model.safetensors", "numpy") as file:
        metadata = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}
    assert json.loads(metadata["labels"]) == labels and json.loads(metadata["config"])["model"]["hidden"] == [5]
    assert {name: a.shape for name, a in kept.items()} == {
        name: a.shape for name, a in jaxnn.tree.by_name(flowers.run.params).items()
    }
    network = export.of(jaxnn.linear(2), {"dense_0": {"w": F[:2], "b": F[0, :2]}}, F[0], labels=labels)
    exported = jax.export.deserialize(bytearray(export.files(network, ["stablehlo"])["model.stablehlo"]))
    assert json.loads(exported.fun_name)["labels"] == labels
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.fixture(scope="module")
def numpy_only(tmp_path_factory) -> Path:
    """A Python that has NumPy and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for found in Path(np.__file__).parent.parent.glob("numpy*"):
        if found.name in ("numpy", "numpy.libs"):
            (packages / found.name).symlink_to(found)
    python = folder / "bin" / "python"
    missing = subprocess.run([python, "-c", "import jax"], capture_output=True, text=True)
    assert "No module named 'jax'" in missing.stderr
    return python


def ran(python: Path, *argv: Any) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, "-I", "-W", "error", *map(str, argv)], capture_output=True, text=True, env=env)


@pytest.mark.long
def test_the_file_of_numpy_runs_where_there_is_numpy_alone(flowers, numpy_only, tmp_path):
    expected = flowers.run.predict(flowers.x).tolist()
    done = ran(numpy_only, flowers.to / "predict_numpy.py", flowers.folder / "new.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.replace('"<b>,""é"', '<b>,"é') for line in done.stdout.splitlines()] == expected
    for content, told in (
        (np.zeros((2, 3)), "error: x.shape=(2, 3): must be (n, 2) with n >= 1\n"),
        (np.array([None]), "error: Object arrays cannot be loaded when allow_pickle=False\n"),
    ):
        np.save(tmp_path / "x.npy", content, allow_pickle=True)
        done = ran(numpy_only, flowers.to / "predict_numpy.py", tmp_path / "x.npy")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    (tmp_path / "other.csv").write_text("time,length\n1,2\n")
    done = ran(numpy_only, flowers.to / "predict_numpy.py", tmp_path / "other.csv")
    assert done.stderr == f"error: {tmp_path}/other.csv: has no column size\n"


def test_images_keep_their_bytes_and_a_file_takes_as_many_as_there_are(tmp_path):
    x, y = RNG.integers(0, 256, (150, 6, 6, 1), np.uint8), np.arange(150) % 2
    np.savez(tmp_path / "data.npz", x=x, y=y)
    run = as_run(tmp_path / "run", tmp_path / "data.npz")
    assert command.export([str(run), "--to", "numpy,onnx,stablehlo", "--output", str(tmp_path / "e")]) == 0
    live, loaded = jaxnn.load_run(run), module(tmp_path / "e")
    assert (loaded.DTYPE, session(tmp_path / "e").get_inputs()[0].type) == ("uint8", "tensor(uint8)")
    for name, outputs in reading(tmp_path / "e").items():
        np.testing.assert_allclose(outputs(x), live.predict_proba(x), atol=1e-6, err_msg=name)
    assert loaded.predict(x).tolist() == live.predict(x).tolist()
    with pytest.raises(ValueError, match="must be uint8"):
        loaded.predict(x + 0.5)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        (jaxnn.multilabel(2), [[1, 0], [0, 1]]),
        (jaxnn.binary(), [1, 0]),
        (jaxnn.regression(outputs=2), [[3, -3], [-3, 3]]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_answers_are_those_of_the_task(task, answer, tmp_path):
    x = np.array([[3.0, -3.0], [-3.0, 3.0]], np.float32)
    network = export.of(lambda params, x: x[:, : task.outputs], {}, x[0], task=task)
    assert module(export.write(network, tmp_path / "e", ["numpy"])).predict(x).tolist() == answer


@pytest.mark.long
def test_the_decoder_of_a_vae_is_a_function_of_rows(tmp_path):
    from jaxnn.nn import generative

    config = jaxnn.ModelConfig(hidden=(6,))
    example = {"x": jax.ShapeDtypeStruct((4, 4, 1), "float32"), "noise": jax.ShapeDtypeStruct((2,), "float32")}
    model = generative.build(config, example)
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)
    params = jax.tree.map(lambda a: jnp.linspace(-1, 1, a.size).reshape(a.shape), shapes)
    decoder = lambda params, z: jax.nn.sigmoid(model.apply(params, {"z": z}))
    agree(tmp_path, export.of(decoder, params, F[0, :2]), F[:, :2])


# ---- what is refused -------------------------------------------------------------------------------------------------


def refused(*argv: object, code: int = 2) -> str:
    with pytest.raises(Error) as caught:
        command.export([*map(str, argv)])
    assert caught.value.exit_code == code and "\n" not in str(caught.value)
    return str(caught.value)


def test_primitives_that_cannot_be_written_are_named_with_their_lines(tmp_path):
    def ranked(params, x):
        first = jnp.sort(x, 1)
        return first + jnp.sort(x, 1)[:, ::-1] + lax.top_k(x, 6)[0]

    line = ranked.__code__.co_firstlineno
    network = export.of(ranked, {}, F[0])
    with pytest.raises(InputError) as caught:
        export.write(network, tmp_path / "e", ["safetensors", "onnx"])
    place = f"{os.path.relpath(__file__)}:{{}}, in test_primitives_that_cannot_be_written_are_named_with_their_lines"
    place += ".<locals>.ranked"
    lines = [f"{name} ({place.format(line + k)})" for name, k in (("sort", 1), ("sort", 2), ("top_k", 2))]
    assert str(caught.value).startswith(f"--to=onnx: the network needs {', '.join(lines)}, which cannot be written so")
    assert not list(tmp_path.iterdir())
    agree(tmp_path, network, F, ["stablehlo"])


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda params, x: x - x.mean(0)[None], "reduce_sum ("),
        (lambda params, x: x.sum(0), "for b rows; must give a row"),
        (lambda params, x: x @ x.T, "makes an array of"),
        (lambda params, x: (x, x), "gives 2 arrays"),
        (lambda params, x: x if x[0, 0] > 0 else -x, "cannot be traced for any number of rows"),
        (lambda params, x: lax.scan(lambda c, y: (c, c + y), x[:, 0], x.T)[1].T, "needs scan ("),
        (lambda params, x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x + 1, x), "needs while ("),
        (lambda params, x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), "needs cond ("),
        (lambda params, x: jnp.concatenate([x, x[:1]]), "makes an axis of b + 1"),
        (lambda params, x: jnp.zeros((3, 2)), "for b rows"),
    ],
)
def test_functions_that_are_not_of_rows_are_refused(function, told, tmp_path):
    with pytest.raises(InputError) as caught:
        export.write(export.of(function, {}, F[0]), tmp_path / "e", ["numpy"])
    assert told in str(caught.value) and "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_bad_words_and_folders_are_refused_before_anything_is_loaded(flowers, tmp_path):
    run = flowers.to.parent
    assert "needs one RUN and --to FORMAT" in refused(run)
    assert refused(run, "--to", "onx") == (
        "--to=onx: unknown; did you mean onnx? Choose from numpy, onnx, safetensors, stablehlo"
    )
    assert "tflite: unknown" in refused(run, "--to", "onnx,tflite")
    assert "is there already; name another folder, or add --force" in refused(run, "--to", "numpy")
    assert "is no folder" in refused(run, "--to", "numpy", "--output", tmp_path / "none" / "e")
    assert "is no run's folder" in refused(tmp_path, "--to", "numpy")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    assert "has letter.txt" in refused(run, "--to", "numpy", "--output", tmp_path / "mine", "--force")
    before = (flowers.to / "predict_numpy.py").read_bytes()
    main.command("export")([str(run), "--to", "onnx,numpy,safetensors", "--force"])
    assert (flowers.to / "predict_numpy.py").read_bytes() == before


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    network = export.of(jaxnn.linear(2), {"dense_0": {"w": F[:2], "b": F[0, :2]}}, F[0])
    there = export.write(network, tmp_path / "e", ["numpy"])
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left on device"):
        export.write(network, tmp_path / "e", list(EXPORTS), force=True)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before and list(tmp_path.iterdir()) == [there]


def test_without_the_package_onnx_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="--to=onnx: needs the package onnx; install it, with pip install onnx"):
        export.files(export.of(lambda params, x: x, {}, F[0]), ["onnx"])


def test_arguments_that_are_no_network_and_no_row_are_refused():
    with pytest.raises(InputError, match="model=Linen: is a Flax module; wrap it in from_linen"):
        export.of(Linen(), {}, F[0])
    with pytest.raises(InputError, match="example=list: must be one row of x"):
        export.of(lambda params, x: x, {}, [1.0, 2.0])
    with pytest.raises(InputError, match="--to=numpi: unknown; did you mean numpy?"):
        export.files(export.of(lambda params, x: x, {}, F[0]), ["numpi"])


def test_parameters_may_be_called_as_they_like(tmp_path):
    names = ("file", "x", "h0", "outputs", "constant_1", "a'b\"c", "../up", "n")
    params = {name: F[i % 5] for i, name in enumerate(names)}
    agree(tmp_path, export.of(lambda params, x: sum((a[None] * x for a in params.values()), x), params, F[0]), F)


def test_a_network_that_generates_is_refused(flowers):
    run = flowers.run._replace(task=flowers.run.task._replace(prepare=lambda batch, key: batch))
    with pytest.raises(InputError, match="prepares its examples itself; export a function of yours"):
        export.of_run(run)


# ---- all of MNIST ----------------------------------------------------------------------------------------------------

FLAX = """
import flax.linen as nn

from jaxnn.config import Config

config = Config(name="flax")


class CNN(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.avg_pool(nn.relu(nn.Conv(16, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.max_pool(nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(32, (3, 3))(x))), (2, 2), (2, 2))
        x = nn.gelu(nn.Dense(64)(x.reshape((x.shape[0], -1))))
        return nn.Dense(self.outputs)(nn.Dropout(0.5)(x, deterministic=not train))


def model(outputs):
    return CNN(outputs)
"""
NETWORK = {  # the words of `jaxnn train`
    **{name: [name] for name in ("mnist_mlp", "mnist_cnn", "mnist_maxout")},
    "flax": ["network.py"], "resnet": ["--model.kind", "resnet"],
}  # fmt: skip
IN_BATCHES = """
import sys, numpy as np, predict_numpy
x = np.load("images.npy")
for k in (1, 7):
    np.save(f"{k}.npy", np.concatenate([predict_numpy.outputs(x[i : i + k]) for i in range(0, len(x), k)]))
assert not {"jax", "jaxnn", "onnx"} & sys.modules.keys()
np.save("labels.npy", predict_numpy.predict(x))
"""


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize("name", NETWORK)
def test_all_test_images_of_mnist_in_batches_of_1_and_7(name, mnist_dir, numpy_only, tmp_path):
    """Trained on a tenth of MNIST, which also moves the statistics of batch norms from where they began."""
    mnist: Any = data.load("mnist", dir=str(mnist_dir))
    images = mnist.test.x
    train = {"x_train": mnist.train.x[:6000], "y_train": mnist.train.y[:6000]}
    np.savez(tmp_path / "part.npz", **train, x_test=images, y_test=mnist.test.y)
    (tmp_path / "network.py").write_text(FLAX)
    python, how = [sys.executable, "-m", "jaxnn"], {"cwd": tmp_path, "check": True, "capture_output": True}
    flags = ["--data.name", "part.npz", "--epochs", "1", "--workdir", "run"]
    subprocess.run([*python, "train", *NETWORK[name], *flags], **how)
    own = ["--config", "network.py"] if name == "flax" else []
    to = ["--to", "onnx,stablehlo,numpy", "--output", "exported"]
    subprocess.run([*python, "export", "run", *own, *to], **how)

    space: dict[str, Any] = {}
    exec(FLAX, space)
    live = jaxnn.load_run(tmp_path / "run", model=space["model"] if name == "flax" else None)
    expected, accuracy = live.predict_proba(images), np.mean(live.predict(images) == mnist.test.y)
    folder = tmp_path / "exported"
    np.save(folder / "images.npy", images)
    (folder / "batches.py").write_text(IN_BATCHES)
    env = {**os.environ, "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([numpy_only, "-W", "error", "batches.py"], cwd=folder, env=env, check=True)
    assert np.load(folder / "labels.npy").tolist() == live.predict(images).tolist()
    found = {("numpy", k): np.load(folder / f"{k}.npy") for k in (1, 7)}
    formats = reading(folder)
    for k in (1, 7):
        for to in ("onnx", "stablehlo"):
            parts = (formats[to](images[i : i + k]) for i in range(0, len(images), k))
            found[to, k] = np.concatenate([*parts])
    for (to, k), outputs in found.items():
        far = np.abs(outputs - expected).max()
        print(f"{name} ({accuracy:.4f} right): {to} in batches of {k}: {far:.1e} away at most")
        assert outputs.shape == (10000, 10) and far <= 1e-5
        assert (outputs.argmax(1) == expected.argmax(1)).all()
