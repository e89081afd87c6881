"""The tally of a run: the same numbers however it was cut, and through a checkpoint."""

import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from jaxnn.engine.tally import Tally, history_row, score
from jaxnn.store.resume import tally_of
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


def curve(seed: int) -> np.ndarray:
    """Of losses, or of accuracies, which come in twentieths and are often alike; 60 rows."""
    rng = np.random.default_rng(seed)
    falling = np.exp(-np.arange(60) / rng.uniform(3, 60)) + rng.normal(0, rng.uniform(0.001, 0.2), 60)
    return falling if seed % 2 else np.round(20 * (1 - falling)) / 20


def waited(curve: np.ndarray, name: str, tol: float | None, *, cut: int) -> list[tuple[int, float]]:
    """Rows without a gain and the best value after each row; at `cut` the tally goes through a checkpoint."""
    tally, task, found = Tally(), tasks.multiclass(3), []
    for i, value in enumerate(curve.tolist()):
        tally = tally.close(score(task, {name: value}, name), tol)
        found.append((tally.rows_without_gain, tally.stop_score))
        tally = through_json(tally) if i == cut else tally
    return found


@pytest.mark.parametrize("tol", [1e-4, 0.03])
@pytest.mark.parametrize("name", ["val/accuracy", "train/loss"])
def test_rows_without_gain_are_counted_as_scikit_learn_does(name, tol):
    for seed in range(50):
        values = curve(seed)
        peer: Any = MLPClassifier(tol=tol)
        peer.verbose, peer._no_improvement_count, peer.loss_curve_, peer.validation_scores_ = False, 0, [], []
        peer.best_loss_, peer.best_validation_score_, peer.coefs_, peer.intercepts_ = np.inf, -np.inf, [], []
        expected = []
        for value in values.tolist():
            peer._score = lambda *_, value=value, **__: value
            peer.loss_curve_.append(value)
            peer._update_no_improvement_count(name == "val/accuracy", None, None, None)
            best = peer.best_validation_score_ if name == "val/accuracy" else -peer.best_loss_
            expected.append((peer._no_improvement_count, best))
        assert waited(values, name, tol, cut=seed) == expected, seed


@pytest.mark.parametrize("tol", [None, 0.0, 1e-4, 0.03])
@pytest.mark.parametrize("sign", [1, -1])
def test_fifty_curves_are_stopped_where_plain_python_stops_them(sign, tol):
    """A gain is a value above all before it, by tol; without tol every row is. Each is resumed in its middle."""
    for seed in range(50):
        values, expected, count = sign * curve(seed), [], 0
        for i, value in enumerate(sign * values):
            before = max(sign * values[:i], default=-math.inf)
            count = 0 if tol is None or (value > before and value >= before + tol) else count + 1
            expected.append((count, max(sign * values[: i + 1])))
        name = "val/accuracy" if sign == 1 else "val/loss"
        assert waited(values, name, tol, cut=30) == expected, seed


def test_a_metric_that_is_no_number_is_no_gain_and_is_better_for_what_the_task_maximizes():
    task = tasks.regression()
    assert score(task, {"val/loss": 2.0}, "val/loss") == score(task, {"val/mae": 2.0}, "val/mae") == -2
    assert score(task, {"val/r2": 0.5}, "val/r2") == 0.5
    for value in (math.nan, math.inf, -math.inf):
        assert score(task, {"val/r2": value}, "val/r2") == -math.inf
        assert Tally().close(score(task, {"val/r2": value}, "val/r2"), 0.0).rows_without_gain == 1


def test_a_tally_as_earlier_checkpoints_have_it_goes_on():
    """They kept the lowest training loss."""
    saved = {"sums": {}, "lowest_loss": 0.25, "rows_without_gain": 3, "best_score": None}
    assert tally_of({"tally": saved}) == Tally(stop_score=-0.25, rows_without_gain=3)
    assert tally_of({"tally": saved | {"lowest_loss": None}}) == Tally(rows_without_gain=3)
    host = {"sums": {}, "best": 0.25, "waited": 3, "top": 0.5}
    assert tally_of({"host": host}) == Tally(stop_score=-0.25, rows_without_gain=3, best_score=0.5)
