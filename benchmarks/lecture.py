"""The lecture's network, 784-50-50-10, SGD, batch 32, whole epochs: jaxnn beside scikit-learn.

    MNIST_DIR=DIR python benchmarks/lecture.py [--rounds 5]

Each round trains one epoch with each of them, in turn, in this process; the ratio is taken round by round. Without
MNIST_DIR the images are noise of the same shape, and the output says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import jax
import numpy as np
from sklearn.neural_network import MLPClassifier

import jaxnn
from jaxnn import engine

BATCH, RATE, HIDDEN = 32, 0.1, (50, 50)


def images() -> tuple[str, jaxnn.Batch, jaxnn.Batch]:
    if folder := os.environ.get("MNIST_DIR"):
        data = jaxnn.data.load("mnist", dir=folder, validation_fraction=0.0)
        assert data.test is not None
        return "MNIST", jaxnn.Batch(*data.train), jaxnn.Batch(*data.test)
    rng = np.random.default_rng(0)
    noise = lambda n: (
        rng.integers(0, 256, (n, 28, 28, 1), np.uint8),
        rng.integers(0, 10, n, np.int32),
        np.ones(n, "f"),
    )
    return "noise (set MNIST_DIR for MNIST)", jaxnn.Batch(*noise(60_000)), jaxnn.Batch(*noise(10_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    name, train, test = images()
    n = len(train.y)

    example = jax.ShapeDtypeStruct(train.x.shape[1:], train.x.dtype)
    model = jaxnn.build(jaxnn.ModelConfig(hidden=HIDDEN), example, 10)
    tx = jaxnn.optimizer(jaxnn.OptimConfig(lr=RATE), steps_per_epoch=n // BATCH, total_steps=n)
    objective = engine.make_objective(model, jaxnn.multiclass(10))
    run_steps = engine.make_run_steps(engine.make_train_step(objective, tx), BATCH)
    evaluate = engine.make_evaluate(objective, 1000)
    key = jax.random.key(0)
    state, data = engine.make_init(model, tx)(key, example), jax.device_put(train)

    flat = lambda x: x.reshape(len(x), -1).astype(np.float32) / 255
    x, x_test = flat(train.x), flat(test.x)
    peer = MLPClassifier(HIDDEN, solver="sgd", batch_size=BATCH, learning_rate_init=RATE, alpha=0.0, momentum=0.0)

    seconds: dict[str, list[float]] = {"jaxnn": [], "scikit-learn": []}
    for i in range(rounds + 1):
        start = time.perf_counter()
        state, info = run_steps(state, data, -(-n // BATCH), key=key)
        jax.device_get(info)
        middle = time.perf_counter()
        peer.partial_fit(x, train.y, classes=np.arange(10))
        if i:  # the first round compiles and warms up
            seconds["jaxnn"].append(middle - start)
            seconds["scikit-learn"].append(time.perf_counter() - middle)

    sums = jax.device_get(evaluate(state.params, test))
    accuracy = {"jaxnn": float(sums["correct"] / sums["weight"]), "scikit-learn": peer.score(x_test, test.y)}
    print(f"{name}, {rounds} rounds of one epoch each, {jax.devices()[0].platform}, jax {jax.__version__}")
    for who, times in seconds.items():
        speed = sorted(n / t for t in times)
        median = statistics.median(speed)
        print(f"{who:14} {median:9,.0f} examples/s ({speed[0]:,.0f} to {speed[-1]:,.0f})  accuracy {accuracy[who]:.4f}")
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(f"ratio          {statistics.median(ratios):9.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
