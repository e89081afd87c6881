"""F scores: precision and recall as one number."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, check, choices
from jaxnn.keras.losses.functions import EPSILON
from jaxnn.keras.losses.labels import aligned
from jaxnn.keras.metrics.base import Metric


class FBetaScore(Metric):
    """`(1 + beta^2) precision recall / (beta^2 precision + recall)`: y one-hot, p `f32[B, K]` -> `f32[K]` or `f32[]`.

    average: None gives `[K]`, "macro" the mean, "micro" of all classes together, "weighted" by how
    often a class occurs. threshold: None takes the largest of each row.

    >>> import jax.numpy as jnp
    >>> float(FBetaScore("macro")(jnp.array([[1, 0], [0, 1]]), jnp.array([[0.9, 0.1], [0.2, 0.8]]))) > 0.999999
    True
    """

    minimized: bool | None = False
    called: ClassVar[str] = "fbeta_score"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise choices("average", average, ("micro", "macro", "weighted", "None"))
        check("beta", beta, "finite and > 0", 0 < float(beta) < float("inf"))
        check("threshold", threshold, "None or in (0, 1]", threshold is None or 0 < threshold <= 1)
        self.average: str | None = average
        self.beta: float = float(beta)
        self.threshold: float | None = threshold

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        y_true, y_pred = aligned(y_true, y_pred)
        if y_pred.ndim != 2:
            raise InputError(f"{self.name}: y_pred{list(y_pred.shape)} must be [B, K]; give one-hot labels")
        if self.threshold is None:
            yes = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (jnp.abs(y_pred) > 1e-9)
        else:
            yes = y_pred > self.threshold
        yes = yes.astype(y_true.dtype)
        over = None if self.average == "micro" else 0
        total = lambda each: jnp.sum(jnp.where(weight[:, None] != 0, weight[:, None] * each, 0), axis=over)
        named = {"tp": yes * y_true, "fp": yes * (1 - y_true), "fn": (1 - yes) * y_true, "true": y_true}
        return {name: total(each) for name, each in named.items()}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        precision = sums["tp"] / (sums["tp"] + sums["fp"] + EPSILON)
        recall = sums["tp"] / (sums["tp"] + sums["fn"] + EPSILON)
        square = self.beta**2
        score = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "weighted":
            return jnp.sum(score * sums["true"] / (sums["true"].sum() + EPSILON))
        return score if self.average is None else score.mean()

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """`FBetaScore` with beta = 1: the harmonic mean of precision and recall.

    >>> float(F1Score("micro")(jnp.array([[1, 0], [0, 1]]), jnp.array([[0.9, 0.1], [0.7, 0.3]]))) > 0.499999
    True
    """

    called: ClassVar[str] = "f1_score"

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "beta"}
