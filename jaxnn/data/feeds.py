"""Which rows the next steps take: a `Window`, a pure function of (key, step)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import tree
from jaxnn.data import order
from jaxnn.errors import InputError
from jaxnn.numerics import key_for
from jaxnn.types import Batch, Window

MAX_ROWS = 2**30  # so that no index of a row, or of the padding after it, is larger


def shuffled(data: Batch, key: jax.Array, step: jax.Array | int, n: int, batch_size: int, multiple: int = 1) -> Window:
    """The window of n steps from `step` on: each epoch is a permutation of all rows, drawn from the run's key.

    The last step of an epoch has what is left. `multiple`: rows of a step are padded to a multiple of it, so that they
    can be split over so many devices. Raises `InputError` if x, y and weight differ in length.

    >>> import jax, numpy as np, jaxnn
    >>> data = jaxnn.Batch(x=np.zeros((5, 2)), y=np.zeros(5), weight=np.ones(5))
    >>> window = shuffled(data, jax.random.key(0), step=0, n=2, batch_size=3)
    >>> sorted(window.index[window.real].tolist()), window.real.tolist()
    ([0, 1, 2, 3, 4], [[True, True, True], [True, True, False]])
    """
    check_lengths(data)
    width = -(-batch_size // multiple) * multiple
    rows = lambda t: order.rows(key_for("order", key), t, len(data.weight), batch_size, width)
    return Window(data, *jax.vmap(rows)(step + lax.iota(jnp.int32, n)))


def in_order(data: Batch, key: jax.Array, step: jax.Array | int, n: int, batch_size: int, multiple: int = 1) -> Window:
    """As `shuffled`, but each epoch takes the rows as they stand; the key is not used.

    >>> import jax, numpy as np, jaxnn
    >>> data = jaxnn.Batch(x=np.zeros((5, 2)), y=np.zeros(5), weight=np.ones(5))
    >>> window = in_order(data, jax.random.key(0), step=1, n=2, batch_size=3)
    >>> window.index.tolist(), window.real.tolist()
    ([[3, 4, 4], [0, 1, 2]], [[True, True, False], [True, True, True]])
    """
    check_lengths(data)
    rows, width = len(data.weight), -(-batch_size // multiple) * multiple
    first, slot = (step + lax.iota(jnp.int32, n)) % -(-rows // batch_size) * batch_size, lax.iota(jnp.int32, width)
    index = jnp.add(*jnp.broadcast_arrays(first[:, None], slot[None]))
    real = (index < rows) & jnp.broadcast_to(slot < batch_size, index.shape)
    return Window(data, jnp.minimum(index, rows - 1), real)


def take(data: Batch, index: jax.Array, real: jax.Array) -> Batch:
    """Rows of the data; those that are not real weigh nothing."""
    x, y = jax.tree.map(lambda a: a[index], (data.x, data.y))
    return Batch(x, y, jnp.where(real, data.weight[index], 0))


def one_row(data: Batch) -> Batch:
    """The shapes of a batch of one row of the data."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), data)


def check_arrays(data: Batch) -> None:
    """Refuse what only looks like an array: a table, a sparse matrix, a list, an array of objects, nothing at all."""
    # To JAX a list is a pytree of its numbers, and None one without leaves: here each is a leaf, which is no array.
    leaves = jax.tree.leaves_with_path(data, is_leaf=lambda leaf: leaf is None or isinstance(leaf, list))
    for path, value in leaves:
        array = isinstance(value, np.ndarray | jax.Array)
        if not array or not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool):
            kind = f"array of {value.dtype}" if array else f"{type(value).__module__}.{type(value).__qualname__}"
            raise InputError(f"{tree.name(path)}={kind}: must be a NumPy or JAX array of numbers; convert it")


def check_lengths(data: Batch) -> None:
    """Refuse rows that do not belong together: an index past the end of an array would be clamped in silence."""
    lengths = {name: jnp.shape(value)[:1] for name, value in tree.by_name(data).items()}
    if len(set(lengths.values())) > 1 or not 0 < data.weight.shape[0] <= MAX_ROWS:
        given = ", ".join(f"{name}={value}" for name, value in lengths.items())
        raise InputError(f"data: {given}: x, y and weight must have the same number of rows, from 1 to {MAX_ROWS:,}")
