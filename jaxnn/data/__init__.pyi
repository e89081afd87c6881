from .assemble import from_config as from_config
from .assemble import load as load
from .dataset import Dataset as Dataset
