"""Where arrays live: batch rows are split over the mesh axis `data`; the state is on every device, or split too
(`jaxnn.devices.sharding`).

This is the only file that names a device. `shard` does nothing outside of `use`, so the same functions run on one
device, on eight, and under `vmap`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxnn import fork
from jaxnn.config.devices import axes as axes_of
from jaxnn.config.names import AXES
from jaxnn.config.settings import Config
from jaxnn.errors import InputError, check

AXIS, MODEL = AXES  # rows of a batch; parameters


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
        here = ", ".join(sorted(_backends())) if _no_backend() is None else "none"
        settings.update("jax_platforms", asked)
        raise InputError(f"JAX_PLATFORMS={asked}: is not here; leave it unset, or choose from {here}")
    raise InputError(f"JAX: finds no device ({reason}); mend the JAX_ settings of the environment")


def _backends() -> dict[str, Any]:
    from jax.extend.backend import backends  # with Pallas: imported where a run checks its platform, not for all else

    return backends()


def _no_backend() -> str | None:
    """Why JAX has nothing to compute on; None where it has."""
    try:
        return None if _backends() else "no platform"
    except (RuntimeError, AssertionError) as reason:  # jax asserts that one of the platforms was found
        return (str(reason) or "no platform").splitlines()[0]


@contextlib.contextmanager
def use(
    number: int | None = None, dtype: str = "f32", *, axes: Mapping[str, int] | None = None, exact: int | None = None
) -> Iterator[str]:
    """Split batches over the first `number` devices (default: all) inside this context.

    Args:
      number: of devices.
      dtype: that of a config, for the line.
      axes: the devices of each axis of the mesh, `data` and `model` (default: all are on `data`).
      exact: parts that the devices of `data` must divide (`Recipe.exact`).

    Yields:
      A line that says what was chosen: platform, devices, precision.

    Raises:
      InputError: there are not so many devices, or they are not as many as the mesh has.
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
    named = {AXIS: number} if axes is None else {AXIS: 1, **axes}
    if (wanted := math.prod(named.values())) != number:
        given = ",".join(f"{name}={size}" for name, size in (axes or {}).items())
        cure = f"give axes of {number}" if wanted > len(devices) else f"give axes of {number}, or --devices {wanted}"
        raise InputError(f"--mesh={given}: is {wanted} devices, and there are {number}; {cure}")
    if exact and exact % named[AXIS]:
        rule = f"must be a multiple of the {named[AXIS]} devices that share its parts"
        raise InputError(f"--exact={exact}: {rule}; give --devices, or other parts")
    # Under Explicit axes, the default of make_mesh, vmap over a sharded batch fails.
    kinds = (AxisType.Auto,) * len(named)
    mesh = jax.make_mesh(tuple(named.values()), tuple(named), axis_types=kinds, devices=devices[:number])
    precision = jax.dtypes.canonicalize_dtype("float64").name  # float32, unless JAX is told otherwise
    plural = "s" * (number > 1)
    as_mesh = "" if axes is None else f" as {' x '.join(f'{name} {n}' for name, n in named.items())}"
    with jax.set_mesh(mesh):
        platform = devices[0].platform
        half = ", computed in bfloat16" + ", which is slower on most CPUs" * (platform == "cpu")
        end = f"{precision}{half * (dtype == 'bf16')}{f', exact in {exact} parts' if exact else ''}"
        yield f"{platform}, {number} device{plural}{as_mesh} ({devices[0].device_kind}), {end}"


def of(config: Config, *, split: bool = True) -> contextlib.AbstractContextManager[str]:
    """`use` as a config says. `split`: whether a batch is split over the devices, and is not whole on each."""
    named = None if config.mesh is None else axes_of(config.mesh)
    return use(config.devices, config.dtype, axes=named, exact=config.exact if split else None)


def count(axis: str = AXIS) -> int:
    """How many devices a batch is split over; or the parameters, with `MODEL`. 1 in a function of one device's part.

    >>> import jaxnn
    >>> with jaxnn.devices.use(1):
    ...     jaxnn.devices.count()
    1
    """
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if axis in mesh.manual_axes else mesh.shape.get(axis, 1)


def size() -> int:
    """How many devices are in use."""
    return max(jax.sharding.get_abstract_mesh().size, 1)


def processors() -> int:
    """How many devices there are that do not share their cores, as those of a CPU do."""
    return 1 if jax.default_backend() == "cpu" else count()


def shard(tree: Any) -> Any:
    """Inside a compiled function: split the leading axis of each array over the devices.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> with jaxnn.devices.use(1):
    ...     jax.jit(lambda x: jaxnn.devices.shard(x).sum())(jnp.ones(8)).item()
    8.0
    """
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(AXIS)) if count() > 1 else tree


def whole(tree: Any) -> Any:
    """Inside a compiled function: have each array whole on every device, computed there.

    Else XLA splits small work too (the order of the rows, their weights), and the devices wait for each other for it.
    """
    return jax.lax.with_sharding_constraint(tree, PartitionSpec()) if size() > 1 else tree


def place(tree: Any, shapes: Any) -> Any:
    """Put arrays where the `jax.ShapeDtypeStruct`s of their shapes say."""
    return jax.tree.map(lambda a, shape: jax.device_put(a, shape.sharding), tree, shapes)


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
    """Put arrays on every device in use.

    >>> import jax.numpy as jnp, jaxnn
    >>> with jaxnn.devices.use(1):
    ...     jaxnn.devices.replicate({"w": jnp.ones(2)})["w"].is_fully_replicated
    True
    """
    return jax.device_put(tree, everywhere())


def replicated(shapes: Any) -> Any:
    """The `jax.ShapeDtypeStruct`s of arrays that `replicate` is going to put somewhere."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere()), shapes)


def everywhere() -> NamedSharding | None:
    """Whole on every device in use; None where there is one."""
    return NamedSharding(jax.sharding.get_mesh(), PartitionSpec()) if size() > 1 else None
