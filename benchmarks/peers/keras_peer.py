"""Keras 3: Sequential, compile, fit; the backend is the variant, or `jaxnn`: the same script over jaxnn.keras."""

# ruff: noqa: E402
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cases

PACKAGES = {
    "jax": ["keras", "jax"],
    "tensorflow": ["keras", "tensorflow-cpu"],
    "torch": ["keras", "torch"],
    "jaxnn": ["jax", "optax"],
}
BACKEND = cases.parse(tuple(PACKAGES)).variant
os.environ["KERAS_BACKEND"] = BACKEND  # is read when keras is imported

import numpy as np

if BACKEND == "jaxnn":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from jaxnn import keras
    from jaxnn.keras import layers
else:
    import keras
    from keras import layers


def build(case: cases.Case, x: np.ndarray, y: np.ndarray, args) -> tuple[Callable, Callable]:
    keras.utils.set_random_seed(args.seed)
    if case.hidden is None:
        body = [layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(64, 3, activation="relu")]
        body += [layers.MaxPooling2D(), layers.Flatten()]
    else:
        body = [layers.Dense(h, activation="relu") for h in case.hidden]
    model = keras.Sequential([keras.Input(x.shape[1:]), *body, layers.Dense(case.classes)])
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[case.opt](case.lr)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    run = lambda epochs: model.fit(x, y, batch_size=case.batch, epochs=epochs, verbose=0)
    return run, lambda x, y: model.evaluate(x, y, batch_size=1000, verbose=0)[1]


cases.main("keras", build, PACKAGES[BACKEND], tuple(PACKAGES))
