"""A batch in V parts whose results are added in the order of the parts: the same bits on any number of devices.

The sum of a batch that is split over devices depends on their number, since floating-point addition does on its order.
So the batch is cut into V contiguous parts; each device computes its own one after another, by the program of one part;
all parts are gathered and added in their order, on every device alike. (Sums of each device's own parts first would be
other sums on another number of devices.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxnn import tree
from jaxnn.devices import mesh
from jaxnn.types import Batch, Recipe

TURNS = 4  # of a loop at least


def multiple(recipe: Recipe) -> int:
    """Rows of a step are padded to a multiple of this: of the parts, or else of the devices that share them."""
    return recipe.exact or mesh.count()


def each_part(run: Callable[..., Any], parts: int, batch: Batch, key: jax.Array | None) -> Any:
    """`run(part, key of the part)` of each of the parts, stacked: `[parts, ...]`, on every device.

    The rows must be a multiple of `parts`, and `parts` one of the devices.
    """
    one, given = _cut(run, parts, batch, key)
    every = functools.partial(_looped, one)
    if mesh.count() > 1:
        gathered = lambda own: lax.all_gather(_looped(one, own), mesh.AXIS, tiled=True)
        rows, everywhere = PartitionSpec(mesh.AXIS), PartitionSpec()
        every = jax.shard_map(gathered, in_specs=(rows,), out_specs=everywhere, check_vma=False)
    # Fused with what comes before or after, the parts would be rounded otherwise where nothing has to be gathered.
    return lax.optimization_barrier(every(lax.optimization_barrier(given)))


def _cut(run: Callable[..., Any], parts: int, batch: Batch, key: jax.Array | None) -> tuple[Callable[..., Any], Any]:
    """`run` of one part with its number, and all of these, stacked."""

    def one(given: tuple[jax.Array, Batch]) -> Any:
        i, part = given
        return run(part, None if key is None else jax.random.fold_in(key, i))

    return one, (lax.iota(jnp.uint32, parts), jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch))


def _looped(one: Callable[[Any], Any], given: Any) -> Any:
    """`lax.map` over a device's own parts.

    XLA inlines a loop of one turn, takes one of few apart, and then rounds otherwise: a short loop has turns besides,
    which are skipped.
    """
    count = len(given[0])
    if count >= TURNS:
        return lax.map(one, given)
    longer = jax.tree.map(lambda a: jnp.concatenate([a, jnp.repeat(a[:1], TURNS - count, 0)]), given)
    shapes = jax.eval_shape(one, jax.tree.map(lambda a: a[0], given))
    either = lambda xs: lax.cond(xs[0] < count, one, lambda _: tree.zeros(shapes), xs[1])
    found = lax.map(either, (lax.iota(jnp.int32, TURNS), longer))
    return jax.tree.map(lambda a: a[:count], found)


def added(run: Callable[..., Any], parts: int, batch: Batch, key: jax.Array | None) -> Any:
    """The sum of `run(part, key of the part)` over the parts, in their order: that of `each_part`."""
    if mesh.count() > 1:
        return add_up(each_part(run, parts, batch, key))

    one, given = _cut(run, parts, batch, key)

    def add(carry: tuple[Any, Any], given: tuple[jax.Array, Batch]) -> tuple[tuple[Any, Any], None]:
        # A part is added one turn later: within the products that made it, XLA would round the sum otherwise.
        total, before = carry
        return (jax.tree.map(jnp.add, total, before), one(given)), None

    zero = tree.zeros(jax.eval_shape(one, jax.tree.map(lambda a: a[0], given)))
    return jax.tree.map(jnp.add, *lax.scan(add, (zero, zero), given)[0])


def add_up(stacked: Any) -> Any:
    """The sum over the leading axis, in its order."""
    zero = tree.zeros(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), stacked))
    return lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, part), None), zero, stacked)[0]


def joined(stacked: Any) -> Any:
    """The rows of all parts `[parts, B, ...]`, one after another: `[parts B, ...]`."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), stacked)
