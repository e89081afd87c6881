"""The tally of a run: the same numbers however it was cut, and through a checkpoint."""

import json
import math

import numpy as np
import pytest

from jaxnn.engine.tally import Tally, history_row
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
    last = {"grad_norm": np.float32(end), "finite": True, "still": np.float32(0)}
    return {name: value[start:end] for name, value in INFO.items()} | last


def through_json(tally: Tally) -> Tally:
    return Tally.from_json(json.loads(json.dumps(tally.to_json(), allow_nan=False)))


@pytest.mark.parametrize("ends", [[100], [1, 100], [7, 50, 51, 100], list(range(1, 101))])
def test_the_sums_of_an_interval_do_not_depend_on_its_cuts_nor_on_a_checkpoint_in_it(ends):
    tally, start = Tally(), 0
    for end in ends:
        tally, start = through_json(tally.add(chunk(start, end))), end
    whole = Tally().add(chunk(0, 100)).sums
    assert whole and tally.sums and whole.keys() == tally.sums.keys() == {*INFO, "grad_norm"}
    for name in whole:
        np.testing.assert_array_equal(np.asarray(whole[name], np.float64), tally.sums[name])
    np.testing.assert_allclose(tally.sums["loss"], math.fsum(INFO["loss"].astype(float)), rtol=1e-14)
    row = history_row(tasks.multiclass(3), tally.sums)
    assert row["train/accuracy"] == float(INFO["correct"].sum()) / 3200 and row["lr"] == INFO["lr"][-1]


def test_what_is_not_finite_comes_back_as_it_counts():
    again = through_json(Tally(sums={"loss": np.asarray(np.inf)}))
    assert (again.stop_score, again.best_score, again.rows_without_gain) == (-math.inf, -math.inf, 0)
    assert again.sums and np.isnan(again.sums["loss"])


def test_what_is_finite_comes_back_as_it_was():
    tally = Tally({"loss": np.asarray(0.1)}, stop_score=-1 / 3, rows_without_gain=2, best_score=-0.7)
    again = through_json(tally)
    assert again[1:] == tally[1:] and again.sums == tally.sums
    assert through_json(Tally()) == Tally()


def test_the_loss_must_fall_by_tol_to_start_the_wait_anew():
    tally = Tally().add(chunk(0, 1))
    for loss, waited in ((1.0, 0), (0.95, 1), (0.85, 0), (0.85, 1), (0.80, 2)):
        tally = tally.close(-loss, tol=0.1)
        assert tally.rows_without_gain == waited and tally.sums is None, loss
    assert tally.stop_score == -0.80 and tally.close(-1.0, tol=None).rows_without_gain == 0
