"""A Flax module is the same function as its `Model`, and bends to the same contract."""

from __future__ import annotations

import functools
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnn.errors import InputError
from jaxnn.nn.flax import from_linen, from_nnx
from jaxnn.tasks.losses import cross_entropy

KEY = jax.random.key(0)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(nn.LayerNorm()(nn.Dense(8)(x)))
        x = nn.Dropout(0.5)(x, deterministic=not train)
        return nn.Dense(3)(x)


class LinenCNN(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.avg_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))  # exactly one batch axis, as in Flax's own examples
        return nn.Dense(3)(nn.Dropout(0.5)(x, deterministic=deterministic))


class NnxMLP(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(nnx.relu(self.norm(self.layers[0](x)))))


class NnxCNN(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(64, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, deterministic: bool = False):
        x = nnx.relu(self.conv(x)).reshape((x.shape[0], -1))
        return self.dense(self.dropout(x, deterministic=deterministic))


MODELS = {
    "linen mlp": (from_linen(LinenMLP()), (4,)),
    "linen cnn": (from_linen(LinenCNN(), core_axes=3), (4, 4, 1)),
    "nnx mlp": (from_nnx(NnxMLP), (4,)),
    "nnx cnn": (from_nnx(NnxCNN, core_axes=3), (4, 4, 1)),
}
each_model = pytest.mark.parametrize("name", MODELS)


@functools.cache
def started(name):
    """The model with its apply compiled, which also shows that it can be; parameters; the shape of an example."""
    model, core = MODELS[name]
    params = jax.jit(lambda key: model.init(key, jax.ShapeDtypeStruct(core, jnp.float32)))(KEY)
    return model._replace(apply=jax.jit(model.apply)), params, core


@each_model
def test_leading_axes_are_free(name):
    model, params, core = started(name)
    xs = normal(1, 2, 3, *core)
    each = jax.vmap(jax.vmap(model.apply, (None, 0)), (None, 0))
    all_ways = jax.jit(lambda params, xs: (model.apply(params, xs), each(params, xs), model.apply(params, xs[0, 0])))
    together, alone, one = all_ways(params, xs)
    assert together.shape == (2, 3, 3)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one, together[0, 0], rtol=1e-5, atol=1e-6)


@each_model
def test_noise_comes_with_a_key_and_only_then(name):
    model, params, core = started(name)
    x = normal(1, 64, *core)
    quiet = model.apply(params, x)
    assert jnp.array_equal(quiet, model.apply(params, x))
    noisy = model.apply(params, x, key=KEY)
    assert jnp.array_equal(noisy, model.apply(params, x, key=KEY))
    assert not np.allclose(noisy, quiet)
    assert not np.allclose(noisy, model.apply(params, x, key=jax.random.key(1)))


@each_model
def test_parameters_are_a_plain_nested_dict_of_arrays(name):
    model, params, core = started(name)

    def check(tree):
        if type(tree) is dict:
            assert all(type(key) is str for key in tree)
            return all(map(check, tree.values()))
        return isinstance(tree, jax.Array)

    assert check(params) and jax.tree.leaves(params)
    abstract = jax.eval_shape(model.init, KEY, jnp.zeros(core))
    assert jax.tree.map(jnp.shape, abstract) == jax.tree.map(jnp.shape, params)


def test_parameters_have_readable_paths():
    def paths(name):
        leaves = jax.tree.leaves_with_path(started(name)[1])
        return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]

    assert paths("linen mlp")[:2] == ["Dense_0/bias", "Dense_0/kernel"]
    assert paths("nnx mlp")[:2] == ["layers/0/bias", "layers/0/kernel"]


def test_a_model_is_the_function_that_flax_computes():
    x = normal(1, 5, 4)
    linen = LinenMLP()
    model, params, _ = started("linen mlp")
    apply = functools.partial(linen.apply, {"params": params})
    both = jax.jit(lambda x: (apply(x, train=False), apply(x, train=True, rngs={"dropout": KEY})))
    quiet, noisy = both(x)
    np.testing.assert_allclose(model.apply(params, x), quiet, rtol=1e-6)
    np.testing.assert_allclose(model.apply(params, x, key=KEY), noisy, rtol=1e-6)

    model, params, _ = started("nnx mlp")
    module = NnxMLP(nnx.Rngs(KEY))
    module.eval()
    np.testing.assert_allclose(model.apply(params, x), jax.jit(lambda x: module(x))(x), rtol=1e-4, atol=1e-5)


@each_model
def test_a_model_trains_under_jit_grad_and_scan(name):
    model, params, core = started(name)
    x, y = normal(1, 12, *core), jnp.arange(12) % 3

    def loss(params, key):
        return cross_entropy(model.apply(params, x, key=key), y).mean()

    @jax.jit
    def train(params):
        def step(params, key):
            slope = jax.grad(loss)(params, key)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, slope), None

        after = jax.lax.scan(step, params, jax.random.split(KEY, 100))[0]
        return loss(params, None), loss(after, None)

    before, after = train(params)
    assert after < 0.7 * before


def test_models_of_many_seeds_are_a_vmap():
    for model in (from_linen(nn.Dense(3)), from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))):
        keys, x = jax.random.split(KEY, 3), jnp.ones(4)

        @jax.jit
        def outputs(keys, x, model=model):
            many = jax.vmap(model.init, (0, None))(keys, x)
            return many, jax.vmap(model.apply, (0, None))(many, x)

        many, together = outputs(keys, x)
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[1], many)
        np.testing.assert_allclose(together[1], model.apply(one, x), rtol=1e-5)
        assert not np.allclose(together[0], together[1])


def test_every_dropout_has_its_own_noise():
    class Two(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return jnp.stack([self.a(x), self.b(x)])

    a, b = jax.jit(from_nnx(Two).apply)({}, jnp.ones(64), key=KEY)
    assert not np.array_equal(a, b) and set(map(float, a)) == {0.0, 2.0}


class LinenBatchNorm(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))


class LinenCounter(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.variable("counter", "calls", lambda: jnp.zeros(())).value


class FixedDropout(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dropout(0.5, deterministic=True)(x)


@pytest.mark.parametrize(
    "module, words",
    [
        (
            LinenBatchNorm(),
            "LinenBatchNorm=BatchNorm: keeps statistics of the batches that it is trained on; say from_lin",
        ),
        (LinenCounter(), "LinenCounter=counter: must not be kept"),
        (nn.Sequential([nn.Dense(3), nn.Dropout(0.5)]), "Sequential=Dropout: must follow the key"),
        (FixedDropout(), "FixedDropout=Dropout: must follow the key"),
    ],
)
def test_linen_modules_with_state_or_fixed_dropout_are_refused(module, words):
    with pytest.raises(InputError) as error:
        from_linen(module).init(KEY, jnp.zeros(4))
    assert words in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


class NnxCounter(nnx.Module):
    def __init__(self, rngs):
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        return x + self.calls.value


class NnxDropout(nnx.Module):
    def __init__(self, rngs):
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x):
        return self.dropout(x)


@pytest.mark.parametrize(
    "make, words",
    [
        (NnxCounter, "NnxCounter=Variable: must not be kept"),
        (NnxDropout, "NnxDropout=Dropout: must have random numbers of its own"),
    ],
)
def test_nnx_modules_with_state_are_refused(make, words):
    with pytest.raises(InputError) as error:
        from_nnx(make)
    assert words in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


def test_a_module_of_the_other_half_of_flax_is_refused():
    with pytest.raises(InputError, match="module=Linear: must be a flax.linen.Module; for flax.nnx use from_nnx"):
        from_linen(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))  # pyright: ignore[reportArgumentType]


def test_dropout_of_rate_zero_needs_nothing():
    linen = from_linen(nn.Sequential([nn.Dense(3), nn.Dropout(0.0, deterministic=True)]))
    assert linen.apply(linen.init(KEY, jnp.zeros(4)), jnp.zeros(4), key=KEY).shape == (3,)
    plain = from_nnx(lambda rngs: nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.0)))
    assert plain.apply(plain.init(KEY, jnp.zeros(4)), jnp.zeros(4), key=KEY).shape == (3,)


@pytest.mark.parametrize("name", ["linen cnn", "nnx cnn"])
def test_an_input_with_too_few_axes_is_refused(name):
    model, params, _ = started(name)
    with pytest.raises(InputError, match=r"x\[4, 4\]: must have at least 3 axes"):
        model.apply(params, jnp.zeros((4, 4)))


def test_neither_half_of_flax_is_imported_before_it_is_used():
    code = """import sys, jaxnn.nn.flax
assert not [name for name in sys.modules if name.split(".")[0] == "flax"]"""
    subprocess.run([sys.executable, "-c", code], check=True)
