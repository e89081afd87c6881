"""A batch in V parts whose results are added in the order of the parts: the same bits on any number of devices.

The sum of a batch that is split over devices depends on their number, since floating-point addition does on its order.
So the batch is cut into V contiguous parts, each device works its own off one by one, by one program of one part, and
all of them are gathered and added up in their order, on every device alike. (Sums of each device's own parts first
would be other sums on another number of devices.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxnn import tree
from jaxnn.devices import mesh
from jaxnn.types import Batch, Recipe


def multiple(recipe: Recipe) -> int:
    """Rows of a step are padded to a multiple of this: of the parts, or else of the devices that share them."""
    return recipe.exact or mesh.count()


def each_part(run: Callable[..., Any], parts: int, batch: Batch, key: jax.Array | None) -> Any:
    """`run(part, key of the part)` of each of the parts, stacked: `[parts, ...]`, on every device.

    The rows must be a multiple of `parts`, and `parts` one of the devices.
    """

    def one(given: tuple[jax.Array, Batch]) -> Any:
        i, part = given
        return run(part, None if key is None else jax.random.fold_in(key, i))

    def own(numbers: jax.Array, cut: Batch) -> Any:
        # XLA inlines a loop of one step and rounds differently: with one part of its own, a device works it off twice.
        alone = len(numbers) == 1
        given = jax.tree.map(lambda a: jnp.concatenate([a, a]), (numbers, cut)) if alone else (numbers, cut)
        found = lax.map(one, given)
        found = jax.tree.map(lambda a: a[:1], found) if alone else found
        return lax.all_gather(found, mesh.AXIS, tiled=True) if devices > 1 else found

    devices = mesh.count()
    cut = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)
    numbers = lax.iota(jnp.uint32, parts)
    rows = PartitionSpec(mesh.AXIS)
    split = jax.shard_map(own, in_specs=(rows, rows), out_specs=PartitionSpec(), check_vma=False)
    # Fused with what comes before or after, the parts would be rounded otherwise where nothing has to be gathered.
    given = lax.optimization_barrier((numbers, cut))
    return lax.optimization_barrier((split if devices > 1 else own)(*given))


def add_up(stacked: Any) -> Any:
    """The sum over the leading axis, in its order."""
    first = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), stacked)
    return lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, part), None), tree.zeros(first), stacked)[0]


def mean(kept: Any, renewed: Any, weight: jax.Array) -> Any:
    """What all parts keep together: `kept` and the mean of its changes, a part counting as often as it has rows.

    Args:
      kept: before the step.
      renewed: `[parts, ...]`, what each part has made of it.
      weight: f32[B] of the rows of the whole batch; those of weight 0 have no part.
    """
    parts = len(jax.tree.leaves(renewed)[0])
    rows = (weight.reshape(parts, -1) > 0).sum(1)
    share = rows / jnp.maximum(rows.sum(), 1)
    scaled = lambda a, b: (b - a[None]) * share.astype(b.dtype).reshape(-1, *(1,) * a.ndim)
    return jax.tree.map(jnp.add, kept, add_up(jax.tree.map(scaled, kept, renewed)))


def joined(stacked: Any) -> Any:
    """The rows of all parts `[parts, B, ...]`, one after another: `[parts B, ...]`."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), stacked)
