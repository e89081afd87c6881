"""The engine: a run is a pure function of (seed, data, config), however it is cut."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.config.settings import OptimConfig
from jaxnn.devices import mesh as devices
from jaxnn.engine import engine
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.optim import optimizer as optim
from jaxnn.tasks import supervised as tasks
from jaxnn.types import Batch, Model

KEY = jax.random.key(3)


@functools.cache
def digits(n: int, *, image: bool = False) -> Batch:
    """Noise with a rule in it: small enough to compile and run in no time."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (n, 6, 6, 1), np.uint8)
    y = (x.reshape(n, -1)[:, :18].sum(1) // 300 % 3).astype(np.int32)
    return Batch(x if image else x.reshape(n, -1), y, rng.uniform(0.5, 2, n).astype(np.float32))


def network(data: Batch, **options) -> Model:
    kind = models.cnn((4,), 3, hidden=(5,), **options) if data.x.ndim == 4 else models.mlp((8,), 3, **options)
    return models.adopt(kind, jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype))


def parts(data: Batch, batch_size: int, *, options=None, alpha=0.0, accumulate=1, **config):
    """(state, run_steps, objective) of a run on `data`."""
    model, task = network(data, **(options or {})), tasks.multiclass(3)
    objective = engine.make_objective(model, task, alpha=alpha)
    tx = optim.optimizer(OptimConfig(**config), steps_per_epoch=-(-len(data.y) // batch_size), total_steps=40)
    step = engine.make_train_step(objective, tx, accumulate=accumulate)
    state = engine.make_init(model, tx)(KEY, jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype))
    return state, engine.make_run_steps(step, batch_size), objective


def same_bits(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def close(a, b, rtol):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("image", "batch_size"), [(False, 8), (True, 8), (True, 20)])
def test_the_bits_do_not_depend_on_how_the_run_is_cut(image, batch_size):
    data, results = digits(50, image=image), []
    state, run_steps, _ = parts(
        data, batch_size, options={"dropout": 0.3}, name="adam", lr=0.01, schedule="cosine", ema=0.9
    )
    for cuts in ([14], [1] * 14, [3, 3, 3, 3, 1, 1], [6, 6, 1, 1]):
        cut = state
        for n in cuts:
            cut, _ = run_steps(cut, data, n, key=KEY)
        assert int(cut.step) == 14
        results.append(cut)
    for other in results[1:]:
        assert same_bits(other, results[0])


def test_a_chunk_of_one_step_has_the_bits_of_any_other():
    """A loop of one step is one that a compiler likes to unroll; this one it then rounds differently."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(318, 10)).astype(np.float32)
    data = Batch(x, 100 + 50 * x[:, :1] + rng.normal(size=(318, 1)).astype(np.float32), np.ones(318, np.float32))
    model, task = models.mlp((16,), 1), tasks.regression("huber")
    tx = optim.optimizer(OptimConfig(name="adam", lr=0.05), steps_per_epoch=10, total_steps=40)
    run_steps = engine.make_run_steps(engine.make_train_step(engine.make_objective(model, task), tx), 32)
    whole, ones = (engine.make_init(model, tx)(KEY, data.x[0]) for _ in range(2))
    whole, _ = run_steps(whole, data, 12, key=KEY)
    for _ in range(12):
        ones, info = run_steps(ones, data, 1, key=KEY)
        assert info["loss"].shape == (1,)
    assert same_bits(whole, ones)


def test_noise_differs_by_step_and_no_two_purposes_share_a_key():
    keys = [jax.random.key_data(engine._key(KEY, purpose)).tolist() for purpose in ("weights", "order", "noise")]
    assert len(set(map(tuple, keys))) == 3
    data = digits(20)
    state, run_steps, _ = parts(data, 20, lr=1e-12, options={"dropout": 0.5})
    _, info = run_steps(state, data, 2, key=KEY)
    assert abs(float(info["loss"][0] - info["loss"][1])) > 1e-3


def test_an_epoch_of_steps_equals_the_formula_written_out():
    """theta <- theta - rho/W sum_i w_i grad L_i over the rows of each step, with vmap(grad), one row at a time."""
    data = digits(13)
    state, run_steps, objective = parts(data, 5, lr=0.1)
    params, seen = state.params, []
    for t in range(3):
        index, real = engine.batch_rows(KEY, jnp.int32(t), data, 5)
        rows = np.asarray(index)[np.asarray(real)]
        seen += rows.tolist()
        one = lambda p, i: objective.sums(p, Batch(data.x[i], data.y[i], jnp.float32(1)), None)["loss"]
        grads = [jax.grad(one)(params, i) for i in rows]
        weight = data.weight[rows] / data.weight[rows].sum()
        mean = jax.tree.map(lambda *g: sum(w * x for w, x in zip(weight, g, strict=True)), *grads)  # noqa: B023
        params = jax.tree.map(lambda p, g: p - np.float32(0.1) * g, params, mean)
    assert sorted(seen) == list(range(13))
    state, _ = run_steps(state, data, 3, key=KEY)
    close(state.params, params, 1e-5)


def test_full_batch_descent_is_the_gradient_step():
    data = digits(20)
    state, run_steps, objective = parts(data, 20, lr=0.3)
    mean = lambda p: objective.sums(p, data, None)["loss"] / data.weight.sum()
    grads = [jax.grad(mean)(state.params)]
    expected = jax.tree.map(lambda p, g: p - np.float32(0.3) * g, state.params, grads[0])
    grads.append(jax.grad(mean)(expected))
    expected = jax.tree.map(lambda p, g: p - np.float32(0.3) * g, expected, grads[1])
    state, info = run_steps(state, data, 2, key=KEY)
    close(state.params, expected, 1e-6)
    assert float(info["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads[1])), rel=1e-5)  # of the last step


def test_batch_gradients_average_to_the_full_gradient():
    data = digits(24)._replace(weight=np.ones(24, np.float32))
    state, _, objective = parts(data, 6)
    gradient = engine.make_gradient(objective)
    full = gradient(state.params, data, None)[1]
    parts_ = [
        gradient(state.params, engine.take(data, *engine.batch_rows(KEY, jnp.int32(t), data, 6)), None)[1]
        for t in range(4)
    ]
    close(jax.tree.map(lambda *g: sum(g) / 4, *parts_), full, 1e-6)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_gradients_equal_the_big_batch(accumulate):
    data = digits(25)
    big, run_big, _ = parts(data, 12, lr=0.1, alpha=0.01)
    cut, run_cut, _ = parts(data, 12, lr=0.1, alpha=0.01, accumulate=accumulate)
    (big, a), (cut, b) = run_big(big, data, 6, key=KEY), run_cut(cut, data, 6, key=KEY)
    close(big.params, cut.params, 1e-6)
    close(a["loss"], b["loss"], 1e-6)


@pytest.mark.parametrize("rows", [17, 32, 40])
def test_convolutions_in_parts_for_the_cache_equal_the_whole_batch(rows):
    data = digits(rows, image=True)
    state, _, objective = parts(data, rows)
    batch = jax.tree.map(jnp.asarray, data)
    weight = data.weight.sum()
    mean = lambda params: objective.sums(params, batch, None)["loss"] / weight
    loss, grads = jax.jit(jax.value_and_grad(mean))(state.params)
    gradient = jax.jit(engine.make_gradient(objective))
    assert gradient.lower(state.params, batch, None).as_text().count("stablehlo.while") == 1
    close(gradient(state.params, batch, None)[:2], (loss, grads), 1e-6)
    sums = engine.make_evaluate(objective, rows)(state.params, data)
    close(sums, objective.sums(state.params, batch, None), 1e-6)


@pytest.mark.parametrize(("n", "size", "rows", "together"), [
    (512, 784, 10**4, 256), (1719, 784, 55_000, 191), (509, 784, 10**4, 509), (7, 784, 1000, 7),
    (512, 150_000, 10**4, 1), (6007, 784, 10**4, 1),
])  # fmt: skip
def test_rows_are_gathered_for_as_many_steps_as_fit_the_cache(n, size, rows, together):
    x = np.broadcast_to(np.zeros((), np.uint8), (rows, size))
    assert engine.gathered_together(n, 32, x) == together
    assert engine.gathered_together(n, 64, x) == 1


def test_the_bits_do_not_depend_on_how_rows_are_gathered():
    """512 steps are gathered in two loads, 509 (a prime) in one, as a few are."""
    rng = np.random.default_rng(0)
    data = Batch(rng.normal(size=(50, 200)).astype(np.float32), np.arange(50) % 3, rng.uniform(0.5, 2, 50).astype("f"))
    assert [engine.gathered_together(n, 32, data.x) for n in (512, 509, 3)] == [256, 509, 3]
    state, run_steps, _ = parts(data, 32, lr=0.01)
    whole, info = run_steps(state, data, 512, key=KEY)
    for n in (509, 3):
        state, _ = run_steps(state, data, n, key=KEY)
    assert same_bits(state, whole) and info["loss"].shape == info["weight"].shape == (512,)
    np.testing.assert_allclose(info["weight"][::2] + info["weight"][1::2], data.weight.sum(), rtol=1e-6)


def test_networks_that_share_an_order_see_the_same_rows():
    data, (task, lr) = digits(30), (tasks.multiclass(3), 0.1)
    model, keys = network(data), jax.random.split(KEY, 2)
    fit = lambda key, order: (
        engine.fit(key, model, task, optax.sgd(lr), data, epochs=1, batch_size=7, order_key=order)[0].params
    )
    run_steps = engine.make_run_steps(engine.make_train_step(engine.make_objective(model, task), optax.sgd(lr)), 7)
    many = jax.jit(jax.vmap(lambda key: fit(key, KEY)))(keys)
    for i, key in enumerate(keys):
        state = engine.make_init(model, optax.sgd(lr))(key, jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype))
        state, _ = run_steps(state, data, 5, key=key, order_key=KEY)
        close(jax.tree.map(lambda a, i=i: a[i], many), state.params, 1e-5)
        other = jax.tree.leaves(fit(key, key))
        assert not all(np.allclose(a, b, rtol=1e-4) for a, b in zip(other, jax.tree.leaves(state.params), strict=True))


def test_a_weight_of_two_is_the_example_twice():
    once, twice = digits(6), digits(6)
    weight = np.array([2, 1, 1, 1, 1, 1], np.float32)
    again = lambda a: np.concatenate([a, a[:1]])
    doubled = Batch(again(once.x), again(once.y), np.ones(7, np.float32))
    state, run_steps, _ = parts(once, 6, lr=0.5)
    weighted, _ = run_steps(state, twice._replace(weight=weight), 1, key=KEY)
    state, run_steps, _ = parts(doubled, 7, lr=0.5)
    repeated, _ = run_steps(state, doubled, 1, key=KEY)
    close(weighted.params, repeated.params, 1e-6)


def test_the_penalty_adds_alpha_times_the_weights_to_the_gradient():
    data = digits(10)
    state, _, objective = parts(data, 10)
    state = state._replace(params=jax.tree.map(lambda a: a + 1, state.params))  # biases begin at 0
    _, plain, _ = engine.make_gradient(objective)(state.params, data, None)
    _, penalised, _ = engine.make_gradient(parts(data, 10, alpha=0.5)[2])(state.params, data, None)
    expected = jax.tree.map(lambda g, w: g + 0.5 * w if w.ndim == 2 else g, plain, state.params)
    close(penalised, expected, 1e-6)


@pytest.mark.parametrize(
    ("image", "accumulate", "batch_size"),
    [(False, 1, 12), (True, 1, 12), (True, 1, 36), (False, 3, 12), (False, 15, 12)],
)
def test_eight_devices_agree_with_one(image, accumulate, batch_size):
    data = digits(50, image=image)  # 50 and 12 do not divide by 8
    results = []
    for number in (1, 8):
        with devices.use(number):
            config = {"lr": 0.1, "options": {"dropout": 0.25}, "accumulate": accumulate}
            state, run_steps, objective = parts(data, batch_size, **config)
            state, info = run_steps(devices.replicate(state), devices.replicate(data), 10, key=KEY)
            assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
            sums = engine.make_evaluate(objective, 16)(state.params, data)
            results.append(jax.device_get((state.params, info["loss"], sums)))
    one, eight = results
    close(one, eight, 1e-5)


def test_a_batch_is_split_over_the_devices():
    with devices.use(8):
        assert devices.count() == 8
        split = jax.jit(devices.shard)(jnp.ones((16, 2)))
        assert {shard.data.shape for shard in split.addressable_shards} == {(2, 2)}
        everywhere = devices.replicate(np.ones((16, 2)))
        assert len(everywhere.addressable_shards) == 8 and everywhere.sharding.is_fully_replicated


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 23, 24])
def test_evaluation_is_exact_for_every_batch_size(batch_size):
    data = digits(24)
    state, _, objective = parts(data, 8)
    sums = engine.make_evaluate(objective, batch_size)(state.params, data)
    logits = np.asarray(network(data).apply(state.params, data.x), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert float(sums["weight"]) == pytest.approx(data.weight.sum(), rel=1e-6)
    assert float(sums["loss"]) == pytest.approx(-(data.weight * log_p[range(24), data.y]).sum(), rel=1e-6)
    assert float(sums["correct"]) == pytest.approx((data.weight * (logits.argmax(-1) == data.y)).sum(), rel=1e-6)


def test_a_whole_run_compiles_a_handful_of_programs(caplog):
    data, validation = digits(30), digits(11)
    state, run_steps, objective = parts(data, 7, lr=0.1)
    evaluate = engine.make_evaluate(objective, 8)
    data, validation = jax.device_put((data, validation))
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for n in (5, 5, 5, 3):
            state, _ = run_steps(state, data, n, key=KEY)
            evaluate(state.params, validation)
    compiled = [r.message for r in caplog.records if r.message.startswith("Compiling")]
    assert len(compiled) == 3, compiled  # a chunk, a shorter one at the end, the evaluation


@pytest.mark.parametrize("when", [0, 3])
def test_a_non_finite_gradient_is_found_and_what_was_good_is_kept(when):
    data = digits(30)
    broken = data._replace(x=data.x.astype(np.float32))
    row = int(engine.batch_rows(KEY, jnp.int32(when), data, 5)[0][0])
    broken.x[row] = np.inf
    state, run_steps, objective = parts(broken, 5, lr=1e-4)
    expected, _ = run_steps(jax.tree.map(jnp.copy, state), broken, when, key=KEY) if when else (state, None)
    failed, info = run_steps(jax.tree.map(jnp.copy, state), broken, 6, key=KEY)
    assert not bool(info["finite"])
    gradient = engine.make_gradient(objective)
    found, leaf, rows = engine.find_fault(run_steps, gradient, state, broken, 6, 5, key=KEY)
    assert int(found.step) == when and same_bits(found.params, expected.params)
    assert leaf in ("dense_0/b", "dense_0/w") and rows == [row]


@pytest.mark.parametrize("name", ["sgd", "sign_sgd"])
def test_an_infinite_gradient_is_found_where_the_step_would_be_finite(name):
    steep = Model(lambda key, x: jnp.float32(0), lambda w, x, key=None: jnp.sqrt(jnp.broadcast_to(w, x.shape)) + x)
    config = OptimConfig(name=name, clip_value=1.0 if name == "sgd" else None)
    tx = optim.optimizer(config, steps_per_epoch=1, total_steps=9)
    objective = engine.make_objective(steep, tasks.regression())
    train_step = engine.make_train_step(objective, tx, watch=optim.bounded(config))
    run_steps = engine.make_run_steps(train_step, 2)
    data = Batch(np.ones((2, 1), np.float32), np.full((2, 1), 3, np.float32), np.ones(2, np.float32))
    _, info = run_steps(engine.make_init(steep, tx)(KEY, data.x[0]), data, 3, key=KEY)
    assert not bool(info["finite"])


@pytest.mark.parametrize("short", ["x", "y", "weight"])
def test_rows_that_do_not_belong_together_are_refused(short):
    data = digits(20)
    data = data._replace(**{short: getattr(data, short)[:19]})
    state, run_steps, objective = parts(digits(20), 5)
    tx = optax.sgd(0.1)
    for attempt in (
        lambda: run_steps(state, data, 1, key=KEY),
        lambda: engine.make_evaluate(objective, 4)(state.params, data),
        lambda: engine.fit(KEY, network(data), tasks.multiclass(3), tx, data, epochs=1, batch_size=5),
    ):
        with pytest.raises(InputError, match="same number of rows"):
            attempt()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"batch_size": 21}, {"accumulate": 0}])
def test_fit_refuses_numbers_that_cannot_be(wrong):
    data = digits(20)
    numbers = {"epochs": 1, "batch_size": 5, **wrong}
    with pytest.raises(InputError, match=next(iter(wrong))):
        engine.fit(KEY, network(data), tasks.multiclass(3), optax.sgd(0.1), data, **numbers)


def xor() -> Batch:
    return Batch(jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([0, 1, 1, 0]), jnp.ones(4))


def xor_fit(key, lr=0.05, epochs=150, hidden=(8, 8)):
    model = models.mlp(hidden, 1, activation="tanh") if hidden else models.linear(1)
    tx = optim.optimizer(OptimConfig(name="adam"), steps_per_epoch=1, total_steps=epochs, lr=lr)
    return engine.fit(key, model, tasks.binary(), tx, xor(), epochs=epochs, batch_size=4, validation=xor())


def test_xor_needs_a_hidden_layer():
    _, flat = xor_fit(KEY, hidden=())
    _, deep = xor_fit(KEY)
    assert flat["val/accuracy"][-1] <= 0.75
    assert deep["val/accuracy"][-1] == 1.0


def test_fit_is_pure_under_jit_vmap_and_grad():
    keys = jax.random.split(KEY, 3)
    rates = jnp.array([0.02, 0.05, 0.1])
    run = lambda key, lr: xor_fit(key, lr, epochs=10)[1]
    one, many = jax.jit(run), jax.jit(jax.vmap(run))(keys, rates)
    for i in range(3):
        alone = one(keys[i], rates[i])
        np.testing.assert_allclose(alone["train/loss"], many["train/loss"][i], rtol=1e-4)
        np.testing.assert_allclose(many["lr"][i], rates[i], rtol=1e-6)
    slope = jax.jit(jax.grad(lambda lr: run(KEY, lr)["val/loss"][-1]))(rates[0])
    eps = np.float32(2e-3)
    up, down = (float(one(KEY, lr)["val/loss"][-1]) for lr in (rates[0] + eps, rates[0] - eps))
    assert float(slope) == pytest.approx((up - down) / (2 * float(eps)), rel=0.02)


def test_fit_equals_the_steps_it_is_made_of():
    data = digits(30)
    state, run_steps, _ = parts(data, 7, lr=0.1)
    for _ in range(3):
        state, info = run_steps(state, data, 5, key=KEY)
    tx = optim.optimizer(OptimConfig(lr=0.1), steps_per_epoch=5, total_steps=40)
    fitted, history = engine.fit(KEY, network(data), tasks.multiclass(3), tx, data, epochs=3, batch_size=7)
    close(fitted, state, 1e-6)
    loss = float(info["loss"].sum() / info["weight"].sum())
    assert float(history["train/loss"][-1]) == pytest.approx(loss, rel=1e-5)
    assert history["grad_norm"].shape == (3,)


def test_any_optax_optimizer_trains():
    data = digits(30)
    _, history = engine.fit(KEY, network(data), tasks.multiclass(3), optax.adam(0.05), data, epochs=30, batch_size=7)
    assert history["train/loss"][-1] < 0.7 * history["train/loss"][0]


def test_the_rate_that_was_applied_is_in_the_info():
    data = digits(30)
    state, run_steps, _ = parts(data, 30, lr=0.5, schedule="inverse_scaling")
    _, info = run_steps(state, data, 4, key=KEY)
    np.testing.assert_allclose(info["lr"], 0.5 / np.sqrt([1, 2, 3, 4]), rtol=1e-6)
