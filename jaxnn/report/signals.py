"""What passes through a network: how large the inputs of its weights are, and how much of tanh and sigmoid is flat.

A model is a function: its layers are found in its jaxpr, whoever wrote it. A value that is computed from one parameter
alone is that parameter (cast, transposed); an operation of a weight and of what came from x is a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxnn import tree
from jaxnn.types import Model, Params

FLAT = 0.99  # of the range of tanh, on both sides: its slope is below 0.02 there, that of sigmoid below 0.005
SQUASHING: dict[str, Callable[[Any], Any]] = {  # primitives, and what makes (-1, 1) of their range
    "tanh": lambda y: y,
    "logistic": lambda y: 2 * y - 1,
}
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # what a call of a function is called among the parameters of a primitive
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")


class Signals(NamedTuple):
    """By the paths of the weights, in the order in which the network uses them."""

    inputs: dict[str, float]  # the root of the mean square of what each is multiplied with
    first: tuple[str, ...]  # those that take x itself
    saturated: dict[str, float]  # of tanh and sigmoid behind it: the share of the outputs within 0.5 % of an end


class _Value(NamedTuple):
    """Where a value comes from: a parameter alone (`leaf`), or x, by way of the weight `after` ("": of none)."""

    leaf: str | None = None
    after: str = ""
    squashed: int | None = None  # the number of the tanh or sigmoid that it is the output of


class _Tap:
    """What is noted while a network is traced; the numbers are traced too."""

    def __init__(self, weights: set[str]):
        self.weights = weights
        self.inputs: dict[str, tuple[str, Any]] = {}  # by the weight: the one before it, and the mean square
        self.squashed: list[tuple[str, Any]] = []
        self.gates: set[int] = set()  # what multiplies another signal is meant to be 0 or 1

    def note(self, primitive: str, before: list[_Value | None], inputs: list[Any], outputs: list[Any]) -> _Value | None:
        """Where the outputs of an operation come from, by where its inputs do."""
        signals = [(value, x) for value, x in zip(before, inputs, strict=True) if value and value.leaf is None]
        leaves = [value.leaf for value in before if value and value.leaf is not None]
        if not signals:
            return _Value(leaf=leaves[0]) if leaves else None
        weight = next((leaf for leaf in leaves if leaf in self.weights), None)
        source, x = signals[0]
        if weight:
            if weight not in self.inputs and jnp.issubdtype(x.dtype, jnp.floating):  # a row looked up has no size
                self.inputs[weight] = source.after, jnp.mean(jnp.square(x.astype(float)))
            return _Value(after=weight)
        if primitive in SQUASHING:
            end = jnp.abs(SQUASHING[primitive](outputs[0].astype(float))) > FLAT
            self.squashed.append((source.after, end.mean(dtype=float)))
            return _Value(after=source.after, squashed=len(self.squashed) - 1)
        if primitive == "mul" and len(signals) > 1:
            self.gates |= {value.squashed for value, _ in signals if value.squashed is not None}
        kept = source.squashed if len(signals) == 1 and not leaves else None
        return _Value(after=max((value.after for value, _ in signals), key=self._depth), squashed=kept)

    def _depth(self, weight: str) -> int:
        return list(self.inputs).index(weight) if weight in self.inputs else -1


class Watch:
    """The signals of a model, in two halves: one to be traced in whatever is compiled, one on the host.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model = jaxnn.mlp((3,), 1, activation="tanh")
    >>> params = model.init(jax.random.key(0), jnp.ones(2))
    >>> params["dense_0"]["b"] = jnp.array([0.0, 9.0, -9.0])
    >>> watch = Watch(model)
    >>> watch.read(jax.jit(watch)(params, jnp.full((5, 2), 0.5))).inputs["dense_0/w"]
    0.5
    """

    model: Model
    tap: _Tap

    def __init__(self, model: Model):
        self.model = model

    def __call__(self, params: Params, x: Any) -> Any:
        """The numbers, traced; x `[n, ...]` as the model takes it."""
        closed = jax.make_jaxpr(lambda params, x: self.model.apply(params, x))(params, x)
        flat, names = jax.tree.leaves((params, x)), list(tree.by_name(params))
        weights = {name for name, yes in tree.by_name(tree.is_weight(params)).items() if yes and not tree.is_kept(name)}
        self.tap = tap = _Tap(weights)
        values = [_Value(leaf=name) for name in names] + [_Value()] * (len(flat) - len(names))
        _run(closed, flat, values, tap)
        return [square for _, square in tap.inputs.values()], [share for _, share in tap.squashed]

    def read(self, numbers: Any) -> Signals:
        """What was noted, with the numbers that the compiled program gave."""
        (squares, shares), tap = jax.device_get(numbers), self.tap
        inputs = {name: float(square) ** 0.5 for name, square in zip(tap.inputs, squares, strict=True)}
        saturated: dict[str, float] = {}
        for i, (after, _) in enumerate(tap.squashed):
            if i not in tap.gates:
                saturated[after] = max(saturated.get(after, 0.0), float(shares[i]))
        return Signals(inputs, tuple(name for name, (before, _) in tap.inputs.items() if not before), saturated)


def _run(closed: Any, args: list[Any], values: Sequence[_Value | None], tap: _Tap) -> tuple[list[Any], list[Any]]:
    """The outputs of a jaxpr for these arguments, and where they come from."""
    jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, [])
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    source = dict(zip(jaxpr.invars, values, strict=True))
    read = lambda atoms: [atom.val if isinstance(atom, Literal) else known[atom] for atom in atoms]
    sources = lambda atoms: [None if isinstance(atom, Literal) else source.get(atom) for atom in atoms]
    for equation in jaxpr.eqns:
        inputs, before = read(equation.invars), sources(equation.invars)
        inner = next((equation.params[name] for name in INNER if name in equation.params), None)
        if equation.primitive.name in CALLS and inner is not None:
            outputs, after = _run(inner, inputs, before, tap)
        else:
            given = {atom: x for atom, x in zip(equation.invars, inputs, strict=True) if not isinstance(atom, Literal)}
            unnamed = jaxpr.debug_info.with_unknown_names()
            alone = Jaxpr((), list(given), equation.outvars, [equation], debug_info=unnamed)
            outputs = list(eval_jaxpr(alone, (), *given.values()))
            after = [tap.note(equation.primitive.name, before, inputs, outputs)] * len(outputs)
        known |= dict(zip(equation.outvars, outputs, strict=True))
        source |= dict(zip(equation.outvars, after, strict=True))
    return read(jaxpr.outvars), sources(jaxpr.outvars)
