"""Whether this process was forked from one in which JAX was at work: its threads are not there any more, and the next
call of JAX would wait for them for ever. Loaded with `jaxnn` itself, so that a fork is seen from then on.
"""

from __future__ import annotations

import os
import sys

from jaxnn.errors import ForkedError

_forked = False


def _note() -> None:
    """In the child, right after the fork: what the parent had begun, the child has memory of."""
    global _forked
    begun = getattr(sys.modules.get("jax._src.xla_bridge"), "backends_are_initialized", None)  # jax has no public way
    _forked = _forked or bool(begun and begun())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_note)


def refuse() -> None:
    """To be called before JAX is. Raises `ForkedError` where it would hang."""
    if _forked:
        cure = "start processes by 'spawn', 'forkserver' or joblib's loky, fork before JAX is used, or use threads"
        raise ForkedError(f"process={os.getpid()}: was forked after JAX had been used, whose threads it lacks; {cure}")
