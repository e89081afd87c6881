"""Train feed-forward neural networks with JAX. A run is a pure function of (seed, data, config)."""

import lazy_loader

from jaxnn import fork as fork  # from here on a fork is seen

# What is public is listed in __init__.pyi; each name is imported when it is first used, so that `--help` needs no jax.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
