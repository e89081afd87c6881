"""Metrics of right and wrong answers at thresholds: precision, recall, the area under a curve."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError, check, choices
from jaxnn.keras.losses.functions import EPSILON
from jaxnn.keras.losses.labels import aligned
from jaxnn.keras.metrics.base import Metric, ratio

LEAST = -1e10  # what a prediction becomes that is not among the top k; the threshold is then this number


def counts(y_true: jax.Array, y_pred: jax.Array, weight: jax.Array, thresholds: np.ndarray) -> dict[str, jax.Array]:
    """The weight of `tp`, `fp`, `fn`, `tn` of the answer `y_pred > threshold`, of all numbers `[N]`; `f32[T]` each.

    thresholds f32[T], rising. Two histograms, of the true and of the others, by the number of thresholds below; NaN is
    below all of them.
    """
    below = jnp.searchsorted(jnp.asarray(thresholds, y_pred.dtype), y_pred, side="left")
    below = jnp.where(jnp.isnan(y_pred), 0, below)
    true = y_true.astype(bool)

    def above(rows: jax.Array) -> jax.Array:
        weights = jnp.where(rows & (weight != 0), weight, 0)
        histogram = jnp.zeros(len(thresholds) + 1, weight.dtype).at[below].add(weights)
        return jnp.cumsum(histogram[::-1])[::-1]

    positive, negative = above(true), above(~true)
    tp, fp = positive[1:], negative[1:]
    return {"tp": tp, "fp": fp, "fn": positive[:1] - tp, "tn": negative[:1] - fp}


class Confusion(Metric):
    """Sums `tp`, `fp`, `fn`, `tn` at each threshold; one threshold gives a number, a list of them an array.

    top_k: the answer is yes where the prediction is among the k largest of its row. class_id: of this class alone.
    """

    thresholds: np.ndarray  # rising
    top_k: int | None
    class_id: int | None

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        given = np.atleast_1d(0.5 if thresholds is None else np.asarray(thresholds, float))
        check("thresholds", thresholds, "numbers in [0, 1]", bool(((given >= 0) & (given <= 1)).all()))
        given = given if thresholds is not None or top_k is None else np.array([LEAST])
        check("top_k", top_k, "None or a whole number >= 1", top_k is None or (isinstance(top_k, int) and top_k >= 1))
        self.config: dict[str, Any] = {"thresholds": thresholds, "top_k": top_k, "class_id": class_id}
        self.order: np.ndarray = np.argsort(given)
        self.thresholds, self.top_k, self.class_id = given[self.order], top_k, class_id

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        y_true, y_pred = aligned(y_true, y_pred)
        weight = jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (y_pred.ndim - 1)), y_pred.shape)
        if self.top_k is not None:
            hot = jax.nn.one_hot(jax.lax.top_k(y_pred, self.top_k)[1], y_pred.shape[-1]).sum(axis=-2)
            y_pred = jnp.where(hot > 0, y_pred, LEAST)
        if self.class_id is not None:
            check("class_id", self.class_id, f"below {y_pred.shape[-1]}", 0 <= self.class_id < y_pred.shape[-1])
            y_true, y_pred, weight = (array[..., self.class_id] for array in (y_true, y_pred, weight))
        return counts(y_true.ravel(), y_pred.ravel(), weight.ravel(), self.thresholds)

    def rates(self, sums: dict[str, jax.Array]) -> jax.Array:
        """The number at each threshold, `f32[T]`."""
        raise NotImplementedError

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        values = self.rates(sums)[np.argsort(self.order)]
        return values if np.ndim(self.config["thresholds"]) and values.size > 1 else values[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.config


class Precision(Confusion):
    """Precision `tp / (tp + fp)`, 0 where nothing is answered yes: y in {0, 1}, p `f32[B, ...]`.

    Args: thresholds (0.5; a list gives an array), top_k, class_id. The answer is yes where `p > threshold`.

    >>> import jax.numpy as jnp
    >>> float(Precision()(jnp.array([0, 1, 1, 1]), jnp.array([1.0, 0.0, 1.0, 1.0])))
    0.66666...
    """

    minimized: bool | None = False

    def rates(self, sums: dict[str, jax.Array]) -> jax.Array:
        return ratio(sums["tp"], sums["tp"] + sums["fp"])


class Recall(Confusion):
    """Recall `tp / (tp + fn)`, 0 where nothing is true: y in {0, 1}, p `f32[B, ...]`. Args: as `Precision`.

    >>> import jax.numpy as jnp
    >>> float(Recall()(jnp.array([0, 1, 1, 1]), jnp.array([1.0, 0.0, 1.0, 1.0])))
    0.66666...
    """

    minimized: bool | None = False

    def rates(self, sums: dict[str, jax.Array]) -> jax.Array:
        return ratio(sums["tp"], sums["tp"] + sums["fn"])


class _Count(Confusion):
    counted: ClassVar[str] = ""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(thresholds, name=name, dtype=dtype)

    def rates(self, sums: dict[str, jax.Array]) -> jax.Array:
        return sums[self.counted]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "thresholds": self.config["thresholds"]}


class TruePositives(_Count):
    """How many are true and answered yes, each times its weight: y in {0, 1}, p `f32[B, ...]`. Args: thresholds.

    >>> float(TruePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
    2.0
    """

    counted: ClassVar[str] = "tp"
    minimized: bool | None = False


class FalsePositives(_Count):
    """How many are false and answered yes, each times its weight: y in {0, 1}, p `f32[B, ...]`. Args: thresholds.

    >>> float(FalsePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
    1.0
    """

    counted: ClassVar[str] = "fp"
    minimized: bool | None = True


class TrueNegatives(_Count):
    """How many are false and answered no, each times its weight: y in {0, 1}, p `f32[B, ...]`. Args: thresholds.

    >>> float(TrueNegatives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
    0.0
    """

    counted: ClassVar[str] = "tn"
    minimized: bool | None = False


class FalseNegatives(_Count):
    """How many are true and answered no, each times its weight: y in {0, 1}, p `f32[B, ...]`. Args: thresholds.

    >>> float(FalseNegatives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
    1.0
    """

    counted: ClassVar[str] = "fn"
    minimized: bool | None = True


class AUC(Metric):
    """The area under the curve `ROC` or `PR`: y in {0, 1}, p `f32[B, ...]` in [0, 1].

    From the counts at `num_thresholds` thresholds (or the given ones), as in Keras. `multi_label`: the mean over the
    curves of the columns. `label_weights` are not there.

    >>> import jax.numpy as jnp
    >>> float(AUC()(jnp.array([0, 0, 1, 1]), jnp.array([0.0, 0.5, 0.3, 0.9])))
    0.75
    """

    minimized: bool | None = False

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        super().__init__(name, dtype)
        check(
            "num_thresholds",
            num_thresholds,
            "a whole number > 1",
            isinstance(num_thresholds, int) and num_thresholds > 1,
        )
        if curve.upper() not in ("ROC", "PR"):
            raise choices("curve", curve, ("ROC", "PR"))
        methods = ("interpolation", "minoring", "majoring")
        if summation_method.lower() not in methods:
            raise choices("summation_method", summation_method, methods)
        if label_weights is not None:
            raise InputError("AUC label_weights: all labels count alike here; leave it out")
        self.curve: str = curve.upper()
        self.summation_method: str = summation_method.lower()
        self.multi_label: bool = multi_label
        self.from_logits: bool = from_logits
        inner = (
            np.linspace(0, 1, num_thresholds)[1:-1] if thresholds is None else np.sort(np.asarray(thresholds, float))
        )
        check("thresholds", thresholds, "numbers in [0, 1]", bool(((inner >= 0) & (inner <= 1)).all()))
        self.thresholds: np.ndarray = np.array([-EPSILON, *inner, 1 + EPSILON])

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        y_true, y_pred = aligned(y_true, y_pred)
        y_pred = jax.nn.sigmoid(y_pred) if self.from_logits else y_pred
        flat = y_pred.reshape(len(y_pred), -1)
        weight = jnp.broadcast_to(weight[:, None], flat.shape)
        y_true = y_true.reshape(flat.shape)
        if self.multi_label:  # [T, K], a curve for each label
            one = lambda y_true, y_pred, weight: counts(y_true, y_pred, weight, self.thresholds)
            return jax.vmap(one, in_axes=1, out_axes=1)(y_true, flat, weight)
        return counts(y_true.ravel(), flat.ravel(), weight.ravel(), self.thresholds)

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        tp, fp, fn, tn = (sums[name] for name in ("tp", "fp", "fn", "tn"))
        recall = ratio(tp, tp + fn)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(tp, fp, fn).sum(axis=0).mean()
        x, y = (ratio(fp, fp + tn), recall) if self.curve == "ROC" else (recall, ratio(tp, tp + fp))
        heights = {"interpolation": (y[:-1] + y[1:]) / 2, "minoring": jnp.minimum(y[:-1], y[1:])}
        height = heights.get(self.summation_method, jnp.maximum(y[:-1], y[1:]))
        return jnp.sum((x[:-1] - x[1:]) * height, axis=0).mean()

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": [float(t) for t in self.thresholds[1:-1]], "curve": self.curve}
        own |= {"summation_method": self.summation_method, "multi_label": self.multi_label}
        return super().get_config() | own | {"from_logits": self.from_logits}


def _interpolated(tp: jax.Array, fp: jax.Array, fn: jax.Array) -> jax.Array:
    """The area under a precision-recall curve between two thresholds. Source: Davis and Goadrich 2006."""
    p = tp + fp
    slope = ratio(tp[:-1] - tp[1:], jnp.maximum(p[:-1] - p[1:], 0))
    both = (p[:-1] > 0) & (p[1:] > 0)
    growth = jnp.log(jnp.where(both, p[:-1] / jnp.where(both, p[1:], 1), 1))
    return ratio(slope * (tp[:-1] - tp[1:] + (tp[1:] - slope * p[1:]) * growth), tp[1:] + fn[1:])
