"""How good the images are that a run generates, beside real ones that were held out.

    python benchmarks/generation.py RUN CLASSIFIER_RUN [--seed SEED] [--guidance G] [--most N]

RUN: of flow_matching or vae. CLASSIFIER_RUN: a network trained on the same images (with the same ones held out) to tell
their classes, a chain that ends with a dense layer, the input of which are its features. As many images are generated
as there are test images (--most: as the first N), by flow_matching of the same classes. Pixels are from 0 to 1.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn.arrays import white
from jaxnn.data import from_config

ROWS = 1024  # images of one call


def features(run: jaxnn.Run, x: np.ndarray) -> np.ndarray:
    """f32[n, F]: what the last dense layer sees, by rows of the identity in the place of its weights."""
    last = max((name for name in run.params if name.startswith("dense_")), key=lambda name: int(name[6:]))
    units, width = run.params[last]["w"].shape
    outputs = jax.jit(run.model.apply)
    found = []
    for start in range(0, width, units):
        head = {"w": jnp.eye(width)[np.arange(start, start + units) % width], "b": jnp.zeros(units)}
        params = {**run.params, last: head}
        found.append(np.concatenate([outputs(params, x[i : i + ROWS]) for i in range(0, len(x), ROWS)]))
    return np.concatenate(found, axis=1)[:, :width]


def generated(run: jaxnn.Run, key: jax.Array, y: np.ndarray, guidance: float) -> np.ndarray:
    """An image for each of the labels, by their number; for a run without labels of any class."""
    if run.task.name == "vae":
        return jaxnn.sample(run, key, len(y))
    images = np.zeros((len(y), *run.data["shape"]), run.data["dtype"])
    for number, label in enumerate(run.data["classes"]):
        asked = y == number
        if asked.any():
            key_of_class = jax.random.fold_in(key, number)
            images[asked] = jaxnn.sample(run, key_of_class, int(asked.sum()), label=label, guidance=guidance)
    return images


def table(
    run: jaxnn.Run, classifier: jaxnn.Run, seed: int = 0, guidance: float = 0.0, most: int | None = None
) -> dict[str, dict[str, float]]:
    """The scores of generated and of held-out images."""
    assert run.data["digest"] == classifier.data["digest"], "the runs have other images, or others held out"
    data = from_config(run.config.data, run.config.task.name)
    assert data.digest == run.data["digest"], "the images are others than those of the run"
    train, test = data.train, data.test
    assert test is not None, "the run has no test images"
    pixels = lambda x: x.reshape(len(x), -1) / white(train.x.dtype, data.scale)
    of_train = features(classifier, train.x)

    def scores(x: np.ndarray, y: np.ndarray | None) -> dict[str, float]:
        return {
            "accepted": jaxnn.accepted(classifier.predict_proba(x), y),
            "Fréchet distance, features": jaxnn.frechet_distance(features(classifier, x), of_train),
            "Fréchet distance, pixels": jaxnn.frechet_distance(pixels(x), pixels(train.x)),
            "nearest training image": jaxnn.nearest_distance(pixels(x), pixels(train.x)),
        }

    x, y = test.x[:most], test.y[:most]
    images = generated(run, jax.random.key(seed), y, guidance)
    asked = None if run.task.name == "vae" else y
    return {"generated": scores(images, asked), "held out": scores(x, asked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("classifier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--most", type=int)
    given: Any = parser.parse_args()
    runs = jaxnn.load_run(given.run), jaxnn.load_run(given.classifier)
    found = table(*runs, given.seed, given.guidance, given.most)
    print(f"{'':28}{'generated':>10}{'held out':>10}{'ratio':>8}")
    for name, value in found["generated"].items():
        real = found["held out"][name]
        print(f"{name:28}{value:10.4f}{real:10.4f}{value / real:8.2f}")


if __name__ == "__main__":
    main()
