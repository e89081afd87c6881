"""What Keras keeps for a whole process: the seed, and the names that layers have been given."""

from __future__ import annotations

from collections import Counter

import jax

from jaxnn.keras import lookup


class Session:
    """What Keras keeps for all models of a process: the seed that weights and noise come from, and the names in use."""

    seed: int = 0
    layers: int = 0
    noise: int = 0
    names: Counter[str] = Counter()


def set_seed(seed: int) -> None:
    """From here on new layers and models take their keys from this seed, as those of a new process do from 0."""
    Session.seed, Session.layers, Session.noise = int(seed), 0, 0


def clear_session() -> None:
    """Begin anew to number layers; models that are there stay as they are.

    >>> clear_session()
    >>> unique_name("Dense"), unique_name("Dense")
    ('dense', 'dense_1')
    """
    Session.names.clear()


def next_draws() -> tuple[int, int]:
    """The seed and the next number of what is random and no weight: a model's batches and noise, a layer's call."""
    Session.noise += 1
    return Session.seed, Session.noise


def noise_key(seed: int, number: int) -> jax.Array:
    """The key that `next_draws` stands for; weights fold in numbers below 2^31."""
    return jax.random.fold_in(jax.random.key(seed), 2**31 + number)


def next_noise() -> jax.Array:
    """The next key."""
    return noise_key(*next_draws())


def unique_name(kind: str) -> str:
    """`Conv2D` -> `conv2d`, `conv2d_1`, ...: in a process each name is given once."""
    snake = lookup.snake_case(kind)
    number = Session.names[snake]
    Session.names[snake] += 1
    return f"{snake}_{number}" if number else snake
