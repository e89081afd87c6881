"""Style transfer by the engine that trains networks: the picture is what is trained (`jaxnn.tasks.style`)."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import engine, fork
from jaxnn.config import paths
from jaxnn.config.optim import OptimConfig
from jaxnn.data import feeds
from jaxnn.data.readers import npz
from jaxnn.devices import mesh
from jaxnn.errors import InputError, NumericsError, check, non_negative
from jaxnn.nn.activations import activation, relu
from jaxnn.optim import optimizer
from jaxnn.store import identity
from jaxnn.store import weights as stored
from jaxnn.tasks import style as task
from jaxnn.tasks.style import Features
from jaxnn.types import Batch, Metrics, Recipe, State

OPTIM = OptimConfig(name="adam", lr=0.2, schedule="cosine")  # of the logits of the pixels
FAINT = 1e-5  # features smaller than that are rounding: nothing can be relative to them
AT_ONCE = 10  # steps of one compiled call
LOSSES = ("loss", "content", "style", "tv")
Show = Callable[[int, dict[str, float]], None]  # of the steps that were taken, and the losses of the last


def style_transfer(
    content: Any,
    style: Any,
    key: jax.Array,
    *,
    features: Features | str | os.PathLike[str] | None = None,
    steps: int = 200,
    content_weight: float = 1.0,
    style_weight: float = 50.0,
    tv_weight: float = 10.0,
    show: Show = lambda step, losses: None,
) -> np.ndarray:
    """A picture f32[H, W, 3] in 0..1, with the content of one picture and the style of another.

        loss = content_weight C + style_weight S + tv_weight V
        C = |F - F(content)|^2 / |F(content)|^2           F the features of the convolution in the middle
        S = mean over l of |G_l - G_l(style)|^2 / |G_l(style)|^2         G_l their Gram matrix in convolution l
        V = mean of the squared differences of neighbouring pixels

    The same key is the same picture, bit for bit.

    Args:
      content, style: pictures `u8[H, W, 3]` or `u8[H, W, 1]`, or `f32` of 0..1, of any two sizes.
      key: of the random weights, and of the noise that the picture begins with.
      features: convolutions; a run's folder or a file of kernels (`style_features`); None: random weights.
      steps: of Adam.
      content_weight, style_weight, tv_weight: of the three losses.
      show: called with the number of steps that were taken and the losses of the last one, first with 0 of the first.

    Raises:
      InputError: pictures that are none or too small for the features, and numbers out of range.
      NumericsError: a loss that is not finite.

    >>> import jax, numpy as np, jaxnn
    >>> content, style = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)
    >>> jaxnn.style_transfer(content, style[:, :36], jax.random.key(0), steps=1).shape
    (32, 40, 3)

    Source: Gatys, Ecker, Bethge 2016.
    """
    fork.refuse()
    check("steps", steps, "a whole number >= 1", isinstance(steps, int) and steps >= 1)
    weights = {"content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight}
    for name, value in weights.items():
        non_negative(name, value)
    pictures = {"content": _checked("content", content), "style": _checked("style", style)}
    draw, key = jax.random.split(key)
    if features is None:
        features = Features(*jax.jit(lambda key: task.random(key)[:2])(draw))
    elif not isinstance(features, Features):
        features = style_features(features)
    goal = _targets(features, pictures)
    run, state = program(features, goal, pictures["content"], weights, steps, key)
    for first in range(0, steps, AT_ONCE):
        state, info = run(state, min(AT_ONCE, steps - first))
        if not info["finite"]:
            raise NumericsError(f"loss, steps {first} to {int(state.step)}: must be finite; give smaller weights")
        for step in (0, int(state.step)) if first == 0 else (int(state.step),):
            at = 0 if step == 0 else -1  # as it began, then that of the last step
            show(step, {name: float(info[name][at]) for name in LOSSES})
    return np.asarray(jax.nn.sigmoid(state.params["picture"]))


def _checked(name: str, given: Any) -> jax.Array:
    """The picture, f32[H, W, 3] in 0..1."""
    x = np.asarray(given)
    if x.ndim != 3 or x.shape[2] not in (1, 3) or x.dtype.kind not in "uf":
        what = f"{x.dtype}{list(x.shape)}"
        raise InputError(f"{name}={what}: must be a picture [H, W, 3] or [H, W, 1], in bytes or floats; convert it")
    x = x / np.float32(255) if x.dtype == np.uint8 else x
    check(name, f"{x.min():g} to {x.max():g}" if x.size else "no pixels", "bytes, or in 0..1",
          x.size > 0 and bool(((x >= 0) & (x <= 1)).all()))  # fmt: skip
    return jnp.asarray(np.broadcast_to(x, (*x.shape[:2], 3)), jnp.float32)


def _targets(features: Features, pictures: dict[str, jax.Array]) -> task.Targets:
    """What the features of the picture are to be; each is something that a loss can be relative to."""
    around = task.margin(features)
    for name, x in pictures.items():
        height, width = x.shape[:2]
        rule = f"the features need more than {around} pixels of height and width"
        if min(height, width) <= around:
            raise InputError(f"{name}={height}x{width}: {rule}; use a larger picture, or a larger --size")
    goal = jax.jit(functools.partial(_of_arrays, features.activation))(features[:2], pictures)
    for name, array, power in (("content", goal.content, 2), *(("style", each, 4) for each in goal.grams)):
        size = float(np.square(array).mean())
        if not FAINT**power < size < np.inf:
            rule = f"a convolution gives {'nothing' if size <= FAINT**power else 'no finite numbers'} for that picture"
            raise InputError(f"{name}: {rule}; use another one, or other features")
    return goal


def _of_arrays(activation: Any, arrays: Any, pictures: dict[str, jax.Array]) -> task.Targets:
    return task.targets(Features(arrays[0], arrays[1], activation), pictures["content"], pictures["style"])


def program(
    features: Features,
    goal: task.Targets,
    content: jax.Array,
    weights: dict[str, float],
    total: int,
    key: jax.Array,
) -> tuple[Callable[[State, int], tuple[State, Metrics]], State]:
    """`run(state, n) -> (state, info)`, n steps of the engine; and the state at the first step."""
    model = task.picture(content)
    tx = optimizer.optimizer(OPTIM, steps_per_epoch=1, total_steps=total)
    row = Batch(jnp.zeros(1), jnp.zeros(1), jnp.ones(1))

    def recipe(arrays: Any, goal: task.Targets) -> Recipe:
        return Recipe(
            model, task.style(Features(arrays[0], arrays[1], features.activation), goal, content.shape, **weights), tx
        )

    # Kernels and targets are arguments: as constants XLA would fold them, for each n in another way, with other digits.
    @functools.partial(jax.jit, static_argnums=3)
    def steps(arrays: Any, goal: task.Targets, state: State, n: int) -> Any:
        window = feeds.shuffled(row, key, state.step, n, 1, mesh.count())
        return engine.steps(recipe(arrays, goal), state, window, key)

    def run(state: State, n: int) -> tuple[State, Metrics]:
        return steps(features[:2], goal, state, n)

    state = jax.jit(lambda key: engine.init(recipe(features[:2], goal), key, jax.ShapeDtypeStruct((), np.float32)))(key)
    return run, state


def style_features(source: str | os.PathLike[str]) -> Features:
    """The convolutions of a run, or of a file of kernels, for `style_transfer`.

    A run's folder: the convolutions of its network in their order, as far as each takes the channels that the one
    before gives, with its first activation (of a model of its own: relu); what stands between them (norms, shortcuts)
    is left out.

    A .npz or .safetensors file: kernels `f32[kh, kw, C, O]` in the order of their names (numbers by their size: conv_2
    before conv_10), a bias `f32[O]` beside each or none (`conv_2_w` and `conv_2_b`); and `mean` and `std`, where the
    first kernel takes (picture - mean) / std, of pictures in 0..1.

    Raises `InputError` for a run or file without convolutions, and for kernels of a file that do not fit each other.

    >>> import numpy as np, tempfile, jaxnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/k.npz", conv1_w=np.ones((3, 3, 3, 8)), conv1_b=np.ones(8))
    ...     [kernel.shape for kernel in jaxnn.style_features(folder + "/k.npz").kernels]
    [(3, 3, 3, 8)]
    """
    path = paths.expand("features", source)
    flag = f"features={source}"
    if path.suffix in (".npz", ".safetensors"):
        if not path.is_file():
            raise InputError(f"{flag}: no such file; check the path")
        found = npz.read_all(path) if path.suffix == ".npz" else stored.read_file(path, "features").leaves
        kernels, biases, rest = _chain(flag, found)
        if rest:
            name, takes, gives = rest
            rule = f"{name} takes {takes} channels, and the convolution before it gives {gives}"
            raise InputError(f"{flag}: {rule}; name the kernels in their order")
        given: Any = {name: found[name].reshape(-1) for name in ("mean", "std") if name in found}
        for name, value in given.items():
            channels = kernels[0].shape[2]
            rule = f"one number, or one for each of the {channels} channels"
            check(
                f"{flag} array {name}", value.tolist(), rule, value.dtype.kind in "fiu" and len(value) in (1, channels)
            )
        return task.of_kernels(kernels, biases, **given)
    if not os.path.isfile(path / "config.json"):
        rule = "is neither a run's folder (has no config.json) nor a .npz or .safetensors file"
        raise InputError(f"{flag}: {rule}; name the --workdir of a run, or such a file")
    saved, weights = identity.read(path / "config.json", "features"), stored.read(path, "features")
    stored.refuse_failed(path, weights, "features")
    kernels, biases, _ = _chain(flag, weights.leaves)
    scale = saved["data"]["scale"] or 1.0
    inputs = {name: weights.leaves.get(f"input_stats/{name}") for name in ("mean", "std")}
    given = {name: value.mean((0, 1)) / scale for name, value in inputs.items() if value is not None}
    name = "relu" if saved["own_model"] else saved["config"]["model"]["activation"][0]
    return task.of_kernels(kernels, biases, relu if name == "maxout" else activation(name), **given)


def _chain(
    flag: str, leaves: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray], tuple[str, int, int] | None]:
    """Kernels and biases as far as they fit; and the first kernel that does not, with what it takes and is given."""
    numbered = lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    named = {name: leaves[name] for name in sorted(leaves, key=numbered) if _is_kernel(leaves[name])}
    if not named:
        raise InputError(f"{flag}: has no convolution; name a run of --model.kind cnn, or a file of kernels")
    kernels, biases = [], []
    for name, kernel in named.items():
        if kernels and kernel.shape[2] != kernels[-1].shape[3]:
            return kernels, biases, (name, kernel.shape[2], kernels[-1].shape[3])
        if not kernels and kernel.shape[2] not in (1, 3):
            raise InputError(f"{flag}: {name} takes {kernel.shape[2]} channels, and pictures have 1 or 3; name another")
        kernels.append(kernel)
        biases.append(_bias(name, kernel, leaves))
    return kernels, biases, None


def _is_kernel(leaf: np.ndarray) -> bool:
    return leaf.ndim == 4 and leaf.dtype.kind == "f" and leaf.size > 0


def _bias(name: str, kernel: np.ndarray, leaves: dict[str, np.ndarray]) -> np.ndarray:
    """The bias that belongs to a kernel by its name (`conv_0/w`: `conv_0/b`), else zeros."""
    ends = {"w": "b", "W": "b", "weight": "bias", "kernel": "bias"}
    for end, other in ends.items():
        if name.endswith(end) and (found := leaves.get(name.removesuffix(end) + other)) is not None:
            if found.shape == kernel.shape[3:]:
                return found
    return np.zeros(kernel.shape[3], np.float32)
