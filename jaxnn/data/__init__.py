"""Data: files and bundled sets become NumPy arrays, checked and split once, before anything is compiled."""

import lazy_loader

# Named in __init__.pyi: who takes the rows of a step needs none of the readers.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
