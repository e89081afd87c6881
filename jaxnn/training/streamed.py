"""Rows that are on the disk, handed to the compiled programs a window of steps at a time, read two windows ahead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxnn.data import feeds
from jaxnn.data.streams.order import Order
from jaxnn.data.streams.rows import Rows
from jaxnn.devices import mesh
from jaxnn.engine import evaluation, exact
from jaxnn.errors import InputError
from jaxnn.numerics import key_for
from jaxnn.tasks.metrics import Centered
from jaxnn.training.plan import Plan
from jaxnn.types import Batch, Metrics, Params, Recipe, Task, Window

WINDOW = 2**26  # bytes of the rows of one window
AHEAD = 2  # windows that are read while one is trained on
KEPT = 2**28  # bytes of outputs or labels that a metric of a whole split may keep


def is_streamed(data: Batch) -> bool:
    """Whether the rows of a split are on the disk."""
    return any(isinstance(leaf, Rows) for leaf in jax.tree.leaves(data))


def row_bytes(data: Batch) -> int:
    return sum(leaf.nbytes // len(leaf) for leaf in jax.tree.leaves(data))


def feed(
    recipe: Recipe, data: Batch, plan: Plan, first: int, most: int, key: jax.Array, clock: Callable[[str], None]
) -> tuple[Callable[[int, int], Batch | Window], Callable[[int], Window] | None, int]:
    """`feed(step, n)`, what n steps take as data: the rows themselves, or a window of them; the shapes of one; and how
    many steps one may have.

    Args:
      recipe: what is trained.
      data: the training rows, on the devices or the disk.
      plan, first: what the run does, and the step that it begins at.
      most: steps of a chunk at most.
      key, clock: the run's.
    """
    if not is_streamed(data):
        return lambda step, n: data, None, most
    most = max(min(most, WINDOW // max(plan.batch_size * row_bytes(data), 1)), 1)
    found = Feed(data, key, plan.batch_size, exact.multiple(recipe), plan.cut(first, most)[0], plan.total, clock)
    found.begin(first)  # while the programs are compiled
    return found, found.shapes, most


class Place(NamedTuple):
    """Where windows `[n, width, ...]` go: their columns, the rows of each step, are split over the devices."""

    width: int
    sharding: NamedSharding | None
    low: int  # the columns of this process, [low, high)
    high: int

    def put(self, local: Any) -> Any:
        """The arrays of all processes, from the columns of this one."""
        if self.sharding is None:
            return jax.device_put(local)
        whole = lambda a: (len(a), self.width, *a.shape[2:])
        return jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(self.sharding, np.ascontiguousarray(a), whole(a)), local
        )

    def shapes(self, data: Batch, n: int) -> Batch:
        """Those of the rows of n steps."""
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((n, self.width, *a.shape[1:]), a.dtype, sharding=self.sharding), data
        )


def place(width: int) -> Place:
    """For rows of `width` a step, on the devices in use; to be called in the thread that chose them."""
    if mesh.count() == 1:
        return Place(width, None, 0, width)
    sharding = NamedSharding(jax.sharding.get_mesh(), PartitionSpec(None, mesh.AXIS))
    found: Any = sharding.addressable_devices_indices_map((1, width))
    slices = [index[1].indices(width)[:2] for index in found.values()]
    low, high = min(slices)[0], max(slices)[1]
    if len({a for a, _ in slices}) * (slices[0][1] - slices[0][0]) != high - low:
        raise InputError(f"--mesh: the columns of this process, {sorted(slices)}, are not side by side; reorder it")
    return Place(width, sharding, low, high)


def take(data: Batch, index: np.ndarray, real: np.ndarray) -> Batch:
    """Rows `[n, k, ...]` of the data, read now; those that are not real weigh nothing."""
    rows = jax.tree.map(lambda a: a[index.reshape(-1)].reshape(*index.shape, *a.shape[1:]), data)
    return rows._replace(weight=np.where(real, rows.weight, np.float32(0)))


def ahead(pool: ThreadPoolExecutor, read: Callable[[Any], Any], what: Iterable[Any]) -> Iterator[Future[Any]]:
    """`read` of each, begun before the one `AHEAD` places before it is asked for."""
    waiting: list[Future[Any]] = []
    for each in what:
        waiting.append(pool.submit(read, each))
        if len(waiting) > AHEAD:
            yield waiting.pop(0)
    yield from waiting


class Feed:
    """`feed(step, n)`: the `Window` of n steps, read by threads two windows ahead.

    A pure function of (key, step), so that a run is resumed by its step alone.

    Args:
      data: the training rows.
      key: the run's.
      batch_size, multiple: rows of a step, and what they are padded to a multiple of.
      length: how many steps the chunk that begins at a step has.
      total: steps of the run.
      clock: told when steps begin to wait for rows.
    """

    data: Batch
    length: Callable[[int], int]
    total: int
    clock: Callable[[str], None]
    place: Place
    order: Order
    pool: ThreadPoolExecutor

    def __init__(
        self, data: Batch, key: jax.Array, batch_size: int, multiple: int, length: Callable[[int], int],
        total: int, clock: Callable[[str], None],
    ):  # fmt: skip
        n = len(data.weight)
        if n > feeds.MAX_ROWS:
            raise InputError(f"--data.name={n:,} training rows: must be at most {feeds.MAX_ROWS:,}; use fewer")
        self.data, self.length, self.total, self.clock = data, length, total, clock
        self.place = place(-(-batch_size // multiple) * multiple)
        self.order = Order(key_for("order", key), n, batch_size, self.place.width)
        self.pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="rows")
        self.waiting: dict[tuple[int, int], Future[Window]] = {}

    def begin(self, step: int, count: int = AHEAD) -> None:
        """Begin to read the windows from a step on, those that are not begun yet; others are forgotten."""
        chunks = []
        while len(chunks) < count and step < self.total:
            chunks.append((step, self.length(step)))
            step = sum(chunks[-1])
        self.waiting = {chunk: self.waiting.get(chunk) or self.pool.submit(self.read, *chunk) for chunk in chunks}

    def __call__(self, step: int, n: int) -> Window:
        self.begin(step, AHEAD + 1)
        self.clock("waiting")
        return self.waiting.pop((step, n)).result()

    def read(self, step: int, n: int) -> Window:
        """The window, read now: the columns of this process alone."""
        index, real = (a[:, self.place.low : self.place.high] for a in self.order(step, n))
        return Window(self.place.put(take(self.data, index, real)), None, self.place.put(real))

    def shapes(self, n: int) -> Window:
        """Of a window, to be compiled for."""
        width, sharding = self.place.width, self.place.sharding
        return Window(
            self.place.shapes(self.data, n), None, jax.ShapeDtypeStruct((n, width), np.bool_, sharding=sharding)
        )


def check_size(task: Task, parts: dict[str, Batch]) -> None:
    """Refuse metrics of whole splits that would keep more than there is room for."""
    kept = 4 * int(np.prod(task.shape)) if task.whole else 0
    for part, rows in parts.items():
        y = rows.y.nbytes if isinstance(task.metrics, Centered) or task.whole else 0
        if part != "train" and is_streamed(rows) and (need := y + kept * len(rows.weight)) > KEPT:
            rule = f"a metric of the whole {part} set would keep {need:,} bytes of it, at most {KEPT:,}"
            raise InputError(f"--data.feed=stream: {rule}; leave the metric out, or use --data.feed resident")


class Evaluation:
    """`evaluation(params, rows) -> sums`: those of `jaxnn.engine.evaluate`, of a split that is read as it goes.

    Windows of blocks are evaluated by one compiled program, and the sums of all blocks added in the same order.
    """

    task: Task
    place: Place
    blocks: int
    together: int
    center: Callable[..., Any] | None
    window: Any
    total: Any

    def __init__(self, recipe: Recipe, params: Params, data: Batch, batch_size: int, multiple: int):
        self.task, n = recipe.task, len(data.weight)
        self.place = place(-(-min(batch_size, n) // multiple) * multiple)
        width, self.blocks = self.place.width, -(-n // self.place.width)
        fit = max(WINDOW // (width * row_bytes(data)), 2)  # a loop of one block is inlined, and rounds otherwise
        self.together = min(fit, self.blocks)
        everywhere = None if self.place.sharding is None else NamedSharding(self.place.sharding.mesh, PartitionSpec())
        jitted = functools.partial(jax.jit, out_shardings=everywhere)
        center, self.center = None, None
        if isinstance(self.task.metrics, Centered):
            metrics = self.task.metrics
            self.center = jitted(lambda y, weight: metrics.over(y, weight).center)
            center = jax.eval_shape(self.center, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in data[1:]))
        window, shapes = jitted(functools.partial(evaluation.evaluate_blocks, recipe)), (params, self._shapes(data))
        found = jax.eval_shape(window, *shapes, center)
        grown = jax.tree.map(lambda a: jax.ShapeDtypeStruct((self.blocks, *a.shape[1:]), a.dtype), found)
        self.window = window.lower(*shapes, center)
        self.total = jitted(functools.partial(evaluation.added, self.task)).lower(*grown)
        self.known: Any = None

    def _shapes(self, data: Batch) -> Batch:
        return self.place.shapes(data, self.together)

    def compile(self) -> Evaluation:
        """Ready to be called; in a thread, as other programs are."""
        self.window, self.total = self.window.compile(), self.total.compile()
        return self

    def __call__(self, params: Params, data: Batch) -> Metrics:
        if self.center is not None and self.known is None:
            self.known = self.center(np.asarray(data.y), np.asarray(data.weight))
        found = []
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="rows") as pool:
            starts = range(0, self.blocks, self.together)
            for window in ahead(pool, functools.partial(self._read, data), starts):
                found.append(jax.device_get(self.window(params, window.result(), self.known)))
        every = jax.tree.map(lambda *parts: np.concatenate(parts)[: self.blocks], *found)
        return self.total(*every)

    def _read(self, data: Batch, block: int) -> Batch:
        n, width = len(data.weight), self.place.width
        index = np.arange(block, block + self.together)[:, None] * width + np.arange(self.place.low, self.place.high)
        return self.place.put(take(data, np.minimum(index, n - 1), index < n))
