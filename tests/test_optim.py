"""The optimizer against formulas written out in NumPy, scikit-learn, and what has to be conserved."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression

from jaxnn import tree
from jaxnn.config.names import OPTIMIZERS
from jaxnn.config.optim import OptimConfig
from jaxnn.engine.descent import penalty
from jaxnn.errors import InputError
from jaxnn.optim import optimizer as optim


def make(config: OptimConfig, *, epoch: int = 1, total: int = 100, lr: Any = None) -> Any:
    return optim.optimizer(config, steps_per_epoch=epoch, total_steps=total, lr=lr)


def train(tx: Any, loss: Callable[..., Any], params: Any, steps: int, *, state: Any = None, start: int = 0) -> Any:
    """`steps` updates in one scan; returns (params, state) and, of each step, the loss, the rate and the parameters."""

    def step(carry: Any, t: jax.Array) -> Any:
        params, state = carry
        objective = functools.partial(loss, t=t)
        value, grads = jax.value_and_grad(objective)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=objective)
        params = optax.apply_updates(params, updates)
        return (params, state), (value, optim.learning_rate(state), params)

    @jax.jit
    def run(params: Any, state: Any, times: Any) -> Any:
        return jax.lax.scan(step, (params, tx.init(params) if state is None else state), times)

    return run(params, state, start + np.arange(steps))


def linear(*gradients: Any) -> Callable[..., jax.Array]:
    """A loss whose gradient at step t is the t-th of these, wherever it is taken."""
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *gradients)

    def loss(params: Any, t: jax.Array) -> jax.Array:
        return sum(jax.tree.leaves(jax.tree.map(lambda g, p: jnp.sum(g[t] * p), stacked, params)), start=jnp.zeros(()))

    return loss


def quadratic(params: Any, t: Any = 0) -> jax.Array:
    return sum((jnp.sum(jnp.square(leaf - 1.0)) for leaf in jax.tree.leaves(params)), start=jnp.zeros(()))


RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X @ [1.0, -2.0, 0.5] + 0.3 + RNG.logistic(size=40) > 0).astype(float)  # noisy labels: the optimum is finite


def logistic(params: Any, t: Any = 0) -> jax.Array:
    x, y = jnp.asarray(X, params["w"].dtype), jnp.asarray(Y, params["w"].dtype)
    z = jnp.squeeze(x @ params["w"], 1) + jnp.broadcast_to(params["b"], 40)
    return jnp.mean(jax.nn.softplus(z) - y * z)


def start(rng: np.random.Generator | None = None) -> dict[str, jax.Array]:
    if rng is None:
        return {"w": jnp.zeros((3, 1)), "b": jnp.zeros(1)}
    return {"w": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=2))}


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


# ---- gradient descent ----------------------------------------------------------------------------------------------


def test_a_step_of_gradient_descent_is_theta_minus_rho_times_the_gradient() -> None:
    w, b, rho = np.array([[0.2], [-0.4], [0.1]]), np.array([0.3]), 0.7
    residual = 1 / (1 + np.exp(-(X @ w[:, 0] + b))) - Y
    params = {"w": jnp.asarray(w, jnp.float32), "b": jnp.asarray(b, jnp.float32)}
    (after, _), _ = train(make(OptimConfig(lr=rho)), logistic, params, 1)
    np.testing.assert_allclose(after["w"], w - rho * (X.T @ residual / 40)[:, None], rtol=1e-6)
    np.testing.assert_allclose(after["b"], b - rho * residual.mean(), rtol=1e-6)


def test_gradient_descent_never_climbs_below_the_inverse_lipschitz_constant_and_does_far_above_it() -> None:
    lipschitz = np.linalg.eigvalsh(np.c_[X, np.ones(40)].T @ np.c_[X, np.ones(40)]).max() / (4 * 40)
    _, (losses, _, _) = train(make(OptimConfig(lr=0.99 / lipschitz)), logistic, start(), 100)
    assert (np.diff(losses) <= 1e-7).all() and losses[-1] < losses[0] - 0.1
    _, (losses, _, _) = train(make(OptimConfig(lr=40.0 / lipschitz)), logistic, start(), 100)
    assert (np.diff(losses) > 1e-3).any()


# ---- the formulas, five steps, one entry of theta after another ----------------------------------------------------


def sgd(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    return g, s


def momentum(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    v = 0.9 * s.get("v", 0) + g
    return v, {"v": v}


def nesterov(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    v = 0.9 * s.get("v", 0) + g
    return g + 0.9 * v, {"v": v}


def adam(g: np.ndarray, w: np.ndarray, s: Any, t: int, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Any:
    m = b1 * s.get("m", 0) + (1 - b1) * g
    v = b2 * s.get("v", 0) + (1 - b2) * g**2
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps), {"m": m, "v": v}


def adagrad(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    v = s.get("v", 0.1) + g**2
    return g / np.sqrt(v + 1e-7), {"v": v}


def rmsprop(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    v = 0.9 * s.get("v", 0) + 0.1 * g**2
    return g / np.sqrt(v + 1e-8), {"v": v}


def lion(g: np.ndarray, w: np.ndarray, s: Any, t: int) -> Any:
    m = s.get("m", 0)
    return np.sign(0.9 * m + 0.1 * g), {"m": 0.99 * m + 0.01 * g}


FORMULAS = {
    "sgd": (OptimConfig(), sgd, 0.0),
    "sgd with decay": (OptimConfig(weight_decay=0.1), sgd, 0.1),
    "momentum": (OptimConfig(momentum=0.9), momentum, 0.0),
    "momentum with decay": (OptimConfig(momentum=0.9, weight_decay=0.1), momentum, 0.1),
    "nesterov": (OptimConfig(momentum=0.9, nesterov=True), nesterov, 0.0),
    "adam": (OptimConfig(name="adam"), adam, 0.0),
    "adam with its own b1, b2, eps": (
        OptimConfig(name="adam", b1=0.8, b2=0.95, eps=1e-2),
        functools.partial(adam, b1=0.8, b2=0.95, eps=1e-2),
        0.0,
    ),
    "adam without a first moment": (OptimConfig(name="adam", b1=0.0), functools.partial(adam, b1=0.0), 0.0),
    "adamw": (OptimConfig(name="adamw", weight_decay=0.1), adam, 0.1),
    "adamw left to itself": (OptimConfig(name="adamw"), adam, 1e-4),
    "adagrad": (OptimConfig(name="adagrad"), adagrad, 0.0),
    "rmsprop": (OptimConfig(name="rmsprop"), rmsprop, 0.0),
    "lion": (OptimConfig(name="lion"), lion, 1e-3),
    "lion without decay": (OptimConfig(name="lion", weight_decay=0.0), lion, 0.0),
}


@pytest.mark.parametrize("case", FORMULAS)
def test_five_steps_are_the_formula_written_out(case: str, float64: None) -> None:
    config, formula, decay = FORMULAS[case]
    rng, rho = np.random.default_rng(1), 0.3
    params = start(rng)
    gradients = [jax.tree.map(lambda p: rng.normal(size=p.shape), params) for _ in range(5)]
    (after, _), _ = train(make(config, lr=rho), linear(*gradients), params, 5)
    for name, shrink in (("w", decay), ("b", 0.0)):  # decay is decoupled, and spares the biases
        theta, state = np.asarray(params[name]), {}
        for t, gradient in enumerate(gradients, 1):
            step, state = formula(gradient[name], theta, state, t)
            theta = theta - rho * (step + shrink * theta)
        np.testing.assert_allclose(after[name], theta, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["adan", "nadamw"])
def test_decay_and_defaults_are_those_of_optax_where_optax_has_them(name: str, float64: None) -> None:
    rng = np.random.default_rng(2)
    params = start(rng)
    loss = linear(*[jax.tree.map(lambda p: rng.normal(size=p.shape), params) for _ in range(5)])
    (ours, _), _ = train(make(OptimConfig(name=name)), loss, params, 5)
    theirs = getattr(optax, name)(OPTIMIZERS[name], mask={"w": True, "b": False})

    def step(carry: Any, t: jax.Array) -> Any:
        theta, state = carry
        updates, state = theirs.update(jax.grad(loss)(theta, t), state, theta)
        return (optax.apply_updates(theta, updates), state), None

    with jax.numpy_dtype_promotion("standard"):
        theta = jax.jit(lambda params: jax.lax.scan(step, (params, theirs.init(params)), jnp.arange(5))[0][0])(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, theta)


@pytest.mark.parametrize("name", ["adadelta", "adam", "lars", "lion", "muon", "sgd"])
def test_without_a_gradient_weights_shrink_by_lr_times_decay_and_biases_stay(name: str) -> None:
    params = {"w": jnp.full((3, 2), 2.0), "b": jnp.full(2, 3.0)}
    still = jax.tree.map(jnp.zeros_like, params)
    tx = make(OptimConfig(name=name, weight_decay=0.1, schedule="step", decay_every="2", decay=0.5), lr=0.5)
    (after, _), _ = train(tx, linear(still, still, still), params, 3)
    np.testing.assert_allclose(after["w"], 2.0 * (1 - 0.05) ** 2 * (1 - 0.025), rtol=1e-6)
    np.testing.assert_array_equal(after["b"], 3.0)


# ---- all of them ---------------------------------------------------------------------------------------------------


def both(params: Any, t: Any) -> jax.Array:
    return quadratic(params["square"]) + logistic(params["logistic"])


BOTH = {"square": {"w": np.array([[1.0, -2.0], [0.5, 3.0]], "f"), "b": np.zeros(2, "f")}, "logistic": start()}
OF_EACH_KIND = ("sgd", "adam", "lbfgs", "lars", "muon", "prodigy", "adadelta")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_served_by_one_call_and_keeps_its_shapes_and_dtypes(name: str) -> None:
    tx = make(OptimConfig(name=name), total=200)
    (after, state), (_, rate, _) = jax.eval_shape(lambda: train(tx, both, BOTH, 3))  # one scan: a carry of one shape
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), BOTH)
    assert rate.shape == (3,) and jax.eval_shape(optim.learning_rate, state).shape == ()


@pytest.mark.parametrize(
    "name", [name if name in OF_EACH_KIND else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS]
)
def test_every_optimizer_minimises_at_its_default_rate(name: str) -> None:
    params = jax.tree.map(jnp.asarray, BOTH)
    (after, _), (losses, rate, _) = train(make(OptimConfig(name=name), total=200), both, params, 200)
    assert float(quadratic(after["square"])) < 0.85 * float(quadratic(params["square"]))
    assert float(logistic(after["logistic"])) < 0.93 * float(logistic(params["logistic"]))
    assert np.isfinite(losses).all()
    if name != "lbfgs":
        np.testing.assert_allclose(rate, OPTIMIZERS[name])


@pytest.mark.long
def test_lbfgs_finds_the_coefficients_of_scikit_learn() -> None:
    (after, _), _ = train(make(OptimConfig(name="lbfgs")), logistic, start(), 40)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(after["w"][:, 0], peer.coef_[0], atol=1e-3)
    np.testing.assert_allclose(after["b"], peer.intercept_, atol=1e-3)


def test_the_rate_of_lbfgs_is_the_step_its_line_search_took() -> None:
    params = {"w": jnp.array([[1.1], [0.7]])}  # so close that the first direction is minus the gradient, 2 (1 - w)
    _, (_, rates, path) = train(make(OptimConfig(name="lbfgs")), quadratic, params, 1)
    np.testing.assert_allclose((path["w"][0] - params["w"]) / (2 * (1 - params["w"])), [[rates[0]]] * 2, rtol=1e-4)
    np.testing.assert_allclose(rates[0], 0.5, rtol=1e-4)  # a whole step would end as high as it began


# ---- what stands around the optimizer ------------------------------------------------------------------------------


def test_clipping_by_value_bounds_each_entry() -> None:
    gradient = {"w": jnp.array([[-5.0, 0.1]]), "b": jnp.array([0.5, 2.0])}
    params = jax.tree.map(jnp.zeros_like, gradient)
    (after, _), _ = train(make(OptimConfig(clip_value=0.5), lr=1.0), linear(gradient), params, 1)
    np.testing.assert_allclose(after["w"], [[0.5, -0.1]], rtol=1e-6)
    np.testing.assert_allclose(after["b"], [-0.5, -0.5], rtol=1e-6)


@pytest.mark.parametrize("largest, factor", [(1.0, 0.2), (5.1, 1.0)])
def test_clipping_by_norm_scales_the_whole_gradient_if_it_is_too_long(largest: float, factor: float) -> None:
    gradient = {"w": jnp.array([[3.0]]), "b": jnp.array([4.0])}  # norm 5
    params = jax.tree.map(jnp.zeros_like, gradient)
    (after, _), _ = train(make(OptimConfig(clip_norm=largest), lr=1.0), linear(gradient), params, 1)
    np.testing.assert_allclose([after["w"][0, 0], after["b"][0]], [-3 * factor, -4 * factor], rtol=1e-6)


def test_values_are_clipped_before_the_norm() -> None:
    gradient = {"w": jnp.array([[30.0]]), "b": jnp.array([4.0])}
    params = jax.tree.map(jnp.zeros_like, gradient)
    (after, _), _ = train(make(OptimConfig(clip_value=3.0, clip_norm=1.0), lr=1.0), linear(gradient), params, 1)
    np.testing.assert_allclose([after["w"][0, 0], after["b"][0]], [-(0.5**0.5)] * 2, rtol=1e-6)


def test_the_incoming_weights_of_a_unit_keep_to_the_largest_norm_after_every_step() -> None:
    rng = np.random.default_rng(3)
    params = {
        "dense": {"w": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), "b": jnp.full(3, 9.0)},
        "conv": {"w": jnp.asarray(rng.normal(size=(2, 2, 3, 5)), jnp.float32)},
        "flax": {"kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)},
    }
    outward = jax.tree.map(lambda p: -p, params)  # each step pushes everything away from zero
    _, (_, _, path) = train(make(OptimConfig(max_norm=2.0), lr=0.5), linear(*[outward] * 10), params, 10)
    dense = np.linalg.norm(path["dense"]["w"], axis=2)  # [step, unit, input]
    flax = np.linalg.norm(path["flax"]["kernel"], axis=1)
    conv = np.linalg.norm(np.reshape(path["conv"]["w"], (10, 12, 5)), axis=1)
    assert max(dense.max(), conv.max(), flax.max()) <= 2.0 * (1 + 1e-6)
    np.testing.assert_allclose(dense[-1], 2.0, rtol=1e-6)
    np.testing.assert_allclose(flax[-1], 2.0, rtol=1e-6)
    np.testing.assert_allclose(path["dense"]["b"][-1], 9.0 * 6.0, rtol=1e-6)  # biases are free
    cosine = np.sum(np.asarray(path["dense"]["w"][-1]) * np.asarray(params["dense"]["w"]), 1) / dense[-1]
    np.testing.assert_allclose(cosine, np.linalg.norm(params["dense"]["w"], axis=1), rtol=1e-5)  # only shortened


def test_inside_the_largest_norm_the_constraint_changes_no_bit() -> None:
    params = {"w": jnp.array([[0.3, 0.1], [5.0, 5.0]])}  # the first unit is inside, the second is not
    free, bound = (train(make(OptimConfig(max_norm=m), lr=0.01), quadratic, params, 10)[1][2]["w"] for m in (None, 0.9))
    np.testing.assert_array_equal(free[:, 0], bound[:, 0])
    assert (free[:, 1] != bound[:, 1]).all()


def test_the_average_is_the_weighted_mean_of_the_weights_after_each_step(float64: None) -> None:
    params, decay = start(np.random.default_rng(4)), 0.8
    tx = make(OptimConfig(ema=decay), lr=0.1)
    (after, state), (_, _, path) = train(tx, quadratic, params, 6)
    weights = decay ** np.arange(5, -1, -1.0)
    for name in params:
        mean = np.einsum("t,t...->...", weights / weights.sum(), path[name])
        np.testing.assert_allclose(optim.averaged(after, state)[name], mean, rtol=1e-12)
    first = tx.init(params)
    jax.tree.map(np.testing.assert_array_equal, optim.averaged(params, first), params)
    assert optim.averaged(params, first)["w"] is not params["w"]  # both can be donated


def test_without_an_average_the_weights_themselves_are_evaluated() -> None:
    params = start()
    assert optim.averaged(params, make(OptimConfig()).init(params)) is params


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_a_factor_of_the_rate_is_a_run_of_its_own_at_that_rate(name: str, float64: None) -> None:
    params = {layer: start(np.random.default_rng(k)) for k, layer in enumerate(("conv_0", "dense_0", "dense_1"))}
    config = OptimConfig(name=name, weight_decay=0.1, lr_scale=("dense_*=10", "dense_1=4", "*/b=0.5"))
    (after, _), _ = train(make(config, lr=0.01), quadratic, params, 5)
    for layer, factor in (("conv_0", 1), ("dense_0", 10), ("dense_1", 4)):  # the last pattern that names it
        for leaf, own in (("w", factor), ("b", 0.5)):
            alone = {leaf: params[layer][leaf]}
            (expected, _), _ = train(make(OptimConfig(name=name, weight_decay=0.1), lr=0.01 * own), quadratic, alone, 5)
            np.testing.assert_allclose(after[layer][leaf], expected[leaf], rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_what_is_unfrozen_later_is_the_same_bits_until_then_and_moves_as_the_moments_of_its_gradient_say(name) -> None:
    constant = {"conv_0": {"w": np.full((6, 2, 2), 0.5, np.float32)}, "dense_0": {"w": np.ones((6, 2, 2), np.float32)}}
    params = {"conv_0": {"w": jnp.array([[-0.0, 1.0], [0.0, 2.0]])}, "dense_0": {"w": jnp.ones((2, 2))}}
    loss = lambda params, t: sum(jnp.sum(constant[k]["w"][0] * params[k]["w"]) for k in params)
    tx = make(OptimConfig(name=name, weight_decay=0.1, max_norm=1.5, unfreeze=("conv_*=2epochs",)), epoch=2, lr=0.01)
    _, (_, _, path) = train(tx, loss, params, 6)
    before = np.asarray(path["conv_0"]["w"][:4])
    assert (before.view(np.uint32) == np.asarray(params["conv_0"]["w"]).view(np.uint32)).all()  # -0.0 is not 0.0
    assert (np.asarray(path["conv_0"]["w"][4]) != params["conv_0"]["w"]).all()
    assert (np.diff(np.asarray(path["dense_0"]["w"]), axis=0) != 0).all()
    free = make(OptimConfig(name=name, weight_decay=0.1), lr=0.01)  # of a constant gradient: each step is alike
    _, (_, _, other) = train(free, loss, {"conv_0": {"w": params["conv_0"]["w"]}}, 1)
    inside = np.asarray(path["conv_0"]["w"][4])[0]  # the first unit is within max_norm
    np.testing.assert_allclose(inside, np.asarray(other["conv_0"]["w"][0])[0], rtol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"lr_scale": ("dens_0=2",)},
            "--optim.lr_scale=dens_0: matches no parameter; did you mean dense_0? Choose from ",
        ),
        ({"unfreeze": ("conv_*=3",)}, "--optim.unfreeze=conv_*: matches no parameter; Choose from dense_0"),
    ],
)
def test_a_pattern_of_the_optimizer_that_names_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        make(OptimConfig(**settings)).init({"dense_0": start()})
    assert str(error.value).startswith(message)


@pytest.mark.long
@pytest.mark.parametrize("name", ["cosine", "plateau", "step"])
def test_the_rate_in_the_state_is_the_rate_that_was_applied(name: str) -> None:
    config = OptimConfig(schedule=name, warmup="3", decay_every="4", lr=0.5)
    tx, gradient = make(config, total=20), {"w": jnp.ones((1, 1))}
    _, (_, rates, path) = train(tx, linear(*[gradient] * 20), {"w": jnp.zeros((1, 1))}, 20)
    applied = -np.diff(np.asarray(path["w"])[:, 0, 0], prepend=0.0)
    np.testing.assert_allclose(rates, applied, rtol=1e-4, atol=1e-6)
    assert optim.learning_rate(tx.init(gradient)) == rates[0]


def test_on_a_plateau_the_rate_falls_only_when_the_epochs_loss_stops_falling() -> None:
    # 3 steps an epoch; the losses within an epoch differ, their mean is what counts; the window is 2 epochs
    def rates(epochs: list[float]) -> Any:
        values = jnp.asarray([mean + noise for mean in epochs for noise in (-0.5, 0.0, 0.5)], jnp.float32)
        config = OptimConfig(schedule="plateau", decay_every="2epochs", decay=0.1, lr=1.0)

        def loss(params: Any, t: jax.Array) -> jax.Array:
            return values[t] + 0.0 * jnp.sum(params["w"])

        return train(make(config, epoch=3, total=30), loss, {"w": jnp.ones((1, 1))}, len(values))[1][1]

    np.testing.assert_allclose(rates([9.0, 8.0, 7.0, 6.0, 5.0, 4.0]), 1.0)
    # epoch 1 is the best; 2 and 3 are no better, so with the end of 3 the rate falls, and again with that of 5
    np.testing.assert_allclose(rates([5.0] * 5), [1.0] * 8 + [0.1] * 6 + [0.01], rtol=1e-6)
    np.testing.assert_allclose(rates([5.0, 5.0, 4.0, 4.0, 3.0, 3.0]), 1.0)  # better in time, every time


def test_a_plateau_shorter_than_an_epoch_is_judged_over_that_many_steps() -> None:
    config = OptimConfig(schedule="plateau", decay_every="2", decay=0.1, lr=1.0)
    flat = linear(*[{"w": jnp.zeros((1, 1))}] * 6)
    _, (_, rates, _) = train(make(config, epoch=10), flat, {"w": jnp.ones((1, 1))}, 6)
    np.testing.assert_allclose(rates, [1.0, 1.0, 1.0, 0.1, 0.1, 0.01], rtol=1e-6)


# ---- a pure function of the state ----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_numbers_do_not_depend_on_how_the_run_is_cut() -> None:
    config = OptimConfig(name="adamw", schedule="plateau", warmup="5", decay_every="2")
    config = dataclasses.replace(config, clip_value=0.5, clip_norm=0.9, max_norm=1.0, ema=0.9)
    tx, params = make(config, epoch=2, total=20), start()
    whole = train(tx, logistic, params, 20)[0]
    theta, state = train(tx, logistic, params, 7)[0]
    cut = train(tx, logistic, theta, 13, state=state, start=7)[0]
    jax.tree.map(np.testing.assert_array_equal, whole, cut)


def test_vmap_over_learning_rates_is_the_runs_one_by_one() -> None:
    def run(lr: Any) -> Any:
        return train(make(OptimConfig(name="adam", warmup="3", ema=0.9), lr=lr), logistic, start(), 10)[0][0]["w"]

    lrs = jnp.array([0.01, 1.0])
    one = jax.jit(run)
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(lrs), [one(lr) for lr in lrs], rtol=1e-5)


def test_the_derivative_with_respect_to_the_learning_rate_is_the_closed_form() -> None:
    def final(lr: Any) -> jax.Array:  # theta_n - 1 = (1 - 2 lr)^n (theta_0 - 1)
        return jnp.sum(train(make(OptimConfig(), lr=lr), quadratic, {"w": jnp.full((1, 1), 3.0)}, 5)[0][0]["w"])

    np.testing.assert_allclose(jax.jit(jax.grad(final))(0.1), -2 * 5 * (1 - 0.2) ** 4 * 2.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "amsgrad"])
def test_the_derivative_with_respect_to_the_learning_rate_survives_a_dead_unit(name: str) -> None:
    @jax.jit
    def final(lr: Any) -> jax.Array:
        params = {"live": jnp.full((2, 2), 3.0), "dead": jnp.ones((2, 2))}
        loss = lambda params, t: quadratic(params["live"]) + jnp.sum(params["dead"] * 0.0 * params["live"])
        (after, _), _ = train(make(OptimConfig(name=name), lr=lr), loss, params, 4)
        return quadratic(after["live"])

    lr = 0.01
    slope = (final(lr + 1e-3) - final(lr - 1e-3)) / 2e-3
    np.testing.assert_allclose(jax.jit(jax.grad(final))(lr), slope, rtol=1e-2)


def test_float32_parameters_stay_float32_where_float64_is_on(float64: None) -> None:
    params = {"w": jnp.ones((3, 1), jnp.float32), "b": jnp.ones(1, jnp.float32)}
    config = OptimConfig(name="lars", weight_decay=0.1, max_norm=1.0, ema=0.9, schedule="cosine")
    (after, state), _ = train(make(config), logistic, params, 2)
    assert {leaf.dtype for leaf in jax.tree.leaves((after, optim.averaged(after, state)))} == {jnp.dtype("float32")}


# ---- which leaves are weights --------------------------------------------------------------------------------------


def test_weights_have_two_axes_and_another_name_than_bias() -> None:
    params = {
        "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "conv": {"w": jnp.ones((3, 3, 1, 2)), "b": jnp.ones(2)},
        "maxout": [{"w": jnp.ones((2, 6)), "b": jnp.ones((2, 3))}],
        "norm": {"scale": jnp.ones(3), "temperature": jnp.ones(())},
    }
    expected = {
        "dense": {"kernel": True, "bias": False},
        "conv": {"w": True, "b": False},
        "maxout": [{"w": True, "b": False}],
        "norm": {"scale": False, "temperature": False},
    }
    assert tree.is_weight(params) == tree.is_weight(jax.eval_shape(lambda: params)) == expected
    assert tree.is_weight(jnp.ones((2, 2))) is True


def test_the_penalty_is_half_alpha_times_the_squares_and_its_gradient_alpha_times_the_weights() -> None:
    params = {"w": jnp.array([[1.0, -2.0]]), "v": {"kernel": jnp.full((2, 1), 3.0)}, "b": jnp.array([7.0])}
    np.testing.assert_allclose(penalty(params, 0.5), 0.25 * (1 + 4 + 9 + 9))
    gradient = jax.grad(penalty)(params, 0.5)
    np.testing.assert_allclose(gradient["w"], [[0.5, -1.0]])
    np.testing.assert_allclose(gradient["v"]["kernel"], 1.5)
    np.testing.assert_array_equal(gradient["b"], 0.0)
    assert penalty({"b": jnp.ones(2)}, 0.5) == 0.0


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "adam", "momentum": 0.9}, "--optim.momentum=0.9: adam has no momentum; leave it out (it takes "
         "--optim.nesterov, --optim.b1, --optim.b2, --optim.eps)"),
        ({"name": "sgd", "b1": 0.9}, "--optim.b1=0.9: sgd has no b1; leave it out (it takes --optim.momentum, "
         "--optim.nesterov)"),
        ({"name": "sign_sgd", "eps": 0.1}, "--optim.eps=0.1: sign_sgd has no eps; leave it out (it takes no such flag"),
        ({"name": "sign_sgd", "nesterov": True}, "--optim.nesterov=True: sign_sgd has no nesterov; "),
        ({"name": "lbfgs", "momentum": 0.5}, "--optim.momentum=0.5: lbfgs has no momentum; "),
        ({"nesterov": True}, "--optim.nesterov=True: needs --optim.momentum > 0; "),
        ({"momentum": 1.0}, "--optim.momentum=1.0: must be in [0, 1)"),
        ({"name": "adam", "b2": float("nan")}, "--optim.b2=nan: must be in [0, 1)"),
        ({"weight_decay": -0.1}, "--optim.weight_decay=-0.1: must be finite and >= 0"),
        ({"name": "prodigy", "weight_decay": 0.1}, "--optim.weight_decay=0.1: prodigy finds its own step size, "),
        ({"name": "lbfgs", "lr": 0.1}, "--optim.lr=0.1: lbfgs finds its step by a line search; "),
        ({"name": "lbfgs", "weight_decay": 0.1}, "--optim.weight_decay=0.1: lbfgs finds its step by a line search; "),
        ({"name": "lbfgs", "clip_norm": 1.0}, "--optim.clip_norm=1.0: lbfgs finds its step by a line search; "),
        ({"name": "lbfgs", "schedule": "cosine"}, "--optim.schedule=cosine: lbfgs finds its step by a line search; "),
        ({"warmup": "2000"}, "--optim.warmup=2000: is longer than the run of 100 steps; "),
        ({"name": "adm"}, "--optim.name=adm: unknown; did you mean adam? "),
        ({"lr_scale": ("dense_0",)}, "--optim.lr_scale=dense_0: must be PATTERN=FACTOR, such as 'dense_*=10'"),
        ({"lr_scale": ("dense_0=0",)}, "--optim.lr_scale=dense_0=0.0: must be finite and > 0"),
        ({"lr_scale": ("dense_0=ten",)}, "--optim.lr_scale=dense_0=ten: ten is no number; write dense_0=10"),
        ({"unfreeze": ("conv_0:2",)}, "--optim.unfreeze=conv_0:2: must be PATTERN=TIME, such as 'conv_*=2epochs'"),
        ({"unfreeze": ("conv_0=2 weeks",)}, "--optim.unfreeze=conv_0=2 weeks: must be a number of steps, epochs or "),
        ({"unfreeze": ("conv_0=100",)}, "--optim.unfreeze=conv_0: begins at step 100, and the run has 100; name an "),
        ({"name": "lbfgs", "lr_scale": ("*=2",)}, "--optim.lr_scale=('*=2',): lbfgs finds its step by a line search"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        make(OptimConfig(**settings))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_given_to_build_is_checked_like_the_flag(lr: float) -> None:
    with pytest.raises(InputError, match="^lr=.*: must be finite and > 0"):
        make(OptimConfig(), lr=lr)


def test_lbfgs_refuses_a_learning_rate_given_to_build() -> None:
    with pytest.raises(InputError, match="^lr=1.0: lbfgs finds its step by a line search"):
        make(OptimConfig(name="lbfgs"), lr=1.0)
