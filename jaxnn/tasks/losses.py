"""Losses: one number for each example, from logits.

Logits, because a loss of probabilities has lost the digits that matter: softmax followed by a logarithm has a
gradient of exactly zero at a logit gap of 17, and never recovers. The last axis is the core; leading axes are free.
Shapes must be equal, nothing broadcasts. A label that is not a label (`-1`, `K`, NaN) gives a loss and a gradient of
NaN, never those of another class; `check_labels` refuses it by name before a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxnn.errors import InputError, decay, fraction, positive
from jaxnn.numerics import is_zero


def binary_cross_entropy(logits: jax.Array, y: ArrayLike, *, label_smoothing: float | jax.Array = 0.0) -> jax.Array:
    """Minus the log-likelihood of a coin: `-y log p - (1 - y) log(1 - p)` with `p = sigmoid(logits)`.

    logits `f[...]`, y `[...]` in {0, 1}, or a probability in between; gives `f32[...]`. Its gradient is `p - y`.
    Label smoothing `a` trains on `(1 - a) y + a / 2`.

    Raises `InputError` if the shapes differ.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.binary_cross_entropy(jnp.array([200.0, 200.0]), jnp.array([0, 1])).tolist()
    [200.0, 0.0]

    Source: the lecture; Goodfellow, Bengio, Courville, Deep Learning (2016), 6.2.2.2.
    """
    logits, y = _floats(logits), jnp.asarray(y)
    same_shape(logits, y)
    y = y.astype(logits.dtype)
    y = jnp.where((y >= 0) & (y <= 1), y, jnp.nan)
    return optax.losses.sigmoid_binary_cross_entropy(logits, _smooth(y, label_smoothing, 2))


def cross_entropy(logits: jax.Array, y: ArrayLike, *, label_smoothing: float | jax.Array = 0.0) -> jax.Array:
    """Minus the log-likelihood of a die with K sides: `-sum_c y_c log p_c` with `p = softmax(logits)`.

    logits `f[..., K]`; y integers `[...]` in [0, K), or one-hot or soft labels `[..., K]`: the same number for the
    same label. Gives `f32[...]`. Its gradient is `p - y`. Label smoothing `a` trains on `(1 - a) y + a / K`.

    Raises `InputError` if the shapes do not fit, if K < 2, or if y is neither.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> loss, slope = jax.value_and_grad(jaxnn.cross_entropy)(jnp.array([200.0, 0.0]), jnp.array(1))
    >>> loss.item(), slope.tolist()
    (200.0, [1.0, -1.0])

    Source: the lecture; label smoothing from Szegedy et al. (2016), arXiv:1512.00567.
    """
    target = class_target(logits, y)
    logits = _floats(logits)
    return -jnp.sum(_smooth(target, label_smoothing, target.shape[-1]) * jax.nn.log_softmax(logits), axis=-1)


def log_likelihood(logits: jax.Array, y: ArrayLike) -> jax.Array:
    """The average log-likelihood that training maximises: `L = 1/n sum_i log P(y = y_i | x_i)`; the loss is `-L`.

    logits `f[..., K]` and y as in `cross_entropy`; with one output, `f[..., 1]`, y `[...]` as in
    `binary_cross_entropy`. Gives `f32[]`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> round(jaxnn.log_likelihood(jnp.zeros((6, 4)), jnp.zeros(6, int)).item(), 4)  # a fair die: log 1/4
    -1.3863

    Source: the lecture.
    """
    if logits.shape[-1] == 1:
        return -jnp.mean(binary_cross_entropy(logits[..., 0], y))
    return -jnp.mean(cross_entropy(logits, y))


def squared(prediction: jax.Array, y: ArrayLike) -> jax.Array:
    """Mean squared error: `mean_k (prediction_k - y_k)^2`, without the factor 1/2.

    prediction `f[..., K]`, y `[..., K]`; gives `f32[...]`. Minimised by the mean. Raises `InputError` if the shapes
    differ.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.squared(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [5.0]

    Source: Bishop, Pattern Recognition and Machine Learning (2006), 1.5.5.
    """
    return jnp.mean(jnp.square(_errors(prediction, y)), axis=-1)


def absolute(prediction: jax.Array, y: ArrayLike) -> jax.Array:
    """Mean absolute error: `mean_k |prediction_k - y_k|`; the derivative at 0 is 0.

    prediction `f[..., K]`, y `[..., K]`; gives `f32[...]`. Minimised by the median. Raises `InputError` if the shapes
    differ.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.absolute(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.0]

    Source: Bishop, Pattern Recognition and Machine Learning (2006), 1.5.5.
    """
    error = _errors(prediction, y)
    return jnp.mean(jnp.sign(error) * error, axis=-1)  # jnp.abs would have the slope 1 at 0


def huber(prediction: jax.Array, y: ArrayLike, *, delta: float | jax.Array = 1.0) -> jax.Array:
    """Squared near zero, absolute far out: `mean_k h(e_k)`, `h(e) = e^2/2 if |e| <= delta else delta |e| - delta^2/2`.

    prediction `f[..., K]`, y `[..., K]`; gives `f32[...]`. Raises `InputError` if the shapes differ or delta <= 0.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.huber(jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [0.0]])).tolist()
    [0.5, 2.5]

    Source: Huber, Robust Estimation of a Location Parameter (1964), doi:10.1214/aoms/1177703732.
    """
    positive("delta", delta)
    return jnp.mean(optax.losses.huber_loss(_errors(prediction, y), delta=delta), axis=-1)


def poisson(log_rate: jax.Array, y: ArrayLike) -> jax.Array:
    """Minus the log-likelihood of counts: `mean_k exp(log_rate_k) - y_k log_rate_k`, without the constant `log y!`.

    log_rate `f[..., K]`, y `[..., K]` >= 0; gives `f32[...]`. Its gradient is `rate - y`. A negative count gives NaN.
    Raises `InputError` if the shapes differ.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.poisson(jnp.array([[0.0]]), jnp.array([[3]])).tolist()
    [1.0]

    Source: McCullagh, Nelder, Generalized Linear Models (1989), chapter 6.
    """
    log_rate, y = _floats(log_rate), jnp.asarray(y)
    same_shape(log_rate, y)
    y = y.astype(log_rate.dtype)
    return jnp.mean(jnp.exp(log_rate) - jnp.where(y >= 0, y, jnp.nan) * log_rate, axis=-1)


def quantile(prediction: jax.Array, y: ArrayLike, *, quantiles: Sequence[float] = (0.5,)) -> jax.Array:
    """Pinball loss: `mean_kq max(q e_kq, (q - 1) e_kq)`, `e_kq = y_k - prediction_kq`; minimised by the q-th quantile.

    prediction `f[..., K, Q]`, y `[..., K]`, Q quantiles in (0, 1); gives `f32[...]`. At q = 1/2 it is half the absolute
    error. Raises `InputError` if the shapes do not fit, or for a quantile outside (0, 1).

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.quantile(jnp.array([[1.0, 1.0]]), jnp.array([3.0]), quantiles=(0.25, 0.75)).item()  # (0.5 + 1.5) / 2
    1.0

    Source: Koenker, Bassett, Regression Quantiles (1978), doi:10.2307/1913643.
    """
    for q in quantiles:
        decay("quantiles", q)
    prediction = _floats(prediction)
    if prediction.shape[-1:] != (len(quantiles),):
        rule = f"the last axis must be {len(quantiles)}, one number for each quantile"
        raise InputError(f"prediction{list(prediction.shape)}: {rule}")
    y = jnp.asarray(y)
    same_shape(prediction[..., 0], y)
    error = jnp.expand_dims(y.astype(prediction.dtype), -1) - prediction
    q = jnp.broadcast_to(jnp.asarray(quantiles, error.dtype), error.shape)
    return jnp.mean(jnp.maximum(q * error, (q - 1) * error), axis=(-2, -1))


def gaussian(prediction: jax.Array, y: ArrayLike) -> jax.Array:
    """Minus the log-likelihood of a normal distribution: `mean_k (log 2 pi + v_k + (y_k - m_k)^2 exp(-v_k)) / 2`.

    prediction `f[..., K, 2]`, mean m and log-variance v; y `[..., K]`; gives `f32[...]`. Raises `InputError` if the
    shapes do not fit.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> round(jaxnn.gaussian(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1))).item(), 4)  # log sqrt(2 pi)
    0.9189

    Source: Nix, Weigend, Estimating the Mean and Variance of the Target Probability Distribution (1994).
    """
    prediction = _floats(prediction)
    if prediction.shape[-1:] != (2,):
        raise InputError(f"prediction{list(prediction.shape)}: the last axis must be 2, mean and log-variance")
    mean, log_variance = prediction[..., 0], prediction[..., 1]
    square = jnp.square(_errors(mean, y)) * jnp.exp(-log_variance)
    return jnp.mean(math.log(2 * math.pi) + log_variance + square, axis=-1) / 2


def class_target(logits: jax.Array, y: ArrayLike) -> jax.Array:
    """The label as probabilities `f32[..., K]`: one-hot of integers `[...]`, or y `[..., K]` itself.

    An integer outside [0, K) becomes a row of NaN: inside `jit` nothing can be raised, and a row of zeros would be
    trained on in silence.

    Raises `InputError` if the shapes do not fit, if K < 2, or if y is neither.

    >>> import jax.numpy as jnp
    >>> from jaxnn import losses
    >>> losses.class_target(jnp.zeros((2, 3)), jnp.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    logits, y = _floats(logits), jnp.asarray(y)
    classes = logits.shape[-1] if logits.ndim else 0
    if classes < 2:
        raise InputError(f"logits{list(logits.shape)}: the last axis must be >= 2 classes; use a binary task for one")
    if y.shape == logits.shape:
        return y.astype(logits.dtype)
    if y.shape != logits.shape[:-1]:
        cure = f"give integers {list(logits.shape[:-1])} or one-hot {list(logits.shape)}"
        cure = _flattened(logits.shape[:-1], y.shape) or cure
        raise InputError(f"y{list(y.shape)}: does not fit logits{list(logits.shape)}; {cure}")
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise InputError(f"y={y.dtype}{list(y.shape)}: class labels must be integers; see jaxnn.check_labels")
    # int8 labels can neither hold 200 classes nor be compared with class 200.
    y = y.astype(jnp.int32) if y.dtype.itemsize < 4 else y
    hot = jnp.expand_dims(y, -1) == jnp.broadcast_to(jnp.arange(classes, dtype=y.dtype), (*y.shape, classes))
    return jnp.where(hot.any(axis=-1, keepdims=True), hot.astype(logits.dtype), jnp.nan)


def same_shape(logits: jax.Array, y: jax.Array) -> None:
    """Refuse what would broadcast: `[4, 1]` against `[4]` is a silent 4 x 4 matrix.

    logits `f[...]`, y `[...]` of the same shape; else raises `InputError`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import losses
    >>> losses.same_shape(jnp.zeros((4, 1)), jnp.zeros(4))
    Traceback (most recent call last):
    ...
    jaxnn.errors.InputError: y[4]: does not fit logits[4, 1]; the shapes must be equal
    """
    if logits.shape != y.shape:
        cure = _flattened(logits.shape, y.shape) or "the shapes must be equal"
        raise InputError(f"y{list(y.shape)}: does not fit logits{list(logits.shape)}; {cure}")


def _flattened(logits: tuple[int, ...], y: tuple[int, ...]) -> str | None:
    """The cure for a network that answers for each row of pixels, since the axes of an image were never joined."""
    kept = logits[: len(y)] == y and len(logits) == len(y) + 2
    return "add jaxnn.flatten() in front of the network, if x are images [H, W, C]" if kept else None


def _floats(logits: jax.Array) -> jax.Array:
    """At least float32, so that half-precision networks are scored in full precision."""
    logits = jnp.asarray(logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(f"logits={logits.dtype}: must be floating point; cast them to float32")
    return logits.astype(jnp.float32) if jnp.finfo(logits.dtype).bits < 32 else logits


def _smooth(target: jax.Array, amount: float | jax.Array, classes: int) -> jax.Array:
    fraction("label_smoothing", amount)
    return target if is_zero(amount) else (1 - amount) * target + amount / classes


def _errors(prediction: jax.Array, y: ArrayLike) -> jax.Array:
    prediction, y = _floats(prediction), jnp.asarray(y)
    same_shape(prediction, y)
    return prediction - y.astype(prediction.dtype)
