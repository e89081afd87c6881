"""What Keras keeps for a whole process: the seed, and the names that layers have been given."""

from __future__ import annotations

import re
from collections import Counter

import jax


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
    """Begin anew to number layers; models that are there stay as they are."""
    Session.names.clear()


def next_noise() -> jax.Array:
    """The next key for what is random and no weight: the order of a model's batches, a layer that is called."""
    Session.noise += 1
    return jax.random.fold_in(jax.random.key(Session.seed), 2**31 + Session.noise)


def unique_name(kind: str) -> str:
    """`Conv2D` -> `conv2d`, `conv2d_1`, ...: in a process each name is given once."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])|(?<=.)([A-Z])(?=[a-z])", r"_\1\2", kind).lower()
    snake = re.sub(r"conv_?(\d)_?d", r"conv\1d", snake).replace("2_d", "2d")
    number = Session.names[snake]
    Session.names[snake] += 1
    return f"{snake}_{number}" if number else snake
