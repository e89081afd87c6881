"""`--data.augment`: words such as `flip` or `crop:4`, read and checked without jax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxnn.errors import InputError, check, choices, known

TAKES: dict[str, tuple[str, ...]] = {  # the functions of `jaxnn.augment`, and the numbers that each is given
    "flip": (),
    "crop": ("pad",),
    "shift": ("pixels",),
    "rotate": ("degrees",),
    "affine": ("degrees", "shift", "scale", "shear"),
    "color_jitter": ("brightness", "contrast", "saturation", "hue"),
    "cutout": ("size",),
    "mixup": ("alpha",),
    "cutmix": ("alpha",),
}
MIXING = ("mixup", "cutmix")  # of two examples each, so that they come after the others
WHOLE: tuple[str, Callable[[float], bool]] = ("a whole number >= 1", lambda v: v >= 1 and v == int(v))
UP_TO_1: tuple[str, Callable[[float], bool]] = ("in [0, 1]", lambda v: 0 <= v <= 1)
RULES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "pad": WHOLE,
    "pixels": WHOLE,
    "size": WHOLE,
    "degrees": ("in [0, 180]", lambda v: 0 <= v <= 180),
    "shift": (">= 0 pixels", lambda v: v >= 0),
    "scale": ("in [0, 1)", lambda v: 0 <= v < 1),
    "shear": ("in [0, 90) degrees", lambda v: 0 <= v < 90),
    "brightness": UP_TO_1,
    "contrast": UP_TO_1,
    "saturation": UP_TO_1,
    "hue": ("in [0, 0.5]", lambda v: 0 <= v <= 0.5),
    "alpha": ("> 0", lambda v: v > 0),
}
NORMALISE = ("normalise", "normalize", "standardise", "standardize")


class Augmentation(NamedTuple):
    """One word of `--data.augment`, and what it says."""

    word: str
    name: str
    numbers: tuple[float, ...]


def check_number(argument: str, value: Any) -> None:
    """Refuse a number that an augmentation cannot be given; one that is traced has no value to check."""
    rule, holds = RULES[argument]
    number = known(value)
    check(argument, value, rule, number is None or (abs(number) < 1e6 and holds(number)))


def parse(words: tuple[str, ...]) -> list[Augmentation]:
    """The augmentations of a config. Raises `InputError` for a name that there is not, and numbers out of range.

    >>> [(each.name, each.numbers) for each in parse(("flip", "affine:15:2"))]
    [('flip', ()), ('affine', (15.0, 2.0))]
    """
    found = [_parsed(word) for word in words]
    mixing = [each.word for each in found if each.name in MIXING]
    if len(mixing) > 1:
        raise InputError(f"--data.augment={' '.join(words)}: {' and '.join(mixing)} both mix labels; leave out one")
    return found


def _parsed(word: str) -> Augmentation:
    name, *texts = word.split(":")
    flag = f"--data.augment={word}"
    if name.lower() in NORMALISE:
        rule = "an input is normalised in evaluation too, so that is no augmentation"
        raise InputError(f"{flag}: {rule}; use --data.standardize, or jaxnn.scale(mean, std) in a model of your own")
    if name not in TAKES:
        raise choices("--data.augment", name, TAKES)
    takes = TAKES[name]
    form = ":".join((name, *takes[:1])) + "".join(f"[:{other}" for other in takes[1:]) + "]" * len(takes[1:])
    if len(texts) > len(takes) or (takes and not texts):
        raise InputError(f"{flag}: must be {form}" + ("" if takes else ", which takes no number"))
    for argument, text in zip(takes, texts, strict=False):
        try:
            check_number(argument, float(text))
        except ValueError:  # of float, and the refusal of the number
            raise InputError(f"{flag}: {argument} must be {RULES[argument][0]}; write {form}") from None
    return Augmentation(word, name, tuple(map(float, texts)))
