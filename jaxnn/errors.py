"""What jaxnn refuses, and the exit code that `train.py` ends with.

Every message has one line in one form: `<flag or array>=<value>: <rule>; <remedy>`, without a remedy where the rule
says it. Names and values in it come from files and command lines: what could move a cursor or begin a new line is shown
as an escape.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Error(Exception):
    """Base of all errors that jaxnn raises on purpose; `exit_code` is what `train.py` ends with.

    A name or value in the message may hold anything: what is no letter is written as an escape, so that a line stays
    one line and a terminal obeys nothing.
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(printable(message))


class InputError(Error, ValueError):
    """A flag, an argument or an array that cannot be used, found before the first step (exit 2)."""

    exit_code = 2


class DataError(Error, ValueError):
    """Data that turned out to be damaged while it was being decoded (exit 3)."""

    exit_code = 3


class NumericsError(Error, ArithmeticError):
    """A loss or gradient that is not finite (exit 4)."""

    exit_code = 4


class StorageError(Error, OSError):
    """A result that could not be written once the run had begun (exit 5)."""

    exit_code = 5


class LockedError(Error):
    """The run's folder is in use by another process (exit 7)."""

    exit_code = 7


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
    return next(iter(difflib.get_close_matches(word, list(names), n=1)), None)
