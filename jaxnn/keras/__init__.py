"""Keras' face: `from jaxnn import keras` in the place of `import keras`, over jaxnn's own networks and engine."""

import lazy_loader

import jaxnn

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = jaxnn.__version__
