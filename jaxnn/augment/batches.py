"""Augmentation of a batch, `(batch, key) -> batch`, as `Recipe.augment` is; and what a config lists."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.augment import images, mixing
from jaxnn.augment.images import Augmentation
from jaxnn.augment.labels import mover
from jaxnn.config.augment import MIXING, parse
from jaxnn.errors import InputError, choices
from jaxnn.types import Batch, Model, Params, Task

MIX = 2**32 - 1  # folded into the key of a batch for `mix`; rows fold in their small numbers


def rows(
    *augmentations: Augmentation,
    mix: Callable[[Batch, jax.Array], Batch] | None = None,
    labels: Literal["whole", "mask", "boxes"] = "whole",
) -> Callable[[Batch, jax.Array], Batch]:
    """Each image of a batch by these one after the other, then `mix` of the whole batch (`mixup`, `cutmix`).

    Images `u8[B, H, W, C]` or `f[B, H, W, C]`, masks `u8[B, H, W]`, boxes `f32[B, M, 5]`. `labels`: what y is. A `mask`
    or `boxes` move with their image (`jaxnn.augment.labels`); an augmentation of your own that moves pixels says
    how by `@jaxnn.augment.moving`, any other leaves labels alone. Row i draws from `fold_in(key, i)`, which is
    split over the augmentations: so neither padding nor the other rows change what a row becomes. Raises
    `InputError` for labels that cannot follow: boxes a `crop`, and either of them a `mix`.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> batch = jaxnn.Batch(jnp.ones((4, 8, 8, 1), jnp.uint8), jnp.arange(4), jnp.ones(4))
    >>> augment = jaxnn.augment.rows(jaxnn.augment.flip, jaxnn.augment.shift(2))
    >>> augment(batch, jax.random.key(0)).x.shape
    (4, 8, 8, 1)
    """
    if labels not in ("whole", "mask", "boxes"):
        raise choices("labels", labels, ("whole", "mask", "boxes"))
    if labels != "whole" and mix:
        raise InputError(f"mix: labels={labels} lie in the image, so no two can be mixed; leave it out")
    movers = [None if labels == "whole" else mover(augmentation, labels) for augmentation in augmentations]

    def through(steps: Sequence[Callable[..., Any] | None], key: jax.Array, i: jax.Array, value: Any) -> Any:
        """An image, or its labels, through one step after the other, each with the key that it has for both."""
        keys = jax.random.split(jax.random.fold_in(key, i), len(steps))
        for step, key in zip(steps, keys, strict=True):
            value = step(key, value) if step else value
        return value

    def augment(batch: Batch, key: jax.Array) -> Batch:
        number = lax.iota(jnp.uint32, len(batch.weight))
        # A barrier: fused with what comes before and after, each of its pixels would be computed several times.
        each = lambda steps, value: jax.vmap(functools.partial(through, steps), (None, 0, 0))(key, number, value)
        x = lax.optimization_barrier(each(augmentations, lax.optimization_barrier(batch.x)))
        if any(movers):
            size = batch.x.shape[1:3]
            _check_labels(batch.y, labels, size)
            steps = [move and (lambda key, y, move=move: move(key, y, size)) for move in movers]
            batch = batch._replace(y=each(steps, batch.y))
        batch = batch._replace(x=x)
        return mix(batch, jax.random.fold_in(key, MIX)) if mix else batch

    return augment


def _check_labels(y: Any, labels: str, size: tuple[int, int]) -> None:
    """Refuse what is no mask of an image of that size, or no boxes."""
    shape = getattr(y, "shape", None)
    fits = shape is not None and len(shape) == 3 and (shape[1:] == size if labels == "mask" else shape[2] == 5)
    if not fits:
        rule = f"masks [B, {size[0]}, {size[1]}] as their images" if labels == "mask" else "boxes [B, M, 5]"
        raise InputError(f"y={type(y).__name__ if shape is None else list(shape)}: must be {rule}; see labels=")


def build(words: Sequence[str], example: Any, task: Task, white: float | None = None) -> Any:
    """What `--data.augment` lists, for images like `example` (white is the value that means it) and their task.

    Raises `InputError` for examples that are no images, or too small, and for a task whose labels cannot be mixed, or
    cannot follow.

    >>> import jax, jaxnn
    >>> example = jax.ShapeDtypeStruct((28, 28, 1), "uint8")
    >>> augment = build(("flip", "mixup:0.2"), example, jaxnn.multiclass(10))
    """
    each: list[Augmentation] = []
    mix = None
    for word, name, numbers in parse(tuple(words)):
        if name in MIXING:
            mixing.check(f"--data.augment={word}", task)
        try:
            images.check_image(example)
            if name in MIXING:
                mix = getattr(mixing, name)(*numbers)
                continue
            more = {"white": white} if name == "color_jitter" else {}
            made = images.flip if name == "flip" else getattr(images, name)(*numbers, **more)
            jax.eval_shape(made, jax.random.key(0), example)
            rows(made, labels=task.labels)
        except InputError as reason:
            raise InputError(f"--data.augment={word}: {reason}") from None
        each.append(made)
    return rows(*each, mix=mix, labels=task.labels) if each else mix


def with_flips(model: Model) -> Model:
    """The model whose outputs (logits) are the mean of those of an image and of its mirror image.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> model = jaxnn.chain(jaxnn.flatten(3), jaxnn.linear(1))
    >>> params = model.init(jax.random.key(0), x[0])
    >>> both = jaxnn.augment.with_flips(model)
    >>> bool(jnp.allclose(both.apply(params, x), both.apply(params, x[:, :, ::-1])))
    True

    Source: Krizhevsky, Sutskever, Hinton 2012, 4.1.
    """

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> Any:
        outputs = (model.apply(params, x, key=key), model.apply(params, images.mirrored(x), key=key))
        return jax.tree.map(lambda a, b: (a + b) / 2, *outputs)

    return model._replace(apply=apply, observe=None)
