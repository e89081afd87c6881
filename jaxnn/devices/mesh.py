"""Where arrays live: one mesh axis, `data`. Batch rows are split over it and the state is on every device.

This is the only file that names a device. `shard` does nothing outside of `use`, so the same functions run on one
device, on eight, and under `vmap`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnn import fork
from jaxnn.errors import InputError, check

AXIS = "data"


@contextlib.contextmanager
def use(number: int | None = None) -> Iterator[str]:
    """Split batches over the first `number` devices (default: all) inside this context.

    Yields:
      A line that says what was chosen: platform, devices, precision.

    Raises:
      InputError: there are not so many devices.
      ForkedError: a process in which JAX would hang.

    >>> import jaxnn
    >>> with jaxnn.devices.use(1) as chosen:
    ...     print(chosen)
    cpu, 1 device (cpu), float32
    """
    fork.refuse()
    try:
        devices = jax.devices()
    except RuntimeError as reason:
        why = str(reason).splitlines()[0]
        given = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        raise InputError(f"{given}: {why}; leave it unset to use what there is") from None
    number = len(devices) if number is None else number
    check("--devices", number, ">= 1", number >= 1)
    if number > len(devices):
        raise InputError(f"--devices={number}: only {len(devices)} {devices[0].platform} devices here; use fewer")
    # Under Explicit axes, the default of make_mesh, vmap over a sharded batch fails.
    mesh = jax.make_mesh((number,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:number])
    precision = jax.dtypes.canonicalize_dtype("float64").name  # float32, unless JAX is told otherwise
    plural = "s" * (number > 1)
    with jax.set_mesh(mesh):
        yield f"{devices[0].platform}, {number} device{plural} ({devices[0].device_kind}), {precision}"


def count() -> int:
    """How many devices a batch is split over."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape[AXIS]


def processors() -> int:
    """How many devices there are that do not share their cores, as those of a CPU do."""
    return 1 if jax.default_backend() == "cpu" else count()


def shard(tree: Any) -> Any:
    """Inside a compiled function: split the leading axis of each array over the devices."""
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(AXIS)) if count() > 1 else tree


def replicate(tree: Any) -> Any:
    """Put arrays on every device in use."""
    return jax.device_put(tree, _everywhere())


def replicated(shapes: Any) -> Any:
    """The `jax.ShapeDtypeStruct`s of arrays that `replicate` is going to put somewhere."""
    everywhere = _everywhere()
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes)


def _everywhere() -> NamedSharding | None:
    return NamedSharding(jax.sharding.get_mesh(), PartitionSpec()) if count() > 1 else None
