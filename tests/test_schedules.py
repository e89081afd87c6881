"""Every schedule against its closed form, in steps, epochs and percent of the run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.config.names import SCHEDULES
from jaxnn.config.optim import OptimConfig
from jaxnn.errors import InputError
from jaxnn.optim.schedules import schedule

EPOCH, TOTAL, LR = 10, 100, 0.3

# s and S are the step and the length counted from the end of the warm-up
CLOSED_FORMS = {
    "constant": lambda s, S: np.ones_like(s),
    "inverse_scaling": lambda s, S: 1 / (s + 1) ** 0.5,
    "step": lambda s, S: 0.1 ** np.floor(s / 30),
    "cosine": lambda s, S: (1 + np.cos(np.pi * s / S)) / 2,
    "one_cycle": lambda s, S: np.array([optax.cosine_onecycle_schedule(int(S), 1.0)(int(t)) for t in s]),
    "plateau": lambda s, S: np.ones_like(s),
}


def rates(config: OptimConfig, *, epoch: int = EPOCH, total: int = TOTAL) -> np.ndarray:
    rate = schedule(config, steps_per_epoch=epoch, total_steps=total, lr=LR)
    return np.asarray(jax.jit(lambda: jax.lax.map(rate, jnp.arange(total)))())


def test_every_schedule_has_a_closed_form_here() -> None:
    assert set(CLOSED_FORMS) == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup, W", [("0", 0), ("20", 20), ("2epochs", 20), ("20%", 20)])
def test_a_schedule_is_its_closed_form_after_a_linear_warm_up(name: str, warmup: str, W: int) -> None:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        after = CLOSED_FORMS[name](np.arange(TOTAL - W, dtype=float), float(TOTAL - W))
    expected = LR * np.concatenate([np.arange(1, W + 1) / max(W, 1), after])
    np.testing.assert_allclose(rates(OptimConfig(schedule=name, warmup=warmup)), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("every", ["30", "30steps", "3epochs", "30%"])
def test_the_step_schedule_drops_at_its_multiples_and_nowhere_else(every: str) -> None:
    got = rates(OptimConfig(schedule="step", decay_every=every, decay=0.5))
    np.testing.assert_allclose(got, LR * np.repeat([1, 0.5, 0.25, 0.125], [30, 30, 30, 10]), rtol=1e-6)


def test_the_power_of_inverse_scaling_is_the_one_asked_for() -> None:
    got = rates(OptimConfig(schedule="inverse_scaling", power=0.25))
    np.testing.assert_allclose(got, [LR / (t + 1) ** 0.25 for t in range(TOTAL)], rtol=1e-6)


def test_cosine_ends_at_zero_and_stays_there() -> None:
    rate = schedule(OptimConfig(schedule="cosine"), steps_per_epoch=EPOCH, total_steps=TOTAL, lr=LR)
    assert [float(rate(t)) for t in (TOTAL, TOTAL + 50)] == [0.0, 0.0]


def test_one_cycle_climbs_to_the_learning_rate_and_falls_to_almost_nothing() -> None:
    got = rates(OptimConfig(schedule="one_cycle"))
    np.testing.assert_allclose(got[[0, 30]], [LR / 25, LR], rtol=1e-6)
    assert got.argmax() == 30 and (np.diff(got[:31]) > 0).all() and (np.diff(got[30:]) < 0).all()
    assert got[-1] < LR / 1000


@pytest.mark.long
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3])
def test_no_step_of_a_short_run_is_wasted_or_not_finite(name: str, total: int) -> None:
    for warmup in ("0", str(total)):
        got = rates(OptimConfig(schedule=name, warmup=warmup, decay_every="1"), epoch=1, total=total)
        assert (got > 0).all() and (got <= LR * 1.000001).all()


def test_the_rate_is_linear_in_a_traced_learning_rate() -> None:
    def at(lr: jax.Array) -> jax.Array:
        config = OptimConfig(schedule="cosine", warmup="10")
        return schedule(config, steps_per_epoch=EPOCH, total_steps=TOTAL, lr=lr)(40)

    slope = (1 + np.cos(np.pi * 30 / 90)) / 2
    np.testing.assert_allclose(jax.vmap(at)(jnp.array([0.1, 2.0])), [0.1 * slope, 2.0 * slope], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(at)(0.7), slope, rtol=1e-6)


def test_a_warm_up_longer_than_the_run_names_both_numbers() -> None:
    with pytest.raises(InputError, match=r"^--optim.warmup=2000: is longer than the run of 900 steps; .+"):
        schedule(OptimConfig(warmup="2000"), steps_per_epoch=45, total_steps=900, lr=LR)
    schedule(OptimConfig(warmup="900"), steps_per_epoch=45, total_steps=900, lr=LR)


@pytest.mark.parametrize("name", ["step", "plateau"])
def test_a_decay_every_zero_steps_is_refused_where_it_is_used(name: str) -> None:
    with pytest.raises(InputError, match=r"^--optim.decay_every=1%: is no step at all of 20 steps; .+"):
        schedule(OptimConfig(schedule=name, decay_every="1%"), steps_per_epoch=2, total_steps=20, lr=LR)
    schedule(OptimConfig(decay_every="1%"), steps_per_epoch=2, total_steps=20, lr=LR)
