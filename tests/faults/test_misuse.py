"""The functions of jaxnn called in ways they were not made for: they work, or say what is wrong."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from jax.flatten_util import ravel_pytree

import jaxnn
from jaxnn import data, engine, predict, recipe
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.config.settings import Config
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.numerics import key_for
from jaxnn.optim import optimizer as optim
from jaxnn.report import diagnosis
from jaxnn.tasks import supervised as tasks
from jaxnn.training.programs import run_steps
from jaxnn.types import Batch, Model, Recipe

ROOT = Path(__file__).parents[2]
KEY = jax.random.key(0)


def blobs(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return Batch(x, (x[:, 0] > 0).astype(np.int32), np.ones(n, np.float32))


# Compiled in half the time, to programs that are slower: for those of few steps.
quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LINEAR, MLP = models.linear(1), models.mlp((4,), 1)


def fit(batch, key=KEY, model=LINEAR, tx=None, **options):
    tx = optim.optimizer(OptimConfig(lr=0.05), steps_per_epoch=4, total_steps=40) if tx is None else tx
    return engine.fit(key, model, tasks.binary(), tx, batch, epochs=3, batch_size=7, **options)


def take(recipe):
    """`run(state, data, n, key=)`: the next n steps, in batches of 7."""
    return quickly(functools.partial(run_steps, recipe, 7, 1), static_argnums=2)


def digest(tree):
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))).hexdigest()


@functools.cache
def trained():
    """A run as `load_run` gives it, of three features."""
    config = Config(model=ModelConfig(kind="linear"))
    known = {"task": "binary", "outputs": 1, "shape": [3], "dtype": "float32", "scale": None, "center": 0.0}
    known |= {"classes": ["no", "yes"]}
    network, task, example = recipe.network(config, known)
    outputs = jax.jit(lambda params, x: task.link(network.apply(params, x)))
    return predict.Run(config, network, network.init(KEY, example), task, known, outputs)


# ---- A02: keys ---------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a02_no_two_of_a_million_keys_are_equal():
    """Of 100 seeds: the weights of 20 layers, the order of 3,000 epochs, the noise of 3,000 steps and of 2 layers."""

    def keys(seed):
        key = jax.random.key(seed)
        many = jax.vmap(jax.random.fold_in, (None, 0))
        weights, order, noise = (key_for(purpose, key) for purpose in ("weights", "order", "noise"))
        steps = many(noise, jnp.arange(3000))
        inside = [jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(steps) for i in range(2)]
        every = [
            key[None],
            jnp.stack([weights, order, noise]),
            many(weights, jnp.arange(20)),
            many(order, jnp.arange(3000)),
        ]
        return jax.random.key_data(jnp.concatenate([*every, steps, *inside]))

    found = np.asarray(jax.jit(jax.vmap(keys))(jnp.arange(100, dtype=jnp.uint32))).reshape(-1, 2).view(np.uint64)
    assert len(found) > 10**6 and len(np.unique(found)) == len(found)


def test_a02_the_noise_of_a_step_is_drawn_from_the_key_of_that_step_alone():
    seen = []

    def apply(params, x, key=None):
        if key is not None:
            jax.debug.callback(lambda k: seen.append(tuple(k.tolist())), jax.random.key_data(key))
        return x @ params[:, None]

    noisy, batch = Recipe(Model(lambda key, x: jnp.zeros(3), apply), tasks.binary(), optax.sgd(0.1)), blobs()
    take(noisy)(engine.init(noisy, KEY, batch.x[0]), batch, 9, key=KEY)
    jax.effects_barrier()
    expected = [jax.random.fold_in(key_for("noise", KEY), t) for t in range(9)]
    assert set(seen) == {tuple(jax.random.key_data(key).tolist()) for key in expected}


# ---- A03: what was given is left alone ---------------------------------------------------------------------------


@pytest.mark.long
def test_a03_what_is_given_is_not_changed():
    batch, many = blobs(), blobs(2000, seed=1)
    labels, targets = np.array(["b", "a", "b"]), np.array([1.0, 2.5])
    params = models.linear(1).init(KEY, batch.x[0])
    grads = jax.tree.map(np.array, params)
    given = [*batch, *many, labels, targets, *jax.tree.leaves(grads)]
    before = [array.tobytes() for array in given]
    quickly(lambda: fit(batch, validation=many))()
    linear = Recipe(models.linear(1), tasks.binary(), optax.sgd(0.1))
    quickly(functools.partial(engine.evaluate, linear, batch_size=16))(params, many)
    trained().predict(many.x)
    trained().predict_proba(batch.x)
    jaxnn.Labels.fit(labels).encode(labels)
    jaxnn.one_hot(labels)
    jaxnn.check_labels(batch.y, 2)
    jaxnn.check_targets(targets)
    diagnosis.dead_units(models.linear(1), params, batch.x)
    jaxnn.gradient_norms(grads)
    jaxnn.image.ascii(abs(batch.x) / 10)
    assert [array.tobytes() for array in given] == before


def test_a03_a_state_can_be_used_again_after_its_steps():
    batch, linear = blobs(), Recipe(models.linear(1), tasks.binary(), optax.adam(0.1))
    state, steps = engine.init(linear, KEY, batch.x[0]), take(linear)
    before = digest(state)
    first, second = (steps(state, batch, 3, key=KEY)[0] for _ in range(2))
    assert digest(state) == before and digest(first) == digest(second) != before


def test_a03_loading_leaves_the_file_and_two_loads_share_nothing(tmp_path):
    np.savez(tmp_path / "t.npz", x=blobs(40).x, y=blobs(40).y)
    before = (tmp_path / "t.npz").read_bytes()
    first, second = (data.load(tmp_path / "t.npz") for _ in range(2))
    first.train.x[:] = 0
    assert (tmp_path / "t.npz").read_bytes() == before and second.train.x.any()
    assert second.digest == data.load(tmp_path / "t.npz").digest


# ---- A04: other kinds of arrays ----------------------------------------------------------------------------------


def kinds():
    pandas = pytest.importorskip("pandas")
    x = blobs().x
    return {
        "ndarray": x,
        "Array": jnp.asarray(x),
        "DataFrame": pandas.DataFrame(x),
        "csr_matrix": scipy.sparse.csr_matrix(x),
        "csr_array": scipy.sparse.csr_array(x),
        "list": x.tolist(),
        "object": x.astype(object),
        "str": "x",
        "NoneType": None,
    }


@pytest.mark.parametrize("kind", ["DataFrame", "csr_matrix", "csr_array", "list", "object", "str", "NoneType"])
@pytest.mark.parametrize("field", ["x", "y", "weight"])
def test_a04_fit_takes_numpy_and_jax_arrays_and_names_any_other_type(kind, field):
    for batches in ((blobs()._replace(**{field: kinds()[kind]}), None), (blobs(), blobs()._replace(x=kinds()[kind]))):
        train, validation = batches
        with pytest.raises((InputError, TypeError), match=kind):
            fit(train, validation=validation)


def test_a04_numpy_and_jax_arrays_give_the_same_bits():
    compiled = quickly(lambda batch: fit(batch)[0])
    assert digest(compiled(blobs())) == digest(compiled(jax.tree.map(jnp.asarray, blobs())))


def test_a04_predict_takes_what_can_be_an_array_and_names_any_other_type():
    fitted, expected = trained(), trained().predict(blobs().x).tolist()
    for kind in ("ndarray", "Array", "DataFrame", "list"):
        assert fitted.predict(kinds()[kind]).tolist() == expected, kind
    for kind in ("csr_matrix", "csr_array", "NoneType"):
        with pytest.raises(InputError, match=kind):
            fitted.predict(kinds()[kind])
    with pytest.raises(InputError, match="no such file or folder; check the path"):  # a text is a path
        fitted.predict(kinds()["str"])


def test_a04_labels_take_columns_and_name_a_table_by_its_type():
    pandas = pytest.importorskip("pandas")
    values = ["b", "a", "b"]
    columns = [values, tuple(values), np.array(values), np.array(values, object), pandas.Series(values)]
    columns += [pandas.Series(values).astype("category"), pandas.Index(values)]
    for column in columns:
        labels = jaxnn.Labels.fit(column)
        assert labels.classes == ("a", "b") and labels.encode(column).tolist() == [1, 0, 1], type(column)
    assert jaxnn.Labels.fit(jnp.array([3, 1])).classes == (1, 3)
    tables = [pandas.DataFrame({"a": values, "b": values}), scipy.sparse.csr_matrix(np.eye(2)), "ab", b"ab", {"a": 1}]
    for table in tables:
        with pytest.raises(InputError, match=type(table).__name__):
            jaxnn.Labels.fit(table)
        with pytest.raises(InputError, match=type(table).__name__):
            jaxnn.one_hot(table)


def test_a04_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    x = torch.tensor(blobs().x)
    assert trained().predict(x).tolist() == trained().predict(blobs().x).tolist()
    assert jaxnn.Labels.fit(torch.tensor([3, 1])).classes == (1, 3)
    with pytest.raises(InputError, match="torch.Tensor"):
        fit(blobs()._replace(x=x))


# ---- A05: inside other transformations ---------------------------------------------------------------------------


def test_a05_inside_jit_and_vmap_a_run_is_the_same():
    whole = quickly(lambda: fit(blobs(), model=MLP)[0].params)()
    many = quickly(jax.vmap(lambda key, batch: fit(batch, key, MLP)[0].params, (0, None)))(KEY[None], blobs())
    inside = jax.tree.map(lambda a: a[0], many)
    np.testing.assert_allclose(ravel_pytree(whole)[0], ravel_pytree(inside)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a05_inside_x64_a_run_keeps_the_dtype_of_its_data(dtype):
    batch = blobs()
    with jax.enable_x64(True):
        wide = batch._replace(x=batch.x.astype(dtype))
        tx = optim.optimizer(OptimConfig(name="adam", lr=0.05), steps_per_epoch=4, total_steps=40)
        state, history = quickly(lambda: fit(wide, tx=tx, validation=wide))()
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype(dtype)}
    assert history["val/loss"][-1] < history["val/loss"][0]


@pytest.mark.long
def test_a05_debug_nans_finds_none_in_a_healthy_run_and_one_that_is_there():
    broken = blobs()
    broken.x[3, 0] = np.nan
    with jax.debug_nans(True):
        quickly(lambda: fit(blobs(), validation=blobs()))()
        quickly(lambda: fit(blobs(), tx=optax.adam(0.05)))()  # whose learning rate is not known: left out, not NaN
        with pytest.raises(FloatingPointError):
            fit(broken)


# ---- A06: threads ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a06_runs_in_threads_have_the_digests_of_runs_one_after_the_other():
    jobs = [(blobs(30, seed), jax.random.key(seed)) for seed in range(2)]
    run = lambda job: digest(quickly(lambda: fit(*job))())  # traced and compiled anew each time
    alone = run(jobs[0])
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, jobs))
    assert together[0] == alone != together[1]


# ---- A07: import only --------------------------------------------------------------------------------------------

IMPORTED = """
import logging, os, signal, sys, threading, warnings
sys.argv = ["notebook", "--unknown", "flag"]
look = lambda: (list(sys.argv), dict(os.environ), list(warnings.filters), list(logging.root.handlers),
    [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], sys.excepthook, warnings.showwarning, os.getcwd())
import {needed}
before, config = look(), {config}
import jaxnn
{use}
assert look() == before, [pair for pair in zip(look(), before) if pair[0] != pair[1]]
assert {config} == config
flags = sys.modules.get("absl.flags")
assert flags is None or not flags.FLAGS.is_parsed()
print(threading.active_count(), *sys.modules)
"""
# the estimators are scikit-learn's, whose import changes the filters of warnings
FACE = "for name in jaxnn.__all__: name.startswith('MLP') or getattr(jaxnn, name)"


def imported(use, needed="sys", config="None", **env):
    code = IMPORTED.format(use=use, needed=needed, config=config)
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env)


def test_a07_importing_jaxnn_alone_loads_nothing_and_changes_nothing():
    done = imported("")
    assert done.returncode == 0, done.stderr
    threads, *modules = done.stdout.split()
    assert threads == "1" and not {"jax", "numpy", "absl", "flax", "optax", "sklearn", "tyro", "rich"} & set(modules)
    own = {name for name in modules if name.partition(".")[0] == "jaxnn"}
    assert own == {"jaxnn", "jaxnn.errors", "jaxnn.fork"}  # a fork is to be seen from then on


@pytest.mark.long
def test_a07_importing_every_name_touches_no_device_flag_or_file(tmp_path):
    # with a platform that is not there, the first look at a device would fail
    settings = "dict(jax.config.values)"
    done = imported(
        FACE, "jax, optax", settings, JAX_PLATFORMS="none", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr and not list(tmp_path.iterdir())
    looked = imported(f"{FACE}\nimport jax; jax.devices()", "jax, optax", settings, JAX_PLATFORMS="none")
    assert looked.returncode != 0 and "none" in looked.stderr  # and it does fail
