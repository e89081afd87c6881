"""The engine: a run is a pure function of (seed, data, config), however it is cut."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import engine, tree
from jaxnn.config.optim import OptimConfig
from jaxnn.data import feeds
from jaxnn.devices import mesh as devices
from jaxnn.engine.descent import PREPARE
from jaxnn.engine.scan import gathered_together, rows_at
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.numerics import key_for
from jaxnn.optim import optimizer as optim
from jaxnn.tasks import supervised as tasks
from jaxnn.tasks.metrics import measure
from jaxnn.training import programs
from jaxnn.training.faults import find_fault
from jaxnn.types import Batch, Model, Recipe, State, Window

KEY = jax.random.key(3)
ROWS, SIZE, STEPS = (
    30,
    7,
    5,
)  # of the data that most tests share, of a batch, in an epoch: programs are shared with them


@functools.cache
def digits(n: int = ROWS, *, image: bool = False) -> Batch:
    """Noise with a rule in it: small enough to compile and run in no time."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (n, 6, 6, 1), np.uint8)
    y = (x.reshape(n, -1)[:, :18].sum(1) // 300 % 3).astype(np.int32)
    return Batch(x if image else x.reshape(n, -1), y, rng.uniform(0.5, 2, n).astype(np.float32))


def network(data: Batch, **options: Any) -> Model:
    if data.x.ndim == 4:
        kind = models.cnn((4,), 3, hidden=(5,) if options.get("dropout") else (), **options)
    else:
        kind = models.mlp((8,), 3, **options)
    return models.adopt(kind, tree.example(data.x))


CUT = {"rows": 50, "size": 8, "dropout": 0.3, "name": "adam", "lr": 0.01}


class Training(NamedTuple):
    recipe: Recipe
    state: State  # at step 0
    steps: Callable[[State, Window, jax.Array], Any]  # compiled: (state, window, key) -> (state, info)


def begin(recipe: Recipe, x: Any) -> Training:
    """The recipe, a state whose parameters need no compilation, and the compiled steps."""
    rng = np.random.default_rng(4)
    shapes = jax.eval_shape(lambda: engine.init(recipe, KEY, tree.example(x))).params
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 6, a.dtype), shapes)
    state = State(jnp.zeros((), jnp.int32), params, recipe.tx.init(tree.split(params, recipe.freeze)[0]))
    return Training(recipe, state, jax.jit(functools.partial(engine.steps, recipe)))


@functools.cache
def training(
    rows: int = ROWS,
    size: int = SIZE,
    *,
    image: bool = False,
    dropout=0.0,
    alpha=0.0,
    accumulate=1,
    freeze=(),
    **config,
) -> Training:
    """A run on `digits`; tests that ask for the same one share its compiled programs."""
    data = digits(rows, image=image)
    tx = optim.optimizer(OptimConfig(**config), steps_per_epoch=-(-rows // size), total_steps=40)
    how = {"alpha": alpha, "accumulate": accumulate, "freeze": freeze}
    return begin(Recipe(network(data, dropout=dropout), tasks.multiclass(3), tx, **how), data.x)


@functools.cache
def compiled_run(recipe: Recipe, size: int) -> Callable[..., Any]:
    """The program of a run, which draws its own order: (state, data, n, key=) -> (state, info)."""
    return jax.jit(functools.partial(programs.run_steps, recipe, size, devices.count()), static_argnums=2)


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def drawn(key: jax.Array, rows: int = ROWS, size: int = SIZE, n: int = STEPS, multiple: int = 1) -> Any:
    """(index, real) of the first n steps of a run: its order takes longer to compile than its steps."""
    nothing = np.zeros(rows, np.float32)
    return feeds.shuffled(Batch(nothing, nothing, nothing), key, 0, n, size, multiple)[1:]


def window(data: Batch, size: int = SIZE, n: int = STEPS, width: int | None = None) -> Window:
    """n steps over resident rows, each epoch in another order, NumPy's."""
    rows, rng = len(data.weight), np.random.default_rng(5)
    index, real = np.zeros((n, width or size), np.int32), np.zeros((n, width or size), bool)
    for t in range(n):
        start = t % -(-rows // size) * size
        order = rng.permutation(rows) if start == 0 else order  # noqa: F821
        taken = order[start : start + size]
        index[t, : len(taken)], real[t, : len(taken)] = taken, True
    return Window(data, index, real)


def part(window: Window, start: int, n: int) -> Window:
    return window._replace(index=window.index[start : start + n], real=window.real[start : start + n])


def in_parts(run: Training, window: Window, lengths: Any) -> State:
    """The state after all steps of a window, cut into parts of these lengths."""
    state = run.state
    for n in lengths:
        state, _ = run.steps(state, part(window, int(state.step), n), KEY)
    assert state.step == len(window.real)
    return state


@functools.cache
def gradient_of(recipe: Recipe) -> Callable[..., Any]:
    return jax.jit(functools.partial(engine.gradient, recipe))


@jax.jit
def gradients_of_rows(params: Any, x: jax.Array, y: jax.Array) -> Any:
    """Of the loss of each row alone, as the equation has it."""
    model, task = network(digits()), tasks.multiclass(3)
    loss = lambda params, x, y: task.loss(model.apply(params, x), y)
    return jax.vmap(jax.grad(loss), (None, 0, 0))(params, x, y)


def mean_gradient(params: Any, data: Batch, rows: Any) -> Any:
    """sum_i w_i grad L_i / sum_i w_i over some rows, in float64."""
    weight = data.weight[rows].astype(float)
    each = gradients_of_rows(params, data.x, data.y)
    return jax.tree.map(lambda g: np.tensordot(weight / weight.sum(), np.asarray(g, float)[rows], 1), each)


def descend(params: Any, lr: float, slope: Any) -> Any:
    return jax.tree.map(lambda p, g: np.float32(p - lr * g), params, slope)


def same_bits(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def close(a: Any, b: Any, rtol: float) -> None:
    """Relative to the largest entry of an array, or to 1: sums of many terms cancel."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(np.abs(y).max(), 1))


def test_the_bits_do_not_depend_on_how_the_run_is_cut():
    data, n = digits(50), 8
    run = training(**CUT)
    whole, _ = compiled_run(run.recipe, 8)(run.state, data, n, key=KEY)
    given = Window(data, *jax.device_get(drawn(KEY, 50, 8, n)))
    assert same_bits(in_parts(run, given, [1] * n), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("image", "size"), [(False, 8), (True, 8), (True, 20)])
def test_the_bits_do_not_depend_on_how_the_whole_program_is_cut(image, size):
    data, results = digits(50, image=image), []
    run = training(50, size, image=image, dropout=0.3, name="adam", lr=0.01, schedule="cosine", ema=0.9)
    program = compiled_run(run.recipe, size)
    for lengths in ([14], [1] * 14, [3, 3, 3, 3, 1, 1], [6, 6, 1, 1]):
        state = run.state
        for n in lengths:
            state, _ = program(state, data, n, key=KEY)
        assert int(state.step) == 14
        results.append(state)
    for other in results[1:]:
        assert same_bits(other, results[0])


@pytest.mark.long
def test_the_bits_of_convolutions_do_not_depend_on_how_the_run_is_cut():
    run, rows = training(50, 20, image=True, lr=0.01), window(digits(50, image=True), 20, 4)
    assert same_bits(in_parts(run, rows, [1] * 4), in_parts(run, rows, [4]))


@pytest.mark.long
def test_the_rows_of_a_step_do_not_depend_on_the_cuts_nor_on_the_devices():
    data = digits()
    index, real = drawn(KEY)
    one = jax.jit(lambda step: feeds.shuffled(data, KEY, step, 1, SIZE, 8)[1:])
    for t in range(STEPS):
        wide, there = one(t)
        assert wide.shape == (1, 8) and not there[0, SIZE:].any()
        assert np.array_equal(wide[0, :SIZE], index[t]) and np.array_equal(there[0, :SIZE], real[t])


@functools.cache
def huber() -> tuple[Training, Window]:
    """A run whose first step is one that a compiler rounds differently where it stands alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(318, 10)).astype(np.float32)
    data = Batch(x, 100 + 50 * x[:, :1] + rng.normal(size=(318, 1)).astype(np.float32), np.ones(318, np.float32))
    tx = optim.optimizer(OptimConfig(name="adam", lr=0.05), steps_per_epoch=10, total_steps=40)
    run = begin(Recipe(models.mlp((16,), 1), tasks.regression("huber"), tx), x)
    return run, window(data, 32, 12)


@pytest.mark.long
def test_a_chunk_of_one_step_has_the_bits_of_any_other():
    """A loop of one step is one that a compiler likes to unroll; this one it then rounds differently."""
    run, rows = huber()
    assert same_bits(in_parts(run, rows, [12]), in_parts(run, rows, [1] * 12))


@pytest.mark.long
@pytest.mark.parametrize("n", [1, 12])
def test_rows_that_are_streamed_give_the_bits_of_rows_that_are_resident_and_their_padding_weighs_nothing(n):
    run, rows = huber()
    rows = part(rows, 0, n)
    assert rows.real.all() == (n == 1)
    data = jax.tree.map(lambda a: a[rows.index], rows.data)
    data.x[~rows.real], data.y[~rows.real] = 5, 7  # an example like any other, to be left out
    resident, a = run.steps(run.state, rows, KEY)
    stream, b = run.steps(run.state, Window(data, None, rows.real), KEY)
    assert same_bits(resident, stream) and same_bits(a, b) and a["loss"].shape == (n,)


@pytest.mark.long
def test_noise_and_rate_are_those_of_the_step_and_no_two_purposes_share_a_key():
    keys = [jax.random.key_data(key_for(purpose, KEY)).tolist() for purpose in ("weights", "order", "noise")]
    assert len(set(map(tuple, keys))) == 3
    run = training(ROWS, ROWS, lr=1e-12, dropout=0.5, schedule="inverse_scaling")
    _, info = run.steps(run.state, window(digits(), ROWS, 4), KEY)
    assert np.abs(np.diff(info["loss"])).min() > 1e-3
    np.testing.assert_allclose(info["lr"], 1e-12 / np.sqrt([1, 2, 3, 4]), rtol=1e-6)


@pytest.mark.long
def test_an_epoch_of_steps_equals_the_formula_written_out():
    """theta <- theta - rho/W sum_i w_i grad L_i over the rows of each step, one row at a time."""
    data, run, (index, real) = digits(), training(lr=0.1), jax.device_get(drawn(KEY))
    params, seen = run.state.params, []
    for t in range(STEPS):
        rows = index[t][real[t]]
        seen += rows.tolist()
        params = descend(params, 0.1, mean_gradient(params, data, rows))
    assert sorted(seen) == list(range(ROWS))
    state, _ = run.steps(run.state, Window(data, index, real), KEY)
    close(state.params, params, 1e-5)


@pytest.mark.long
def test_full_batch_descent_is_the_gradient_step():
    data, (_, state, steps) = digits(), training(ROWS, ROWS, lr=0.3)
    once = descend(state.params, 0.3, mean_gradient(state.params, data, np.arange(ROWS)))
    slope = mean_gradient(once, data, np.arange(ROWS))
    state, info = steps(state, window(data, ROWS, 2), KEY)
    close(state.params, descend(once, 0.3, slope), 1e-6)
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in jax.tree.leaves(slope)]))
    assert float(info["grad_norm"]) == pytest.approx(norm, rel=1e-5)  # of the last step


@pytest.mark.long
def test_batch_gradients_average_to_the_full_gradient():
    data = digits()._replace(weight=np.ones(ROWS, np.float32))
    recipe, state, _ = training(lr=0.1)
    loss, full, sums, kept = gradient_of(recipe)(state.params, data, None)
    batches = jax.tree.map(lambda a: a[np.random.default_rng(0).permutation(ROWS).reshape(5, 6)], data)
    each = jax.jit(jax.vmap(lambda batch: engine.gradient(recipe, state.params, batch, None)[1]))(batches)
    close(jax.tree.map(lambda g: g.mean(0), each), full, 1e-6)
    assert float(loss) == pytest.approx(float(sums["loss"]) / ROWS, rel=1e-6) and not jax.tree.leaves(kept)


@pytest.mark.long
@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_gradients_equal_the_big_batch(accumulate):
    recipe, state, _ = training(25, 25, lr=0.1, alpha=0.01)
    one, many = (gradient_of(each) for each in (recipe, recipe._replace(accumulate=accumulate)))
    close(many(state.params, digits(25), None), one(state.params, digits(25), None), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [2, 3])
def test_steps_of_accumulated_gradients_equal_those_of_the_big_batch(accumulate):
    data, results = digits(25), []
    for parts in (1, accumulate):
        run = training(25, 12, lr=0.1, alpha=0.01, accumulate=parts)
        state, info = run.steps(run.state, window(data, 12, 6), KEY)
        results.append((state.params, info["loss"]))
    close(results[0], results[1], 1e-6)


@pytest.mark.parametrize(
    "rows", [17, pytest.param(32, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]
)
def test_convolutions_in_parts_for_the_cache_equal_the_whole_batch(rows):
    data, (recipe, state, _) = digits(rows, image=True), training(rows, rows, image=True, lr=0.1)
    whole = recipe._replace(model=recipe.model._replace(micro_batch=None))
    assert recipe.model.micro_batch == 16
    gradient = gradient_of(recipe).lower(state.params, data, None)
    assert gradient.as_text().count("stablehlo.while") == 1
    close(gradient.compile()(state.params, data, None)[:3], gradient_of(whole)(state.params, data, None)[:3], 1e-6)

    @jax.jit
    def evaluated(params, data):
        outputs = recipe.model.apply(params, data.x)
        sums = measure(recipe.task, outputs, data.y, data.weight)
        return engine.evaluate(recipe, params, data, batch_size=rows), sums

    found, expected = evaluated(state.params, data)
    close(found, expected, 1e-6)


@pytest.mark.parametrize(("n", "size", "rows", "together"), [
    (512, 784, 10**4, 256), (1719, 784, 55_000, 191), (509, 784, 10**4, 509), (7, 784, 1000, 7),
    (512, 150_000, 10**4, 1), (6007, 784, 10**4, 1),
])  # fmt: skip
def test_rows_are_gathered_for_as_many_steps_as_fit_the_cache(n, size, rows, together):
    x = np.broadcast_to(np.zeros((), np.uint8), (rows, size))
    assert gathered_together(n, 32, x) == together
    assert gathered_together(n, 64, x) == 1
    assert gathered_together(n, 32, (x, np.zeros(rows))) == together  # one number a row is gathered before
    assert gathered_together(n, 32, {"a": x[:, : size // 2], "b": x[:, size // 2 :]}) == together


@pytest.mark.long
def test_the_bits_do_not_depend_on_how_rows_are_gathered():
    """512 steps are gathered in two loads, 509 (a prime) in one, as a few are."""
    rng = np.random.default_rng(0)
    data = Batch(rng.normal(size=(50, 200)).astype(np.float32), np.arange(50) % 3, rng.uniform(0.5, 2, 50).astype("f"))
    assert [gathered_together(n, 32, data.x) for n in (512, 509, 3)] == [256, 509, 3]
    run, rows = begin(Recipe(models.linear(3), tasks.multiclass(3), optax.sgd(0.01)), data.x), window(data, 32, 512)
    whole, info = run.steps(run.state, rows, KEY)
    assert same_bits(in_parts(run, rows, (509, 3)), whole) and info["loss"].shape == info["weight"].shape == (512,)
    np.testing.assert_allclose(info["weight"][::2] + info["weight"][1::2], data.weight.sum(), rtol=1e-6)


@pytest.mark.long
def test_fit_equals_the_steps_it_is_made_of_and_networks_that_share_an_order_see_the_same_rows():
    data, (recipe, _, steps), keys = digits(), training(lr=0.1), jax.random.split(KEY, 2)

    @jax.jit
    def together(keys):
        fit = functools.partial(engine.fit, epochs=3, batch_size=SIZE, order_key=KEY)
        start = jax.vmap(lambda key: engine.init(recipe, key, tree.example(data.x)))(keys)
        return start, jax.vmap(lambda key: fit(key, *recipe[:3], data))(keys)

    starts, (fitted, history) = together(keys)
    rows = Window(data, *drawn(KEY, ROWS, SIZE, 3 * STEPS))
    for i, key in enumerate(keys):
        start, expected = jax.tree.map(lambda a, i=i: np.asarray(a)[i], (starts, fitted))
        state = start
        for epoch in range(3):
            state, info = steps(state, part(rows, epoch * STEPS, STEPS), key)
        close(expected, state, 1e-5)
        loss = float(info["loss"].sum() / info["weight"].sum())
        assert float(history["train/loss"][i, -1]) == pytest.approx(loss, rel=1e-5)
        first, _ = steps(start, part(rows, 0, STEPS), key)
        other, _ = steps(start, window(data), key)
        pairs = zip(jax.tree.leaves(first.params), jax.tree.leaves(other.params), strict=True)
        assert not all(np.allclose(a, b, rtol=1e-4) for a, b in pairs)
    assert history["grad_norm"].shape == history["lr"].shape == (2, 3)


@pytest.mark.long
def test_a_weight_of_two_is_the_example_twice():
    data = digits(6)._replace(weight=np.array([2, 1, 1, 1, 1, 1], np.float32))
    again = lambda a: np.concatenate([a, a[:1]])
    doubled = Batch(again(data.x), again(data.y), np.ones(7, np.float32))
    recipe, state, _ = training(6, 6, lr=0.5)
    gradient = gradient_of(recipe)
    close(gradient(state.params, data, None), gradient(state.params, doubled, None), 1e-6)


def test_the_penalty_adds_alpha_times_the_weights_to_the_gradient():
    data, (recipe, state, _) = digits(), training(lr=0.1)
    params = jax.tree.map(lambda a: np.asarray(a) + 1, state.params)  # biases begin at 0
    plain, slope, *_ = gradient_of(recipe)(params, data, None)
    weights = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    squares = sum(np.square(w, dtype=float).sum() for w in weights)
    total = float(data.weight.sum())

    @jax.jit
    def penalised(alpha):  # both ways, of a traced alpha
        ways = [recipe._replace(alpha=alpha, penalise=way) for way in ("mean", "sum")]
        return [engine.gradient(way, params, data, None)[:2] for way in ways]

    for (loss, found), strength in zip(penalised(0.5), (0.5, 0.5 / total), strict=True):
        expected = jax.tree.map(lambda g, w, s=strength: g + np.float32(s) * w if w.ndim == 2 else g, slope, params)
        close(found, expected, 1e-6)
        assert float(loss) == pytest.approx(float(plain) + strength / 2 * squares, rel=1e-6)


def test_a_step_takes_the_penalty_as_its_objective_has_it_and_updates_weights_in_place():
    data, (recipe, state, _) = digits(), training(lr=0.1)
    recipe, state = recipe._replace(alpha=0.5), state._replace(params=jax.tree.map(lambda a: a + 1, state.params))

    def objective(params):  # in closed form, apart from the losses
        logits = recipe.model.apply(params, data.x)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), data.y[:, None], -1)[:, 0]
        squares = sum(jnp.square(w).sum() for w in jax.tree.leaves(params) if w.ndim == 2)
        return (losses * data.weight).sum() / data.weight.sum() + 0.25 * squares

    slope = jax.jit(jax.grad(objective))(state.params)
    norm = np.sqrt(sum(np.square(g, dtype=float).sum() for g in jax.tree.leaves(slope)))
    take = jax.jit(functools.partial(engine.step, recipe))
    for measured in (True, False):
        after, info = take(state, data, KEY, measured=measured)
        close(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, slope), 1e-6)
        assert float(info["grad_norm"]) == pytest.approx(norm * measured, rel=1e-5)

    chunk = jax.jit(functools.partial(engine.steps, recipe)).lower(state, window(data), KEY).compile()
    shape = state.params["dense_1"]["w"].shape
    copies = re.findall(rf"f32\[{shape[0]},{shape[1]}\]\S* copy\((.*?)\)", str(chunk.as_text()))
    assert len(copies) == 1 and "state" in copies[0], copies  # of the argument, before the loop


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3, 2)])
def test_rows_of_any_shape_are_gathered_as_numpy_takes_them(shape):
    x, index = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape), np.array([[4, 0, 2], [1, 1, 3]])
    assert np.array_equal(rows_at(jnp.asarray(x), jnp.asarray(index)), x[index])


@pytest.mark.parametrize(
    ("image", "accumulate", "batch_size"),
    [
        pytest.param(False, 1, 12, marks=pytest.mark.slow),
        pytest.param(True, 1, 12, marks=pytest.mark.slow),
        (True, 1, 36),
        pytest.param(False, 3, 12, marks=pytest.mark.slow),
        pytest.param(False, 15, 12, marks=pytest.mark.slow),
    ],
)
def test_eight_devices_agree_with_one(image, accumulate, batch_size):
    data, results = digits(50, image=image), []  # 50 and 12 do not divide by 8
    run = training(50, batch_size, image=image, dropout=0.0 if image else 0.25, lr=0.1, accumulate=accumulate)

    @jax.jit
    def program(state, data):
        state, info = run.steps(state, window(data, batch_size, 6, width=-(-batch_size // 8) * 8), KEY)
        sums = engine.evaluate(run.recipe, state.params, data, batch_size=16, multiple=devices.count())
        return state, info["loss"], sums

    for number in (1, 8):
        with devices.use(number):
            state, loss, sums = program(devices.replicate(run.state), devices.replicate(data))
            assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
            results.append(jax.device_get((state.params, loss, sums)))
    one, eight = results
    close(one, eight, 1e-5)


def test_a_batch_is_split_over_the_devices():
    with devices.use(8):
        assert devices.count() == 8
        split = jax.jit(devices.shard)(jnp.ones((16, 2)))
        assert {shard.data.shape for shard in split.addressable_shards} == {(2, 2)}
        everywhere = devices.replicate(np.ones((16, 2)))
        assert len(everywhere.addressable_shards) == 8 and everywhere.sharding.is_fully_replicated


NIGHTLY = (pytest.param(size, marks=pytest.mark.slow) for size in (2, 16, 23))


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 7, 24, *NIGHTLY])
def test_evaluation_is_exact_for_every_batch_size(batch_size):
    data, (recipe, state, _) = digits(24), training(24, 8)
    sums = jax.jit(functools.partial(engine.evaluate, recipe, batch_size=batch_size))(state.params, data)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), state.params)
    hidden = np.maximum(data.x / 255 @ p["dense_0"]["w"].T + p["dense_0"]["b"], 0)
    logits = hidden @ p["dense_1"]["w"].T + p["dense_1"]["b"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert float(sums["weight"]) == pytest.approx(data.weight.sum(), rel=1e-6)
    assert float(sums["loss"]) == pytest.approx(-(data.weight * log_p[range(24), data.y]).sum(), rel=1e-6)
    assert float(sums["correct"]) == pytest.approx((data.weight * (logits.argmax(-1) == data.y)).sum(), rel=1e-6)


def test_a_whole_run_compiles_a_handful_of_programs(caplog):
    run, (data, validation) = training(**CUT), jax.device_put((digits(50), digits(11)))
    program, evaluate = compiled_run(run.recipe, 8), jax.jit(functools.partial(engine.evaluate, run.recipe))
    state, _ = program(run.state, data, 8, key=KEY)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for _ in range(3):
            state, _ = program(state, data, 8, key=KEY)
            evaluate(state.params, validation)
    compiled = [r.message for r in caplog.records if r.message.startswith("Compiling")]
    assert len(compiled) == 1, compiled  # the evaluation: one chunk is like any other, and so are its rows


@pytest.mark.parametrize("when", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_non_finite_gradient_is_found_and_what_was_good_is_kept(when):
    broken = digits()._replace(x=digits().x.astype(np.float32))
    recipe, state, steps = begin(
        Recipe(
            models.linear(3),
            tasks.multiclass(3),
            optim.optimizer(OptimConfig(lr=1e-4), steps_per_epoch=6, total_steps=40),
        ),
        broken.x,
    )
    index, real = drawn(KEY, ROWS, 5, 6)
    row = int(index[when, 0])
    broken.x[row] = np.inf
    rows = Window(broken, index, real)
    expected, _ = steps(state, part(rows, 0, when), KEY) if when else (state, None)
    _, info = steps(state, rows, KEY)
    assert not bool(info["finite"])
    fault = find_fault(recipe, 5, state, broken, 6, key=KEY)
    assert int(fault.state.step) == when and same_bits(fault.state.params, expected.params)
    assert fault.leaf in ("dense_0/b", "dense_0/w") and fault.rows == [row]


@pytest.mark.parametrize("name", ["sgd", "sign_sgd"])
def test_an_infinite_gradient_is_found_where_the_step_would_be_finite(name):
    steep = Model(lambda key, x: jnp.float32(0), lambda w, x, key=None: jnp.sqrt(jnp.broadcast_to(w, x.shape)) + x)
    config = OptimConfig(name=name, clip_value=1.0 if name == "sgd" else None)
    tx = optim.optimizer(config, steps_per_epoch=1, total_steps=9)
    data = Batch(np.ones((2, 1), np.float32), np.full((2, 1), 3, np.float32), np.ones(2, np.float32))
    _, state, steps = begin(Recipe(steep, tasks.regression(), tx, watch=optim.bounded(config)), data.x)
    _, info = steps(state._replace(params=jnp.float32(0)), window(data, 2, 3), KEY)
    assert not bool(info["finite"])


@pytest.mark.parametrize("short", ["x", "y", "weight"])
def test_rows_that_do_not_belong_together_are_refused(short):
    data = digits()._replace(**{short: getattr(digits(), short)[:19]})
    recipe, state, _ = training(lr=0.1)
    for attempt in (
        lambda: compiled_run(recipe, SIZE)(state, data, 1, key=KEY),
        lambda: engine.evaluate(recipe, state.params, data, batch_size=4),
        lambda: engine.fit(KEY, recipe.model, recipe.task, recipe.tx, data, epochs=1, batch_size=5),
    ):
        with pytest.raises(InputError, match="same number of rows"):
            attempt()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"batch_size": 31}, {"accumulate": 0}])
def test_fit_refuses_numbers_that_cannot_be(wrong):
    numbers = {"epochs": 1, "batch_size": 5, **wrong}
    with pytest.raises(InputError, match=next(iter(wrong))):
        engine.fit(KEY, network(digits()), tasks.multiclass(3), optax.sgd(0.1), digits(), **numbers)


XOR = Batch(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0]), np.ones(4, np.float32))


@pytest.mark.long
def test_fit_is_pure_under_vmap_over_keys_and_rates_and_under_grad():
    data, rate, eps = XOR._replace(y=np.array([0, 1, 1, 1])), np.float32(0.02), np.float32(2e-3)
    keys = jax.random.split(KEY, 2)[np.array([0, 0, 0, 1, 0])]
    rates = np.array([rate - eps, rate, rate + eps, rate, rate], np.float32)

    def run(key, lr):
        def last(lr):
            tx = optim.optimizer(OptimConfig(), steps_per_epoch=1, total_steps=10, lr=lr)
            history = engine.fit(key, models.linear(1), tasks.binary(), tx, data, epochs=10, batch_size=4)[1]
            return history["train/loss"][-1], history

        return jax.grad(last, has_aux=True)(lr)

    slopes, many = jax.jit(jax.vmap(run))(keys, rates)
    low, middle, high, other, again = many["train/loss"][:, -1]
    assert float(slopes[1]) == pytest.approx(float(high - low) / (2 * float(eps)), rel=0.02)
    assert middle == again and slopes[1] == slopes[4] and abs(middle - other) > 1e-4
    np.testing.assert_allclose(many["lr"], np.broadcast_to(rates[:, None], (5, 10)), rtol=1e-6)


@pytest.mark.long
def test_inputs_and_labels_in_parts_train_as_the_single_arrays_they_make():
    """x = {a, b} side by side; y = value * sign, of which one is gathered in the loop and one before."""
    rng = np.random.default_rng(1)
    x, value = rng.normal(size=(ROWS, 5)).astype(np.float32), rng.normal(size=(ROWS, 1)).astype(np.float32)
    sign, weight = np.float32(np.arange(ROWS) % 2 * 2 - 1), rng.uniform(0.5, 2, ROWS).astype(np.float32)
    flat, regression, tx = models.linear(1), tasks.regression(), optax.adam(0.01)
    whole = lambda x: jnp.concatenate([x["a"], x["b"]], -1)
    target = lambda y: y["value"] * y["sign"][..., None]
    side_by_side = Model(
        lambda key, x: flat.init(key, jax.eval_shape(whole, x)),
        lambda params, x, key=None: flat.apply(params, whole(x), key=key),
    )
    task = regression._replace(
        loss=lambda outputs, y: regression.loss(outputs, target(y)),
        metrics=lambda outputs, y, weight: regression.metrics(outputs, target(y), weight),
    )

    parts = Batch({"a": x[:, :3], "b": x[:, 3:]}, {"value": value, "sign": sign}, weight)
    single = Batch(x, value * np.asarray(sign)[:, None], weight)
    rows, half = jax.device_get(drawn(KEY, ROWS, SIZE, 2 * STEPS)), STEPS
    start = jax.jit(lambda: engine.init(Recipe(side_by_side, task, tx), KEY, tree.example(parts.x)))()
    results = []
    for recipe, data in ((Recipe(side_by_side, task, tx), parts), (Recipe(flat, regression, tx), single)):

        @jax.jit
        def run(state, data, recipe=recipe):
            state, info = engine.steps(recipe, state, Window(data, *rows), KEY)
            return state, info, recipe.task.summary(engine.evaluate(recipe, state.params, data, batch_size=8))

        results.append(run(start, data))
    close(results[0], results[1], 1e-5)
    many, (state, info, sums) = results
    assert jax.tree.structure(many) == jax.tree.structure((state, info, sums))
    fit = jax.jit(lambda: engine.fit(KEY, side_by_side, task, tx, parts, epochs=2, batch_size=SIZE, validation=parts))
    fitted, history = fit()
    close(fitted, state, 1e-5)
    last = sums
    for name in last:
        assert float(history[f"val/{name}"][-1]) == pytest.approx(float(last[name]), rel=1e-5)
    loss = info["loss"][half:].sum() / info["weight"][half:].sum()
    assert float(history["train/loss"][-1]) == pytest.approx(float(loss), rel=1e-5)
    assert history["train/loss"][-1] < history["train/loss"][0] and "lr" not in history  # optax keeps it to itself
    with pytest.raises(InputError, match="x/b.*same number of rows"):
        feeds.check_lengths(Batch({"a": x, "b": x[:9]}, value, weight))


def observing(rate: float = 0.5) -> Model:
    """A linear layer of x - m, with m the running mean of the batches."""
    layer = models.linear(1)

    def init(key: jax.Array, x: Any) -> Any:
        return {**layer.init(key, x), "batch_stats": {"mean": jnp.zeros(x.shape, x.dtype)}}

    def apply(params: Any, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return layer.apply(params, x - jnp.broadcast_to(params["batch_stats"]["mean"], x.shape), key=key)

    def observe(params: Any, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any) -> Any:
        mean = weight @ x / weight.sum()
        moved = params["batch_stats"]["mean"] * (1 - rate) + rate * mean
        params = {**params, "batch_stats": {"mean": moved}}
        return apply(params, x, key), params

    return Model(init, apply, observe=observe)


@pytest.mark.long
def test_a_model_that_observes_its_batches_keeps_their_statistics():
    rng = np.random.default_rng(2)
    x = rng.normal(3, 1, (13, 4)).astype(np.float32)
    data = Batch(x, x[:, :1] * 2, rng.uniform(0.5, 2, 13).astype(np.float32))
    tx = optim.optimizer(OptimConfig(name="adam", lr=0.01, ema=0.9), steps_per_epoch=3, total_steps=40)
    recipe, state, steps = begin(Recipe(observing(), tasks.regression(), tx), x)
    state.params["batch_stats"]["mean"] = jnp.zeros(4)
    given = window(data, 5, 3)
    assert given.real.sum(1).tolist() == [5, 5, 3]  # and 2 of padding
    after, info = steps(state, given, KEY)

    mean = np.zeros(4)
    for rows in (given.index[t][given.real[t]] for t in range(3)):
        mean = mean / 2 + np.average(x[rows].astype(float), axis=0, weights=data.weight[rows]) / 2
    np.testing.assert_allclose(after.params["batch_stats"]["mean"], mean, rtol=1e-6)
    assert info["loss"].shape == (3,) and bool(info["finite"])

    _, grads, _, kept = gradient_of(recipe)(state.params, data, None)
    expected = np.average(x.astype(float), axis=0, weights=data.weight) / 2
    np.testing.assert_allclose(kept["batch_stats"]["mean"], expected, rtol=1e-6)
    assert tree.by_name(grads).keys() == tree.by_name(state.params).keys() - {"batch_stats/mean"}
    assert not any("batch_stats" in name for name in tree.by_name(after.opt_state))
    averaged = optim.averaged(after.params, after.opt_state)
    assert same_bits(averaged["batch_stats"], after.params["batch_stats"])

    sums = jax.jit(functools.partial(engine.evaluate, recipe, batch_size=8))(after.params, data)
    layer = jax.tree.map(lambda a: np.asarray(a, float), after.params["dense_0"])
    errors = (x - mean) @ layer["w"].T + layer["b"] - data.y
    assert float(sums["loss"]) == pytest.approx((data.weight * errors[:, 0] ** 2).sum(), rel=1e-5)
    with pytest.raises(InputError, match="accumulate=2: batch statistics are those of a whole batch; train on"):
        engine.step(recipe._replace(accumulate=2), state, data, KEY)


@pytest.mark.long
def test_what_a_task_prepares_has_the_key_of_the_step_and_none_in_an_evaluation():
    def prepare(batch: Batch, key: jax.Array | None) -> Batch:
        return batch._replace(x=batch.x * 2 if key is None else batch.x + jax.random.normal(key, batch.x.shape))

    x = np.random.default_rng(3).normal(size=(6, 1)).astype(np.float32)
    data = Batch(x, np.zeros((6, 1), np.float32), np.ones(6, np.float32))
    outputs_are_inputs = Model(lambda key, x: jnp.zeros(()), lambda w, x, key=None: x + jnp.broadcast_to(w, x.shape))
    recipe = Recipe(outputs_are_inputs, tasks.regression()._replace(prepare=prepare), optax.sgd(0.0))
    _, state, steps = begin(recipe, x)
    state = state._replace(params=jnp.zeros(()))
    _, info = steps(state, given := window(data, 6, 3), KEY)
    for t, rows in enumerate(given.index):
        of_step = jax.random.fold_in(key_for("noise", KEY), t)
        noise = jax.random.normal(jax.random.fold_in(of_step, PREPARE), (6, 1))
        assert float(info["loss"][t]) == pytest.approx(np.square(x[rows] + noise).sum(), rel=1e-5)
    sums = jax.jit(functools.partial(engine.evaluate, recipe, batch_size=4))(state.params, data)
    assert float(sums["loss"]) == pytest.approx(np.square(2 * x).sum(), rel=1e-5)


@pytest.mark.long
def test_what_is_frozen_keeps_its_bits_and_has_no_gradient_and_no_state_of_the_optimizer():
    how = {"name": "adamw", "lr": 0.1, "weight_decay": 0.1, "ema": 0.9, "alpha": 0.1}
    data, (recipe, state, steps) = digits(), training(freeze=("dense_0",), **how)
    after, info = steps(state, window(data), KEY)
    averaged = optim.averaged(after.params, after.opt_state)
    for params in (after.params, averaged):
        assert same_bits(params["dense_0"], state.params["dense_0"])
        moved = jax.tree.map(lambda a, b: bool((a != b).all()), params["dense_1"], state.params["dense_1"])
        assert all(jax.tree.leaves(moved))
    assert not same_bits(averaged["dense_1"], after.params["dense_1"])
    names = tree.by_name(after.opt_state)
    assert any("dense_1/w" in name for name in names) and not any("dense_0" in name for name in names)
    assert float(info["still"]) == 0  # of what is trained
    _, grads, _, kept = gradient_of(recipe)(state.params, data, None)
    assert tree.by_name(grads).keys() == {"dense_1/w", "dense_1/b"}
    assert same_bits(kept, {"dense_0": state.params["dense_0"], "dense_1": {"w": None, "b": None}})


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (("dens_0",), "freeze=dens_0: matches no parameter; did you mean dense_0"),
        (("dense_0", "conv_*"), r"freeze=conv_\*: matches no parameter; .*Choose from dense_0, dense_1"),
        (("dense_*",), r"freeze=dense_\*: leaves nothing to train; leave a layer out"),
        (("*/w", "*/b"), "leaves nothing to train"),
    ],
)
def test_a_pattern_that_matches_nothing_or_freezes_everything_is_refused(freeze, message):
    recipe = Recipe(network(digits()), tasks.multiclass(3), optax.sgd(0.1), freeze=freeze)
    for attempt in (
        lambda: jax.eval_shape(lambda: engine.init(recipe, KEY, tree.example(digits().x))),
        lambda: engine.fit(KEY, *recipe[:3], digits(), epochs=1, batch_size=5, freeze=freeze),
    ):
        with pytest.raises(InputError, match=message):
            attempt()


@pytest.mark.long
def test_a_loss_that_was_put_in_place_of_the_tasks_own_is_what_is_trained_and_reported():
    """loss_i = c y_i f(x_i): its gradient is c mean(y_i x_i), whatever the weights are."""
    x, y, c, lr = np.linspace(-1, 2, 12, dtype=np.float32).reshape(6, 2), np.arange(6) % 2, 3.0, 0.5
    signs = 2.0 * y - 1
    task = tasks.binary()._replace(loss=lambda outputs, y: c * (2.0 * y.astype(float) - 1) * outputs[..., 0])
    model, batch = models.linear(1), Batch(jnp.array(x), jnp.array(y), jnp.ones(6))
    began = model.init(key_for("weights", jax.random.key(0)), batch.x[0])["dense_0"]
    state, told = engine.fit(jax.random.key(0), model, task, optax.sgd(lr), batch, epochs=2, batch_size=6)
    slope, w, b = c * (signs @ x / 6), *(np.asarray(began[name], np.float64) for name in ("w", "b"))
    losses = [np.mean(c * signs * (x @ (w - n * lr * slope)[0] + b - n * lr * c * signs.mean())) for n in (0, 1)]
    np.testing.assert_allclose(state.params["dense_0"]["w"][0], w[0] - 2 * lr * slope, rtol=1e-5)
    np.testing.assert_allclose(state.params["dense_0"]["b"], b - 2 * lr * c * signs.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told["train/loss"], losses, rtol=1e-5)
    answers = (x @ w[0] + b > 0) == y
    assert float(told["train/accuracy"][0]) == pytest.approx(answers.mean())  # what is measured besides is the task's


def test_numpy_arrays_are_evaluated_outside_jit_too():
    data, model = digits(), models.linear(3)
    recipe = Recipe(model, tasks.multiclass(3), optax.sgd(0.1))
    params = model.init(KEY, jnp.zeros(36))
    x = data.x / np.float32(255)
    sums = engine.evaluate(recipe, params, data._replace(x=x), batch_size=8)
    right = data.weight * (np.asarray(model.apply(params, x)).argmax(-1) == data.y)
    assert sums["correct"] == pytest.approx(right.sum(), rel=1e-5)
