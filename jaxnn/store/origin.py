"""What a run with --init_from begins with: the weights of another run, by path, or all of its state."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.config import paths
from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.engine.descent import state_of
from jaxnn.errors import InputError, StorageError
from jaxnn.store import arrays, checkpoint, folder, identity, weights
from jaxnn.training.plan import Plan
from jaxnn.types import Recipe, State

FLAG = "--init_from"


class Origin(NamedTuple):
    """What the first state of a run has from another one: arrays by their paths in it; and what to tell of them."""

    leaves: dict[str, np.ndarray] | None = None
    lines: tuple[str, ...] = ()

    def put(self, recipe: Recipe, state: State, shapes: State) -> State:
        """The state of step 0, each leaf where its shape says, with these arrays in the place of its own.

        The optimizer's state is made for them, where they are not all of a state.
        """
        if self.leaves is None:
            return mesh.place(state, shapes)
        given = self.leaves
        with_given = lambda path, leaf: jnp.asarray(given[tree.name(path)]) if tree.name(path) in given else leaf
        state = state_of(recipe, jax.tree.map_with_path(with_given, state).params)
        return mesh.place(jax.tree.map_with_path(with_given, state), shapes)


def find(
    config: Config,
    about: dict[str, Any],
    plan: Plan,
    shapes: State,
    replayed: dict[str, Any] | None,
    head: Callable[[], frozenset[str]] = frozenset,
) -> tuple[Origin, Plan, dict[str, Any]]:
    """What the run begins with, by its --init_from; the plan from its first step on; and what the run is, with `start`:
    the digest of what was taken, and the first step.

    A run that has a checkpoint in its own folder began with what that says: the source may be gone by then.

    Args:
      config: of the run.
      about: what the run is (`identity.describe`).
      plan: what it is going to do.
      shapes: of the state.
      replayed: the `start` of the run whose config.json is replayed, with the same --init_from.
      head: the paths of the parameters of the last layer, which begin anew where the classes are others.

    Raises:
      InputError: no run and no file of weights, weights that do not fit, or others than those of the run replayed.
    """
    if config.init_from is None:
        return Origin(), plan, about
    path = paths.expand(FLAG, config.init_from)
    told, leaves = hosts.once(lambda: _begun(config, path, about, shapes, replayed, head))
    origin = Origin() if told["lines"] is None else Origin(leaves, tuple(told["lines"]))
    return origin, plan.after(told["start"]["step"]), about | {"start": told["start"]}


def _begun(
    config: Config,
    path: Path,
    about: dict[str, Any],
    shapes: State,
    replayed: dict[str, Any] | None,
    head: Callable[[], frozenset[str]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`start` and what to tell of it (`lines`; None where the run has begun before), and the arrays to begin with."""
    start = _own(config)
    if start is not None:
        return {"start": start, "lines": None}, {}
    found = _source(path)
    leaves = _whole(path, found, about, shapes)
    if leaves:
        step = int(leaves["step"])
        lines = (f"goes on from {path} at step {step:,}, with its optimizer's state; a schedule begins anew",)
    else:
        step, (leaves, lines) = 0, _shared(path, found, about, shapes, head)
    start = {"digest": arrays.digest_all(leaves), "step": step}
    if replayed not in (None, start):
        raise InputError(f"{FLAG}={path}: is not what the run that is replayed began with; leave --config out")
    scheduled = {name: leaf for name, leaf in leaves.items() if not _is_of_schedule(name)}
    return {"start": start, "lines": lines}, scheduled


def _own(config: Config) -> dict[str, Any] | None:
    """With what the run in the folder of this one began, where it has a checkpoint and had the same --init_from."""
    place = None if config.workdir is None else folder.named(config.workdir) / "checkpoints"
    for path in reversed(checkpoint.steps(place) if place else []):
        run = (checkpoint.about_of(path) or {}).get("run")
        if run:
            return run.get("start") if run["config"].get("init_from") == config.init_from else None
    return None


def _source(path: Path) -> weights.Weights:
    """The weights of a finished run, or those of a file as they are."""
    if not os.path.isdir(path):  # pathlib raises an error for a name that is too long
        found = weights.read_file(path, FLAG)
        weights.refuse_failed(path, found, FLAG)
        return found
    found, saved = weights.read(path, FLAG), identity.read(path / "config.json", FLAG)
    cure = f"name {path / weights.NAME} for the weights so far"
    epochs = saved["config"].get("epochs", Config.epochs)
    weights.refuse_unfinished(path, found, epochs, partial=False, name=FLAG, cure=cure)
    return found._replace(data=saved["data"])


def _whole(path: Path, found: weights.Weights, about: dict[str, Any], shapes: State) -> dict[str, np.ndarray] | None:
    """The state that a run ended with, where the new one takes the same steps from it and the weights are of it."""
    try:
        last = checkpoint.latest(path / "checkpoints")
        if last is None or not identity.takes_the_same_steps(last.about["run"], about):
            return None
        arrays.restore(last.leaves, shapes)
    except (StorageError, InputError, LookupError):
        return None  # damaged, or as another version of optax has it: the weights are there
    of_its_end = arrays.digest_all(weights.of_state(last.leaves)) == arrays.digest_all(found.leaves)
    return last.leaves if of_its_end else None  # --restore best exports those of another step


def _shared(
    path: Path, found: weights.Weights, about: dict[str, Any], shapes: State, head: Callable[[], frozenset[str]]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays that a network has in common with the weights that were found, by path and shape; and what to tell.

    Statistics go with the layers that have learned from them, so that the new run begins as the function that was
    found: `input_stats` is taken; so is `target_stats`, in whose units the last layer answers, where none begins anew.
    """
    _refuse_other_features(path, found.data or {}, about["data"])
    ours, theirs, classes = tree.by_name(shapes.params), found.leaves, about["data"].get("classes")
    other = head() if (found.data or {}).get("classes", classes) != classes else frozenset[str]()
    fits = [name for name, leaf in ours.items() if name in theirs and theirs[name].shape == leaf.shape]
    taken = [name for name in fits if name not in other]
    anew = [name for name in ours if name not in taken and not tree.is_kept(name)]
    own = {"target_stats"} if anew else set()
    if (found.data or {}).get("offset") != about["data"].get("offset"):  # what is taken off a column before its mean is
        own.add("input_stats")
    taken = [name for name in taken if name.partition("/")[0] not in own]
    if all(tree.is_kept(name) for name in taken):
        sides = f"it has {_first(list(theirs))}, this network {_first(list(ours))}"
        raise InputError(f"{FLAG}={path}: has no array of the same path and shape; {sides}")
    for name in taken:
        if theirs[name].dtype != ours[name].dtype:
            rule = f"{name} is {theirs[name].dtype}, and in this network {ours[name].dtype}"
            raise InputError(f"{FLAG}={path}: {rule}, nothing is rounded in silence; convert the file")
        if not np.isfinite(theirs[name]).all():
            raise InputError(f"{FLAG}={path}: {name} has a number that is not finite; name the weights of another run")
    rest = [name for name in ours if name not in taken]
    parts = {
        "of other classes, begin as initialised": [name for name in rest if name in fits and name in other],
        "of another shape, begin as initialised": [name for name in anew if name in theirs and name not in fits],
        "not there, begin as initialised": [name for name in rest if name not in theirs],
        "of the new data": [name for name in rest if name in theirs and name not in anew],
        "not in this network, left out": [name for name in theirs if name not in ours],
    }
    lines = [f"begins with {_first(taken)} of {path}, and a new state of the optimizer"]
    lines += [f"{what}: {_first(names)}" for what, names in parts.items() if names]
    return {f"params/{name}": theirs[name] for name in taken}, tuple(lines)


def _refuse_other_features(path: Path, had: dict[str, Any], have: dict[str, Any]) -> None:
    """Refuse weights of as many columns that had other names, or another order: they would be taken by place."""
    theirs, ours = had.get("features") or (), have["features"] or ()
    if len(theirs) == len(ours) and theirs != ours:
        k = next(k for k, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        differ = f"feature {k} is {theirs[k]}, here {ours[k]}"
        cure = f"order the columns alike, or name {path / weights.NAME} to take its weights by place"
        raise InputError(f"{FLAG}={path}: has learned from other features ({differ}); {cure}")


def _first(names: Sequence[str]) -> str:
    listed = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return f"{len(names)} array{'s' * (len(names) != 1)} ({listed})" if names else "none"


def _is_of_schedule(name: str) -> bool:
    """Whether a leaf of the state counts the steps of a schedule, or is the rate that it has made."""
    rate = name.startswith("opt_state/optimizer/") and not name.startswith("opt_state/optimizer/inner_state/")
    return rate or name.startswith(("opt_state/plateau/", "opt_state/unfreeze/"))
