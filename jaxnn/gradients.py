"""Four roads to one gradient: a closed form, the chain rule by hand, finite differences, and `jax.grad`.

The first three are here to be read, and to be compared with the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxnn.errors import InputError, NumericsError
from jaxnn.types import Params


def logistic_gradient(beta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The gradient of logistic regression's log-likelihood, `sum_i y_i x_ij - x_ij e^(x_i b) / (1 + e^(x_i b))`.

    Of the log-likelihood: the gradient of the loss, a mean, is this divided by -n. The fraction is the sigmoid, which
    does not overflow as the fraction does. beta `f[d]`, x `f[n, d]`, y `[n]` in {0, 1}; gives `f[d]`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.logistic_gradient(jnp.zeros(1), jnp.array([[2.0], [4.0]]), jnp.array([0, 1])).tolist()
    [1.0]

    Source: the lecture.
    """
    return (y.astype(x.dtype) - jax.nn.sigmoid(x @ beta)) @ x


class Backpropagation(NamedTuple):
    """All that one forward and one backward pass through the network of the lecture compute, in that order."""

    h1: jax.Array  # f[H1]
    h2: jax.Array  # f[H2]
    p: jax.Array  # f[K]
    loss: jax.Array  # f[]
    dloss_dp: jax.Array  # f[K]
    dp_dh2: jax.Array  # f[K, H2]
    dh2_dh1: jax.Array  # f[H2, H1]
    dh1_db1: jax.Array  # f[H1, H1]
    gradient: tuple[jax.Array, ...]  # shaped as theta


def backpropagation(theta: tuple[jax.Array, ...], x: jax.Array, y: jax.Array) -> Backpropagation:
    """The chain rule by hand: `dl/db1 = dl/dp dp/dh2 dh2/dh1 dh1/db1`, for one example and a network of three layers.

    theta `(W1, b1, W2, b2, W3, b3)` with W `f[in, out]`; `h1 = sigmoid(x W1 + b1)`, `h2 = sigmoid(h1 W2 + b2)`,
    `p = softmax(h2 W3 + b3)`, `l = -sum_c y_c log p_c`. x `f[d]`, y one-hot `f[K]`; a batch is a `vmap`. Like
    the formula it divides by p, so it is for reading; training differentiates the loss of the logits.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> theta = (jnp.ones((2, 3)), jnp.zeros(3), jnp.ones((3, 3)), jnp.zeros(3), jnp.ones((3, 2)), jnp.zeros(2))
    >>> passes = jaxnn.backpropagation(theta, jnp.ones(2), jnp.array([1.0, 0.0]))
    >>> passes.dp_dh2.shape, passes.gradient[-1].tolist()  # dl/db3 = p - y
    ((2, 3), [-0.5, 0.5])

    Source: the lecture; Rumelhart, Hinton, Williams (1986), doi:10.1038/323533a0.
    """
    w1, b1, w2, b2, w3, b3 = theta
    h1 = jax.nn.sigmoid(x @ w1 + b1)
    h2 = jax.nn.sigmoid(h1 @ w2 + b2)
    p = jax.nn.softmax(h2 @ w3 + b3)
    loss = -jnp.sum(y * jnp.log(p))

    # du_out/du_in of each stage; z3 = h2 W3 + b3, and sigmoid' = h (1 - h)
    dloss_dp = -y / p
    dp_dz3 = jnp.diag(p) - jnp.outer(p, p)
    dp_dh2 = dp_dz3 @ w3.T
    dh2_db2 = jnp.diag(h2 * (1 - h2))
    dh2_dh1 = dh2_db2 @ w2.T
    dh1_db1 = jnp.diag(h1 * (1 - h1))

    # dl/du_i = dl/du_(i+1) du_(i+1)/du_i
    dloss_db3 = dloss_dp @ dp_dz3
    dloss_dh2 = dloss_dp @ dp_dh2
    dloss_db2 = dloss_dh2 @ dh2_db2
    dloss_dh1 = dloss_dh2 @ dh2_dh1
    dloss_db1 = dloss_dh1 @ dh1_db1
    gradient = (
        jnp.outer(x, dloss_db1), dloss_db1, jnp.outer(h1, dloss_db2), dloss_db2, jnp.outer(h2, dloss_db3), dloss_db3
    )  # fmt: skip
    return Backpropagation(h1, h2, p, loss, dloss_dp, dp_dh2, dh2_dh1, dh1_db1, gradient)


def finite_differences(
    fn: Callable[[Params], jax.Array],
    params: Params,
    eps: Any = 1e-3,
    form: Literal["central", "forward"] = "central",
) -> Params:
    """Slopes between neighbours, one parameter at a time; fn gives `f[]`, the result is shaped as params.

    forward: `(f(b + eps) - f(b)) / eps`, P + 1 evaluations for P parameters, error of order eps; central:
    `(f(b + eps) - f(b - eps)) / (2 eps)`, 2 P evaluations, error of order eps^2. A small eps makes both worse: the
    digits that f(b + eps) and f(b) share are lost, see `fd_curve`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> slope = jaxnn.finite_differences(lambda b: b**2, jnp.array(3.0), eps=0.5, form="forward")
    >>> slope.item()  # 2 b + eps
    6.5

    Source: the lecture.
    """
    flat, unravel = ravel_pytree(params)
    eps = jnp.asarray(eps, flat.dtype)

    def moved(i: jax.Array, step: jax.Array) -> jax.Array:
        return fn(unravel(flat.at[i].add(step)))

    if form == "central":
        slopes = lax.map(lambda i: (moved(i, eps) - moved(i, -eps)) / (2 * eps), jnp.arange(flat.size))
    else:
        here = fn(params)
        slopes = lax.map(lambda i: (moved(i, eps) - here) / eps, jnp.arange(flat.size))
    return unravel(slopes)


def fd_curve(fn: Callable[[Params], jax.Array], params: Params, eps: Sequence[float]) -> np.ndarray:
    """The relative error of forward differences for each eps, `|fd - grad| / |grad|`: falls, then rises again.

    fn gives `f[]`; the result is `f[E]` for E values of eps. Computed in the dtype of params. In float32 the best eps
    is near 1e-3, and at 1e-6 no digit is right.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> large, good, tiny = jaxnn.fd_curve(jnp.exp, jnp.array(1.0), [1.0, 1e-3, 1e-7])
    >>> bool(good < 1e-3), bool(large > 0.1), bool(tiny > 0.1)
    (True, True, True)

    Source: the lecture ("costly and unstable").
    """
    steps = jnp.asarray(eps, ravel_pytree(params)[0].dtype)

    @jax.jit
    def errors(params: Params) -> jax.Array:
        exact, _ = ravel_pytree(jax.grad(fn)(params))

        def error(step: jax.Array) -> jax.Array:
            slope, _ = ravel_pytree(finite_differences(fn, params, step, form="forward"))
            return jnp.linalg.norm(slope - exact) / jnp.linalg.norm(exact)

        return lax.map(error, steps)

    return np.asarray(errors(params))


def check_gradients(
    fn: Callable[..., Any],
    params: Params,
    *args: Any,
    eps: float = 1e-5,
    rtol: float = 1e-6,
    modes: Sequence[str] = ("jvp", "vjp"),
) -> dict[str, float]:
    """Compare each derivative of `fn(params, *args)`, by jvp and by vjp, with central differences.

    In float64, whatever the dtypes are; params is a pytree of floats, fn gives a float array or a pytree of them. An
    error of 0.01 % is found wherever the derivative is not 100,000 times smaller than the largest one or than fn
    itself. At a kink (relu at 0) there is no derivative to compare. `jax.custom_vjp` has no jvp: `modes=("vjp",)`. It
    costs 3 P evaluations for P parameters; a few thousand are a matter of seconds.

    Gives the largest relative error of each mode. Raises `NumericsError` naming the worst parameter if it is above
    rtol, `InputError` if there is nothing to differentiate or fn falls back to less than float64.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> errors = jaxnn.check_gradients(lambda w, x: jnp.tanh(x @ w), jnp.ones(3), jnp.ones((2, 3)))
    >>> max(errors.values()) < 1e-6
    True
    """
    with jax.enable_x64(True):
        params, args = jax.tree.map(_double, (params, args))
        for path, leaf in jax.tree.leaves_with_path(params):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise InputError(f"params{jax.tree_util.keystr(path)}={leaf}: must be floats; pass it among the args")
        flat, unravel = ravel_pytree(params)

        def outputs(flat: jax.Array) -> jax.Array:
            return ravel_pytree(fn(unravel(flat), *args))[0]

        if not flat.size:
            raise InputError("params={}: must hold parameters, there is nothing to differentiate; give some")
        if (given := jax.eval_shape(outputs, flat).dtype) != jnp.float64:
            raise InputError(f"fn={given}: must give float64 for float64 parameters; take out casts to less")

        @jax.jit
        def jacobians(flat: jax.Array, eps: jax.Array) -> dict[str, jax.Array]:
            roads = {mode: _JACOBIANS[mode](outputs, flat, eps) for mode in ("central", *modes)}
            return roads | {"value": outputs(flat)}

        found = jax.tree.map(np.asarray, jacobians(flat, jnp.asarray(eps)))
        central, value = found.pop("central"), found.pop("value")
        largest = max(np.abs(central).max(), np.abs(value).max())
        return {mode: _worst(mode, found[mode], central, largest, rtol, params) for mode in modes}


def _central(fn: Callable[[jax.Array], jax.Array], x: jax.Array, eps: jax.Array) -> jax.Array:
    return lax.map(lambda i: (fn(x.at[i].add(eps)) - fn(x.at[i].add(-eps))) / (2 * eps), jnp.arange(x.size))


def _forward(fn: Callable[[jax.Array], jax.Array], x: jax.Array, eps: jax.Array) -> jax.Array:
    del eps
    return lax.map(lambda i: jax.jvp(fn, (x,), (jnp.zeros_like(x).at[i].set(1),))[1], jnp.arange(x.size))


def _reverse(fn: Callable[[jax.Array], jax.Array], x: jax.Array, eps: jax.Array) -> jax.Array:
    del eps
    return jax.jacrev(fn)(x).T


_JACOBIANS = {"central": _central, "jvp": _forward, "vjp": _reverse}  # each f64[P, outputs]


def _double(leaf: Any) -> Any:
    """Arrays of floats as float64; integers, keys and the rest as they are."""
    is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(leaf, jnp.float64) if is_float else leaf


def _worst(mode: str, jacobian: np.ndarray, central: np.ndarray, largest: float, rtol: float, params: Params) -> float:
    # differences are good to about 1e-11 of the largest number in sight: below a thousandth of it, compare with that
    errors = np.abs(jacobian - central) / (np.abs(central) + 1e-3 * largest + np.finfo(np.float64).tiny)
    row, column = np.unravel_index(int(np.argmax(errors)), errors.shape)  # NaN, if any, is the first
    worst = float(errors[row, column])
    if not worst <= rtol:
        names = [
            f"{jax.tree_util.keystr(path, simple=True, separator='/')}{list(map(int, index))}"
            for path, leaf in jax.tree.leaves_with_path(params)
            for index in np.ndindex(leaf.shape)
        ]
        given, expected = jacobian[row, column], central[row, column]
        raise NumericsError(
            f"{names[row]}={given:.9g}: {mode} must agree with central differences, {expected:.9g}, to {rtol:g}, not "
            f"{worst:.1e}; mend the derivative rule, or choose a point away from kinks"
        )
    return worst
