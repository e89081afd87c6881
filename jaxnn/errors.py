"""What jaxnn refuses, the exit code that a run ends with, and the ranges that numbers are checked against.

Every message has one line in one form: `<flag or array>=<value>: <rule>; <remedy>`, without a remedy where the rule
says it. Names and values in it come from files and command lines: what could move a cursor or begin a new line is shown
as an escape.
"""

from __future__ import annotations

import difflib
import math
import operator
import struct
from collections.abc import Iterable
from typing import Any


class Error(Exception):
    """Base of all errors that jaxnn raises on purpose; `exit_code` is what `train.py` ends with.

    A name or value in the message may hold anything: what is no letter is written as an escape, so that a line stays
    one line and a terminal obeys nothing.

    >>> import jaxnn
    >>> try:
    ...     jaxnn.mlp((50,), 10, activation="rleu")
    ... except jaxnn.Error as error:
    ...     print(error.exit_code, error)
    2 activation=rleu: unknown; did you mean relu? Choose from ...
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(printable(message))


class InputError(Error, ValueError):
    """A flag, an argument or an array that cannot be used, found before the first step (exit 2).

    >>> import jaxnn
    >>> jaxnn.dense(0)
    Traceback (most recent call last):
    ...
    jaxnn.errors.InputError: dense size=0: must be >= 1
    """

    exit_code = 2


class DataError(Error, ValueError):
    """Data that turned out to be damaged while it was being decoded (exit 3).

    >>> DataError.exit_code, issubclass(DataError, ValueError)
    (3, True)
    """

    exit_code = 3


class NumericsError(Error, ArithmeticError):
    """A loss or gradient that is not finite (exit 4).

    >>> NumericsError.exit_code, issubclass(NumericsError, ArithmeticError)
    (4, True)
    """

    exit_code = 4


class StorageError(Error, OSError):
    """A result that could not be written once the run had begun (exit 5).

    >>> StorageError.exit_code, issubclass(StorageError, OSError)
    (5, True)
    """

    exit_code = 5


class PeerError(Error, RuntimeError):
    """Another process of a run on several is gone, stopped or stuck (exit 6).

    >>> PeerError.exit_code, issubclass(PeerError, RuntimeError)
    (6, True)
    """

    exit_code = 6


class ForkedError(Error, RuntimeError):
    """A process that was forked while JAX was at work, in which JAX would hang (exit 1)."""


class LockedError(Error):
    """The run's folder is in use by another process (exit 7).

    >>> LockedError.exit_code
    7
    """

    exit_code = 7


def of(kind: str, message: str) -> Error:
    """The error of a class of this file by its name, as another process has raised it; `Error` for any other name."""
    found = globals().get(kind, Error)
    return found(message) if isinstance(found, type) and issubclass(found, Error) else Error(message)


def printable(text: str) -> str:
    r"""The text as one line that only shows itself: control characters, line ends and lone surrogates are escaped.

    >>> print(printable("cat \x1b[31m\n"))
    cat \x1b[31m\n
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def choices(name: str, value: object, allowed: Iterable[str]) -> InputError:
    """The error for an unknown name: the value, the nearest spelling and the list.

    >>> print(choices("--optim.name", "adm", ["adam", "sgd"]))
    --optim.name=adm: unknown; did you mean adam? Choose from adam, sgd
    """
    allowed = sorted(allowed)
    near = nearest(str(value), allowed)
    hint = f"did you mean {near}? " if near else ""
    return InputError(f"{name}={value}: unknown; {hint}Choose from {', '.join(allowed)}"[:2000])


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that is most like a word, or None if none is.

    >>> nearest("--ced", ["--seed", "--tol"]), nearest("accuracy", ["--seed"])
    ('--seed', None)
    """
    found = difflib.get_close_matches(word, list(names), n=3)
    alike = lambda name: difflib.SequenceMatcher(None, name, word).ratio()
    return max(found, key=lambda name: (alike(name), -sum(map(operator.ne, name, word))), default=None)


def check(flag: str, value: Any, rule: str, ok: bool) -> None:
    """Raise `InputError` in the one form of all refusals, unless `ok`."""
    if not ok:
        raise InputError(f"{flag}={value}: must be {rule}")


def known(value: Any) -> float | None:
    """The number as float32 computes with it (1e39 is infinite, 0.999999999 is 1); None where there is none to check.

    A number that is traced (under `jit`, `vmap` or `grad` over a setting) has no value yet: `float` of it raises a
    `TypeError`, as of None.
    """
    try:
        value = float(value)
    except TypeError:
        return None
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def positive(flag: str, value: Any) -> None:
    """Refuse a number that is not finite and > 0 in float32, where those below 2^-126 are flushed to 0."""
    number = known(value)
    check(flag, value, "finite and > 0 (in float32)", number is None or 2.0**-126 <= number < math.inf)


def non_negative(flag: str, value: Any) -> None:
    """Refuse a number that is not finite and >= 0."""
    number = known(value)
    check(flag, value, "finite and >= 0 (in float32)", number is None or 0 <= number < math.inf)


def fraction(flag: str, value: Any) -> None:
    """Refuse a number outside [0, 1)."""
    number = known(value)
    check(flag, value, "in [0, 1) (in float32)", number is None or 0 <= number < 1)


def decay(flag: str, value: Any) -> None:
    """Refuse a number outside (0, 1)."""
    number = known(value)
    check(flag, value, "in (0, 1) (in float32)", number is None or 0 < number < 1)
