"""The environment of a command that uses JAX, whose settings are named where JAX refuses them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from jaxnn.errors import Error, InputError


@contextlib.contextmanager
def for_jax() -> Iterator[None]:
    """JAX is to be imported inside. Raises `InputError` for a setting of the environment that it refuses."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave the GPU's memory to others until needed
    for name in ("JAX_DEBUG_NANS", "JAX_DEBUG_INFS"):  # a run names the step, the leaf and the rows, and exits with 4
        os.environ.pop(name, None)
    try:
        yield
        from jaxnn.devices import mesh
    except ValueError as reason:  # jax raises it for a setting in the environment
        name = next((name for name in os.environ if name.startswith("JAX_") and name in str(reason).upper()), None)
        if isinstance(reason, Error) or name is None:
            raise
        raise InputError(f"{name}={os.environ[name]}: {reason}; mend it, or leave it unset") from None
    mesh.check_environment()
