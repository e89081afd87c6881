"""A process forked from one that has used JAX lacks its threads: it is told so instead of hanging."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

# In a process of its own: pytest's has used JAX already, and JAX warns at each fork.
FORKS = textwrap.dedent("""
    import multiprocessing, signal, sys, warnings
    import numpy as np
    import jaxnn
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).normal(size=(30, 3))
    made = lambda: jaxnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2)

    def said(call):
        signal.alarm(60)  # ends a child that hangs
        try:
            call()
            print("worked", flush=True)
        except Exception as error:
            print(isinstance(error, (jaxnn.Error, RuntimeError)), error, flush=True)

    def forked(call):
        child = multiprocessing.get_context("fork").Process(target=said, args=(call,))
        child.start()
        child.join()
        if child.exitcode:
            print("ended with", child.exitcode, flush=True)

    forked(lambda: forked(lambda: made().fit(X, X[:, 0])))
    net = made().fit(X, X[:, 0])
    import jax, optax
    batch = jaxnn.Batch(X.astype("float32"), X[:, :1].astype("float32"), np.ones(30, "float32"))
    how = jax.random.key(0), jaxnn.linear(1), jaxnn.regression(), optax.sgd(0.1), batch
    for call in (
        lambda: made().fit(X, X[:, 0]),
        lambda: made().partial_fit(X, X[:, 0]),
        lambda: net.predict(X),
        lambda: jaxnn.fit(*how, epochs=1, batch_size=30),
        lambda: jaxnn.load_run("nowhere"),
        lambda: jaxnn.devices.use().__enter__(),
        lambda: forked(lambda: net.predict(X)),
    ):
        forked(call)
    print("parent", net.predict(X).shape)
""")


@pytest.mark.long
def test_forks() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=240)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["worked"] * 2, done.stderr  # forked before JAX was used: a child, and a child of it
    assert len(lines) == 11 and lines[-1] == "parent (30,)", lines
    refused = [line for line in lines[2:-1] if line != "worked"]
    assert len(refused) == 7, lines
    assert all(line.startswith("True process=") and "was forked after JAX had been used" in line for line in refused)
    assert all("start processes by 'spawn', 'forkserver' or joblib's loky" in line for line in refused)
