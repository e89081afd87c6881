"""Train feed-forward neural networks with JAX. A run is a pure function of (seed, data, config)."""

import gc
import sys
from typing import Any

import lazy_loader

from jaxnn import fork as fork  # from here on a fork is seen

# What is public is listed in __init__.pyi; each name is imported when it is first used, so that `--help` needs no jax.
_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Imports leave hardly any garbage, and looking for it takes a fifth of their time."""
    if "jax" in sys.modules or not gc.isenabled() or gc.get_freeze_count():
        return _import(name)
    gc.disable()
    try:
        return _import(name)
    finally:
        gc.freeze()
        gc.unfreeze()  # all that was imported is of the oldest generation now, which is looked through least often
        gc.enable()


__version__ = "0.1.0"
