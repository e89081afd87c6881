"""Amounts to predict: numbers, rates, quantiles, or means with their deviations.

| loss     | outputs of the model                  | link gives                          | answers          |
|----------|---------------------------------------|-------------------------------------|------------------|
| poisson  | `[..., K]`, logarithms of rates       | `[..., K]` rates                    | rates            |
| quantile | `[..., K Q]`, all of one amount first | `[..., K, Q]`                       | `[..., Q]`, K = 1 |
| gaussian | `[..., K 2]`, mean and log-variance   | `[..., K, 2]` mean and deviation    | means            |
| others   | `[..., K]`                            | the same                            | the same         |
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, choices
from jaxnn.tasks import base, losses
from jaxnn.tasks.base import Loss, as_they_are, means, outputs_of, weighed
from jaxnn.tasks.labels import check_targets
from jaxnn.tasks.metrics import Centered, r_squared, regression_sums, weighted_sum
from jaxnn.types import Metric, Metrics, Task


class _Kind(NamedTuple):
    """How the outputs of a model are read for one loss: as `[..., K]`, or where it is wide as `[..., K, each]`."""

    equation: Loss
    each: int = 1  # outputs of the model for one amount
    wide: bool = False  # whether those have an axis of their own
    link: Callable[[Any], Any] = as_they_are
    # (raw, y, apart, scale) in units of `scale()`, in which `apart` brings amounts
    units: Callable[..., tuple[Any, Any]] = lambda raw, y, apart, scale: (apart(raw), apart(y))
    answers: Callable[[Any], Any] = as_they_are  # of what the link gives
    axis: int = -1  # of the amounts among the answers
    middle: Callable[[Any], Any] | None = as_they_are  # `[..., K]`, what mse, mae and r2 are of
    reported: str | None = None  # the name of the loss in the units of y
    columns: Callable[[Any], dict[str, Any]] | None = None  # of what the link gives, `Task.columns`


LOSSES: dict[str, Callable[..., jax.Array]] = {
    "absolute": losses.absolute,
    "gaussian": losses.gaussian,
    "huber": losses.huber,
    "poisson": losses.poisson,
    "quantile": losses.quantile,
    "squared": losses.squared,
}


def regression(
    loss: str | Loss = "squared",
    *,
    outputs: int = 1,
    center: Any = 0.0,
    scale: Any = None,
    quantiles: Sequence[float] = (0.5,),
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """K numbers: loss squared, absolute, huber, poisson, quantile, gaussian or your own: `(f[B, K], y [B, K]) -> f[B]`.

    `center`, a number or `[K]`, is a rough mean of y. With `scale`, a number or `[K]`, the loss is that of
    (y - center) / scale, so that a learning rate does not depend on the unit of y (poisson: of the rate of y / scale);
    all else stays in the units of y. `mse`, `mae` and `r2` are means over the outputs; with quantiles they are those of
    the median, where it is one of them, beside `pinball`, the mean of the loss in the units of y. Raises `InputError`
    for another loss or outputs < 1.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.regression()
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[1.0], [2.0]]), jnp.array([1.0, 4.0]), jnp.ones(2))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 2.0, 'mse': 2.0, 'mae': 1.0, 'r2': 0.11}
    >>> jaxnn.regression("gaussian").link(jnp.array([1.0, 0.0])).tolist()  # mean and deviation
    [[1.0, 1.0]]
    """
    kind = _kind(loss, tuple(quantiles))
    if outputs < 1:
        raise InputError(f"outputs={outputs}: must be >= 1; give the number of values to predict")

    def amounts(raw: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jnp.expand_dims(y, -1) if outputs == 1 and y.shape == raw.shape[:-1] else y
        return _by_amount(raw, outputs, kind), y

    def link(raw: jax.Array) -> jax.Array:
        return kind.link(_by_amount(raw, outputs, kind))

    def loss_of(raw: jax.Array, y: jax.Array) -> jax.Array:
        raw, y = amounts(raw, y)
        if scale is None:
            return kind.equation(raw, y)
        like = lambda value: jnp.broadcast_to(jnp.asarray(value, raw.dtype), (*raw.shape[: -1 - kind.wide], outputs))
        apart = lambda values: (values - like(center)) / like(scale)
        return kind.equation(*kind.units(raw, y, apart, lambda: like(scale)))

    def sums(raw: jax.Array, y: jax.Array, weight: jax.Array, center: Any) -> Metrics:
        found, prediction, y = weighed(weight), link(raw), amounts(raw, y)[1]
        if kind.reported:
            found[kind.reported] = weighted_sum(kind.equation(prediction, y), weight)
        if kind.middle:
            found |= regression_sums(kind.middle(prediction), y, weight, center)
        return found

    decide = lambda p: kind.answers(p).squeeze(kind.axis) if outputs == 1 else kind.answers(p)
    check = functools.partial(check_targets, loss=loss if isinstance(loss, str) else "squared")
    rest = (loss_of, link, Centered(sums, center), _summary, decide)
    task = Task("regression", outputs * kind.each, *rest, check=check, columns=kind.columns)
    task = task._replace(minimized=task.minimized | {kind.reported}) if kind.reported else task
    return base.measuring(task, metrics, amounts)


def _kind(loss: str | Loss, quantiles: tuple[float, ...]) -> _Kind:
    """Raises `InputError` for a loss that is unknown."""
    if not isinstance(loss, str):
        return _Kind(lambda raw, y: base.each(loss, raw, y, raw.shape[:-1]))
    if loss not in LOSSES:
        raise choices("--task.loss", loss, LOSSES)
    if loss == "poisson":
        moved = lambda raw, y, apart, scale: (raw - jnp.log(scale()), y / scale())
        return _Kind(losses.poisson, link=jnp.exp, units=moved)
    if loss == "gaussian":
        stack = lambda mean, other: jnp.stack([mean, other], axis=-1)
        apart_both = lambda raw, apart, scale: stack(apart(raw[..., 0]), raw[..., 1] - 2 * jnp.log(scale()))
        moved = lambda raw, y, apart, scale: (apart_both(raw, apart, scale), apart(y))
        link = lambda raw: stack(raw[..., 0], jnp.exp(raw[..., 1] / 2))
        mean = lambda p: p[..., 0]
        both = lambda p: {"": p[..., 0], "_std": p[..., 1]}
        return _Kind(losses.gaussian, 2, True, link, moved, answers=mean, middle=mean, columns=both)
    if loss == "quantile":
        return _quantiles(quantiles)
    return _Kind(LOSSES[loss])


def _quantiles(quantiles: tuple[float, ...]) -> _Kind:
    """A column for each quantile; one alone is the answer."""
    moved = lambda raw, y, apart, scale: (jax.vmap(apart, -1, -1)(raw), apart(y))
    equation = functools.partial(losses.quantile, quantiles=quantiles)
    kind = _Kind(equation, len(quantiles), True, units=moved, axis=-2, middle=None, reported="pinball")
    if 0.5 in quantiles:
        median = quantiles.index(0.5)
        kind = kind._replace(middle=lambda p: p[..., median])
    if len(quantiles) == 1:
        return kind._replace(answers=lambda p: p[..., 0], axis=-1)
    return kind._replace(columns=lambda p: {f"_q{q:g}": p[..., k] for k, q in enumerate(quantiles)})


def _by_amount(raw: jax.Array, outputs: int, kind: _Kind) -> jax.Array:
    """The outputs of a model `[..., K each]` as `[..., K, each]` where a loss takes several for each amount."""
    raw = outputs_of(raw, outputs * kind.each)
    return raw.reshape(*raw.shape[:-1], outputs, kind.each) if kind.wide else raw


def _summary(sums: Metrics) -> dict[str, Any]:
    found, weight = means(sums, loss="loss", pinball="pinball"), sums["weight"]
    if "squared_error" not in sums:
        return found
    spread = (sums["y"], sums["y_squared"], weight, sums.get("y_within", 0.0))
    return found | {
        "mse": jnp.mean(sums["squared_error"]) / weight,
        "mae": jnp.mean(sums["absolute_error"]) / weight,
        "r2": r_squared(sums["squared_error"], *spread),
    }


def units(
    loss: str, center: list[float], spread: list[float], quantiles: Sequence[float] = (0.5,)
) -> tuple[list[float], list[float], list[float]] | None:
    """`(mean, std, scale)` for amounts of this mean and deviation: the outputs of a network are mean + std y, and the
    loss is taken in units of scale. Rates (poisson) and variances (gaussian) have a logarithm to be moved; None where
    all rates are 0.

    >>> units("squared", [200.0], [50.0]), units("poisson", [1.0], [3.0])
    (([200.0], [50.0], [50.0]), ([0.0], [1.0], [1.0]))
    >>> units("gaussian", [200.0], [1.0]), units("quantile", [200.0], [50.0], (0.1, 0.9))
    (([200.0, 0.0], [1.0, 1.0], [1.0]), ([200.0, 200.0], [50.0, 50.0], [50.0]))
    """
    if loss == "gaussian":
        means_of = [value for mean, std in zip(center, spread, strict=True) for value in (mean, 2 * math.log(std))]
        return means_of, [value for std in spread for value in (std, 1.0)], spread
    if loss == "quantile":
        repeat = lambda values: [value for value in values for _ in quantiles]
        return repeat(center), repeat(spread), spread
    if loss != "poisson":
        return center, spread, spread
    return ([math.log(rate) for rate in center], [1.0] * len(center), center) if min(center) > 0 else None
