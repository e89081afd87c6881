"""Optimizers and schedules of the Keras face: their rules in NumPy, and Keras 3 itself where there is one."""

import copy
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn.errors import InputError
from jaxnn.keras import optimizers
from jaxnn.keras.optimizers import legacy, schedules
from jaxnn.numerics import relaxed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype(np.float32)
Y = np.tanh(X @ RNG.normal(size=(6, 3)).astype(np.float32) + 1)
START = {"b": np.zeros(3, np.float32), "w": RNG.normal(size=(6, 3)).astype(np.float32)}
STEPS = 20


def loss(params):
    hidden = jnp.tanh(jnp.asarray(X) @ params["w"] + params["b"][None])
    return jnp.mean(jnp.square(hidden - jnp.asarray(Y)))


slope = jax.jit(jax.value_and_grad(loss))


def ours(optimizer, steps=STEPS, rates=None):
    """The parameters after each step, and the loss before it."""
    tx, params = optimizer.tx(), jax.tree.map(jnp.asarray, START)
    with relaxed():
        state, update = tx.init(params), jax.jit(tx.update)
        path, values = [], []
        for step in range(steps):
            if rates:
                state = optimizer.with_rate(state, rates[step])
            value, grads = slope(params)
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            path.append(params)
            values.append(float(value))
    return path, np.array(values)


SAME = 1e-6  # how far the weights may be from Keras' after 20 steps; Keras begins with about half of Nadam's beta_1
OPTIMIZERS = {
    "sgd": ("SGD", {"learning_rate": 0.1}, SAME),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}, SAME),
    "nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}, SAME),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}, SAME),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 0.003, "momentum": 0.9, "rho": 0.8}, SAME),
    "rmsprop_centered": ("RMSprop", {"learning_rate": 0.01, "centered": True}, 1e-5),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}, SAME),
    "adadelta": ("Adadelta", {"learning_rate": 1.0}, SAME),
    "adam": ("Adam", {}, SAME),
    "amsgrad": ("Adam", {"learning_rate": 0.01, "amsgrad": True}, SAME),
    "adamw": ("AdamW", {"weight_decay": 0.1}, SAME),
    "adamax": ("Adamax", {"learning_rate": 0.01}, SAME),
    "nadam": ("Nadam", {}, 6e-3),
    "lion": ("Lion", {"learning_rate": 0.01}, SAME),
    "clipnorm": ("SGD", {"learning_rate": 0.1, "clipnorm": 0.3}, SAME),
    "clipvalue": ("SGD", {"learning_rate": 0.1, "clipvalue": 0.05}, SAME),
    "global_clipnorm": ("SGD", {"learning_rate": 0.1, "global_clipnorm": 0.3}, SAME),
    "weight_decay": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1}, SAME),
}


def theirs(keras_itself, optimizer, steps=STEPS, rates=None):
    variables = [keras_itself.Variable(value) for value in START.values()]
    optimizer.build(variables)
    state, params = [v.value for v in optimizer.variables], [v.value for v in variables]
    apply, path, values = jax.jit(optimizer.stateless_apply), [], []
    at = [i for i, v in enumerate(optimizer.variables) if v.path.endswith("learning_rate")]
    for step in range(steps):
        if rates:
            state[at[0]] = jnp.float32(rates[step])
        value, grads = slope(dict(zip(START, params, strict=True)))
        params, state = apply(state, [grads[name] for name in START], params)
        path.append(dict(zip(START, params, strict=True)))
        values.append(float(value))
    return path, np.array(values)


def furthest(one, other):
    return max(np.abs(np.asarray(one[name]) - np.asarray(other[name])).max() for name in START)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_those_of_keras(keras_itself, name):
    kind, arguments, tolerance = OPTIMIZERS[name]
    own, value = ours(getattr(optimizers, kind)(**arguments))
    other, expected = theirs(keras_itself, getattr(keras_itself.optimizers, kind)(**arguments))
    print(f"{name}: weights {furthest(own[-1], other[-1]):.1e}, loss {np.abs(value - expected).max():.1e}")
    assert furthest(own[-1], other[-1]) <= tolerance
    assert np.abs(value - expected).max() <= (6e-3 if name == "nadam" else 1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_changed_rate_changes_the_velocity_as_in_keras(keras_itself):
    rates = [0.1] * 5 + [0.01] * 5
    for kind, arguments in (("SGD", {"momentum": 0.9}), ("RMSprop", {"momentum": 0.5}), ("Adam", {})):
        own, _ = ours(getattr(optimizers, kind)(**arguments), 10, rates)
        other, _ = theirs(keras_itself, getattr(keras_itself.optimizers, kind)(**arguments), 10, rates)
        assert furthest(own[-1], other[-1]) <= SAME


STAIRS = {"decay_steps": 7, "decay_rate": 0.9, "staircase": True}
SCHEDULES = {
    "ExponentialDecay": ({"decay_steps": 30, "decay_rate": 0.5}, STAIRS),
    "InverseTimeDecay": ({"decay_steps": 10, "decay_rate": 0.5}, STAIRS),
    "PolynomialDecay": ({"decay_steps": 40}, {"decay_steps": 15, "power": 2.0, "cycle": True}),
    "CosineDecay": ({"decay_steps": 50}, {"decay_steps": 40, "alpha": 0.1, "warmup_target": 0.5, "warmup_steps": 10}),
    "CosineDecayRestarts": ({"first_decay_steps": 13}, {"first_decay_steps": 9, "t_mul": 1.0, "m_mul": 0.8}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_that_of_keras(keras_itself, name):
    for arguments in SCHEDULES[name]:
        own, other = (getattr(m, name)(0.1, **arguments) for m in (schedules, keras_itself.optimizers.schedules))
        # At a restart the logarithm of float32 may round to either side of a whole number: those steps are left out.
        steps = [step for step in range(1, 90, 8) if name != "CosineDecayRestarts" or step % 13 or "t_mul" in arguments]
        np.testing.assert_allclose([own(s) for s in steps], [float(other(s)) for s in steps], rtol=2e-5, atol=1e-8)


def plain(kind, steps=STEPS, **a):
    """The rules of Keras in float64."""
    w = {name: value.astype(np.float64) for name, value in START.items()}
    m, v, u = ({name: np.zeros_like(value) for name, value in w.items()} for _ in range(3))
    if kind == "Adagrad":
        v = {name: value + 0.1 for name, value in v.items()}
    rate, eps, mu = a["learning_rate"], 1e-7, a.get("momentum", 0.0)
    for t in range(1, steps + 1):
        g = {
            name: np.asarray(each, np.float64)
            for name, each in slope({n: x.astype(np.float32) for n, x in w.items()})[1].items()
        }
        for n in w:
            if kind == "SGD":
                m[n] = mu * m[n] - rate * g[n]
                w[n] = (
                    w[n]
                    + (mu * m[n] - rate * g[n] if a.get("nesterov") else m[n])
                    - rate * a.get("weight_decay", 0) * w[n]
                )
            elif kind == "RMSprop":
                v[n] = 0.9 * v[n] + 0.1 * g[n] ** 2
                w[n] = w[n] - rate * g[n] / np.sqrt(v[n] + eps)
            elif kind == "Adagrad":
                v[n] = v[n] + g[n] ** 2
                w[n] = w[n] - rate * g[n] / np.sqrt(v[n] + eps)
            elif kind == "Adadelta":
                v[n] = 0.95 * v[n] + 0.05 * g[n] ** 2
                d = g[n] * np.sqrt(u[n] + eps) / np.sqrt(v[n] + eps)
                u[n], w[n] = 0.95 * u[n] + 0.05 * d**2, w[n] - rate * d
            elif kind == "Lion":
                w[n] = w[n] - rate * np.sign(0.9 * m[n] + 0.1 * g[n])
                m[n] = 0.99 * m[n] + 0.01 * g[n]
            else:
                m[n] = 0.9 * m[n] + 0.1 * g[n]
                v[n] = 0.999 * v[n] + 0.001 * g[n] ** 2
                u[n] = np.maximum(u[n], v[n])
                size = np.sqrt((u if a.get("amsgrad") else v)[n])
                w[n] = w[n] - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m[n] / (size + eps)
    return w


@pytest.mark.parametrize(
    "name", ["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "lion", "adam", "amsgrad"]
)
def test_twenty_steps_are_those_of_the_rule(name):
    kind, arguments, tolerance = OPTIMIZERS[name]
    arguments = {"learning_rate": 0.001} | arguments
    path, _ = ours(getattr(optimizers, kind)(**arguments))
    assert furthest(path[-1], plain(kind, **arguments)) <= 2 * tolerance


def test_clipping_and_decay_are_those_of_their_definition():
    grads = {"b": jnp.array([3.0, 4.0, 0.0]), "w": jnp.full((6, 3), 0.1)}
    params = jax.tree.map(jnp.asarray, START)

    def step(**arguments) -> Any:
        tx = optimizers.SGD(1.0, **arguments).tx()
        with relaxed():
            return tx.update(grads, tx.init(params), params)[0]

    np.testing.assert_allclose(step(clipnorm=1.0)["b"], [-0.6, -0.8, 0], rtol=1e-6)
    np.testing.assert_allclose(step(clipnorm=1.0)["w"], -grads["w"], rtol=1e-6)
    np.testing.assert_allclose(step(clipvalue=0.05)["w"], np.full((6, 3), -0.05), rtol=1e-6)
    norm = np.sqrt(25 + 18 * 0.01)
    np.testing.assert_allclose(step(global_clipnorm=1.0)["b"], -np.array([3, 4, 0]) / norm, rtol=1e-6)
    np.testing.assert_allclose(step(weight_decay=0.1)["b"], -grads["b"] - 0.1 * params["b"], rtol=1e-6)


def test_the_rate_is_in_the_state_and_is_set_without_compiling():
    optimizer = optimizers.Adam(0.25)
    tx, params = optimizer.tx(), {"w": jnp.ones((2, 2))}
    with relaxed():
        state = tx.init(params)
        update: Any = jax.jit(tx.update)
        assert float(jaxnn.learning_rate(state)) == 0.25
        for rate in (0.5, 0.125):
            state = optimizer.with_rate(state, rate)
            _, state = update(params, state, params)
            assert float(jaxnn.learning_rate(state)) == rate
    assert update._cache_size() == 1


def test_a_schedule_counts_the_steps_of_the_optimizer():
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([1, 2], [1.0, 0.5, 0.25]))
    path, _ = ours(optimizer, 4)
    tx = optimizers.SGD(1.0).tx()
    assert optimizer.scheduled and float(optimizer.learning_rate) == 1.0
    optimizer.iterations = 2
    assert float(optimizer.learning_rate) == 0.5
    with relaxed():
        state, update, rates = optimizer.tx().init(path[0]), jax.jit(optimizer.tx().update), []
        for _ in range(4):
            _, state = update(path[0], state, path[0])
            rates.append(float(jaxnn.learning_rate(state)))
    assert rates == [1.0, 1.0, 0.5, 0.25] and tx is not None
    with pytest.raises(InputError, match="has a schedule of its rate"):
        optimizer.learning_rate = 0.1


def test_old_names_are_understood_and_deprecated():
    with pytest.warns(UserWarning, match="The `lr` argument is deprecated, use `learning_rate` instead."):
        optimizer = optimizers.SGD(lr=0.25, decay=0.5, momentum=0.9, nesterov=True)
    assert float(optimizer.learning_rate) == 0.25
    optimizer.iterations = 2
    assert float(optimizer.lr) == 0.125  # lr / (1 + decay step)
    adam = legacy.Adam(0.5)
    adam.lr = 0.25
    assert adam.learning_rate == 0.25 and adam.learning_rate.numpy() == np.float32(0.25)
    adam.learning_rate.assign(0.125)
    assert f"{adam.lr:.3f}" == "0.125"


def test_optimizers_are_found_saved_copied_and_pickled():
    for spec in ("rmsprop", "RMSprop", "RMSPROP", optimizers.RMSprop, optimizers.RMSprop()):
        assert isinstance(optimizers.get(spec), optimizers.RMSprop)
    decayed = optimizers.Adam(schedules.ExponentialDecay(0.1, 10, 0.5), amsgrad=True, clipnorm=1.0, name="mine")
    for optimizer in (decayed, optimizers.AdamW(0.1, 0.2), optimizers.Lion(), optimizers.SGD(0.1, 0.9, True)):
        for again in (optimizers.get(optimizers.serialize(optimizer)), pickle.loads(pickle.dumps(optimizer))):
            assert again.get_config() == optimizer.get_config() and type(again) is type(optimizer)
        assert copy.deepcopy(optimizer).get_config() == optimizer.get_config()
    own = optimizers.get(optax.adam(0.1))
    assert np.isnan(own.learning_rate) and own.scheduled
    state = own.tx().init(jnp.ones(2))
    assert own.with_rate(state, 0.1) is state


class Stepped(schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 if step < 10 else 0.01


@pytest.mark.filterwarnings("ignore:The `lr`")
@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: optimizers.get("adm"), "did you mean adam"),
        (lambda: optimizers.get("ftrl"), "optimizer=ftrl: unknown; .*Choose from adadelta"),
        (lambda: optimizers.get(3), "a int is no optimizer"),
        (lambda: optimizers.SGD(momentun=0.9), "SGD momentun=0.9: unknown argument; did you mean momentum"),
        (lambda: optimizers.SGD(-0.1), "SGD learning_rate=-0.1"),
        (lambda: optimizers.SGD(lr=float("nan")), "SGD learning_rate=nan"),
        (lambda: optimizers.SGD("0.1"), "learning_rate=0.1: must be a number"),
        (lambda: optimizers.SGD(True), "learning_rate=True"),
        (lambda: optimizers.SGD(lambda step: 0.1), "a function is no learning rate"),
        (lambda: optimizers.SGD(momentum=1.5), "momentum=1.5"),
        (lambda: optimizers.SGD(decay=-1.0), "decay=-1.0"),
        (lambda: optimizers.Adam(beta_1=1.0), "Adam beta_1=1.0"),
        (lambda: optimizers.Adam(epsilon=-1e-7), "epsilon=-1e-07"),
        (lambda: optimizers.RMSprop(rho=float("nan")), "rho=nan"),
        (lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0), "clipnorm and clipvalue: give one"),
        (lambda: optimizers.Adam(clipnorm=-1.0), "clipnorm=-1.0"),
        (lambda: optimizers.AdamW(weight_decay=-0.1), "weight_decay=-0.1"),
        (lambda: optimizers.Adam(use_ema=True), "use_ema=True"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps=0"),
        (lambda: schedules.ExponentialDecay(-0.1, 1, 0.5), "initial_learning_rate=-0.1"),
        (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "1 boundaries and 1 values"),
        (lambda: optimizers.SGD(Stepped()).tx(), "learning_rate=Stepped: its step is traced"),
        (lambda: schedules.deserialize({"class_name": "CosineDcay", "config": {}}), "did you mean CosineDecay"),
        (lambda: Stepped().get_config(), "cannot be saved"),
        (lambda: setattr(optimizers.SGD(), "learning_rate", float("inf")), "learning_rate=inf"),
    ],
)  # fmt: skip
def test_what_no_optimizer_can_be_is_refused(refused, words):
    with pytest.raises(InputError, match=words):
        refused()
