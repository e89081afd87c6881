"""Keras' face: `from jaxnn import keras` in the place of `import keras`, over jaxnn's own networks and engine."""

import lazy_loader

import jaxnn

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "activations", "backend", "callbacks", "datasets", "initializers", "layers", "losses", "metrics", "models",
        "optimizers", "regularizers", "tf", "utils",
    ],
    submod_attrs={
        "base": ["Input", "InputLayer", "Layer"],
        "callbacks": ["Callback"],
        "initializers": ["Initializer"],
        "losses": ["Loss"],
        "metrics": ["Metric"],
        "models": ["Model", "Sequential"],
        "optimizers": ["Optimizer"],
        "regularizers": ["Regularizer"],
    },
)  # fmt: skip

__version__ = jaxnn.__version__
