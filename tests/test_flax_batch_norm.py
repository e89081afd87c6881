"""Flax's BatchNorm, linen and nnx: the same training pass, kept statistics, and runs of modules as Flax writes them."""

from __future__ import annotations

import functools
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import nnx

import jaxnn
from jaxnn import data, engine, tree
from jaxnn.commands import main
from jaxnn.errors import InputError
from jaxnn.nn.flax import for_example
from jaxnn.types import Batch, Model, Recipe

KEY = jax.random.key(0)
ROWS = 6
X = np.random.default_rng(0).normal(3, 2, (ROWS, 4)).astype(np.float32)
WEIGHT = np.array([1, 0, 0.5, 2, 0, 1], np.float32)
REAL = WEIGHT > 0


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = True):
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(nn.Dense(3)(x)))
        x = nn.Dropout(0.5)(x, deterministic=not train)
        return norm(use_scale=False, use_bias=False, name="last")(x)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 3, rngs=rngs)
        self.BatchNorm_0 = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.BatchNorm(3, momentum=0.9, use_scale=False, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.BatchNorm_0(self.dense(x)))))


MODELS = {"linen": jaxnn.from_linen(Linen(), batch_stats=True), "nnx": jaxnn.from_nnx(Nnx)}
each_half = pytest.mark.parametrize("half", MODELS)


def observe(model: Model, params: Any, x: Any, key: Any, weight: Any, frozen: Any) -> Any:
    assert model.observe
    return model.observe(params, x, key, weight, frozen)


@functools.cache
def started(half: str) -> Any:
    model = MODELS[half]
    params = jax.jit(lambda key: model.init(key, jax.ShapeDtypeStruct((4,), jnp.float32)))(KEY)
    observed = jax.jit(lambda params, x, weight, key: observe(model, params, x, key, weight, tree.is_frozen(params)))
    return model, params, observed


def stored(params: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in tree.by_name(params).items() if tree.is_kept(name)}


@each_half
def test_statistics_stand_beside_the_parameters_of_their_layer(half):
    _, params, _ = started(half)
    assert {name for name in tree.by_name(params) if name.startswith(("BatchNorm_0", "last"))} == {
        "BatchNorm_0/bias", "BatchNorm_0/scale", "BatchNorm_0/batch_stats/mean", "BatchNorm_0/batch_stats/var",
        "last/batch_stats/mean", "last/batch_stats/var",
    }  # fmt: skip


@pytest.mark.long
@each_half
def test_the_training_pass_is_that_of_flax_on_the_rows_that_weigh_anything(half):
    _, params, observed = started(half)
    y, seen = observed(params, X, WEIGHT, None)
    assert y.shape == (ROWS, 3)
    x = X[REAL]
    if half == "linen":
        norm = {name: leaf for name, leaf in params["BatchNorm_0"].items() if name != "batch_stats"}
        own = {"Dense_0": params["Dense_0"], "BatchNorm_0": norm}
        stats = {name: params[name]["batch_stats"] for name in ("BatchNorm_0", "last")}
        quiet = lambda call, args, kwargs, context: (
            args[0] if isinstance(context.module, nn.Dropout) else call(*args, **kwargs)
        )
        with nn.intercept_methods(quiet), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            expected, after = Linen().apply({"params": own, "batch_stats": stats}, x, mutable=["batch_stats"])
        after = {f"{name}/batch_stats/{k}": leaf for name, at in after["batch_stats"].items() for k, leaf in at.items()}
    else:
        module = Nnx(nnx.Rngs(KEY))
        module.train()
        module.dropout.rate = 0.0
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            expected = module(x)
        found = {"BatchNorm_0": module.BatchNorm_0, "last": module.last}
        after = {f"{n}/batch_stats/{k}": getattr(at, k)[...] for n, at in found.items() for k in ("mean", "var")}
    np.testing.assert_allclose(y[REAL], np.array(cast(Any, expected)), rtol=1e-4, atol=1e-5)
    assert after.keys() == stored(seen).keys()
    for name, leaf in stored(seen).items():
        np.testing.assert_allclose(leaf, np.array(cast(Any, after[name])), rtol=1e-5, atol=1e-6, err_msg=name)
        assert not np.array_equal(leaf, stored(params)[name])


@each_half
def test_rows_that_weigh_nothing_have_no_part_and_a_batch_of_such_none_at_all(half):
    _, params, observed = started(half)
    others = np.where(REAL[:, None], X, 1e3)
    (y, seen), (z, also) = observed(params, X, WEIGHT, None), observed(params, others, WEIGHT, None)
    np.testing.assert_array_equal(y[REAL], z[REAL])
    jax.tree.map(np.testing.assert_array_equal, seen, also)
    y, seen = observed(params, X, 0 * WEIGHT, None)
    jax.tree.map(np.testing.assert_array_equal, seen, params)
    assert np.isfinite(y).all()


@each_half
def test_dropout_follows_the_key_and_statistics_are_stored_outside_of_training(half):
    model, params, observed = started(half)
    one, other = (observed(params, X, WEIGHT, jax.random.key(seed)) for seed in (1, 2))
    assert not np.array_equal(one[0], other[0])
    name = "BatchNorm_0/batch_stats/mean"  # before the dropout
    np.testing.assert_array_equal(stored(one[1])[name], stored(other[1])[name])
    params = one[1]
    together, alone, noisy = jax.jit(
        lambda params, x: (
            model.apply(params, x), jax.vmap(model.apply, (None, 0))(params, x), model.apply(params, x[:2], KEY)
        )
    )(params, X)  # fmt: skip
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert not np.allclose(noisy, together[:2])


@each_half
def test_a_frozen_layer_is_trained_with_what_is_stored(half):
    model, params, _ = started(half)
    params = {**params, "last": {"batch_stats": {"mean": jnp.ones(3), "var": jnp.full(3, 4.0)}}}
    frozen = jax.jit(lambda x: observe(model, params, x, None, WEIGHT, tree.is_frozen(params, ["last"])))
    y, seen = frozen(X)
    before, after = stored(params), stored(seen)
    assert {name for name in before if np.array_equal(before[name], after[name])} == {
        "last/batch_stats/mean", "last/batch_stats/var",
    }  # fmt: skip
    all_of_it = {name: tree.is_frozen(params, ["*"])[name] for name in params}
    everything, same = observe(model, params, X, None, WEIGHT, all_of_it)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    np.testing.assert_allclose(everything, model.apply(params, X), rtol=1e-5, atol=1e-6)
    assert not np.allclose(y, everything)


@each_half
def test_one_step_of_the_engine_trains_all_but_the_statistics_and_renews_these(half):
    model, params, _ = started(half)
    recipe = Recipe(model, jaxnn.regression(outputs=3), optax.sgd(0.1))
    batch = Batch(X, np.ones((ROWS, 3), np.float32), WEIGHT)
    _, grads, _, kept = jax.jit(functools.partial(engine.gradient, recipe))(params, batch, KEY)
    assert tree.by_name(grads).keys() == tree.by_name(params).keys() - stored(params).keys()
    assert all(np.abs(kept_leaf - stored(params)[name]).max() > 0 for name, kept_leaf in stored(kept).items())
    with pytest.raises(InputError, match="accumulate=2: batch statistics are those of a whole batch"):
        engine.gradient(recipe._replace(accumulate=2), params, batch, KEY)


def test_a_module_without_batch_norm_observes_nothing():
    plain = nn.Sequential([nn.Dense(3), nn.LayerNorm()])
    assert for_example(plain, jnp.zeros(4)).observe is None and for_example(Linen(), jnp.zeros(4)).observe
    assert jaxnn.from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs)).observe is None


class Folded(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.BatchNorm(use_running_average=not train)(x.reshape(-1, 2)).reshape(-1, 4)


class OwnStatistics(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return x - self.variable("batch_stats", "mean", lambda: jnp.zeros(4)).value


@pytest.mark.parametrize(
    "module, words",
    [
        (nn.Sequential([nn.Dense(3), nn.BatchNorm()]), "Sequential=BatchNorm: must take the statistics of a batch in"),
        (nn.BatchNorm(False), "BatchNorm=BatchNorm: must take the statistics of a batch in training alone; give"),
        (nn.BatchNorm(axis_name="batch"), "BatchNorm=BatchNorm: axis_name=batch is for parts of a batch"),
        (OwnStatistics(), "OwnStatistics=mean: only a BatchNorm can leave padding out"),
    ],
)
def test_linen_modules_whose_statistics_are_none_of_a_batch_are_refused(module, words):
    with pytest.raises(InputError) as error:
        jaxnn.from_linen(module, batch_stats=True).init(KEY, jnp.zeros(4))
    assert words in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda rngs: nnx.BatchNorm(4, axis_name="batch", rngs=rngs), "axis_name=batch is for parts of a batch"),
        (lambda rngs: nnx.SpectralNorm(nnx.Linear(4, 3, rngs=rngs), rngs=rngs), "SpectralNorm=BatchStat: only a Batch"),
    ],
)
def test_nnx_modules_whose_statistics_are_none_of_a_batch_are_refused(make, words):
    with pytest.raises(InputError) as error:
        jaxnn.from_nnx(make)
    assert words in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


def test_rows_that_a_module_puts_together_are_refused():
    model = jaxnn.from_linen(Folded(), batch_stats=True)
    params = model.init(KEY, jnp.zeros(4))
    with pytest.raises(InputError, match=r"Folded=BatchNorm: x\[12, 2\] must have the 6 rows of the batch first"):
        observe(model, params, X, None, WEIGHT, tree.is_frozen(params))


# ---- a run of train.py -------------------------------------------------------------------------------------------

HEAD = """
from functools import partial
from typing import Any, Callable, Sequence

from jaxnn.config import *

config = Config(name="resnet", epochs=4, batch_size=120, optim=OptimConfig(name="adam", lr=0.02, ema=0.9),
                data=DataConfig(validation_fraction=0.0), checkpoint=CheckpointConfig(every="1epoch", keep=9))
SIZES, FILTERS = {sizes}
"""
LINEN = """
import flax.linen as nn
import jax.numpy as jnp

ModuleDef = Any


class ResNetBlock(nn.Module):
    filters: int
    conv: ModuleDef
    norm: ModuleDef
    act: Callable
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        residual = x
        y = self.conv(self.filters, (3, 3), self.strides)(x)
        y = self.norm()(y)
        y = self.act(y)
        y = self.conv(self.filters, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros_init())(y)
        if residual.shape != y.shape:
            residual = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(residual)
            residual = self.norm(name="norm_proj")(residual)
        return self.act(residual + y)


class ResNet(nn.Module):
    stage_sizes: Sequence[int]
    num_classes: int
    num_filters: int = 64
    dtype: Any = jnp.float32
    act: Callable = nn.relu

    @nn.compact
    def __call__(self, x, train: bool = True):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        x = conv(self.num_filters, (3, 3), (1, 1), name="conv_init")(x)
        x = norm(name="bn_init")(x)
        x = nn.relu(x)
        for i, block_size in enumerate(self.stage_sizes):
            for j in range(block_size):
                strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                x = ResNetBlock(self.num_filters * 2**i, strides=strides, conv=conv, norm=norm, act=self.act)(x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype)(x)
        return jnp.asarray(x, self.dtype)


def model(outputs):
    return ResNet(SIZES, outputs, FILTERS)
"""
NNX = """
from flax import nnx
import jax.numpy as jnp
import jaxnn


class ResNetBlock(nnx.Module):
    def __init__(self, features, filters, strides, *, rngs: nnx.Rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.conv_0, self.norm_0 = conv(features, filters, (3, 3), strides=strides), norm(filters)
        self.conv_1 = conv(filters, filters, (3, 3))
        self.norm_1 = norm(filters, scale_init=nnx.initializers.zeros_init())
        self.proj = nnx.data(None)
        if strides != (1, 1) or features != filters:
            self.proj = nnx.Sequential(conv(features, filters, (1, 1), strides=strides), norm(filters))

    def __call__(self, x):
        y = nnx.relu(self.norm_0(self.conv_0(x)))
        y = self.norm_1(self.conv_1(y))
        return nnx.relu(y + (x if self.proj is None else self.proj(x)))


class ResNet(nnx.Module):
    def __init__(self, stage_sizes, num_classes, num_filters, *, rngs: nnx.Rngs):
        self.conv_init = nnx.Conv(1, num_filters, (3, 3), use_bias=False, rngs=rngs)
        self.bn_init = nnx.BatchNorm(num_filters, momentum=0.9, rngs=rngs)
        blocks, features = [], num_filters
        for i, block_size in enumerate(stage_sizes):
            for j in range(block_size):
                strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                blocks.append(ResNetBlock(features, num_filters * 2**i, strides, rngs=rngs))
                features = num_filters * 2**i
        self.blocks = nnx.List(blocks)
        self.dense = nnx.Linear(features, num_classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn_init(self.conv_init(x)))
        for block in self.blocks:
            x = block(x)
        return self.dense(jnp.mean(x, axis=(1, 2)))


def model(outputs):
    return jaxnn.from_nnx(lambda rngs: ResNet(SIZES, outputs, FILTERS, rngs=rngs), core_axes=3)
"""
PREDICT = """
import runpy, sys, jaxnn, numpy
from jaxnn import data
run = jaxnn.load_run(sys.argv[1] + "/run", model=runpy.run_path(sys.argv[1] + "/resnet.py")["model"])
numpy.save(sys.argv[1] + "/other.npy", run.predict_proba(data.load("digits").test.x[:20]))
"""


def here(*argv: object) -> int:
    return main.train([*map(str, argv), "--devices", "1"])


def leaves(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(
    "text, sizes",
    [
        (LINEN, "(1, 1), 4"),
        pytest.param(NNX, "(1, 1), 4", marks=pytest.mark.slow),
        pytest.param(LINEN, "(2, 2, 2, 2), 8", marks=pytest.mark.slow),
        pytest.param(NNX, "(2, 2, 2, 2), 8", marks=pytest.mark.slow),
    ],
    ids=["linen", "nnx", "linen resnet-18", "nnx resnet-18"],
)
def test_a_residual_net_trains_is_resumed_bit_for_bit_and_predicts_in_a_new_process(text, sizes, tmp_path):
    file, folder = tmp_path / "resnet.py", tmp_path / "run"
    file.write_text(HEAD.replace("{sizes}", sizes) + text)
    assert here(file, "--workdir", folder) == 0
    whole = leaves(folder)
    statistics = [name for name in whole if "/batch_stats/" in name]
    assert len(statistics) == 2 * (1 + sum(map(int, sizes[1:].split(")")[0].split(", "))) * 2 + sizes.count(",") - 1)
    for name in statistics:  # nothing of a layer that no batch has gone through
        assert not (whole[name] == (1 if name.endswith("var") else 0)).all(), name

    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["test/accuracy"] > 0.5 and rows[-2]["train/accuracy"] > 0.5

    again = tmp_path / "again"
    shutil.copytree(folder, again)
    steps = sorted((again / "checkpoints").iterdir())
    for path in steps[3:]:
        shutil.rmtree(path)
    (again / "weights.safetensors").unlink()
    assert len(steps) == 5 and here(file, "--workdir", again) == 0
    assert all(np.array_equal(leaf, leaves(again)[name]) for name, leaf in whole.items())

    subprocess.run([sys.executable, "-c", PREDICT, str(tmp_path)], check=True)
    run = jaxnn.load_run(folder, model=runpy.run_path(str(file))["model"])
    test = data.load("digits").test
    assert test is not None
    np.testing.assert_allclose(run.predict_proba(test.x[:20]), np.load(tmp_path / "other.npy"), rtol=1e-5, atol=1e-7)
