"""What is on the disk: each file's reader beside its writer."""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=["checkpoint"])
