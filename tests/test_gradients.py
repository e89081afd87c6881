"""Four roads, one gradient; and a planted error of 0.01 % does not get through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import gradients
from jaxnn.errors import InputError, NumericsError
from jaxnn.tasks import losses


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


def integers(seed, below, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(below, size=shape), int)


def theta(*widths):
    pairs = [(normal(i, a, b), normal(50 + i, b)) for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))]
    return tuple(leaf for pair in pairs for leaf in pair)


def network_loss(theta, x, y):
    """The network of `backpropagation`, written for training: a loss of logits."""
    *hidden, (w, b) = zip(theta[::2], theta[1::2], strict=True)
    for w_h, b_h in hidden:
        x = jax.nn.sigmoid(x @ w_h + b_h)
    return losses.cross_entropy(x @ w + b, y)


def batch_loss(theta, x, y):
    return jax.vmap(network_loss, (None, 0, 0))(theta, x, y).mean()


def relative(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def richardson(fn, params, eps=1e-2):
    """Central differences with their errors of order eps^2, eps^4 and eps^6 extrapolated away."""
    steps = np.array([eps, eps / 2, eps / 4, eps / 8])
    table = jax.jit(lambda steps: jax.lax.map(lambda e: gradients.finite_differences(fn, params, e), steps))(steps)
    table = jax.tree.map(np.asarray, table)
    for order in (4, 16, 64):
        table = jax.tree.map(lambda t, n=order: (n * t[1:] - t[:-1]) / (n - 1), table)
    return jax.tree.map(lambda t: t[0], table)


@pytest.mark.long
def test_four_roads_lead_to_the_gradient_of_logistic_regression():
    with jax.enable_x64(True):
        beta, x, y = normal(0, 3), normal(1, 20, 3), (normal(2, 20) > 0)

        def likelihood(beta):
            return 20 * losses.log_likelihood((x @ beta)[:, None], y)

        closed = jax.jit(gradients.logistic_gradient)(beta, x, y)
        rows, yes, odds = np.asarray(x), np.asarray(y), np.exp(np.asarray(x) @ np.asarray(beta))
        slide = [sum(np.where(yes, rows[:, j], 0) - rows[:, j] * odds / (1 + odds)) for j in range(3)]
        assert relative(closed, np.stack(slide)) < 1e-10
        before, slope = jax.jit(jax.value_and_grad(likelihood))(beta)
        assert relative(closed, slope) < 1e-10
        assert relative(closed, richardson(likelihood, beta)) < 1e-10
        assert likelihood(beta + 0.01 * closed) > before  # of the likelihood: following it makes the loss smaller


def test_the_closed_form_does_not_overflow():
    assert gradients.logistic_gradient(jnp.array([1.0]), jnp.array([[1e4]]), jnp.array([1])).tolist() == [0]


def test_backpropagation_by_hand_is_jax_grad_and_finite_differences():
    with jax.enable_x64(True):
        params, x, y = theta(4, 3, 5, 2), normal(8, 4), jnp.array([0.0, 1.0])

        def loss(params):
            return network_loss(params, x, y)

        passes = jax.jit(gradients.backpropagation)(params, x, y)
        value, slope = jax.jit(jax.value_and_grad(loss))(params)
        assert relative(passes.loss, value) < 1e-10
        assert relative(passes.gradient, slope) < 1e-10
        assert relative(passes.gradient, richardson(loss, params)) < 1e-10
        assert jax.tree.map(jnp.shape, passes.gradient) == jax.tree.map(jnp.shape, params)


def test_each_stage_of_the_chain_rule_is_the_jacobian_of_its_stage():
    with jax.enable_x64(True):
        params, x, y = theta(4, 3, 5, 2), normal(8, 4), jnp.array([0.0, 1.0])
        w1, b1, w2, b2, w3, b3 = params
        passes = jax.jit(gradients.backpropagation)(params, x, y)
        stages = {
            "dloss_dp": (lambda p: -jnp.sum(y * jnp.log(p)), passes.p),
            "dp_dh2": (lambda h2: jax.nn.softmax(h2 @ w3 + b3), passes.h2),
            "dh2_dh1": (lambda h1: jax.nn.sigmoid(h1 @ w2 + b2), passes.h1),
            "dh1_db1": (lambda b1: jax.nn.sigmoid(x @ w1 + b1), b1),
        }
        at = {name: at for name, (_, at) in stages.items()}
        of_all = jax.jit(lambda at: {name: (f(at[name]), jax.jacobian(f)(at[name])) for name, (f, _) in stages.items()})
        values, jacobians = ({name: pair[i] for name, pair in of_all(at).items()} for i in (0, 1))
        for name in stages:
            np.testing.assert_allclose(getattr(passes, name), jacobians[name], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(values["dh1_db1"], passes.h1, rtol=1e-10)
        np.testing.assert_allclose(values["dh2_dh1"], passes.h2, rtol=1e-10)
        np.testing.assert_allclose(values["dp_dh2"], passes.p, rtol=1e-10)
        product = passes.dloss_dp @ passes.dp_dh2 @ passes.dh2_dh1 @ passes.dh1_db1
        np.testing.assert_allclose(product, passes.gradient[1], rtol=1e-10)


@pytest.mark.long
def test_a_batch_of_backpropagations_is_a_vmap():
    params, x, y = theta(4, 3, 5, 2), normal(8, 6, 4), jnp.eye(2)[jnp.array([0, 1, 1, 0, 1, 0])]
    each = jax.jit(jax.vmap(gradients.backpropagation, (None, 0, 0)))(params, x, y).gradient
    expected = jax.jit(jax.grad(batch_loss))(params, x, y)
    assert relative(jax.tree.map(lambda leaf: np.asarray(leaf).mean(axis=0), each), expected) < 1e-5


@pytest.mark.parametrize("form, order", [("forward", 1), ("central", 2)])
def test_finite_differences_have_the_error_of_their_order(form, order):
    with jax.enable_x64(True):
        params = {"a": normal(0, 3), "b": normal(1)}

        def fn(p):
            return jnp.sum(jnp.exp(p["a"])) * jnp.sin(p["b"])

        differences = jax.jit(lambda params, eps: gradients.finite_differences(fn, params, eps, form))
        coarse, fine = (relative(differences(params, eps), jax.jit(jax.grad(fn))(params)) for eps in (1e-3, 1e-4))
        assert coarse / fine == pytest.approx(10**order, rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("form, cost", [("forward", lambda p: p + 1), ("central", lambda p: 2 * p)])
def test_finite_differences_cost_a_forward_pass_for_every_parameter(form, cost):
    calls = []

    def fn(params):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(params["w"] ** 2) + jnp.sum(params["b"])

    gradients.finite_differences(fn, {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}, form=form)
    jax.effects_barrier()
    assert len(calls) == cost(8)


def test_in_float32_finite_differences_get_worse_again_as_eps_shrinks():
    # as initialised: weights of variance 1 / inputs, biases zero; 383 parameters
    params = jax.tree.map(lambda leaf: leaf * (leaf.ndim - 1) / leaf.shape[0] ** 0.5, theta(20, 12, 8, 3))
    x, y = normal(8, 64, 20), integers(9, 3, 64)
    eps = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    errors = gradients.fd_curve(lambda params: batch_loss(params, x, y), params, eps)
    assert errors.min() < 1e-2 and errors.argmin() in (1, 2)
    assert errors[eps.index(1e-6)] > 0.5
    assert (np.diff(errors[: errors.argmin() + 1]) < 0).all() and (np.diff(errors[3:]) > 0).all()


def planted(rule, error):
    """A tanh whose derivative is wrong by the relative error."""

    def slope(x):
        return (1 - jnp.tanh(x) ** 2) * (1 + error)

    if rule == "custom_jvp":
        wrong = jax.custom_jvp(jnp.tanh)
        wrong.defjvp(lambda primals, tangents: (jnp.tanh(primals[0]), slope(primals[0]) * tangents[0]))
    else:
        wrong = jax.custom_vjp(jnp.tanh)
        wrong.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (slope(x) * g,))
    return wrong


@pytest.mark.parametrize("rule, modes", [("custom_jvp", ("jvp",)), ("custom_jvp", ("vjp",)), ("custom_vjp", ("vjp",))])
@pytest.mark.parametrize(
    "error", [0.0, pytest.param(1e-4, marks=pytest.mark.slow), pytest.param(-1e-4, marks=pytest.mark.slow), 1e-5, -1e-5]
)
def test_a_planted_error_is_caught(rule, modes, error):
    activation = planted(rule, error)

    def loss(params, x, y):
        return losses.cross_entropy(activation(x @ params["w"]) @ params["v"], y).mean()

    params = {"w": normal(0, 3, 4), "v": normal(1, 4, 2)}
    args = normal(2, 5, 3), jnp.array([0, 1, 0, 1, 1])
    if not error:
        found = gradients.check_gradients(loss, params, *args, modes=modes)
        assert list(found) == list(modes) and all(0 < value < 1e-8 for value in found.values())
    else:
        with pytest.raises(NumericsError) as caught:
            gradients.check_gradients(loss, params, *args, modes=modes)
        assert str(caught.value).startswith("w[") and modes[0] in str(caught.value) and "\n" not in str(caught.value)


def test_an_error_in_one_entry_of_one_output_is_caught_by_name():
    @jax.custom_jvp
    def wrong(x):
        return x**3

    wrong.defjvp(lambda p, t: (p[0] ** 3, 3 * p[0] ** 2 * t[0] * jnp.ones(50).at[17].add(1e-4).astype(p[0].dtype)))
    with pytest.raises(NumericsError, match=r"^layer/w\[17\]=.*jvp.*1\.0e-04"):
        gradients.check_gradients(lambda p: wrong(p["layer"]["w"]), {"layer": {"w": 1 + jnp.arange(50.0) / 50}})


def test_a_gradient_of_nan_is_caught():
    with pytest.raises(NumericsError):
        gradients.check_gradients(lambda x: jnp.where(x > 0, jnp.sqrt(jnp.maximum(x, 0)), 0.0).sum(), -jnp.ones(2))


@pytest.mark.parametrize(
    "fn, params, words",
    [
        (lambda p: p.astype(jnp.float32) ** 2, jnp.ones(2), "fn=float32: must give float64"),
        (lambda p: p[0], (jnp.ones(2), jnp.array(3)), r"params\[1\]=3: must be floats"),
        (lambda p: jnp.zeros(2), {}, "nothing to differentiate"),
    ],
)
def test_what_cannot_be_checked_is_refused(fn, params, words):
    with pytest.raises(InputError, match=words):
        gradients.check_gradients(fn, params)
