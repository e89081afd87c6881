"""What is exported: a function of parameters and rows, and what is told of it in each format."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.config.names import EXPORTED, EXPORTS
from jaxnn.config.values import to_dict
from jaxnn.errors import InputError, choices
from jaxnn.export import numpy_file, onnx_file
from jaxnn.export.graph import Constant, Graph, Step, Value
from jaxnn.export.walk import for_any_rows, rows_like, walk
from jaxnn.predict import Run
from jaxnn.store import arrays, durable
from jaxnn.types import Model, Params, Task, unchanged

PLATFORMS = ("cpu", "cuda", "tpu")
ANSWERS = {  # of a task: what its answer is among the probabilities
    **dict.fromkeys(("binary", "multiclass", "segmentation"), "most likely"), "multilabel": "yes or no",
}  # fmt: skip


class Network(NamedTuple):
    """What is exported: a function `apply(params, x)` of any number of rows.

    example: one row, a `jax.ShapeDtypeStruct`. about: what each format says of it, as JSON has it. config: the settings
    of the model and the task, beside the weights. offset: f64, what is taken off x before it is made float32, or None.

    >>> import jax.numpy as jnp, jaxnn
    >>> network = jaxnn.export.of(lambda params, x: x @ params["w"], {"w": jnp.ones((4, 2))}, jnp.zeros(4))
    >>> [step.operation for step in network.graph().steps]
    ['matmul']
    """

    apply: Callable[[Params, Any], Any]
    params: Params
    example: Any
    about: dict[str, Any]
    config: dict[str, Any] | None = None
    offset: np.ndarray | None = None

    def graph(self) -> Graph:
        """Its operations. Raises `InputError` for a function that is not one of rows."""
        found = walk(self.apply, self.params, self.example)
        if self.offset is None:
            return found
        given = Value(found.x.shape, np.dtype(np.float64))
        moved = Value(given.shape, given.dtype)
        off = Step("sub", (given, Constant(self.offset, "offset")), moved, {}, "sub", "")
        cast = Step("cast", (moved,), found.x, {}, "convert_element_type", "")
        return Graph(given, found.y, (off, cast, *found.steps))


def of(
    model: Model | Callable[[Params, Any], Any],
    params: Params,
    example: Any,
    *,
    task: Task | None = None,
    labels: Sequence[Any] | None = None,
    features: Sequence[str] | None = None,
) -> Network:
    """A network of one's own, to be exported: a `jaxnn.Model`, or any function `(params, x [n, ...]) -> y [n, ...]`.

    Args:
      model: the network; a Flax module through `jaxnn.from_linen` or `from_nnx`.
      params: its parameters.
      example: one row of x, or its `jax.ShapeDtypeStruct`.
      task: what its outputs mean: probabilities are exported where the task has them, else its answers.
      labels, features: the names of the classes, and of the columns of x.

    Raises `InputError` for a Flax module by itself, and an example that is no array.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model = jaxnn.mlp((3,), 2)
    >>> params = model.init(jax.random.key(0), jnp.zeros(4))
    >>> network = jaxnn.export.of(model, params, jnp.zeros(4), task=jaxnn.multiclass(2), labels=["no", "yes"])
    >>> sorted(jaxnn.export.files(network, ["numpy", "stablehlo"]))
    ['model.stablehlo', 'predict_numpy.py', 'weights.npz']
    """
    if not hasattr(example, "dtype"):
        raise InputError(
            f"example={type(example).__name__}: must be one row of x; give an array or its shape and dtype"
        )
    if any(kind.__module__.startswith("flax.") for kind in type(model).__mro__):
        raise InputError(f"model={type(model).__name__}: is a Flax module; wrap it in from_linen or from_nnx")
    apply = model.apply if isinstance(model, Model) else model
    outputs, link = _outputs(task)
    about = {
        "task": task and task.name, "labels": _plain(labels), "features": _plain(features),
        "shape": tuple(example.shape), "dtype": np.dtype(example.dtype).name,
        "outputs": outputs, "answer": ANSWERS.get(task.name if task else "", "outputs"),
    }  # fmt: skip
    row = jax.ShapeDtypeStruct(example.shape, example.dtype)
    return Network(lambda params, x: link(apply(params, x)), params, row, about)


def of_run(run: Run) -> Network:
    """The network of a run, with its preprocessing, the names of its classes and of its columns.

    Its outputs are those of `run.predict_proba`, or where there are no probabilities of `run.predict`. Raises
    `InputError` for a task that makes its examples itself, as one that generates does.

    >>> import jax, jaxnn
    >>> iris, model, task = jaxnn.data.load("iris"), jaxnn.linear(3), jaxnn.multiclass(3)
    >>> params = model.init(jax.random.key(0), iris.train.x[0])
    >>> run = jaxnn.Run(jaxnn.Config(), model, params, task, iris.describe(), lambda p, x: task.link(model.apply(p, x)))
    >>> jaxnn.export.of_run(run).about["labels"]
    ['setosa', 'versicolor', 'virginica']
    """
    if run.task.prepare is not unchanged:
        cure = "export a function of yours with jaxnn.export.of"
        raise InputError(f"run={run.config.name}: a {run.task.name} prepares its examples itself; {cure}")
    data = run.data
    row = jax.ShapeDtypeStruct(tuple(data["shape"]), np.dtype(data["dtype"]))
    known = {"labels": data.get("labels") or data["classes"], "features": data.get("features")}
    made = of(run.model, run.params, row, task=run.task, **known)
    values = to_dict(run.config)
    made = made._replace(config={name: values[name] for name in ("model", "task", "dtype")})
    if data.get("offset") is None:
        return made
    offset = np.array(data["offset"], np.float64)
    return made._replace(offset=offset, about=made.about | {"dtype": "float64"})


def _outputs(task: Task | None) -> tuple[str, Callable[[Any], Any]]:
    """What is exported of the outputs of a model: its name, and the function that makes it."""
    if task is None:
        return "outputs", lambda y: y
    if distribution := task.distribution:
        return "probabilities", lambda y: distribution(task.link(y))
    if task.labels == "whole" and task.columns is None:
        return "predictions", lambda y: task.decide(task.link(y))
    return "outputs", task.link


def _plain(names: Sequence[Any] | None) -> list[Any] | None:
    return None if names is None else np.asarray(names, object).tolist()


def stablehlo(network: Network) -> bytes:
    """The network of `jax.export`, for any number of rows on CPU, GPU and TPU.

    `jax.export.deserialize` reads it; what is known of the network is JSON in its `fun_name`. Raises `InputError` where
    x must have 64 bits, which JAX does not have by default.
    """
    if network.offset is not None:
        rule = "some columns need float64, which JAX has not by default"
        raise InputError(f"--to=stablehlo: {rule}; use --to onnx or numpy")
    apply, params = network.apply, network.params
    function = jax.jit(lambda x: apply(params, x))
    with for_any_rows():
        exported = jax.export.export(function, platforms=PLATFORMS)(rows_like(network.example))
    return bytes(dataclasses.replace(exported, fun_name=json.dumps(network.about)).serialize())


def files(network: Network, to: Sequence[str]) -> dict[str, bytes]:
    """The files of these formats by their names. Raises `InputError` for a network that one of them cannot hold.

    >>> import jax.numpy as jnp, jaxnn
    >>> network = jaxnn.export.of(lambda params, x: x @ params["w"], {"w": jnp.ones((4, 2))}, jnp.zeros(4))
    >>> sorted(jaxnn.export.files(network, ["numpy"]))
    ['predict_numpy.py', 'weights.npz']
    """
    for name in to:
        if name not in EXPORTS:
            raise choices("--to", name, EXPORTS)
    graph = functools.cache(network.graph)
    makers: dict[str, Callable[[], tuple[bytes, ...]]] = {
        "numpy": lambda: numpy_file.files(graph(), network.about),
        "onnx": lambda: (onnx_file.model(graph(), network.about),),
        "safetensors": lambda: (safetensors(network),),
        "stablehlo": lambda: (stablehlo(network),),
    }
    found: dict[str, bytes] = {}
    for name in to:
        found |= zip(EXPORTS[name], makers[name](), strict=True)
    return found


def safetensors(network: Network) -> bytes:
    """The parameters by path (`dense_0/w`), and what is told of the network in the metadata, as JSON."""
    leaves = arrays.flatten(network.params)
    about = network.about | ({} if network.config is None else {"config": network.config})
    head = arrays.header(leaves, **{name: json.dumps(value) for name, value in about.items()})
    return b"".join([head, *map(bytes, map(arrays.content, leaves.values()))])


def write(network: Network, folder: str | Path, to: Sequence[str], *, force: bool = False) -> Path:
    """Write the files of these formats into a new folder, whole or not at all, and give its path.

    `force`: in the place of a folder that has no other files. Raises `InputError`, before anything is written, for a
    folder that is there and a network that a format cannot hold; `StorageError` for a disk that fails.

    >>> import tempfile
    >>> import jax.numpy as jnp, jaxnn
    >>> network = jaxnn.export.of(lambda params, x: x @ params["w"], {"w": jnp.ones((4, 2))}, jnp.zeros(4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in jaxnn.export.write(network, f"{folder}/exported", ["safetensors"]).iterdir())
    ['model.safetensors']
    """
    path = durable.check_new_folder("--output", str(folder), EXPORTED, force=force)
    made = files(network, to)
    with durable.new_folder(path) as beside:
        for name, content in made.items():
            durable.write(beside / name, [content], 0o666)
    return path
