"""What augmentation costs: the step of mnist_cnn with each one beside the step without, taking turns.

    python benchmarks/augment.py --rounds 30

Batches of 128 images of 28x28 bytes, drawn from 2,560 synthetic rows; the network and optimizer of mnist_cnn.
A round runs 5 steps of each; the cost is the median over the rounds of the ratio to the steps without augmentation that
ran just before, less 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from jaxnn.augment import batches
from jaxnn.data import feeds

WORDS = ("flip", "crop:4", "shift:2", "rotate:15", "affine:15:2:0.1:10", "cutout:8", "mixup:0.2", "cutmix:1")
STEPS, BATCH = 5, 128


def program(word: str | None) -> Callable[[], float]:
    """Seconds of a call that takes the steps."""
    example, key, task = jax.ShapeDtypeStruct((28, 28, 1), "uint8"), jax.random.key(0), jaxnn.multiclass(10)
    model = jaxnn.adopt(jaxnn.cnn((32, 64), 10, hidden=(128,), dropout=0.5), example)
    augment = batches.build((word,), example, task) if word else None
    recipe = jaxnn.Recipe(model, task, optax.adam(2e-3), augment=augment)
    rng, n = np.random.default_rng(0), 20 * BATCH
    x, y = rng.integers(0, 256, (n, 28, 28, 1), np.uint8), rng.integers(0, 10, n, np.int32)
    data = jaxnn.Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(n))
    state = jaxnn.engine.init(recipe, key, example)

    @jax.jit
    def run(state: jaxnn.State) -> jaxnn.State:
        return jaxnn.engine.steps(recipe, state, feeds.shuffled(data, key, state.step, STEPS, BATCH), key)[0]

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(run(state))
        return time.perf_counter() - start

    seconds()  # compiles
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--words", nargs="*", default=WORDS)
    args = parser.parse_args()
    plain, each = program(None), {word: program(word) for word in args.words}
    ratios: dict[str, list[float]] = {word: [] for word in ("none", *each)}
    times = []
    for _ in range(args.rounds):
        for word, seconds in ({"none": plain} | each).items():
            before = plain()
            times.append(before)
            ratios[word].append(seconds() / before)
    print(
        f"{args.rounds} rounds, {1000 * statistics.median(times) / STEPS:.1f} ms a step: median (quartiles) of the cost"
    )
    for word, found in ratios.items():
        low, middle, high = (100 * (q - 1) for q in statistics.quantiles(found, n=4))
        print(f"  {word:20} {middle:5.1f} % ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
