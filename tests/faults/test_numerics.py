"""Numbers that go wrong: found within one interval and named, and never trained on in silence."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import process
from scipy.special import expit, log_softmax

from jaxnn import data, engine, gradients
from jaxnn.config.optim import OptimConfig
from jaxnn.data import feeds
from jaxnn.engine.fitting import check_total
from jaxnn.engine.tally import Tally, history_row
from jaxnn.errors import InputError, NumericsError
from jaxnn.nn import activations, batch_norm, compose, layers, models, norms, resampling
from jaxnn.optim import optimizer as optim
from jaxnn.optim.schedules import schedule
from jaxnn.report import diagnosis
from jaxnn.store import checkpoint
from jaxnn.tasks import losses, metrics
from jaxnn.tasks import supervised as tasks
from jaxnn.training.faults import find_fault
from jaxnn.training.programs import run_steps
from jaxnn.types import Batch, Model, Recipe, State

ROOT = Path(__file__).parents[2]
KEY = jax.random.key(3)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


def transformation(total=100, **config):
    return optim.optimizer(OptimConfig(**config), steps_per_epoch=10, total_steps=total)


quickly = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)  # compiled in half the time


def begin(recipe, data, batch_size, jit=jax.jit):
    """The state at step 0, and a compiled `run(state, data, n, key=)` of the next n steps."""
    run = jit(functools.partial(run_steps, recipe, batch_size, 1), static_argnums=2)
    return quickly(functools.partial(engine.init, recipe))(KEY, data.x[0]), run


@functools.cache
def window(n, batch_size):
    nothing = Batch(np.zeros(n), np.zeros(n), np.zeros(n))
    return quickly(lambda step, key: feeds.shuffled(nothing, key, step, 1, batch_size)[1:])


def rows(data, step, batch_size, key=KEY):
    """The rows of a step, by the order of the run itself."""
    index, real = map(np.asarray, window(len(data.weight), batch_size)(jnp.int32(step), key))
    return index[real].tolist()


# ---- N01, N02: what is not finite is found and named -------------------------------------------------------------


@pytest.mark.long
def test_n01_the_first_bad_step_and_the_row_that_made_it_are_found_wherever_it_stands():
    rng = np.random.default_rng(0)
    clean = Batch(rng.normal(size=(23, 3)).astype("f"), rng.normal(size=(23, 1)).astype("f"), np.ones(23, np.float32))
    recipe = Recipe(models.linear(1), tasks.regression(), transformation(lr=1e-3))
    state, run = begin(recipe, clean, 4, quickly)
    when = {row: step for step in range(6) for row in rows(clean, step, 4)}  # the step that sees it in the first epoch
    assert sorted(when) == list(range(23))
    broken = clean._replace(x=clean.x.copy())
    broken.x[22] = 1e30  # finite, but not its square, nor the gradient of w
    _, info = run(state, broken, 6, key=KEY)
    assert not bool(info["finite"])
    fault = find_fault(recipe, 4, state, broken, 6, key=KEY)
    assert (int(fault.state.step), fault.leaf, fault.rows) == (when[22], "dense_0/w", [22])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fault.state.params))


@pytest.mark.long
def test_n01_a_run_ends_within_one_interval_naming_step_leaf_rate_and_rows(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    x[17] = 1e30
    np.savez(tmp_path / "t.npz", x=x, y=x[:, :1] * 0.5)
    flags = ["--data.name", tmp_path / "t.npz", "--data.test_fraction", "0", "--data.validation_fraction", "0"]
    flags += ["--model.kind", "linear", "--optim.lr", "1e-3", "--optim.schedule", "constant", "--batch-size", "4"]
    flags += ["--optim.name", "sgd", "--optim.alpha", "0", "--data.no-standardize"]
    flags += ["--eval-every", "3", "--epochs", "2", "--checkpoint.every", "1"]
    done = process(*flags, "--workdir", tmp_path / "run", cwd=tmp_path)
    read = data.load(tmp_path / "t.npz", test_fraction=0, validation_fraction=0).train
    (row,) = np.flatnonzero(read.x[:, 0] == 1e30)
    step = next(step for step in range(15) if row in rows(Batch(*read), step, 4, jax.random.key(0)))
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith(f"error: step={step}: dense_0/w is not finite at lr=0.001, training rows {row}; "), (
        done.stderr
    )
    told = [json.loads(line)["step"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert told == list(range(3, step + 1, 3))  # every whole interval before it, and not one after
    last = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert last is not None and last.step == step  # and what was good is kept
    assert all(np.isfinite(leaf).all() for path, leaf in last.leaves.items() if path.startswith("params"))


def root_and_line():
    """y = sqrt(a) x + b: with a = 0 the derivative of a alone is not finite."""
    init = lambda key, x: {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    apply = lambda params, x, key=None: jnp.sqrt(params["a"]) * x + params["b"] + jnp.zeros_like(x)
    return Model(init, apply)


@pytest.mark.parametrize(
    "config",
    [
        {"clip_norm": 1.0},
        {"clip_value": 1.0},
        pytest.param({"clip_norm": 1.0, "name": "adam"}, marks=pytest.mark.slow),
    ],
)
def test_n02_one_bad_leaf_under_clipping_is_named_and_no_other_is_touched(config):
    batch = Batch(np.ones((8, 1), np.float32), np.full((8, 1), 3, np.float32), np.ones(8, np.float32))
    watch = optim.bounded(OptimConfig(**config))
    recipe = Recipe(root_and_line(), tasks.regression(), transformation(**config), watch=watch)
    with jax.numpy_rank_promotion("allow"):
        state, run = begin(recipe, batch, 4, quickly)
        after, info = run(state, batch, 1, key=KEY)
        assert not bool(info["finite"])
        fault = find_fault(recipe, 4, state, batch, 1, key=KEY)
    assert fault.leaf == "a" and int(fault.state.step) == 0 and len(fault.rows) == 4
    assert np.isfinite(after.params["b"]).all()


# ---- N03, N04: logits that are not numbers, or huge --------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "outputs", "y"),
    [
        (tasks.binary(), 1, [0, 1, 0]),
        (tasks.multiclass(3), 3, [0, 1, 0]),
        (tasks.multilabel(2), 2, [[0, 0], [1, 1], [0, 1]]),
    ],
)
def test_n03_nan_logits_are_counted_wrong(task, outputs, y):
    sums = metrics.measure(task, jnp.full((3, outputs), jnp.nan), jnp.array(y), jnp.ones(3))
    assert float(sums["correct"]) == 0 and float(sums["weight"]) == 3 and np.isnan(float(sums["loss"]))


@pytest.mark.long
def test_n03_a_run_whose_validation_is_not_finite_ends_with_exit_4_and_keeps_its_weights(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).astype(np.float32)
    np.savez(tmp_path / "t.npz", x=x, y=(x[:, 0] > 0).astype(np.int32))
    np.savez(tmp_path / "v.npz", x=np.full((4, 2), 3e38, np.float32), y=np.array([0, 1, 0, 1]))
    flags = ["--data.name", tmp_path / "t.npz", "--data.validation", tmp_path / "v.npz", "--epochs", "5"]
    flags += ["--model.kind", "linear", "--batch-size", "8"]
    done = process(*flags, "--workdir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 4 and done.stderr.startswith("error: step="), done.stderr
    told = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert told[0]["step"] == told[-1]["step"] and told[0]["val/loss"] is None  # found in the first interval
    assert (tmp_path / "run" / "weights.safetensors").exists()
    again = process(*flags, "--workdir", tmp_path / "run", cwd=tmp_path)  # no success by asking twice
    assert again.returncode == 4 and "val/loss" in again.stderr, again.stderr


@pytest.mark.parametrize("size", [1e4, 1e10, 1e20, 1e30])
def test_n04_loss_and_gradient_of_huge_logits_are_those_of_float64(size):
    z = np.float32(size) * np.array([[1, -1, 0.5], [-1, 0.25, 1], [0.5, 1, -1]], np.float32)
    exact, y, hit = z.astype(np.float64), np.array([1, 0, 2]), np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0]])
    log_p = np.asarray(log_softmax(exact, axis=1))
    cases = [
        (losses.cross_entropy, y, -log_p[range(3), y], np.exp(log_p) - np.eye(3)[y]),
        (losses.binary_cross_entropy, hit, np.logaddexp(0, exact) - hit * exact, expit(exact) - hit),
    ]
    for loss, labels, value, slope in cases:
        got, pull = jax.vjp(lambda z, loss=loss, labels=labels: loss(z, labels), jnp.asarray(z))
        np.testing.assert_allclose(got, value, rtol=1e-6)
        np.testing.assert_allclose(pull(jnp.ones_like(got))[0], slope, rtol=1e-6)


# ---- N05, N06: half precision ------------------------------------------------------------------------------------


def line(dtype):
    return Batch(jnp.ones((4, 2), dtype), jnp.zeros((4, 1), jnp.float32), jnp.ones(4))


@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_n05_n06_half_precision_is_refused_before_it_is_trained_on(half):
    name, tx, task = jnp.dtype(half).name, optax.sgd(0.1), tasks.regression()
    with pytest.raises(InputError, match=f"x={name}: half precision"):
        own = Model(lambda key, x: jnp.zeros(2), lambda w, x, key=None: x.astype(jnp.float32) @ w[:, None])
        engine.fit(KEY, own, task, tx, line(half), epochs=1, batch_size=4)
    with pytest.raises(InputError, match=f"params/dense_0/b={name}: half precision"):
        engine.fit(KEY, models.linear(1), task, tx, line(half), epochs=1, batch_size=4)
    state, run = begin(Recipe(models.linear(1), task, tx), line(jnp.float32), 4, quickly)
    narrow = state._replace(params=jax.tree.map(lambda a: a.astype(half), state.params))
    with pytest.raises(InputError, match="convert it to float32"):
        run(narrow, line(jnp.float32), 1, key=KEY)


HALF = """
import jax, jax.numpy as jnp
from jaxnn.config import Config
from jaxnn.types import Model
config = Config(name="half", epochs=1)
def model(outputs):
    init = lambda key, x: {"w": jnp.zeros((64, outputs), jnp.bfloat16)}
    return Model(init, lambda p, x, key=None: x.reshape(*x.shape[:-3], 64) @ p["w"].astype(jnp.float32))
"""


def test_n05_a_model_of_ones_own_in_half_precision_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "half.py").write_text(HALF)
    done = process("half.py", "--workdir", "run", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: model/w=bfloat16: half precision"), done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_n05_half_precision_inside_a_model_is_summed_in_float32():
    inside = lambda params, x, key=None: x.astype(jnp.bfloat16) @ params.astype(jnp.bfloat16)[:, None]
    model, data_ = Model(lambda key, x: jnp.ones(2), inside), line(jnp.float32)
    recipe = Recipe(model, tasks.regression(), transformation(name="adam"))
    state, run = begin(recipe, data_, 4, quickly)
    state, info = run(state, data_, 3, key=KEY)
    kept = [info["loss"], info["weight"], info["squared_error"], *jax.tree.leaves(state)]
    assert {leaf.dtype.name for leaf in kept} <= {"float32", "int32"}
    sums = quickly(functools.partial(engine.evaluate, recipe, batch_size=2))(state.params, data_)
    assert {leaf.dtype.name for leaf in sums.values()} == {"float32"}


def test_n05_of_10_000_updates_of_1e_3_none_is_lost():
    climb = Model(lambda key, x: jnp.ones(1), lambda w, x, key=None: jnp.broadcast_to(w, x.shape))
    data_ = Batch(np.zeros((1, 1), np.float32), np.full((1, 1), 100, np.float32), np.ones(1, np.float32))
    state, run = begin(Recipe(climb, tasks.regression("absolute"), transformation(10_000, lr=1e-3)), data_, 1, quickly)
    state, _ = run(state, data_, 10_000, key=KEY)
    assert float(state.params[0]) == pytest.approx(11, abs=5e-3)  # in bfloat16 it would still be 1


# ---- N07: counting -----------------------------------------------------------------------------------------------


def test_n07_steps_count_on_exactly_and_an_epoch_is_still_a_permutation():
    data_ = Batch(np.ones((8, 2), np.float32), np.zeros((8, 1), np.float32), np.ones(8, np.float32))
    first_state, run = begin(Recipe(models.linear(1), tasks.regression(), transformation(2**31 - 1)), data_, 2, quickly)
    for start in (2**24 - 1, 2**30, 2**31 - 5):
        after, _ = run(first_state._replace(step=jnp.int32(start)), data_, 3, key=KEY)
        assert int(after.step) == start + 3 and after.step.dtype == jnp.int32
        first = start // 4 * 4 if start // 4 * 4 + 3 < 2**31 else start
        assert sorted(row for i in range(4) for row in rows(data_, first + i, 2)) == list(range(8))


def test_n07_a_run_of_more_steps_than_can_be_counted_is_refused_with_both_numbers(tmp_path):
    done = process("digits_mlp", "--batch-size", "1", "--epochs", "1659573", cwd=tmp_path)
    words = f"error: --epochs=1659573: {1659573 * 1294:,} steps, at most {2**31 - 1:,} can be counted"
    assert done.returncode == 2 and done.stderr.startswith(words), done.stderr
    assert not list(tmp_path.iterdir())
    assert check_total("--epochs", 2**31 - 1, 1) == 2**31 - 1
    with pytest.raises(InputError, match="epochs=2147483648: 2,147,483,648 steps, at most 2,147,483,647"):
        engine.fit(
            KEY, models.linear(1), tasks.regression(), optax.sgd(0.1), line(jnp.float32), epochs=2**31, batch_size=4
        )


def test_n07_the_rate_changes_at_the_step_it_should_beyond_2_24():
    config = OptimConfig(lr=1.0, schedule="step", decay=0.5, decay_every=f"{2**24 + 1}steps")
    rate = schedule(config, steps_per_epoch=10, total_steps=2**30, lr=1.0)
    assert [float(rate(jnp.int32(2**24 + i))) for i in (0, 1)] == [1.0, 0.5]


def test_n07_counts_of_a_history_row_are_exact_beyond_2_24():
    info: Any = {"loss": np.full(40_001, 0.5, np.float32), "weight": np.full(40_001, 1023, np.float32)}
    info |= {"correct": np.full(40_001, 1021, np.float32), "lr": np.ones(1), "grad_norm": np.float32(1)}
    info |= {"finite": True}
    row = history_row(tasks.multiclass(2), Tally().add(info).sums or {})
    assert row["train/accuracy"] == 1021 / 1023 and row["train/loss"] == 0.5 / 1023


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_n07_an_evaluation_over_more_than_2_24_loses_nothing(batch_size):
    each = 2**14 + 1  # of 4,096 rows: one after the other in float32, one in 10,000 of it would be lost
    data_ = Batch(np.ones((4096, 1), np.float32), np.zeros(4096, np.int32), np.full(4096, each, np.float32))
    recipe = Recipe(models.linear(2), tasks.multiclass(2), optax.sgd(0.1))
    params = recipe.model.init(KEY, data_.x[0])
    sums = quickly(functools.partial(engine.evaluate, recipe, batch_size=batch_size))(params, data_)
    assert float(sums["weight"]) == pytest.approx(4096 * each, rel=2e-7)


# ---- N08: every derivative ---------------------------------------------------------------------------------------

POINTS = np.array([[-2.1, -0.7, 0.3, 1.9]])  # off every kink
LAYERS = {
    "dense": (layers.dense(3), (4,)),
    "maxout": (layers.maxout(2, pieces=3), (4,)),
    "conv": (layers.conv(2, 2), (3, 3, 2)),
    "conv same": (layers.conv(2, 2, padding="SAME", stride=2), (3, 3, 2)),
    "max_pool": (layers.max_pool(), (4, 4, 1)),
    "max_pool overlapping": (layers.max_pool(3, 1), (4, 4, 1)),
    "avg_pool": (layers.avg_pool(), (4, 4, 1)),
    "avg_pool overlapping": (layers.avg_pool(3, 1), (4, 4, 1)),
    "conv and pool": (models.cnn((2,), 2), (5, 5, 1)),
    "flatten": (layers.flatten(), (2, 2, 2)),
    "dropout": (layers.dropout(0.5), (4,)),
    "layer_norm": (norms.layer_norm(), (4,)),
    "group_norm": (norms.group_norm(2), (2, 2, 4)),
    "scale": (norms.scale(0.5, 2.0), (4,)),
    "standardized": (norms.standardized(layers.dense(3), np.zeros(4), np.ones(4)), (4,)),
    "in_units": (norms.in_units(layers.dense(3), np.zeros(3), np.ones(3)), (4,)),
    "residual": (compose.residual(layers.dense(4)), (4,)),
    "conv dilated": (layers.conv(2, 2, dilation=2), (4, 4, 2)),
    "conv depthwise": (layers.conv(4, (2, 3), groups=4), (3, 4, 4)),
    "max_pool same": (layers.max_pool(3, 2, padding="SAME"), (4, 4, 1)),
    "global_avg_pool": (layers.global_avg_pool(), (3, 3, 2)),
    "upsample": (layers.upsample(2), (2, 2, 2)),
    "upsample bilinear": (layers.upsample(2, method="bilinear"), (2, 2, 2)),
    "conv reflect": (layers.conv(2, 3, stride=(1, 2), padding="REFLECT"), (3, 3, 1)),
    "conv_transpose": (resampling.conv_transpose(2, 3, 2, padding="SAME"), (2, 3, 2)),
    "space_to_depth": (resampling.space_to_depth(2), (2, 4, 1)),
    "depth_to_space": (resampling.depth_to_space(2), (1, 2, 4)),
    "global_max_pool": (resampling.global_max_pool(), (3, 3, 2)),
    "concat": (compose.concat(layers.dense(3)), (4,)),
    "batch_norm": (batch_norm.batch_norm(), (3,)),
    "parallel": (compose.parallel(layers.dense(2), jnp.tanh), (4,)),
    "remat": (compose.remat(layers.dense(3)), (4,)),
}
LOSSES = {
    "binary_cross_entropy": (losses.binary_cross_entropy, (4,), [0, 1, 1, 0]),
    "cross_entropy": (losses.cross_entropy, (2, 4), [3, 1]),
    "log_likelihood": (losses.log_likelihood, (2, 4), [3, 1]),
    "squared": (losses.squared, (2, 2), [[0.3, -1.0], [2.0, 5.0]]),
    "absolute": (losses.absolute, (2, 2), [[0.3, -1.0], [2.0, 5.0]]),
    "huber": (losses.huber, (2, 2), [[0.3, -1.0], [2.0, 5.0]]),
    "poisson": (losses.poisson, (2, 2), [[0.0, 1.0], [2.0, 5.0]]),
    "quantile": (functools.partial(losses.quantile, quantiles=(0.2, 0.7)), (2, 2, 2), [[0.3, -1.0], [2.0, 5.0]]),
    "gaussian": (losses.gaussian, (2, 2, 2), [[0.3, -1.0], [2.0, 5.0]]),
}


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def off(x, error):
    return x


off.defjvp(lambda error, primals, tangents: (primals[0], tangents[0] * (1 + error)))


def cases(error):
    """name -> (function of one pytree, where): each activation, layer and loss, its derivative off by `error`."""
    found = {}
    for name, f in activations.TABLE.items():
        points = POINTS / 8 + 0.5 if name == "logit" else POINTS
        found[name] = lambda x, f=f: off(f(x), error), jnp.asarray(points, float)
    for name, (layer, shape) in LAYERS.items():
        x = normal(1, *shape)
        params = jax.tree.map(lambda p: normal(2, *p.shape), jax.eval_shape(layer.init, KEY, x))
        if name == "batch_norm":
            params["batch_stats"]["var"] = jnp.exp(params["batch_stats"]["var"])
        key = KEY if name == "dropout" else None
        found[name] = (
            lambda at, f=layer.apply, key=key: off(f(at["params"], at["x"], key), error),
            {"params": params, "x": x},
        )
    for name, (loss, shape, y) in LOSSES.items():
        found[name] = lambda z, f=loss, y=y: off(f(z, np.asarray(y)), error), normal(3, *shape)
    return found


def all_together(names, error):
    """One function, so that it is compiled once."""
    with jax.enable_x64(True), mock.patch.object(jax, "jit", quickly):
        chosen = {name: case for name, case in cases(error).items() if name in names}
        fns, where = ({name: case[i] for name, case in chosen.items()} for i in (0, 1))
        return gradients.check_gradients(lambda at: {name: f(at[name]) for name, f in fns.items()}, where)


@pytest.mark.long
@pytest.mark.parametrize("kind", [activations.TABLE, LAYERS, LOSSES], ids=["activations", "layers", "losses"])
def test_n08_every_derivative_is_that_of_central_differences(kind):
    assert max(all_together(kind, 0.0).values()) <= 1e-7


def made_in(module: ModuleType) -> set[str]:
    """The public functions of a module that are its own."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return {name for name, value in own.items() if isinstance(value, type(layers.dense)) and name[0] != "_"}


def test_n08_no_layer_activation_or_loss_is_left_out():
    helpers = {"affine", "add_bias", "param_dtype", "refuse_integers", "features", "stateless", "largest_piece"}
    helpers |= {"chain", "after", "moment_dtype"}
    made = made_in(layers) | made_in(norms) | made_in(compose) | made_in(batch_norm) | made_in(resampling)
    assert helpers <= made and made - helpers <= {name.split()[0] for name in LAYERS}
    assert made_in(losses) - {"class_target", "same_shape"} == set(LOSSES)


@pytest.mark.parametrize("name", ["elu", "conv", "cross_entropy"])
def test_n08_a_planted_error_of_1e_5_is_caught(name):
    with pytest.raises(NumericsError, match="must agree with central differences"):
        all_together([name], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*activations.TABLE, *LAYERS, *LOSSES])
def test_n08_an_error_of_1e_5_planted_in_any_of_them_is_caught(name):
    with pytest.raises(NumericsError, match="must agree with central differences"):
        all_together([name], 1e-5)


# ---- N09: the same step as another library's ---------------------------------------------------------------------


def sklearn_steps(kind, x, y, weights, steps, **settings):
    """Full-batch SGD steps of scikit-learn from given weights [(w [in, out], b)]: the weights after them."""
    from sklearn import neural_network

    net = getattr(neural_network, kind)(
        hidden_layer_sizes=[w.shape[1] for w, _ in weights[:-1]], activation="tanh", solver="sgd", alpha=0.0,
        batch_size=len(x), shuffle=False, momentum=0.0, **settings,
    )  # fmt: skip
    classes = {"classes": np.unique(y)} if kind == "MLPClassifier" else {}
    net.partial_fit(x, y, **classes)  # makes the arrays, which then are given their values
    for (w, b), coefs, intercepts in zip(weights, net.coefs_, net.intercepts_, strict=True):
        coefs[...], intercepts[...] = w, b
    for _ in range(steps):
        net.partial_fit(x, y)
    return list(zip(net.coefs_, net.intercepts_, strict=True))


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("case", ["binary", "multiclass", "regression"])
def test_n09_a_step_is_that_of_scikit_learn(case, dtype, bound):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4)).astype(dtype)
    y = {
        "binary": (x[:, 0] > 0).astype(np.int32),
        "multiclass": np.arange(20, dtype=np.int32) % 3,
        "regression": x[:, :1] ** 2,
    }[case]
    task = {"binary": tasks.binary(), "multiclass": tasks.multiclass(3), "regression": tasks.regression()}[case]
    lr = 0.05 if case == "regression" else 0.1  # scikit-learn's squared loss has a factor 1/2
    (outputs,) = task.shape
    widths = (4, 5, outputs)
    weights = [
        (rng.normal(size=(a, b)).astype(dtype), rng.normal(size=b).astype(dtype))
        for a, b in zip(widths, widths[1:], strict=False)
    ]
    kind, target = ("MLPRegressor", y.ravel()) if case == "regression" else ("MLPClassifier", y)
    theirs = sklearn_steps(kind, x, target, weights, 1, learning_rate_init=0.1)
    with jax.enable_x64(dtype == "float64"):
        tx = optax.sgd(lr)
        model = models.mlp(widths[1:-1], outputs, activation="tanh")
        params = {f"dense_{i}": {"w": jnp.asarray(w.T), "b": jnp.asarray(b)} for i, (w, b) in enumerate(weights)}
        batch = Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(20, dtype))
        step = quickly(functools.partial(engine.step, Recipe(model, task, tx)))
        after, _ = step(State(jnp.int32(0), params, tx.init(params)), batch, KEY)
        ours = [(np.asarray(p["w"]).T, np.asarray(p["b"])) for p in after.params.values()]
    for (w, b), (v, c), (w0, _) in zip(ours, theirs, weights, strict=True):
        assert w.dtype == dtype and not np.array_equal(w, w0)
        assert np.abs(w - v).max() <= bound * np.abs(v).max() and np.abs(b - c).max() <= bound * np.abs(v).max()


def test_n09_a_step_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("f"), np.arange(20) % 3
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    named = {"dense_0": net[0], "dense_1": net[2]}
    read = lambda: {
        name: {"w": layer.weight.detach().numpy().copy(), "b": layer.bias.detach().numpy().copy()}
        for name, layer in named.items()
    }
    params = read()
    descent = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y)).backward()
    descent.step()
    tx, model = optax.sgd(0.1), models.mlp((5,), 3, activation="tanh")
    step = jax.jit(functools.partial(engine.step, Recipe(model, tasks.multiclass(3), tx)))
    params = jax.tree.map(jnp.asarray, params)
    after, _ = step(State(jnp.int32(0), params, tx.init(params)), Batch(x, y.astype("i"), np.ones(20, "f")), KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), after.params, read())


# ---- N10, N11: layers that do not learn, losses that do not move -------------------------------------------------


@functools.cache
def digits():
    split = data.load("digits").train
    return Batch(split.x.reshape(len(split.x), -1) / np.float32(16), split.y, split.weight)


@functools.cache
def epoch_of(model, lr):
    """The recipe, the first state and the program of an epoch, shared by the tests of one model."""
    recipe = Recipe(model, tasks.multiclass(10), transformation(1000, lr=lr))
    return recipe, *begin(recipe, digits(), 128, quickly)


def alarms(model, params, lr, epochs):
    """What is said after each of so many epochs."""
    recipe, state, run = epoch_of(model, lr)
    state = state if params is None else state._replace(params=params(jax.device_get(state.params)))
    with mock.patch.object(jax, "jit", quickly):
        watch, said = diagnosis.Alarms(recipe, digits()), []
    for _ in range(epochs):
        state, info = run(state, digits(), 11, key=KEY)
        info = jax.device_get(info)
        row = {name: float(value) for name, value in history_row(recipe.task, Tally().add(info).sums or {}).items()}
        said.append(watch(row, state.params, float(info["still"])))
    return said


HUNDRED = models.mlp((20, 100), 10)


@pytest.mark.long
@pytest.mark.parametrize(("killed", "share"), [(99, "99%"), (98, None)])
def test_n10_a_layer_of_dead_units_is_named_with_its_share(killed, share):
    def kill(params):
        b = np.where(np.arange(100) < killed, np.float32(-100), np.float32(0))
        return params | {"dense_1": params["dense_1"] | {"b": b}}

    said = alarms(HUNDRED, kill, 0.1, 2)
    words = f"dense_1/b: {share} of 100 units are dead"
    assert [len(texts) for texts in said] == ([1, 0] if share else [0, 0]), said  # and it is said once
    assert not share or said[0][0].startswith(words)


@pytest.mark.long
def test_n10_a_gradient_that_has_vanished_is_named_with_its_share():
    shrink = lambda params: jax.tree.map(lambda a: a / np.float32(100), params)  # a layer takes a factor of 300 or so
    said = alarms(models.mlp((8,) * 3, 10, activation="sigmoid"), shrink, 1e-3, 2)
    assert said[0] and all("gradient has vanished" in text for text in said[0])
    assert re.match(r"dense_0/[bw]: its gradient has vanished, \de-\d\d of that of dense_3/\w", said[0][0]), said


def test_n10_a_gradient_that_explodes_is_named_with_its_share():
    steep = compose.chain(norms.scale(std=1e-8), layers.dense(4), layers.dense(10))
    said = alarms(steep, None, 1e-20, 1)
    assert any(re.match(r"dense_\d/w: has \d+% of a gradient of norm \de\+\d\d;", text) for text in said[0]), said


def test_n11_a_loss_that_stays_where_it_is_is_reported_once_with_rate_and_gradient():
    said = alarms(models.linear(10), None, 1e-9, 12)
    flat = [(i, text) for i, texts in enumerate(said) for text in texts if "flat" in text]
    assert len(flat) == 1 and flat[0][0] == diagnosis.ROWS - 1
    assert re.match(r"train/loss=2\.\d+: flat for 10 rows at lr=1e-09, grad_norm=\d\.\d+;", flat[0][1]), flat


@pytest.mark.slow
def test_n10_n11_a_healthy_run_is_not_warned_of():
    assert not any(alarms(models.mlp((50, 50), 10), None, 0.3, 20))


DEAD = """
import jax.numpy as jnp
import jaxnn
from jaxnn.config import Config, DataConfig
data = DataConfig(validation_fraction=0.0, test_fraction=0.0)
config = Config(name="dead", epochs=2, batch_size=128, data=data)
def model(outputs):
    network = jaxnn.chain(jaxnn.flatten(), jaxnn.mlp((30,), outputs))
    def init(key, x):
        params = network.init(key, x)
        params["mlp_0"]["dense_0"]["b"] = jnp.full(30, -1e4)
        return params
    return jaxnn.Model(init, network.apply)
"""


@pytest.mark.long
def test_n10_the_warning_is_one_line_on_stderr_and_the_run_goes_on(tmp_path):
    (tmp_path / "dead.py").write_text(DEAD)
    done = process("dead.py", "--workdir", "run", cwd=tmp_path)
    first, second = done.stderr.splitlines()
    assert done.returncode == 0 and second.startswith("warning: train/accuracy=0.10"), done.stderr
    assert first.startswith("warning: mlp_0/dense_0/b: 100% of 30 units are dead"), done.stderr


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_mlp", "mnist_wide", "mnist_cnn", "mnist_maxout"])
def test_n10_n11_no_false_alarm_on_mnist(name, mnist_dir, tmp_path):
    done = process(name, "--data.dir", mnist_dir, "--workdir", tmp_path / "run", cwd=ROOT, seconds=1800)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "configs").glob("*.py") if "mnist" not in p.stem))
def test_n10_n11_no_false_alarm_on_the_shipped_configs(name, tmp_path):
    done = process(name, "--workdir", tmp_path / "run", cwd=ROOT, seconds=1800)
    assert done.returncode == 0 and done.stderr == ""


# ---- N12: corners of roots and norms -----------------------------------------------------------------------------


@pytest.mark.long
def test_n12_every_layer_activation_and_loss_has_a_finite_gradient_at_zero():
    fns = {name: fn for name, (fn, _) in cases(0.0).items()}

    def values_and_slopes(where):
        found = {}
        for name, fn in fns.items():
            value, pull = jax.vjp(fn, where[name])
            found[name] = value, pull(jnp.ones_like(value))
        return found

    zeros = {name: jax.tree.map(jnp.zeros_like, where) for name, (_, where) in cases(0.0).items()}
    for path, leaf in jax.tree.leaves_with_path(quickly(values_and_slopes)(zeros)):
        assert np.isfinite(leaf).all(), path


def test_n12_a_gradient_of_zero_has_a_derivative_by_the_learning_rate():
    data_ = Batch(jnp.zeros((4, 2)), jnp.zeros((4, 1)), jnp.ones(4))
    config = OptimConfig(name="adam", clip_norm=1.0, max_norm=1.0)

    def last_loss(lr):
        tx = optim.optimizer(config, steps_per_epoch=1, total_steps=5, lr=lr)
        recipe = Recipe(models.linear(1), tasks.regression(), tx)
        state, losses = engine.init(recipe, KEY, data_.x[0]), []
        for _ in range(3):
            state, info = engine.step(recipe, state, data_, KEY)
            losses.append(info["loss"])
        return losses[-1]

    assert float(quickly(jax.grad(last_loss))(0.1)) == 0.0
