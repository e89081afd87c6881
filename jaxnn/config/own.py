"""What a config file brings besides values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Own(NamedTuple):
    """What a config file brings besides values.

    model(outputs) -> jaxnn.Model, or a Flax module    outputs: how many, or their shape (`jaxnn.Task.outputs`)
    loss(outputs, y) -> f[B]                           one number for each example (`jaxnn.binary`, ...)
    metrics = {name: jaxnn.Metric(sums, value)}
    optimizer(learning_rate) -> an optax transformation
    schedule(learning_rate, total_steps) -> (step -> f[])
    task(data) -> jaxnn.Task                           data: what is known of them (`jaxnn.data.Dataset.describe`)
    data() -> {"x": array, "y": array, ...}            by the names of a .npz
    """

    model: Callable[[Any], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    metrics: Mapping[str, Any] | None = None
    optimizer: Callable[[Any], Any] | None = None
    schedule: Callable[[Any, int], Any] | None = None
    task: Callable[[dict[str, Any]], Any] | None = None
    data: Callable[[], dict[str, Any]] | None = None

    def names(self) -> list[str]:
        """What was brought."""
        return [name for name, value in self._asdict().items() if value is not None]
