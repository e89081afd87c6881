"""What the outputs mean: losses, metrics, labels, tasks."""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=["losses", "metrics"])
