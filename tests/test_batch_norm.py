"""Batch norm against NumPy, PyTorch and Keras over many steps, and what else a run makes of a model that observes."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

import jaxnn
from jaxnn import data, engine, tree
from jaxnn.commands import main
from jaxnn.config.optim import OptimConfig
from jaxnn.devices import mesh
from jaxnn.engine.descent import state_of
from jaxnn.errors import InputError
from jaxnn.nn import norms
from jaxnn.optim import optimizer as optim
from jaxnn.training.faults import find_fault
from jaxnn.types import Batch, Model, Recipe, State, Window

KEY = jax.random.key(3)
ROWS, SIZE, STEPS, LR = 13, 5, 20, 0.1  # every third batch has 3 rows
MOMENTUM, EPS = 0.8, 1e-3
NORM = jaxnn.batch_norm(MOMENTUM, EPS)
LAYERS = (jaxnn.dense(6), NORM, jnp.tanh, jaxnn.dense(2))
MODEL = jaxnn.chain(*LAYERS)
IMAGES = jaxnn.chain(NORM, jnp.tanh, jaxnn.flatten(), jaxnn.dense(2))
none_frozen = functools.partial(tree.is_frozen, freeze=())


def rows(weights: str = "ones", shape: tuple[int, ...] = (4,)) -> Batch:
    rng = np.random.default_rng(1)
    x, y = rng.normal(2, 3, (ROWS, *shape)), rng.normal(size=(ROWS, 2))
    weight = {"ones": np.ones(ROWS), "mixed": rng.choice([0.0, 0.25, 1.0, 2.0], ROWS)}[weights]
    return Batch(*(a.astype(np.float32) for a in (x, y, weight)))


def begun(model: Any, x: Any) -> Any:
    """Parameters that need no compilation; the statistics are as `init` has them."""
    rng = np.random.default_rng(4)
    shapes = tree.by_name(jax.eval_shape(model.init, KEY, tree.example(x)))
    value = lambda name, a: np.float32(name.endswith("var")) if tree.is_kept(name) else rng.normal(size=a.shape) / 2
    named = {name: jnp.asarray(np.broadcast_to(value(name, a), a.shape), a.dtype) for name, a in shapes.items()}
    return jax.tree.unflatten(jax.tree.structure(jax.eval_shape(model.init, KEY, tree.example(x))), named.values())


def batches(n: int = STEPS) -> list[np.ndarray]:
    """The rows of each step, every epoch in another order."""
    rng, parts = np.random.default_rng(5), []
    while len(parts) < n:
        order = rng.permutation(ROWS)
        parts += [order[i : i + SIZE] for i in range(0, ROWS, SIZE)]
    return parts[:n]


def window(given: Batch, n: int = STEPS, width: int = 8) -> Window:
    """Those rows, in batches that are padded to a width."""
    index, real = np.zeros((n, width), np.int32), np.zeros((n, width), bool)
    for t, taken in enumerate(batches(n)):
        index[t, : len(taken)], real[t, : len(taken)] = taken, True
    return Window(given, index, real)


def start(recipe: Recipe, x: Any) -> State:
    params = begun(recipe.model, x)
    return jax.jit(functools.partial(state_of, recipe))(params)


@functools.cache
def program(recipe: Recipe, devices: int = 1) -> Any:
    return jax.jit(functools.partial(engine.steps, recipe))


def trained(recipe: Recipe, given: Batch, devices: int = 1, **cut: Any) -> tuple[State, Any]:
    with mesh.use(devices):
        state = mesh.replicate(start(recipe, given.x))
        return jax.device_get(program(recipe, devices)(state, window(given, **cut), KEY))


@functools.cache
def recipe_of(model: Any = MODEL, freeze: tuple[str, ...] = (), **config: Any) -> Recipe:
    tx = optax.sgd(LR)
    if config:
        tx = optim.optimizer(OptimConfig(**config), steps_per_epoch=3, total_steps=40)
    return Recipe(model, jaxnn.regression(outputs=2), tx, freeze=freeze)


def observed(model: Model, params: Any, x: Any, key: Any, weight: Any, frozen: Any) -> Any:
    assert model.observe
    return model.observe(params, x, key, weight, frozen)


# ---- the same 20 steps, elsewhere --------------------------------------------------------------------------------


def numpy_steps(params: Any, given: Batch, n: int = STEPS) -> Any:
    """dense, batch norm, tanh, dense, squared error, by hand and in float64."""
    p = {name: np.array(leaf, np.float64) for name, leaf in tree.by_name(params).items()}
    for taken in batches(n):
        taken = taken[given.weight[taken] > 0]
        if not len(taken):
            continue
        x, y, w = (np.asarray(a, np.float64)[taken] for a in given)
        z = x @ p["dense_0/w"].T + p["dense_0/b"]
        mean, var = z.mean(0), z.var(0)
        unit = (z - mean) / np.sqrt(var + EPS)
        h = np.tanh(unit * p["batch_norm_0/scale"] + p["batch_norm_0/b"])
        error = (h @ p["dense_1/w"].T + p["dense_1/b"] - y) * w[:, None] / w.sum()  # of 1/2 |.|^2
        back = (error @ p["dense_1/w"]) * (1 - h**2)
        of_unit = back * p["batch_norm_0/scale"]
        of_z = (of_unit - of_unit.mean(0) - unit * (of_unit * unit).mean(0)) / np.sqrt(var + EPS)
        slopes = {
            "dense_1/w": error.T @ h, "dense_1/b": error.sum(0), "dense_0/w": of_z.T @ x, "dense_0/b": of_z.sum(0),
            "batch_norm_0/scale": (back * unit).sum(0), "batch_norm_0/b": back.sum(0),
        }  # fmt: skip
        for name, slope in slopes.items():
            p[name] -= LR * slope
        for name, value in (("mean", mean), ("var", var)):
            p[f"batch_norm_0/batch_stats/{name}"] *= MOMENTUM
            p[f"batch_norm_0/batch_stats/{name}"] += (1 - MOMENTUM) * value
    return p


def half_squares() -> Any:
    return jaxnn.regression(outputs=2)._replace(loss=lambda outputs, y: 0.5 * jnp.square(outputs - y).sum(-1))


RECIPE = Recipe(MODEL, half_squares(), optax.sgd(LR))


@pytest.mark.long
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("weights", ["ones", "mixed"])
def test_twenty_steps_are_those_of_numpy(weights, devices):
    given, recipe = rows(weights), RECIPE
    state, info = trained(recipe, given, devices)
    expected = numpy_steps(start(recipe, given.x).params, given)
    assert bool(info["finite"]) and info["loss"][-1] < info["loss"][0]
    for name, leaf in tree.by_name(state.params).items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def pytorch_steps(torch: Any, net: Any, given: Batch) -> None:
    """20 steps of SGD on the rows that weigh anything; channels first, as PyTorch has them."""
    descent = torch.optim.SGD(net.parameters(), lr=LR)
    for taken in batches():
        taken = taken[given.weight[taken] > 0]
        x, y, w = (torch.tensor(a[taken]) for a in given)
        descent.zero_grad()
        losses = 0.5 * ((net(torch.movedim(x, -1, 1) if x.ndim == 4 else x) - y) ** 2).sum(-1)
        ((losses * w).sum() / w.sum()).backward()
        descent.step()


class Unbiased:
    """What PyTorch adds to its running variance that is not the biased one: n / (n - 1), batch by batch."""

    @staticmethod
    def corrected(torch: Any, layer: Any) -> Any:
        """The running variance as it would be of biased variances, followed beside the layer's own."""
        stored = {"var": np.ones(layer.num_features)}

        def follow(_: Any, inputs: Any) -> None:
            x = torch.movedim(inputs[0].detach(), 1, -1).reshape(-1, layer.num_features).numpy().astype(np.float64)
            stored["var"] = MOMENTUM * stored["var"] + (1 - MOMENTUM) * x.var(0)
            stored["unbiased"] = MOMENTUM * stored.get("unbiased", 1) + (1 - MOMENTUM) * x.var(0, ddof=1)

        layer.register_forward_pre_hook(follow)
        return stored


@pytest.mark.parametrize("weights", ["ones", "mixed"])
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_twenty_steps_are_those_of_pytorch(shape, weights):
    torch = pytest.importorskip("torch")
    given, image = rows(weights, shape), len(shape) == 3
    recipe = Recipe(IMAGES, half_squares(), optax.sgd(LR)) if image else RECIPE
    params = start(recipe, given.x).params
    of_norm = (torch.nn.BatchNorm2d if image else torch.nn.BatchNorm1d)(
        4 if image else 6, eps=EPS, momentum=1 - MOMENTUM
    )

    class Flat(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.movedim(x, 1, -1).flatten(1)

    layers = (
        [of_norm, torch.nn.Tanh(), Flat(), torch.nn.Linear(24, 2)]
        if image
        else [torch.nn.Linear(4, 6), of_norm, torch.nn.Tanh(), torch.nn.Linear(6, 2)]
    )
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for k, layer in enumerate(linear):
            layer.weight.copy_(torch.tensor(np.array(params[f"dense_{k}"]["w"])))
            layer.bias.copy_(torch.tensor(np.array(params[f"dense_{k}"]["b"])))
        of_norm.weight.copy_(torch.tensor(np.array(params["batch_norm_0"]["scale"])))
        of_norm.bias.copy_(torch.tensor(np.array(params["batch_norm_0"]["b"])))
    stored = Unbiased.corrected(torch, of_norm)
    pytorch_steps(torch, torch.nn.Sequential(*layers), given)

    after = trained(recipe, given)[0].params
    same = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    for k, layer in enumerate(linear):
        same(after[f"dense_{k}"]["w"], layer.weight.detach().numpy())
        same(after[f"dense_{k}"]["b"], layer.bias.detach().numpy())
    norm = after["batch_norm_0"]
    same(norm["scale"], of_norm.weight.detach().numpy())
    same(norm["b"], of_norm.bias.detach().numpy())
    same(norm["batch_stats"]["mean"], of_norm.running_mean.numpy())
    same(stored["unbiased"], of_norm.running_var.numpy())  # all that is between the two variances
    same(norm["batch_stats"]["var"], stored["var"])


def test_twenty_steps_are_those_of_keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    given = rows()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        norm = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPS)
        net = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(6), norm, keras.layers.Activation("tanh"), keras.layers.Dense(2)]
        )
        params = start(RECIPE, given.x).params
        for k, layer in enumerate((net.layers[0], net.layers[3])):
            layer.set_weights([np.array(params[f"dense_{k}"]["w"]).T, np.array(params[f"dense_{k}"]["b"])])
        norm.set_weights(
            [
                np.array(leaf)
                for leaf in (params["batch_norm_0"]["scale"], params["batch_norm_0"]["b"], np.zeros(6), np.ones(6))
            ]
        )
        net.compile(keras.optimizers.SGD(LR), lambda y, outputs: 0.5 * keras.ops.sum((outputs - y) ** 2, -1))
        for taken in batches():
            net.train_on_batch(given.x[taken], given.y[taken])
        found = [np.asarray(weight.value) for part in (norm, net.layers[0], net.layers[3]) for weight in part.weights]
    after = trained(RECIPE, given)[0].params
    norm = after["batch_norm_0"]
    expected = [norm["scale"], norm["b"], norm["batch_stats"]["mean"], norm["batch_stats"]["var"]]
    for layer in (after["dense_0"], after["dense_1"]):
        expected += [layer["w"].T, layer["b"]]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


# ---- the layer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_without_a_batch_leading_axes_are_free(shape):
    rng = np.random.default_rng(0)
    params = NORM.init(KEY, jnp.zeros(shape))
    params = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 2, a.shape), a.dtype), params)
    xs = jnp.asarray(rng.normal(size=(2, 3, *shape)), jnp.float32)
    each = jax.vmap(jax.vmap(NORM.apply, (None, 0)), (None, 0))(params, xs)
    for key in (None, KEY):
        np.testing.assert_allclose(NORM.apply(params, xs, key), each, rtol=1e-6, atol=1e-6)
    stored = {name: np.asarray(leaf, float) for name, leaf in params["batch_stats"].items()}
    expected = (np.asarray(xs, float) - stored["mean"]) / np.sqrt(stored["var"] + EPS)
    expected = expected * np.asarray(params["scale"], float) + np.asarray(params["b"], float)
    np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_rows_that_weigh_nothing_have_no_part():
    given, params = rows("mixed"), begun(MODEL, rows().x)
    weight = jnp.asarray(given.weight)
    assert 0 < (given.weight == 0).sum() < ROWS
    others = np.where(given.weight[:, None] == 0, 1e3, given.x)

    @jax.jit
    def of(x: Any) -> Any:
        recipe = recipe_of()
        loss, grads, _, kept = engine.gradient(recipe, params, Batch(x, given.y, weight), None)
        return loss, grads, kept

    jax.tree.map(np.testing.assert_array_equal, of(given.x), of(others))
    real = given.weight > 0
    full = observed(MODEL, params, given.x[real], None, jnp.ones(int(real.sum())), none_frozen(params))
    some = observed(MODEL, params, given.x, None, weight, none_frozen(params))
    np.testing.assert_allclose(some[0][real], full[0], rtol=1e-5, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), some[1], full[1])


def test_a_batch_in_which_nothing_weighs_anything_leaves_what_is_stored():
    given, params = rows(), begun(MODEL, rows().x)
    params["batch_norm_0"]["batch_stats"] = {"mean": jnp.linspace(-1, 1, 6), "var": jnp.linspace(0.1, 3, 6)}
    nothing = given._replace(weight=np.zeros(ROWS, np.float32))
    _, grads, _, kept = jax.jit(functools.partial(engine.gradient, recipe_of()))(params, nothing, None)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_norm_0"], tree.split(params)[1]["batch_norm_0"])
    assert all(not leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.long
def test_the_gradient_through_the_statistics_is_that_of_finite_differences():
    given, params = rows("mixed"), begun(MODEL, rows().x)
    own, kept = tree.split(params)

    def loss(own: Any, x: Any, y: Any, weight: Any) -> Any:
        params = tree.merge(own, jax.tree.map(lambda a: a.astype(x.dtype), kept))
        outputs, _ = observed(MODEL, params, x, None, weight, none_frozen(params))
        return (jnp.square(outputs - y).sum(-1) * weight).sum()

    assert max(jaxnn.check_gradients(loss, own, *given).values()) < 1e-6
    assert (
        max(
            jaxnn.check_gradients(
                lambda x, *rest: loss(jax.tree.map(lambda a: a.astype(x.dtype), own), x, *rest), *given
            ).values()
        )
        < 1e-6
    )


def test_the_variance_of_numbers_far_from_zero_is_right():
    x = (1e4 + np.random.default_rng(0).normal(size=(500, 3))).astype(np.float32)
    params = NORM.init(KEY, jnp.zeros(3))
    y, seen = observed(NORM, params, x, None, jnp.ones(500), none_frozen(params))
    exact = x.astype(float)
    var = MOMENTUM + (1 - MOMENTUM) * exact.var(0)
    np.testing.assert_allclose(seen["batch_stats"]["var"], var, rtol=1e-4)
    np.testing.assert_allclose(y, (exact - exact.mean(0)) / np.sqrt(exact.var(0) + EPS), atol=2e-3)


def test_half_precision_is_normalised_in_float32():
    x = jnp.asarray(np.random.default_rng(0).normal(5, 1, (400, 3)), jnp.bfloat16)
    params = NORM.init(KEY, jnp.zeros(3))
    half = {**jax.tree.map(lambda a: a.astype(jnp.bfloat16), params), "batch_stats": params["batch_stats"]}
    y, seen = observed(NORM, half, x, None, jnp.ones(400), none_frozen(half))
    exact = np.asarray(x, float)
    assert y.dtype == NORM.apply(half, x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(seen["batch_stats"])} == {jnp.dtype("float32")}
    np.testing.assert_allclose(seen["batch_stats"]["mean"], (1 - MOMENTUM) * exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(y, float), (exact - exact.mean(0)) / exact.std(0), atol=2e-2)


def test_its_scale_may_begin_at_zero_so_that_a_residual_block_begins_as_the_identity():
    block = jaxnn.residual(jaxnn.chain(jaxnn.dense(4), jaxnn.batch_norm(scale_init=0.0)))
    x = jnp.asarray(rows().x)
    params = block.init(KEY, x[0])
    assert not params["batch_norm_0"]["scale"].any()
    np.testing.assert_array_equal(observed(block, params, x, None, jnp.ones(ROWS), none_frozen(params))[0], x)


@pytest.mark.parametrize("momentum, eps, words", [(1.0, 1e-5, "momentum=1.0: must be in"), (0.9, 0.0, "eps=0.0: must")])
def test_settings_that_cannot_be_are_refused(momentum, eps, words):
    with pytest.raises(InputError, match=f"batch_norm {words}"):
        jaxnn.batch_norm(momentum, eps)
    with pytest.raises(InputError, match="must be floating; put scale"):
        NORM.apply(NORM.init(KEY, jnp.zeros(2)), jnp.ones((3, 2), jnp.uint8))


# ---- the engine --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_steps_are_the_same_bits_however_they_are_cut():
    recipe = recipe_of(jaxnn.chain(jaxnn.dropout(0.2), *LAYERS), name="sgd", momentum=0.5, ema=0.9)
    given, run = rows("mixed"), program(recipe)
    whole, state = window(given, 4), start(recipe, given.x)
    at_once, _ = run(state, whole, KEY)
    part = lambda a, b: whole._replace(index=whole.index[a:b], real=whole.real[a:b])
    middle, _ = run(state, part(0, 1), KEY)
    end, _ = run(jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), middle), part(1, 4), KEY)
    jax.tree.map(np.testing.assert_array_equal, end, at_once)
    assert at_once.params["batch_norm_0"]["batch_stats"]["mean"].any()


def test_a_batch_is_not_cut():
    given, recipe = rows(), recipe_of()
    for parts in (2, 5):
        with pytest.raises(InputError, match=f"accumulate={parts}: batch statistics are those of a whole batch; train"):
            engine.gradient(recipe._replace(accumulate=parts), begun(MODEL, given.x), given, None)
    cached = MODEL._replace(micro_batch=4)  # as a model with convolutions has
    params = begun(MODEL, given.x)
    whole, cut = (
        str(jax.make_jaxpr(functools.partial(engine.gradient, recipe._replace(model=model)))(params, given, None))
        for model in (MODEL, cached)
    )
    assert whole == cut


@pytest.mark.long
def test_a_frozen_norm_is_trained_with_what_is_stored_which_stays_as_it_is():
    given, freeze = rows("mixed"), ("batch_norm_0",)
    recipe = recipe_of(freeze=freeze, name="sgd", ema=0.9)
    state = start(recipe, given.x)
    state.params["batch_norm_0"]["batch_stats"]["var"] *= 3  # no batch has had it
    begun_at = tree.by_name(jax.device_get(state.params))
    after, _ = program(recipe)(state, window(given, 4), KEY)
    for params in (after.params, optim.averaged(after.params, after.opt_state)):
        same = {name for name, leaf in tree.by_name(params).items() if np.array_equal(leaf, begun_at[name])}
        assert same == {name for name in begun_at if name.startswith("batch_norm_0")}
    outputs, seen = observed(MODEL, state.params, given.x, None, jnp.ones(ROWS), tree.is_frozen(state.params, freeze))
    np.testing.assert_array_equal(outputs, MODEL.apply(state.params, given.x))
    jax.tree.map(np.testing.assert_array_equal, seen, state.params)


@pytest.mark.parametrize("pattern, stays", [("*_0*", True), ("*/batch_stats", True), ("*/mean", True), ("*/b", False)])
def test_what_a_pattern_has_to_name_is_the_statistics(pattern, stays):
    given, params = rows(), begun(MODEL, rows().x)
    _, seen = observed(MODEL, params, given.x, None, jnp.ones(ROWS), tree.is_frozen(params, (pattern,)))
    moved = not np.array_equal(seen["batch_norm_0"]["batch_stats"]["var"], np.ones(6))
    assert moved is not stays


def test_a_pattern_of_statistics_alone_leaves_scale_and_b_to_train():
    given, recipe = rows(), recipe_of(freeze=("*/batch_stats",))
    state, _ = trained(recipe, given, n=4)
    assert not np.array_equal(state.params["batch_norm_0"]["scale"], begun(MODEL, given.x)["batch_norm_0"]["scale"])
    engine.init(recipe, KEY, tree.example(given.x))  # does not refuse the pattern


@pytest.mark.long
def test_wrappers_pass_on_what_is_frozen():
    inner = jaxnn.chain(jaxnn.residual(jaxnn.chain(NORM)), jaxnn.dense(2))
    model = norms.in_units(norms.standardized(inner, np.full(4, 2.0), np.full(4, 3.0)), [1.0, 1.0], [2.0, 2.0])
    given = rows()
    params = model.init(KEY, given.x[0])
    for freeze in ((), ("residual_0",)):
        recipe = Recipe(model, jaxnn.regression(outputs=2), optax.sgd(LR), freeze=freeze)
        _, _, _, kept = engine.gradient(recipe, params, given, None)
        moved = kept["residual_0"]["batch_norm_0"]["batch_stats"]["mean"]
        z = (given.x.astype(float) - 2) / 3
        expected = 0 if freeze else (1 - MOMENTUM) * z.mean(0)
        np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(kept["input_stats"]["mean"], params["input_stats"]["mean"])


@pytest.mark.long
def test_the_average_of_the_weights_has_the_average_of_their_statistics():
    given, decay = rows(), 0.9
    recipe, run = recipe_of(name="adam", ema=decay), None
    run, state = program(recipe), start(recipe_of(name="adam", ema=decay), given.x)
    whole, seen = window(given, 6), []
    for t in range(6):
        state, _ = run(state, whole._replace(index=whole.index[t : t + 1], real=whole.real[t : t + 1]), KEY)
        seen.append(jax.device_get(state.params))
    share = decay ** np.arange(5, -1, -1.0)
    found = optim.averaged(state.params, state.opt_state)
    expected = jax.tree.map(lambda *leaves: np.tensordot(share / share.sum(), np.asarray(leaves, float), 1), *seen)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)
    plain = start(recipe_of(jaxnn.chain(jaxnn.dense(2)), name="adam", ema=decay), given.x)
    assert "average" in plain.opt_state and not any("_stats" in name for name in tree.by_name(plain))


def last_loss(lr: Any, params: Any) -> Any:
    recipe = Recipe(MODEL, half_squares(), optax.sgd(lr))
    _, info = engine.steps(recipe, state_of(recipe, params), jax.tree.map(jnp.asarray, window(rows(), 4)), KEY)
    return info["loss"][-1]


@pytest.mark.long
def test_steps_are_mapped_over_seeds_and_differentiated():
    params, lr, by = begun(MODEL, rows().x), jnp.float32(0.05), jnp.float32(1e-3)
    many = jax.tree.map(lambda a: jnp.stack([a, 1.5 * a]), params)
    losses, slope, ends = jax.jit(
        lambda lr: (
            jax.vmap(last_loss, (None, 0))(lr, many),
            jax.grad(last_loss)(lr, params),
            jax.vmap(last_loss, (0, None))(jnp.stack([lr - by, lr, lr + by]), params),
        )
    )(lr)
    assert float(losses[0]) == pytest.approx(float(ends[1]), rel=1e-5) and losses[0] != losses[1]
    assert float(slope) == pytest.approx(float(ends[2] - ends[0]) / 2e-3, rel=1e-2)


@pytest.mark.slow
def test_a_whole_run_is_mapped_over_seeds_and_differentiated():
    def end(lr: Any, key: Any) -> Any:
        how = {"epochs": 2, "batch_size": SIZE, "validation": rows()}
        state, history = engine.fit(key, MODEL, half_squares(), optax.sgd(lr), rows(), **how)
        return history["val/loss"][-1], state.params

    losses, params = jax.jit(jax.vmap(end, (None, 0)))(jnp.float32(0.01), jax.random.split(KEY, 2))
    one, own = end(jnp.float32(0.01), jax.random.split(KEY, 2)[1])
    assert float(losses[1]) == pytest.approx(float(one), rel=1e-5)
    jax.tree.map(lambda many, a: np.testing.assert_allclose(many[1], a, rtol=1e-4, atol=1e-5), params, own)
    of_lr = lambda lr: end(lr, KEY)[0]
    slope, ends = jax.jit(lambda lr: (jax.grad(of_lr)(lr), of_lr(lr + 1e-3) - of_lr(lr - 1e-3)))(jnp.float32(0.01))
    assert float(slope) == pytest.approx(float(ends) / 2e-3, rel=2e-2)


@pytest.mark.long
def test_a_fault_is_found_in_its_row():
    given, recipe = rows(), recipe_of()
    given.x[7, 1] = np.nan
    fault = find_fault(recipe, ROWS, start(recipe, given.x), given, 1, key=KEY)
    assert fault.rows == [7] and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fault.state))


@pytest.mark.long
def test_a_network_is_reported_on_by_what_is_stored():
    x = jnp.asarray(rows().x)
    assert "batch_norm_0/batch_stats/mean" in jaxnn.summary(MODEL, x[0])
    params = begun(MODEL, x)
    assert jaxnn.parameter_count(params) == 4 * 6 + 6 + 2 * 6 + 2 * 6 + 2
    assert jaxnn.dead_units(
        jaxnn.chain(jaxnn.dense(3), NORM, jaxnn.relu, jaxnn.dense(1)),
        (
            {
                "dense_0": {"w": jnp.ones((3, 4)), "b": jnp.zeros(3)},
                "batch_norm_0": {
                    "scale": jnp.zeros(3),
                    "b": jnp.array([1.0, -1.0, 1.0]),
                    "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
                },
                "dense_1": {"w": jnp.ones((1, 3)), "b": jnp.zeros(1)},
            }
        ),
        x,
    )["batch_norm_0/b"].tolist() == [False, True, False]


# ---- a run of train.py -------------------------------------------------------------------------------------------

CONFIG = """
from jaxnn.config import *
import jaxnn
config = Config(name="norm", epochs=4, batch_size=50, data=DataConfig(name="iris"),
                optim=OptimConfig(name="adam", lr=0.05, ema=0.9),
                checkpoint=CheckpointConfig(every="1epoch", keep=9, best="val/loss"))

def model(outputs):
    return jaxnn.chain(jaxnn.dense(6), jaxnn.batch_norm(), jaxnn.relu, jaxnn.dense(outputs))
"""


def here(*argv: object) -> int:
    return main.train([*map(str, argv), "--devices", "1"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("norm")
    (folder / "norm.py").write_text(CONFIG)
    assert here(folder / "norm.py", "--workdir", folder / "run") == 0
    return folder


def leaves(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "weights.safetensors")


@pytest.mark.long
def test_a_run_is_resumed_bit_for_bit_and_read_again(finished, tmp_path):
    run = jaxnn.load_run(
        finished / "run", model=lambda n: jaxnn.chain(jaxnn.dense(6), jaxnn.batch_norm(), jaxnn.relu, jaxnn.dense(n))
    )
    last = json.loads((finished / "run" / "history.jsonl").read_text().splitlines()[-1])
    test = data.load("iris").test
    assert test is not None
    accuracy = np.average(run.predict(test.x) == np.asarray(data.load("iris").classes)[test.y], weights=test.weight)
    assert accuracy == pytest.approx(last["test/accuracy"], abs=1e-6)

    shutil.copytree(finished / "run", tmp_path / "run")
    newest = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    for name in newest[-3:]:
        shutil.rmtree(tmp_path / "run" / "checkpoints" / name)
    (tmp_path / "run" / "weights.safetensors").unlink()
    assert here(finished / "norm.py", "--workdir", tmp_path / "run") == 0
    for folder in (tmp_path, finished):
        assert leaves(folder / "run").keys() == leaves(finished / "run").keys() >= {"batch_norm_0/batch_stats/var"}
    for name, leaf in leaves(tmp_path / "run").items():
        np.testing.assert_array_equal(leaf, leaves(finished / "run")[name])


@pytest.mark.long
def test_a_run_that_begins_with_anothers_weights_begins_with_its_statistics(finished, tmp_path):
    flags = ["--init_from", finished / "run", "--workdir", tmp_path / "run", "--epochs", "1"]
    frozen = ["--optim.freeze", "dense_0", "batch_norm_0"]
    assert here(finished / "norm.py", *flags, *frozen) == 0
    before, after = leaves(finished / "run"), leaves(tmp_path / "run")
    for name in before:
        assert np.array_equal(before[name], after[name]) is (not name.startswith("dense_1")), name


@pytest.mark.long
def test_accumulate_is_refused_before_a_folder_is_made(finished, tmp_path):
    with pytest.raises(InputError, match="--optim.accumulate=3: .* statistics of a whole batch; leave it out"):
        here(finished / "norm.py", "--workdir", tmp_path / "run", "--optim.accumulate", "3")
    assert not (tmp_path / "run").exists()
