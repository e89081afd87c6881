"""What a network is made of, and what it costs to run, as a text table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxnn import tree
from jaxnn.nn.models import parameter_count
from jaxnn.report.flops import matrix_flops
from jaxnn.types import Model


def summary(model: Model, x: Any, *, batch: int = 32) -> str:
    """The parameters of a model for examples like x, and what it costs to run, as a text table.

    FLOPs are those of the matrix products and convolutions, for a batch, counted before anything is compiled; backward
    means the gradient with respect to the parameters.

    >>> import jax
    >>> import jaxnn
    >>> text = jaxnn.summary(jaxnn.linear(10), jax.ShapeDtypeStruct((784,), "float32"))
    >>> print("\\n".join(text.splitlines()[:4]))
    dense_0/b                 float32[10]             10
    dense_0/w                 float32[10,784]      7,840
    parameters                                     7,850
    bytes                                         31,400
    """
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    rows = [(name, str(jax.typeof(leaf)), leaf.size) for name, leaf in tree.by_name(params).items()]
    many = jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch, *a.shape), a.dtype), x)
    forward = matrix_flops(model.apply, params, many)
    gradient = jax.grad(lambda params, x: model.apply(params, x).sum())
    backward = matrix_flops(gradient, params, many) - forward
    rows += [("parameters", "", parameter_count(params)), ("bytes", "", tree.nbytes(params))]
    rows += [(f"forward FLOPs, batch {batch}", "", forward), (f"backward FLOPs, batch {batch}", "", backward)]
    return aligned([(name, kind, f"{number:,}") for name, kind, number in rows])


def aligned(rows: Sequence[tuple[str, str, str]]) -> str:
    """Rows of three cells as lines; the last cells end in one column."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"{a:{wide[0]}}  {b:{wide[1]}}  {c:>{wide[2]}}" for a, b, c in rows)
