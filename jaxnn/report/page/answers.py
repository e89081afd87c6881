"""What a network answers to the examples that were kept for it: asked once, in blocks, of some thousand at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.engine.evaluation import in_blocks
from jaxnn.tasks.base import block_rows, rows_of
from jaxnn.training import shelf as shelves
from jaxnn.types import Batch, Model, Task, unchanged

MOST = 10_000  # examples that a network is asked of


class Question(NamedTuple):
    """Which rows of which part of the data a network is asked of, and the compiled program that answers a block."""

    part: str
    total: int
    rows: np.ndarray
    size: int
    program: Callable[[Any, Any], Any]


class Answers(NamedTuple):
    """Of some rows of a part of the data (their numbers in it): the examples and labels as the network takes them, its
    outputs (probabilities or amounts), and what it answers."""

    part: str
    total: int
    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    outputs: np.ndarray
    answers: np.ndarray
    weighted: bool  # whether the rows do not all weigh the same in the history


def question(
    model: Model, task: Task, shapes: Any, parts: dict[str, Batch], shelf: shelves.Shelf | None = None
) -> Question | None:
    """What is asked at the end of a run: of the test examples, else those of validation, else of training.

    None where the answers are no classes or amounts of whole examples. `shapes`: of the parameters. `shelf`: where the
    programs of the run are kept.
    """
    if task.labels != "whole" or task.prepare is not unchanged:
        return None
    part = next(name for name in ("test", "val", "train") if name in parts)
    weight = np.asarray(parts[part].weight)
    there = np.flatnonzero(weight > 0)
    rows = there[:: -(-len(there) // rows_of(int(np.prod(task.shape)), MOST)) or 1]
    size = min(block_rows(task), max(len(rows), 1))
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), shapes)
    x = jax.ShapeDtypeStruct((size, *parts[part].x.shape[1:]), parts[part].x.dtype)
    outputs = jax.jit(lambda params, x: task.link(model.apply(params, x)))
    program = shelves.one(shelves.Wanted("answers", lambda: outputs.lower(like, x), (like, x), lambda _: x), shelf)
    return Question(part, len(there), rows, size, program)


def answered(asked: Question, task: Task, params: Any, parts: dict[str, Batch]) -> Answers:
    """What the network with these parameters answers."""
    split = parts[asked.part]
    x, y, weight = (np.asarray(a[asked.rows]) for a in split)
    params = jax.device_get(params)
    blocks = lambda start, end: x[start:end]
    outputs = in_blocks(lambda part: asked.program(params, part), len(x), blocks, [asked.size])
    answers = np.asarray(task.decide(outputs))
    return Answers(asked.part, asked.total, asked.rows, x, y, outputs, answers, bool(np.ptp(weight)))
