"""How devices share a run: the axes of their mesh, and which parameters are split over it."""

from __future__ import annotations

from jaxnn.config.names import AXES
from jaxnn.config.values import assignment
from jaxnn.errors import InputError, check, choices

WHOLE = "whole"


def axes(mesh: str) -> dict[str, int]:
    """The devices of each axis of a mesh.

    >>> axes("data=4,model=2")
    {'data': 4, 'model': 2}
    """
    found: dict[str, int] = {}
    for word in mesh.split(","):
        name, equals, number = word.strip().partition("=")
        check("--mesh", mesh, "AXIS=DEVICES,..., as in data=4,model=2", bool(equals) and number.isdecimal())
        if name not in AXES:
            raise choices("--mesh", name, AXES)
        check("--mesh", mesh, "one number >= 1 for each axis", int(number) >= 1 and name not in found)
        found[name] = int(number)
    return found


def rule(word: str) -> tuple[str, int | None]:
    """The pattern of a rule of --tensor, and the dimension that is split; None: the parameter is whole.

    >>> rule("dense_0=1"), rule("*/b=whole")
    (('dense_0', 1), ('*/b', None))
    """
    pattern, value = assignment("--tensor", word, f"DIMENSION, or {WHOLE}")
    if value != WHOLE and not value.isdecimal():
        raise InputError(f"--tensor={word}: must be PATTERN=DIMENSION (0 is the first), or PATTERN={WHOLE}")
    return pattern, None if value == WHOLE else int(value)
