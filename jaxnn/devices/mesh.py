"""Where arrays live: one mesh axis, `data`. Batch rows are split over it and the state is on every device.

This is the only file that names a device. `shard` does nothing outside of `use`, so the same functions run on one
device, on eight, and under `vmap`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.backend import backends
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxnn import fork
from jaxnn.errors import InputError, check

AXIS = "data"


def check_environment() -> None:
    """Refuse a JAX that has nothing to compute on, and one that is told not to compile; `use` goes without that."""
    settings: Any = jax.config
    if settings.jax_disable_jit:
        raise InputError("JAX_DISABLE_JIT=1: must be unset, a run is compiled whole; jaxnn.fit goes without")
    check_platforms()


def check_platforms() -> None:
    """Refuse a JAX_PLATFORMS of which nothing is here."""
    reason = _no_backend()
    if reason is None:
        return
    settings: Any = jax.config
    if asked := settings.jax_platforms:
        settings.update("jax_platforms", None)
        here = ", ".join(sorted(backends())) if _no_backend() is None else "none"
        settings.update("jax_platforms", asked)
        raise InputError(f"JAX_PLATFORMS={asked}: is not here; leave it unset, or choose from {here}")
    raise InputError(f"JAX: finds no device ({reason}); mend the JAX_ settings of the environment")


def _no_backend() -> str | None:
    """Why JAX has nothing to compute on; None where it has."""
    try:
        return None if backends() else "no platform"
    except (RuntimeError, AssertionError) as reason:  # jax asserts that one of the platforms was found
        return (str(reason) or "no platform").splitlines()[0]


@contextlib.contextmanager
def use(number: int | None = None, dtype: str = "f32") -> Iterator[str]:
    """Split batches over the first `number` devices (default: all) inside this context.

    Yields:
      A line that says what was chosen: platform, devices, precision (`dtype`: that of a config).

    Raises:
      InputError: there are not so many devices.
      ForkedError: a process in which JAX would hang.

    >>> import jaxnn
    >>> with jaxnn.devices.use(1) as chosen:
    ...     print(chosen)
    cpu, 1 device (cpu), float32
    """
    fork.refuse()
    check_platforms()
    devices = jax.devices()
    number = len(devices) if number is None else number
    check("--devices", number, ">= 1", number >= 1)
    if number > len(devices):
        raise InputError(f"--devices={number}: only {len(devices)} {devices[0].platform} devices here; use fewer")
    # Under Explicit axes, the default of make_mesh, vmap over a sharded batch fails.
    mesh = jax.make_mesh((number,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:number])
    precision = jax.dtypes.canonicalize_dtype("float64").name  # float32, unless JAX is told otherwise
    plural = "s" * (number > 1)
    with jax.set_mesh(mesh):
        platform = devices[0].platform
        half = ", computed in bfloat16" + ", which is slower on most CPUs" * (platform == "cpu")
        yield f"{platform}, {number} device{plural} ({devices[0].device_kind}), {precision}{half * (dtype == 'bf16')}"


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


def split_members(function: Callable[[Any, Any], Any], shared: Any, members: Any) -> Any:
    """Inside a compiled function: `function(shared, members)`, the leading axis of `members` split over the devices, of
    which each computes its part as if it were alone; the results are whole on every device.

    The length of that axis must be a multiple of `count()`.
    """
    if count() == 1:
        return function(shared, members)

    def alone(shared: Any, members: Any) -> Any:
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            return function(shared, members)

    rows = PartitionSpec(AXIS)
    split = jax.shard_map(alone, in_specs=(PartitionSpec(), rows), out_specs=rows, check_vma=False)
    return jax.lax.with_sharding_constraint(split(shared, members), PartitionSpec())


def replicate(tree: Any) -> Any:
    """Put arrays on every device in use."""
    return jax.device_put(tree, _everywhere())


def replicated(shapes: Any) -> Any:
    """The `jax.ShapeDtypeStruct`s of arrays that `replicate` is going to put somewhere."""
    everywhere = _everywhere()
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes)


def _everywhere() -> NamedSharding | None:
    return NamedSharding(jax.sharding.get_mesh(), PartitionSpec()) if count() > 1 else None
