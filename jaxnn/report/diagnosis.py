"""What can go wrong inside a network: gradients that vanish, units that are dead; and a watch for both in a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.data.streams.rows import Rows
from jaxnn.tasks.marks import IGNORE
from jaxnn.types import Batch, Model, Params, Recipe

DEAD = 0.99  # share of a layer's units
VANISHED = 1e-6  # of the largest norm in the network
EXPLODED = 1e6  # norm of a whole gradient
ROWS_TOGETHER = 2**20
FLAT, ROWS = 1e-4, 10  # how little the loss moves, over how many rows of the history


def gradient_norms(grads: Params) -> dict[str, jax.Array]:
    """The norm of each leaf of a gradient, by path, `float[]` each: where it vanishes or explodes on its way back.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> norms = jaxnn.gradient_norms({"dense_0": {"w": jnp.full((2, 2), 1.5)}})
    >>> {path: float(norm) for path, norm in norms.items()}
    {'dense_0/w': 3.0}

    Source: the lecture (the vanishing gradient problem).
    """
    return {name: jnp.linalg.norm(g) for name, g in tree.by_name(grads).items()}


def dead_units(model: Model, params: Params, x: jax.Array) -> dict[str, jax.Array]:
    """Which units never pass a gradient back for any example of x: bool[F] for each bias, by path.

    A unit whose activation is flat for every example (a ReLU that is always 0) has d(output)/d(bias) = 0 throughout,
    and no training on these examples will bring it back. Outputs are weighted at random, example by example, so that
    nothing cancels by accident; x `[n, ...]`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.mlp((3,), 1)
    >>> params = model.init(jax.random.key(0), jnp.ones(2))
    >>> params["dense_0"]["b"] = jnp.array([100.0, -100.0, 100.0])
    >>> jaxnn.dead_units(model, params, jnp.ones((5, 2)))["dense_0/b"].tolist()
    [False, True, False]

    Source: the lecture (dying ReLU).
    """
    grads = tree.by_name(random_gradient(model, params, x))
    return {path: g == 0 for path, g in grads.items() if path.endswith(("b", "bias"))}


def never_better(parts: dict[str, Batch], rows: list[dict[str, Any]]) -> list[str]:
    """What to tell of a run none of whose rows was better than always giving the same answer: the most frequent class
    of the training examples, or the mean amount (whose R^2 is 0); and of one whose R^2 is below 0 in the end.

    By the validation examples, or those of training if there are none; labels that are on the disk are not looked at.
    """
    part = "val" if "val" in parts else "train"
    if any(isinstance(parts[each].y, Rows) for each in {"train", part}):  # all of them would be read again
        return []
    cure = "look at the data and the target, try another --optim.lr, more --epochs, or standardise"
    found = []
    for name in (f"{part}/accuracy", f"{part}/r2"):
        scores = [row[name] for row in rows if row.get(name) is not None]
        if not scores:
            continue
        constant = 0.0 if name.endswith("r2") else _accuracy_of_one_answer(parts["train"], parts[part])
        if max(scores) <= constant + 1e-6:
            rule = f"no better than always giving the same answer ({constant:.4g})"
            found.append(f"{name}={max(scores):.4g} at best: {rule}; {cure}")
        elif name.endswith("r2") and scores[-1] < 0:
            found.append(f"{name}={scores[-1]:.4g} in the end: worse than always answering the mean; {cure}")
    return found


def _accuracy_of_one_answer(train: Batch, rows: Batch) -> float:
    """Of the most frequent class (of pixels, where the labels are masks), or for several labels of the more frequent
    answer to each."""
    y = np.asarray(train.y)
    if y.ndim == 3:
        learned, pixels = (labels[labels != IGNORE] for labels in (y, np.asarray(rows.y)))
        return float(np.mean(pixels == np.bincount(learned).argmax())) if learned.size and pixels.size else 0.0
    if y.ndim == 1:
        parts, classes = range(0, len(y), ROWS_TOGETHER), int(y.max()) + 1
        cut = lambda a, i: a[i : i + ROWS_TOGETHER]  # as float64 and int64 all labels would take four times their room
        counts = sum(np.bincount(cut(y, i).astype(np.int64), cut(train.weight, i), classes) for i in parts)
        hit = rows.y == np.argmax(counts)
    else:
        hit = (rows.y == (np.average(y, axis=0, weights=train.weight) > 0.5)).all(1)
    return float(np.average(hit, weights=rows.weight))


class Alarms:
    """`alarms(row, params, still)` after each row of the history: what is wrong with a layer or the loss, each once.

    A healthy run is not looked into: only where 99 % of a leaf have not changed in the last steps (`still`), or the
    gradient is huge, are the gradients of a sample of the training examples worked out.
    """

    gradient: Callable[[Params, Batch], Params]

    def __init__(self, recipe: Recipe, rows: Batch):
        model, prepare = recipe.model, recipe.task.prepare
        self.sample: Batch = jax.tree.map(lambda a: a[:: -(-len(a) // 128)], rows)
        self.freeze: tuple[str, ...] = recipe.freeze
        self.gradient = jax.jit(lambda params, batch: random_gradient(model, params, prepare(batch, None).x))
        self.losses: deque[float] = deque[float](maxlen=ROWS)
        self.told: set[str] = set()

    def __call__(self, row: dict[str, Any], params: Params, still: float) -> list[str]:
        found = [*self._layers(row, params, still), *self._loss(row)]
        new = [text for name, text in found if name not in self.told]
        self.told |= {name for name, _ in found}
        return new

    def _layers(self, row: dict[str, Any], params: Params, still: float) -> Iterator[tuple[str, str]]:
        exploded = row["grad_norm"] > EXPLODED
        if still < DEAD and not exploded:
            return
        grads = {
            name: np.asarray(g)
            for name, g in tree.by_name(self.gradient(params, self.sample)).items()
            if not tree.is_kept(name, self.freeze)
        }
        norms = {path: float(np.linalg.norm(g)) for path, g in grads.items()}
        most = max(norms, key=lambda path: norms[path])
        if exploded:
            share = (norms[most] / np.linalg.norm(list(norms.values()))) ** 2
            cure = "set --optim.clip_norm, or scale the data"
            yield "exploded", f"{most}: has {share:.0%} of a gradient of norm {row['grad_norm']:.0e}; {cure}"
        dead = {path: float(np.mean(g == 0)) for path, g in grads.items() if path.endswith(("b", "bias"))}
        dead = {path: share for path, share in dead.items() if share >= DEAD}
        for path, share in dead.items():
            cure = "lower --optim.lr, or try --model.activation leaky_relu"
            yield path, f"{path}: {share:.0%} of {grads[path].size} units are dead, no example trains them; {cure}"
        for path, norm in norms.items():
            if norm < VANISHED * norms[most] and not dead:  # behind a dead layer every gradient is 0
                cure = "use fewer layers, or --model.activation relu"
                yield path, f"{path}: its gradient has vanished, {norm / norms[most]:.0e} of that of {most}; {cure}"

    def _loss(self, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
        self.losses.append(row["train/loss"])
        if len(self.losses) == ROWS and max(self.losses) - min(self.losses) <= FLAT * abs(self.losses[-1]):
            what = f"train/loss={row['train/loss']:g}: flat for {ROWS} rows"
            yield "flat", f"{what} at lr={row['lr']:g}, grad_norm={row['grad_norm']:g}; change --optim.lr, or stop here"


def random_gradient(model: Model, params: Params, x: jax.Array) -> Params:
    """The gradient of the outputs, each weighted at random, so that nothing cancels by accident."""
    y, pullback = jax.vjp(lambda params: model.apply(params, x), params)
    return pullback(jax.random.normal(jax.random.key(0), y.shape, y.dtype))[0]
