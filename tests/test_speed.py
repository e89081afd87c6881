"""FLOPs counted by hand, and time that adds up."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import engine
from jaxnn.errors import InputError
from jaxnn.nn import models
from jaxnn.report import flops
from jaxnn.report.stopwatch import Stopwatch
from jaxnn.tasks import supervised as tasks
from jaxnn.types import Batch, Recipe


def gradient_flops(model, x, n=1):
    example = jax.ShapeDtypeStruct(x, np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), example)
    batch = Batch(*(jax.ShapeDtypeStruct((n, *s), d) for s, d in ((x, np.float32), ((), np.int32), ((), np.float32))))
    recipe = Recipe(model, tasks.multiclass(3), optax.sgd(0.1))
    return flops.matrix_flops(lambda params, batch: engine.gradient(recipe, params, batch, None), params, batch)


def test_a_dense_network_is_three_products_a_layer_and_two_for_the_first():
    assert gradient_flops(models.mlp((7, 5), 3), (11,), n=4) == 4 * 2 * (2 * 11 * 7 + 3 * 7 * 5 + 3 * 5 * 3)


@pytest.mark.parametrize("n", [1, 32])
def test_a_convolution_counts_its_kernel_at_each_position(n):
    first, second = 8 * 8 * 9 * 2 * 4, 2 * 2 * 9 * 4 * 6  # positions, kernel, channels in and out
    expected = 2 * (2 * first + 3 * second + 3 * 1 * 1 * 6 * 3)
    assert gradient_flops(models.cnn((4, 6), 3), (10, 10, 2), n=n) == n * expected


def test_a_loop_counts_as_often_as_it_runs():
    power = lambda a: jax.lax.fori_loop(0, 5, lambda _, b: a @ b, a)
    assert flops.matrix_flops(power, jnp.ones((3, 3))) == 5 * 2 * 27


def test_the_time_of_all_parts_is_the_time_that_passed():
    start = time.perf_counter()
    clock = Stopwatch("a", since=start)
    for part in ("b", "a", "c", "end"):
        time.sleep(0.01)
        clock(part)
    assert clock.seconds.keys() == {"a", "b", "c"}
    assert sum(clock.seconds.values()) == pytest.approx(clock.since - start)
    assert clock.seconds["a"] >= 0.02


def test_the_peak_refuses_no_time():
    with pytest.raises(InputError, match="seconds=0: must be finite and > 0"):
        flops.benchmark_peak(0)
