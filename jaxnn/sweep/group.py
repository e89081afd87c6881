"""The members of a sweep that one program can train: what they have in common, and what differs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import recipe
from jaxnn.config.request import Request
from jaxnn.config.settings import Config
from jaxnn.config.sweep import Member
from jaxnn.config.values import to_dict
from jaxnn.data.dataset import Dataset
from jaxnn.store import identity, origin, program
from jaxnn.training import plan
from jaxnn.training.plan import Plan
from jaxnn.training.programs import check_metrics, start_of
from jaxnn.types import Recipe, State

# What a run looks at on the host alone, so that no program depends on it.
HOST = (
    *("name", "seed", "workdir", "tol", "patience", "stop_on", "restore", "init_from", "data", "checkpoint"),
    "report",
)


class Ready(NamedTuple):
    """A member, checked: nothing of it can be refused any more but by its folder."""

    member: Member
    data: Dataset
    plan: Plan
    recipe: Recipe
    example: Any
    shapes: State
    about: dict[str, Any]  # what the run is (`identity.describe`)
    origin: origin.Origin
    traced: dict[str, float]  # its numbers that the program takes
    build: Callable[[Mapping[str, Any]], Recipe]  # the recipe with other numbers in their place
    program: str  # members of one such text have one program


def checked(request: Request, members: Sequence[Member], data: Mapping[Any, Dataset], devices: str) -> list[Ready]:
    """All that can be refused is refused here, before a folder is made. `data`: by the settings of the data."""
    own, shapes, base = request.brought, dict[str, State](), members[0].config

    @functools.cache
    def network(model: Any, task: Any, dtype: str, settings: Any) -> Any:
        found = data[settings]
        known, config = found.describe(), replace(base, model=model, task=task, dtype=dtype, data=settings)
        made = recipe.network(config, known, own, mean=found.mean, std=found.std)
        return found, known, made, recipe.checked(made[1], found.parts, own)["train"]

    def one(member: Member) -> Ready:
        config = member.config
        found, known, made, rows = network(config.model, config.task, config.dtype, config.data)
        (model, task, example), steps = made, plan.plan(config, len(found.train.weight))

        def build(traced: Mapping[str, Any]) -> Recipe:
            return recipe.recipe(config, known, model, task, example, steps, found.class_weight, own, traced)

        made, numbers = build({}), _traced(config, own)
        text = _program(config, known, found.class_weight, numbers)
        if text not in shapes:
            shapes[text] = start_of(made, config, example, jax.random.key(config.seed))[1]
            check_metrics(config, made, shapes[text].params, found.parts)
        computes = program.describe(made, example, rows, own)
        about = identity.describe(config, known, devices, **request.own(), **computes)
        head = functools.partial(recipe.head, config, task, example, own.model)
        source, begun, about = origin.find(config, about, steps, shapes[text], request.start, head)
        return Ready(member, found, begun, made, example, shapes[text], about, source, numbers, build, text)

    return [one(member) for member in members]


def _traced(config: Config, own: Any) -> dict[str, float]:
    """The numbers of a config that its program can take as arguments, to the bits that it has with them inside.

    Zeros are left out, since a program without the term is another one; b1, b2 and eps too, since optax computes 1 - b1
    in float64 where it is a number. A function of the config file's own may look at its learning rate.
    """
    optim = config.optim
    names = [] if own.optimizer or own.schedule else ["lr", "weight_decay"] + ["momentum"] * (optim.name == "sgd")
    if optim.weight_decay and optim.schedule != "constant":  # XLA multiplies the two once, where both are constants
        names = [name for name in names if name not in ("lr", "weight_decay")]
    given = {name: getattr(optim, name) for name in (*names, "alpha")}
    return {name: value for name, value in given.items() if value}


def _program(config: Config, known: dict[str, Any], class_weight: Any, traced: dict[str, float]) -> str:
    """A text that two members share if they have one program."""
    values = {name: value for name, value in to_dict(config).items() if name not in HOST}
    values["optim"] = values["optim"] | dict.fromkeys(traced, "traced")
    known = {name: value for name, value in known.items() if name != "digest"}
    weight = None if class_weight is None else class_weight.tolist()
    return json.dumps([values, known, weight, config.data.augment])


def settings_of(members: Sequence[Ready]) -> dict[str, np.ndarray]:
    """f[S] of each number that is traced."""
    return {name: np.array([m.traced[name] for m in members], jnp.result_type(float)) for name in members[0].traced}


def groups(members: Sequence[Ready]) -> list[list[int]]:
    """The numbers of the members of each program."""
    found: dict[str, list[int]] = {}
    for i, ready in enumerate(members):
        found.setdefault(ready.program, []).append(i)
    return list(found.values())
