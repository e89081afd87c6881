"""The order of the rows: a true permutation an epoch, a pure function of (key, step)."""

import functools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from jaxnn.data import order

KEY = jax.random.key(7)


@functools.partial(jax.jit, static_argnums=(1, 2, 4))
def epoch(key, n, batch_size, number=0, width=None):
    per_epoch = -(-n // batch_size)
    steps = number * per_epoch + jnp.arange(per_epoch)
    return jax.vmap(lambda t: order.rows(key, t, n, batch_size, width or batch_size))(steps)


@pytest.mark.parametrize(
    ("n", "batch_size", "number", "spare"), [(1, 1, 0, 0), (7, 3, 1, 2), (64, 64, 2, 0), (300, 32, 3, 9)]
)
def test_an_epoch_visits_each_row_once(n, batch_size, number, spare):
    index, real = epoch(KEY, n, batch_size, number, batch_size + spare)
    assert sorted(np.asarray(index)[np.asarray(real)]) == list(range(n))
    assert np.all(np.asarray(index)[~np.asarray(real)] == 0)


@pytest.mark.parametrize("n", [pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 4, 5])
def test_every_permutation_is_equally_likely(n):
    keys = jax.random.split(KEY, 60_000)
    images = jax.jit(jax.vmap(lambda key: order.permute(key, jnp.arange(n), n)))(keys)
    counts = Counter(map(tuple, np.asarray(images).tolist()))
    assert len(counts) == math.factorial(n)
    assert chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("n", [37, 64])
def test_neighbours_and_places_are_uniform(n):
    images = jax.jit(jax.vmap(lambda key: order.permute(key, jnp.arange(n), n)))(jax.random.split(KEY, 20_000))
    images = np.asarray(images)
    assert chisquare(np.bincount(images[:, 0], minlength=n)).pvalue > 1e-4
    gaps = (images[:, 1:] - images[:, :-1]) % n
    assert chisquare(np.bincount(gaps.ravel(), minlength=n)[1:]).pvalue > 1e-4


@pytest.mark.long
def test_epochs_and_seeds_differ_and_repeat_exactly():
    first, again = epoch(KEY, 50, 8)[0], epoch(KEY, 50, 8)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, epoch(KEY, 50, 8, 1)[0])
    assert not np.array_equal(first, epoch(jax.random.key(8), 50, 8)[0])


def test_padding_does_not_move_a_row():
    narrow, real = epoch(KEY, 50, 8)
    wide, _ = epoch(KEY, 50, 8, 0, 16)
    assert np.array_equal(np.where(real, narrow, 0), wide[:, :8])
