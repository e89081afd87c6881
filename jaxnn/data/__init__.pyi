"""Data: files and bundled sets become NumPy arrays, checked and split once, before anything is compiled."""

from jaxnn.data.assemble import from_config as from_config
from jaxnn.data.assemble import load as load
from jaxnn.data.dataset import Dataset as Dataset
