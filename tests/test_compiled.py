"""What the compiler makes of a step, on a CPU: no timing, but nothing slow slips in unseen."""

import functools
import re

import jax
import numpy as np
import pytest

from jaxnn import engine
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.nn import models
from jaxnn.optim import optimizer as optim
from jaxnn.tasks import supervised as tasks
from jaxnn.training.programs import run_steps
from jaxnn.types import Batch, Recipe

# network, optimizer, batch; matrix products (3 for a layer, 2 for the first), and the transposes and copies that were
# looked through when these lines were written: fewer are welcome, more need a look
REVIEWED = {
    "lecture": (ModelConfig(), "sgd", 32, 8, 6, 74),
    "lecture, batch 128": (ModelConfig(), "sgd", 128, 8, 5, 72),
    "scikit-learn's defaults": (ModelConfig(hidden=(100,)), "adam", 200, 5, 6, 79),
    "wide": (ModelConfig(hidden=(2048, 2048)), "sgd", 1024, 8, 4, 71),
    "cnn": (ModelConfig(kind="cnn", hidden=()), "adam", 128, 8, 9, 100),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "optimizer", "batch", "dots", "transposes", "copies"), REVIEWED.values(), ids=REVIEWED
)
def test_the_steps_compile_to_what_was_reviewed(model, optimizer, batch, dots, transposes, copies):
    example, n = jax.ShapeDtypeStruct((28, 28, 1), np.uint8), 20 * batch
    array = lambda dtype, *shape: jax.ShapeDtypeStruct((n, *shape), dtype)
    data = Batch(array(np.uint8, 28, 28, 1), array(np.int32), array(np.float32))
    tx = optim.optimizer(OptimConfig(name=optimizer), steps_per_epoch=20, total_steps=20)
    recipe, key = Recipe(models.build(model, example, 10), tasks.multiclass(10), tx), jax.random.key(0)
    state = jax.eval_shape(lambda key: engine.init(recipe, key, example), key)
    program = jax.jit(functools.partial(run_steps, recipe, batch, 1), static_argnums=2)
    compiled = program.lower(state, data, 20, key=key).compile().as_text() or ""
    count = lambda name: len(re.findall(rf"= \S+ {name}\(", compiled))
    assert count("convolution") == 0 and "__onednn$conv" not in compiled  # many times slower, inside a loop
    assert count("dot") == dots
    assert count("transpose") <= transposes and count("copy") <= copies
