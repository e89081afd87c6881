"""Which device holds which part of the parameters, and of what the optimizer keeps for each of them.

A parameter is split along one dimension over the axis `model` of the mesh, by a rule or along its largest one that the
axis divides, and with fsdp along another one over the axis `data`. What has the path and the shape of a parameter in
the state of the optimizer (its moments) goes with it; everything else is whole on every device. The step is the same
function: XLA gathers what it needs (GSPMD, Xu et al. 2021; fsdp: Rajbhandari et al. 2020, "ZeRO").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxnn import tree
from jaxnn.config.devices import rule
from jaxnn.devices import mesh
from jaxnn.errors import InputError
from jaxnn.types import State

SMALLEST = 1024  # numbers of a leaf; below, its parts would cost more to gather than they save


def split(shapes: State, sharding: str = "replicate", tensor: Sequence[str] = ()) -> State:
    """The shapes of a state with where each leaf is to be, as `jax.ShapeDtypeStruct.sharding`.

    Args:
      shapes: of the state.
      sharding: replicate or fsdp.
      tensor: rules PATTERN=DIMENSION for the axis `model`; the first one that names a parameter counts.

    Raises:
      InputError: rules without that axis, one that names no parameter, or a dimension that the axis does not divide.
    """
    rules = [(word, *rule(word)) for word in tensor]
    params = tree.by_name(shapes.params)
    tree.check_patterns("--tensor", [pattern for _, pattern, _ in rules], list(params))
    if rules and mesh.count(mesh.MODEL) == 1:
        raise InputError(f"--tensor={tensor[0]}: splits over the axis model, which has no devices; add --mesh model=2")
    if mesh.size() == 1:
        return mesh.replicated(shapes)
    specs = {name: _spec(name, leaf.shape, sharding, rules) for name, leaf in params.items()}
    devices = jax.sharding.get_mesh()

    def placed(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        words = tree.name(path).split("/")
        ends = ("/".join(words[i:]) for i in range(1, len(words)))
        of = next((end for end in ends if end in specs and params[end].shape == leaf.shape), None)
        spec = PartitionSpec() if of is None else specs[of]
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(devices, spec))

    return jax.tree.map_with_path(placed, shapes)


def _spec(name: str, shape: tuple[int, ...], sharding: str, rules: Any) -> PartitionSpec:
    """How one parameter is split."""
    axes: list[str | None] = [None] * len(shape)
    if (n := mesh.count(mesh.MODEL)) > 1:
        default = (None, None, _largest(shape, axes, n))
        word, _, dimension = next((r for r in rules if tree.matches(name, r[1])), default)
        if dimension is not None and dimension < len(shape):
            if shape[dimension] % n:
                what = f"dimension {dimension} of {name} {list(shape)} is not a multiple of the {n} devices of model"
                raise InputError(f"--tensor={word}: {what}; name another one, or whole")
            axes[dimension] = mesh.MODEL
        elif dimension is not None and len(shape) > 1:
            raise InputError(f"--tensor={word}: {name} {list(shape)} has no dimension {dimension}; 0 is the first")
    if sharding == "fsdp" and (found := _largest(shape, axes, mesh.count())) is not None:
        axes[found] = mesh.AXIS
    return PartitionSpec(*axes)


def _largest(shape: tuple[int, ...], taken: Sequence[str | None], n: int) -> int | None:
    """The largest dimension that n divides and no other axis has; None for a small leaf, and where there is none."""
    fit = [i for i, size in enumerate(shape) if size % n == 0 and taken[i] is None]
    return max(fit, key=lambda i: shape[i], default=None) if math.prod(shape) >= SMALLEST and n > 1 else None


def nbytes(shapes: Any) -> int:
    """The bytes of these arrays on each device."""
    return sum(math.prod(_local(a)) * a.dtype.itemsize for a in jax.tree.leaves(shapes))


def table(params: Any) -> list[tuple[str, str, str]]:
    """Of each parameter its path, its shape and the axes that it is split over, and its bytes on each device."""
    rows = []
    for name, leaf in tree.by_name(params).items():
        axes = [*leaf.sharding.spec, *[None] * leaf.ndim][: leaf.ndim]
        sizes = [f"{size}/{axis}" if axis else str(size) for size, axis in zip(leaf.shape, axes, strict=True)]
        rows.append((name, f"[{', '.join(sizes)}]", f"{nbytes(leaf):,} bytes"))
    return rows


def _local(leaf: Any) -> tuple[int, ...]:
    return leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
