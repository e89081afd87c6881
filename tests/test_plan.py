"""Chunks cover every step once and end at every event, and few programs serve them all."""

import math

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn.config.durations import save_every
from jaxnn.config.model import ModelConfig
from jaxnn.nn import models
from jaxnn.report import flops
from jaxnn.training import plan


@given(
    st.integers(0, 500), st.integers(1, 500), st.lists(st.integers(1, 700), min_size=1, max_size=3), st.integers(1, 99)
)
def test_every_step_is_in_one_chunk_and_every_event_at_the_end_of_one(start, more, every, longest):
    total = start + more
    length, lengths = plan.cut(start, total, every, longest)
    ends, step = set(), start
    while step < total:
        n = length(step)
        assert 1 <= n <= longest and n in lengths
        ends.add(step := step + n)
    events = {s for s in range(start + 1, total + 1) if any(s % e == 0 for e in every)}
    assert step == total and events <= ends
    assert len(lengths) <= max(plan.MOST_LENGTHS, 1 + math.floor(math.log2(longest)))


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(), ModelConfig(kind="cnn"), ModelConfig(hidden=(), kind="linear"), ModelConfig(kind="resnet"),
        ModelConfig(remat=True), ModelConfig(kind="cnn", remat=True), ModelConfig(kind="resnet", remat=True),
    ],
)  # fmt: skip
def test_the_bound_that_spares_tracing_is_no_less_than_the_count(config):
    example = jax.ShapeDtypeStruct((28, 28, 1), "uint8")
    model = models.build(config, example, 10, scale=255)
    params = jax.eval_shape(model.init, jax.random.key(0), example)
    data = jaxnn.Batch(np.zeros((9, 28, 28, 1), np.uint8), np.zeros(9, np.int32), np.ones(9, np.float32))
    recipe = jaxnn.Recipe(model, jaxnn.multiclass(10), optax.sgd(0.1))
    assert 0 < flops.of_example(recipe, params, data) <= flops.most_flops(model, params, example)


def test_a_checkpoint_of_a_short_epoch_waits_until_saving_is_a_tenth_of_the_time():
    saves = save_every("auto", steps_per_epoch=41, total=410)
    clock, saved, took, due = 0.0, 0.0, 0.02, []
    for step in range(1, 411):
        clock += 0.001  # an epoch takes 0.041 s, a save 0.02
        if saves.is_due(step, clock - saved - saves.rest * took):
            due.append(step)
            saved, clock = clock, clock + took
    assert due == [205, 410]  # the first end of an epoch after 0.2 s, and the first one 0.2 s after that


def test_other_checkpoints_come_when_they_were_asked_for():
    for asked, steps in (("1epoch", [41, 82]), ("50", [50, 100]), ("never", [])):
        saves = save_every(asked, steps_per_epoch=41, total=410)
        assert [step for step in range(1, 101) if saves.is_due(step, 0.0)] == steps and saves.rest == 0
    assert [t for t in (0, 29, 30, 31) if save_every("30s", steps_per_epoch=41, total=410).is_due(7, t)] == [30, 31]
