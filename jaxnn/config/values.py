"""The values of a config: each of the type of its field, and to JSON and back."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxnn.errors import InputError, choices

_types = functools.cache(typing.get_type_hints)


def typed(config: Any, prefix: str) -> None:
    """Raise `InputError` where a field is not of its type, so that no rule is asked of a value it is not for."""
    kinds = _types(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if not _is(value, kinds[item.name]):
            raise InputError(f"{prefix}{item.name}={value!r}: must be {item.type}")
        unicode(f"{prefix}{item.name}", value)


def unicode(name: str, value: Any) -> None:
    """Raise `InputError` for text that no file could hold: the bytes of a path that are no UTF-8."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{name}={value!r}: must be Unicode text; rename it")


def to_dict(config: Any) -> dict[str, Any]:
    """All values of a config, as JSON keeps them."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any], kind: Any, path: str = "") -> Any:
    """The config that `to_dict` came from; an unknown key or a value of the wrong type is refused by name."""
    kinds = _types(kind)
    made = {}
    for key, value in values.items():
        if key not in kinds:
            raise choices("config", f"{path}{key}", [path + name for name in kinds])
        if dataclasses.is_dataclass(kinds[key]) and isinstance(value, dict):
            made[key] = from_dict(value, kinds[key], f"{path}{key}.")
            continue
        made[key] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def assignment(flag: str, word: str, form: str) -> tuple[str, str]:
    """The pattern and the value of a word PATTERN=VALUE."""
    pattern, equals, value = word.rpartition("=")
    if not (equals and pattern and value):
        raise InputError(f"{flag}={word}: must be PATTERN={form}")
    return pattern, value


def class_weights(given: Any) -> Any:
    """Weights of classes as a config has them: numbers in order, words LABEL=WEIGHT for a dict, or "balanced"."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        return tuple(f"{label}={float(weight)!r}" for label, weight in given.items())
    return tuple(each if isinstance(each, str) else float(each) for each in given)


def class_weight(word: float | str) -> tuple[str | None, float]:
    """The label, if it is named, and the weight: 2.0, or "cat=2.0"."""
    if not isinstance(word, str):
        return None, word
    label, equals, number = word.rpartition("=")
    try:
        if equals:
            return label, float(number)
        raise ValueError
    except ValueError:
        rule = "must be numbers in the order of the classes, LABEL=WEIGHT, or balanced"
        raise InputError(f"--data.class_weight={word}: {rule}") from None


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a field (an int is a float, a bool is no int)."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is(v, inner[0]) for v in value)
    if typing.get_origin(kind) is Literal:
        return value in inner
    if inner:
        return any(_is(value, k) for k in inner)
    return isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
