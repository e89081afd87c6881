"""The host's part of a run: the same numbers however it was cut, and through a checkpoint."""

import json
import math

import numpy as np
import pytest

from jaxnn.engine import engine
from jaxnn.store.resume import Host
from jaxnn.tasks import supervised as tasks

RNG = np.random.default_rng(0)
INFO = {
    "loss": np.exp(RNG.normal(0, 12, 100)).astype(np.float32),  # wide enough to be rounded
    "weight": np.full(100, 32, np.float32),
    "correct": RNG.integers(0, 33, 100).astype(np.float32),
    "wide": RNG.normal(size=(100, 3)).astype(np.float32),
    "lr": np.linspace(0.1, 0.01, 100, dtype=np.float32),
}


def chunk(start: int, end: int) -> dict:
    return {name: value[start:end] for name, value in INFO.items()} | {"grad_norm": np.float32(end), "finite": True}


@pytest.mark.parametrize("ends", [[100], [1, 100], [7, 50, 51, 100], list(range(1, 101))])
def test_the_sums_of_an_interval_do_not_depend_on_its_cuts_nor_on_a_checkpoint_in_it(ends):
    host, start = Host(), 0
    for end in ends:
        host = host._replace(sums=engine.add(host.sums, chunk(start, end)))
        host, start = Host.unpack(json.loads(json.dumps(host.pack()))), end
    whole = engine.add({}, chunk(0, 100))
    assert whole.keys() == host.sums.keys()
    for name in whole:
        np.testing.assert_array_equal(np.asarray(whole[name], np.float64), host.sums[name])
    np.testing.assert_allclose(host.sums["loss"], math.fsum(INFO["loss"].astype(float)), rtol=1e-14)
    row = engine.row(tasks.multiclass(3), host.sums)
    assert row["train/accuracy"] == float(INFO["correct"].sum()) / 3200 and row["lr"] == INFO["lr"][-1]


def test_what_is_not_finite_comes_back_as_it_counts():
    host = Host(sums={"loss": np.asarray(np.inf)})
    again = Host.unpack(json.loads(json.dumps(host.pack(), allow_nan=False)))
    assert (again.best, again.top, again.waited) == (math.inf, -math.inf, 0) and np.isnan(again.sums["loss"])


def test_the_loss_must_fall_by_tol_to_start_the_wait_anew():
    host = Host()
    for loss, waited in ((1.0, 0), (0.95, 1), (0.85, 0), (0.85, 1), (0.80, 2)):
        host = host.next(loss, tol=0.1)
        assert host.waited == waited, loss
    assert host.best == 0.80 and host.next(1.0, tol=None).waited == 0
