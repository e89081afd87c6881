"""Networks: activations, layers, models."""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=["activations"])
