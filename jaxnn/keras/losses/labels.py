"""Labels and predictions brought to one shape and dtype, or refused: Keras would broadcast them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.tasks.losses import class_target


def aligned(y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
    """Both as floating arrays of one shape: an axis of 1 at the end is added where only one of them has it."""
    y_pred = floats(y_pred)
    y_true = jnp.asarray(y_true)
    y_true = y_true.astype(y_pred.dtype)
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    elif y_pred.ndim == y_true.ndim - 1 and y_true.shape[-1] == 1:
        y_pred = y_pred[..., None]
    if y_true.shape != y_pred.shape:
        raise InputError(f"y_true{list(y_true.shape)}: does not fit y_pred{list(y_pred.shape)}; give equal shapes")
    return y_true, y_pred


def floats(y_pred: Any) -> jax.Array:
    """As a floating array: integers as float32."""
    y_pred = jnp.asarray(y_pred)
    return y_pred if jnp.issubdtype(y_pred.dtype, jnp.floating) else y_pred.astype(float)


def one_hot(loss: str, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
    """One-hot or soft labels of the shape of y_pred. Raises `InputError` for integers, as Keras does."""
    y_pred, y_true = floats(y_pred), jnp.asarray(y_true)
    if y_true.shape != y_pred.shape:
        rule = f"{loss} takes one-hot labels {list(y_pred.shape)}"
        cure = "for integers use sparse_categorical_crossentropy, or to_categorical(y)"
        raise InputError(f"y_true{list(y_true.shape)}: {rule}; {cure}")
    _check_classes(loss, y_pred)
    return y_true.astype(y_pred.dtype), y_pred


def integers(loss: str, y_true: Any, y_pred: Any) -> jax.Array:
    """Labels `[...]` as one-hot `f[..., K]`; what is no integer in [0, K) becomes a row of NaN.

    y_true `[...]` or `[..., 1]`, also whole numbers in a floating array. Raises `InputError` for one-hot labels.
    """
    y_true = jnp.asarray(y_true)
    _check_classes(loss, y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        rule = f"{loss} takes integers {list(y_pred.shape[:-1])}, for y_pred{list(y_pred.shape)}"
        raise InputError(f"y_true{list(y_true.shape)}: {rule}; for one-hot labels use categorical_crossentropy")
    if not jnp.issubdtype(y_true.dtype, jnp.integer):
        y_true = floats(y_true)
        y_true = jnp.where(y_true == jnp.floor(y_true), y_true, -1).astype(jnp.int32)
    return class_target(y_pred, y_true)


def _check_classes(loss: str, y_pred: jax.Array) -> None:
    if y_pred.ndim == 0 or y_pred.shape[-1] < 2:
        cure = "use binary_crossentropy if there are 2 classes"
        raise InputError(f"y_pred{list(y_pred.shape)}: {loss} takes 2 classes or more in the last axis; {cure}")
